"""How the process deals with its memory once it has started."""

from __future__ import annotations

import ctypes
import gc


def settle_memory() -> None:
    """Tell the garbage collector what a server's objects are like, once it has started.

    What start-up made lives as long as the process: no need to look through it at each collection. What requests make
    goes with them, without help; collections that come with every other request find nothing but requests that wait for
    the disk, and cost a tenth of the time that creating a pod takes.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 20, 20)


def return_memory() -> None:
    """Give the system back what work of some size has left unused, where the C library can: an idle platform would
    keep it. Takes some milliseconds."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
    if trim is not None:
        trim(0)
