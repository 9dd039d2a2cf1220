"""Ends of pipes and terminals on the event loop: read only when somebody reads, so that nothing piles up here."""

from __future__ import annotations

import asyncio
import errno
import os


class PipeReader:
    """The end to read of a pipe, or a terminal; takes the descriptor over."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._loop = asyncio.get_running_loop()
        self._ready = asyncio.Event()
        self._is_last = False
        self._is_open = True

    async def read(self, limit: int = 65536) -> bytes:
        """What is there; empty at the end."""
        while self._is_open:
            self._ready.clear()
            try:
                return os.read(self._descriptor, limit)
            except BlockingIOError:
                if self._is_last:
                    return b""
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                # A terminal that no process has open any more.
                return b""
            self._loop.add_reader(self._descriptor, self._ready.set)
            try:
                await self._ready.wait()
            finally:
                if self._is_open:
                    self._loop.remove_reader(self._descriptor)
        return b""

    def finish(self) -> None:
        """The process has ended: what is there now is the last, whoever else holds the other end open."""
        self._is_last = True
        self._ready.set()

    def close(self) -> None:
        if self._is_open:
            self._is_open = False
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._ready.set()


class PipeWriter:
    """The end to write of a pipe, or a terminal; takes the descriptor over."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._loop = asyncio.get_running_loop()
        self._ready = asyncio.Event()
        self._is_open = True

    async def write(self, data: bytes) -> None:
        """Raises BrokenPipeError once nobody can read it."""
        view = memoryview(data)
        while view:
            if not self._is_open:
                raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
            self._ready.clear()
            try:
                view = view[os.write(self._descriptor, view) :]
                continue
            except BlockingIOError:
                pass
            except OSError as error:
                raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)) from error
            self._loop.add_writer(self._descriptor, self._ready.set)
            try:
                await self._ready.wait()
            finally:
                if self._is_open:
                    self._loop.remove_writer(self._descriptor)

    def close(self) -> None:
        if self._is_open:
            self._is_open = False
            self._loop.remove_writer(self._descriptor)
            os.close(self._descriptor)
            self._ready.set()
