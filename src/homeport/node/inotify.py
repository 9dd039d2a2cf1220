"""Hear of changes to files from the kernel (Linux inotify), without looking again and again."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager

MODIFY, ATTRIB = 0x2, 0x4
_HEADER = struct.Struct("iIII")
_Q_OVERFLOW = 0x4000
_IGNORED = 0x8000


class Inotify:
    """One inotify instance on the running loop. Several waiters may watch one file."""

    def __init__(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._add = libc.inotify_add_watch
        self._remove = libc.inotify_rm_watch
        self._descriptor = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._descriptor < 0:
            raise _error("inotify_init1")
        self._waiters: dict[int, set[asyncio.Event]] = {}
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._descriptor, self._read)

    @contextmanager
    def watch(self, path: str) -> Iterator[asyncio.Event]:
        """An event that is set whenever the file is written to, or gets or loses a name; the reader clears it. Raises
        OSError."""
        number = self._add(self._descriptor, os.fsencode(path), MODIFY | ATTRIB)
        if number < 0:
            raise _error(path)
        changed = asyncio.Event()
        waiters = self._waiters.setdefault(number, set())
        waiters.add(changed)
        try:
            yield changed
        finally:
            waiters.discard(changed)
            if not waiters and self._waiters.pop(number, None) is not None and self._descriptor >= 0:
                # An error means that the file has gone and its watch with it.
                self._remove(self._descriptor, number)

    def close(self) -> None:
        if self._descriptor >= 0:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1

    def _read(self) -> None:
        try:
            data = os.read(self._descriptor, 65536)
        except BlockingIOError:
            return
        position = 0
        while position < len(data):
            number, mask, _, length = _HEADER.unpack_from(data, position)
            position += _HEADER.size + length
            if mask & _Q_OVERFLOW:  # news were lost: everybody looks
                for waiters in self._waiters.values():
                    _set(waiters)
            elif mask & _IGNORED:
                _set(self._waiters.pop(number, set()))
            else:
                _set(self._waiters.get(number, set()))


def _set(waiters: set[asyncio.Event]) -> None:
    for waiter in waiters:
        waiter.set()


def _error(what: str) -> OSError:
    number = ctypes.get_errno()
    if number in (errno.ENOSPC, errno.EMFILE):
        hint = "raise fs.inotify.max_user_watches or fs.inotify.max_user_instances"
        return OSError(number, f"the kernel's limit of file watches is reached; {hint}", what)
    return OSError(number, os.strerror(number), what)
