"""What a container writes, on its way from its pipes or its terminal to its log and to whoever listens."""

from __future__ import annotations

from collections.abc import Callable

from homeport.node.sandbox import logs
from homeport.node.sandbox.loop import Loop


class Output:
    """A container's log, and its streams that go there. `stuck` is called when the disk is full: the container waits on
    its pipes then, and nothing is lost, until :meth:`retry` finds room."""

    __slots__ = ("_has_ended", "_log", "_loop", "_stamps", "_stuck", "streams")

    def __init__(self, events: Loop, log: logs.LogFile, stamps: logs.Stamps, stuck: Callable[[], None]) -> None:
        self._loop = events
        self._log = log
        self._stamps = stamps
        self._stuck = stuck
        self._has_ended = False
        self.streams: list[logs.Stream] = []

    @property
    def is_stuck(self) -> bool:
        """Whether something waits for room on the disk."""
        return self._log.is_stuck

    def add(self, descriptor: int, name: str) -> None:
        """Take a stream, of that name, until its end."""
        stream = logs.Stream(descriptor, name, self._log, self._stamps)
        self.streams.append(stream)
        self._watch(stream)

    def _watch(self, stream: logs.Stream) -> None:
        self._loop.watch(stream.descriptor, lambda _events: self._pump(stream))

    def _pump(self, stream: logs.Stream) -> None:
        try:
            goes_on = stream.pump()
        except BlockingIOError:
            return
        if not goes_on:
            stream.drain()
            self._loop.forget(stream.descriptor)
            stream.close()
            self.streams.remove(stream)
        if self.is_stuck:
            for other in self.streams:
                self._loop.forget(other.descriptor)
            self._stuck()
        elif goes_on and stream.is_held:
            self._loop.forget(stream.descriptor)

    def resume(self, stream: logs.Stream) -> None:
        """Somebody who listens to it has caught up, or gone."""
        if not self._has_ended and stream in self.streams and not stream.is_held and not self.is_stuck:
            self._watch(stream)

    def retry(self) -> None:
        """Write what waits for room."""
        if not self._log.flush():
            self._stuck()
        elif self._has_ended:
            self._drain()
        else:
            for stream in self.streams:
                self._watch(stream)

    def end(self) -> None:
        """No process of the container is left: what they wrote is in the pipes."""
        self._has_ended = True
        for stream in self.streams:
            self._loop.forget(stream.descriptor)
        if not self.is_stuck:
            self._drain()

    def _drain(self) -> None:
        for stream in self.streams:
            stream.drain()
            stream.close()
        self.streams.clear()

    def close(self) -> None:
        """Let go of it; what still waits for room is lost."""
        for stream in self.streams:
            stream.close()
        self._log.close()
