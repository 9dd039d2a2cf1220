"""Reading files of a pod's volumes for the platform, by root of the user namespace that containers run in: nobody else
may read what they have written, and volumes in memory are mounted in the pod's own namespace only."""

from __future__ import annotations

import errno
import os
import stat

from homeport.node.sandbox import linux

LONGEST = 256 << 10


def read(volume: str, path: str) -> bytes:
    """A file of a volume in which containers may be at work: no link leads out of it, and nothing that is no file is
    opened for long. Raises OSError; EFBIG beyond `LONGEST` bytes."""
    top = os.open(volume, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        rules = linux.RESOLVE_IN_ROOT | linux.RESOLVE_NO_MAGICLINKS
        found = linux.open_at(top, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY, rules)
    finally:
        os.close(top)
    with open(found, "rb") as file:
        if not stat.S_ISREG(os.fstat(found).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        content = file.read(LONGEST + 1)
    if len(content) > LONGEST:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), path)
    return content
