"""Whom the kernel is to spare when the machine has no memory left: the platform as long as can be, as the kubelet is;
not what it starts to build images, which may be large."""

from __future__ import annotations

import sys

from homeport.node.sandbox import linux

_PLATFORM = -999
_OTHERS = 0


def spare_this() -> None:
    """This process is the platform. Does nothing for an ordinary user, whose processes are all alike to the kernel."""
    if sys.platform == "linux":
        linux.set_oom_score(_PLATFORM)


def give_up_to_need(pid: int) -> None:
    """That child of the platform is like any other process."""
    if sys.platform == "linux":
        try:
            linux.set_oom_score(_OTHERS, pid)
        except (FileNotFoundError, ProcessLookupError):
            return  # it has ended already
