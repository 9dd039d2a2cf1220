"""Small files of JSON that are replaced as a whole: whoever reads one sees the old content or the new.

Not written through to the disk: they are about processes, and those do not outlive a crash of the machine.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Callable

from homeport.node.sandbox import files, linux, processes

SUFFIX = ".new"
"""Of a file that is being written, or that a killed writer has left."""


def write(path: str, value: object) -> None:
    """Raises OSError and leaves the old file alone. One writer at a time."""
    _write(path, value, os.rename)


def rewrite(path: str, value: object) -> None:
    """The same for one that is written again and again: the old file stays as ``<path>.new`` and is the next one's. To
    make a file and to delete one costs a file system many times what it costs to write one."""
    _write(path, value, _change_places)


def _write(path: str, value: object, move: Callable[[str, str], None]) -> None:
    temporary = f"{path}{SUFFIX}"
    try:
        files.put(temporary, json.dumps(value).encode())
        move(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _change_places(new: str, old: str) -> None:
    if not processes.IS_LINUX:
        os.rename(new, old)
        return
    try:
        linux.exchange(new, old)
    except OSError as error:
        # There is no old one, or the file system can't.
        if error.errno not in (errno.ENOENT, errno.EINVAL, errno.ENOSYS):
            raise
        os.rename(new, old)
