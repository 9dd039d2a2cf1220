"""Writing files so that nobody ever reads half of one."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from pathlib import Path


def sync(descriptor: int) -> None:
    """Return when what was written to the file is on the disk. Raises OSError.

    On macOS ``fsync`` gives it to the drive, which may keep it to itself for long; F_FULLFSYNC has it written, where
    the file system knows that (fsync(2), fcntl(2) there).
    """
    full: int | None = getattr(fcntl, "F_FULLFSYNC", None)
    if full is not None:
        with contextlib.suppress(OSError):
            fcntl.fcntl(descriptor, full)
            return
    os.fsync(descriptor)


def write_atomically(path: Path, data: str | bytes) -> None:
    """Replace a file as a whole, for its owner's eyes only (mode 0600).

    Readers see the old content or the new one, also after a crash, and whoever else writes at the same moment does not
    get in the way. Raises OSError and leaves the old file alone.
    """
    content = data.encode() if isinstance(data, str) else data
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # made with mode 0600
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            sync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
