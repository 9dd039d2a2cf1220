"""Hear of changes to files from the kernel (Linux's inotify, kqueue elsewhere), without looking again and again."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import select
import struct
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

MODIFY, ATTRIB = 0x2, 0x4
_HEADER = struct.Struct("iIII")
_Q_OVERFLOW = 0x4000
_IGNORED = 0x8000


class Watches(Protocol):
    """Of the running loop. Several waiters may watch one file."""

    def watch(self, descriptor: int) -> AbstractContextManager[asyncio.Event]:
        """An event that is set whenever the open file is written to, or gets or loses a name; the reader clears it.
        Raises OSError."""

    def close(self) -> None:
        """Nobody may wait any more."""


def watches() -> Watches:
    """What this system has. Raises OSError."""
    return Inotify() if sys.platform == "linux" else _Queue()


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
    def watch(self, descriptor: int) -> Iterator[asyncio.Event]:
        """An event that is set whenever the file is written to, or gets or loses a name; the reader clears it. Raises
        OSError."""
        path = f"/proc/self/fd/{descriptor}"  # whose name may be gone already
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


class _Queue:
    """The same by kqueue's filter for files (kqueue(2) of macOS): each waiter has a descriptor of its own, by which its
    events are known."""

    def __init__(self) -> None:
        # By name, as Linux's library has none of it.
        self._names: Any = select
        self._queue = self._names.kqueue()
        self._waiters: dict[int, asyncio.Event] = {}
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._queue.fileno(), self._read)

    @contextmanager
    def watch(self, descriptor: int) -> Iterator[asyncio.Event]:
        own = os.dup(descriptor)
        names = self._names
        what = names.KQ_NOTE_WRITE | names.KQ_NOTE_EXTEND | names.KQ_NOTE_ATTRIB
        what |= names.KQ_NOTE_DELETE | names.KQ_NOTE_RENAME | names.KQ_NOTE_LINK
        changed = self._waiters[own] = asyncio.Event()
        try:
            event = names.kevent(own, names.KQ_FILTER_VNODE, names.KQ_EV_ADD | names.KQ_EV_CLEAR, what)
            self._queue.control([event], 0)
            yield changed
        finally:
            # With the descriptor go the events that it was to tell of.
            del self._waiters[own]
            if not self._queue.closed:
                self._queue.control([names.kevent(own, names.KQ_FILTER_VNODE, names.KQ_EV_DELETE)], 0)
            os.close(own)

    def close(self) -> None:
        if not self._queue.closed:
            self._loop.remove_reader(self._queue.fileno())
            self._queue.close()

    def _read(self) -> None:
        for event in self._queue.control(None, 64, 0):
            if (changed := self._waiters.get(event.ident)) is not None:
                changed.set()


def _set(waiters: set[asyncio.Event]) -> None:
    for waiter in waiters:
        waiter.set()


def _error(what: str) -> OSError:
    number = ctypes.get_errno()
    if number in (errno.ENOSPC, errno.EMFILE):
        hint = "raise fs.inotify.max_user_watches or fs.inotify.max_user_instances"
        return OSError(number, f"the kernel's limit of file watches is reached; {hint}", what)
    return OSError(number, os.strerror(number), what)
