"""Reading files of a pod's volumes for the platform, by root of the user namespace that containers run in: nobody else
may read what they have written, and volumes in memory are mounted in the pod's own namespace only."""

from __future__ import annotations

import errno
import os
import stat

from homeport.node.sandbox import linux, processes

LONGEST = 256 << 10


def read(volume: str, path: str) -> bytes:
    """A file of a volume in which containers may be at work: no link leads out of it, and nothing that is no file is
    opened for long. Raises OSError; EFBIG beyond `LONGEST` bytes."""
    found = _open(volume, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    with open(found, "rb") as file:
        if not stat.S_ISREG(os.fstat(found).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        content = file.read(LONGEST + 1)
    if len(content) > LONGEST:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), path)
    return content


def _open(volume: str, path: str, flags: int) -> int:
    if not processes.IS_LINUX:
        # Whoever can change links meanwhile has this process's user and could read all the same.
        top = os.path.realpath(volume)
        place = os.path.realpath(os.path.join(top, path.lstrip("/")))
        if not place.startswith(f"{top}/"):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), path)
        return os.open(place, flags | os.O_NOFOLLOW | os.O_CLOEXEC)
    descriptor = os.open(volume, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return linux.open_at(descriptor, path, flags, linux.RESOLVE_IN_ROOT | linux.RESOLVE_NO_MAGICLINKS)
    finally:
        os.close(descriptor)
