"""What launchers write at the end of a log, below what the program that failed has written itself."""

from __future__ import annotations

import re
from collections.abc import Sequence

_TORCHRUN = re.compile(rb"\btorch[./]distributed[./]elastic[./]")
"""In each line of torchrun's own log, as its releases write them."""
_FAILED = re.compile(rb"\btorch[./]distributed[./]elastic[./]multiprocessing[./]api\b.*\bfailed \(exitcode: ")
"""The line with which torchrun begins to tell of a worker's failure. About 40 lines and 2 KB follow: its own traceback
and a summary, in which the worker's error is not to be found."""
_GAVE_UP = b"ChildFailedError"
"""In what follows if torchrun gives up, and does not start the workers again."""
_LAST = re.compile(rb"[=*]{20,}")


def without_summary(lines: Sequence[bytes]) -> Sequence[bytes]:
    """The lines of a log's end without torchrun's summary, so that they end with its worker's; all of them if they do
    not end with such a summary, or nothing is above it."""
    if not lines or not _LAST.fullmatch(lines[-1].strip()):
        return lines
    begin = next((at for at in reversed(range(len(lines))) if _FAILED.search(lines[at])), None)
    if begin is None or not any(_GAVE_UP in line for line in lines[begin:]):
        return lines
    while begin and (not lines[begin - 1].strip() or _TORCHRUN.search(lines[begin - 1])):
        begin -= 1
    return lines[:begin] or lines
