"""Small files, read and written as a whole: those of /proc and of cgroups, and a pod's own.

By system calls alone. Python's file objects ask for more about a file than it has in it, and a pod's start reads and
writes dozens.
"""

from __future__ import annotations

import os

_PORTION = 1 << 16


def read(path: str) -> bytes:
    """Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        found = os.read(descriptor, _PORTION)
        while part := os.read(descriptor, _PORTION):
            found += part
        return found
    finally:
        os.close(descriptor)


def words(path: str) -> list[str]:
    """What is between white space in a file of the kernel; nothing if it can't be read."""
    try:
        return read(path).decode("ascii").split()
    except OSError:
        return []


def write(path: str, text: str | bytes) -> None:
    """Into a file that is there, in one portion, as the kernel wants it. Raises OSError with the file's name."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode() if isinstance(text, str) else text)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of it, in as many portions as the kernel takes it. Raises OSError."""
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


def put(path: str, data: bytes, mode: int = 0o644) -> None:
    """Make it the content of a file, which is made if it is not there. Raises OSError, after which the file may have
    part of it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, mode)
    try:
        write_all(descriptor, data)
        # Afterwards and to its length: some file systems write out at once what has been cut to nothing before.
        os.ftruncate(descriptor, len(data))
    finally:
        os.close(descriptor)
