"""Paths of the machine that pods see: what they have to be, and what is made where nothing is.

The types and words are the kubelet's (``pkg/volume/hostpath``).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping

from homeport.kube.errors import HomeportError

_CHECKS: Mapping[str, tuple[Callable[[int], bool], str]] = {
    "Directory": (stat.S_ISDIR, "a directory"),
    "DirectoryOrCreate": (stat.S_ISDIR, "a directory"),
    "File": (stat.S_ISREG, "a file"),
    "FileOrCreate": (stat.S_ISREG, "a file"),
    "Socket": (stat.S_ISSOCK, "a socket file"),
    "CharDevice": (stat.S_ISCHR, "a character device"),
    "BlockDevice": (stat.S_ISBLK, "a block device"),
}


def check(path: str, type: str) -> None:
    """Check, and where the type says so create, what a hostPath volume points at. Without a type a missing path becomes
    a directory, as container runtimes have it. Raises HomeportError or OSError."""
    if not path.startswith("/") or ".." in path.split("/"):
        raise HomeportError(f'hostPath "{path}" must be absolute and must not contain ".."')
    if type and type not in _CHECKS:
        raise HomeportError(f'unknown hostPath type "{type}"; there are {", ".join(_CHECKS)}')
    if type in ("", "DirectoryOrCreate"):
        if not os.path.lexists(path):
            os.makedirs(path, 0o755, exist_ok=True)
    elif type == "FileOrCreate" and not os.path.lexists(path):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644))
    if not type:
        return
    right, words = _CHECKS[type]
    try:
        is_right = right(os.stat(path).st_mode)
    except FileNotFoundError:
        is_right = False
    if not is_right:
        raise HomeportError(f"hostPath type check failed: {path} is not {words}")
