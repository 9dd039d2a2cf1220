"""Clients inside a pod's containers: further commands, and whoever is attached to a container's own process.

Each has a connection of its own, over which the ends of pipes or of a terminal go to the client's side; the data never
passes through here, but for the copies of an attached container's output. A command outlives its client, as the kubelet
has it; only its pipes break.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from collections.abc import Callable
from typing import Any

from homeport.node.sandbox import execute, loop, wire
from homeport.node.sandbox.stdio import Streams

_NAMES = ("stdin", "stdout", "stderr")


class Client:
    """A connection that belongs to one session."""

    def __init__(
        self,
        events: loop.Loop,
        connection: socket.socket,
        number: object,
        *,
        heard: Callable[[dict[str, Any]], None] | None = None,
        gone: Callable[[], None] | None = None,
    ) -> None:
        self._loop = events
        self._peer = wire.Peer(connection)
        self._number = number
        self._heard = heard
        self._gone = gone
        self._is_open = True
        events.watch(self._peer.fileno(), self._ready)

    def answer(self, ends: dict[str, int]) -> None:
        """The session has begun: hand over the ends, by what they are."""
        message: wire.Message = {"id": self._number, "ends": list(ends)}
        if self._is_open:
            try:
                wire.send_descriptors(self._peer.connection, message, list(ends.values()))
            except OSError:
                self.close()

    def refuse(self, message: str, code: int | None = None) -> None:
        """`code` is the exit code of a command that could not be started."""
        self._send({"id": self._number, "error": message, **({} if code is None else {"code": code})})
        self.close()

    def tell_exit(self, code: int) -> None:
        self._send({"event": "exited", "code": code})
        self.close()

    def _send(self, message: wire.Message) -> None:
        if self._is_open:
            # One short message on a socket that nothing else was queued on: it is taken or the client has gone.
            with contextlib.suppress(OSError):
                self._peer.send(message)

    def _ready(self, _events: int) -> None:
        messages = self._peer.receive()
        if messages is None:
            self.close()
            return
        for message in messages:
            if self._heard is not None:
                self._heard(message)

    def close(self) -> None:
        if self._is_open:
            self._is_open = False
            self._loop.forget(self._peer.fileno())
            self._peer.close()
            if self._gone is not None:
                self._gone()


class Tap:
    """A client's copy of what a container writes. What its pipe does not take waits here, and the container with it."""

    __slots__ = ("_end", "_is_ending", "_loop", "_pending", "on_room")

    def __init__(self, events: loop.Loop, end: int) -> None:
        os.set_blocking(end, False)
        self._loop = events
        self._end: int | None = end
        self._pending = bytearray()
        self._is_ending = False
        self.on_room: Callable[[], None] = lambda: None

    @property
    def is_full(self) -> bool:
        return bool(self._pending)

    def write(self, data: bytes) -> None:
        if self._end is not None:
            self._pending += data
            self._flush()

    def end(self) -> None:
        """Nothing more comes: let the client see the end once it has read what waits."""
        self._is_ending = True
        if not self._pending:
            self.close()

    def close(self) -> None:
        if self._end is not None:
            self._loop.forget(self._end)
            os.close(self._end)
            self._end = None
        self._pending.clear()
        self.on_room()

    def _flush(self) -> None:
        assert self._end is not None
        while self._pending:
            try:
                written = os.write(self._end, self._pending)
            except BlockingIOError:
                self._loop.watch(self._end, lambda _events: self._flush(), loop.WRITE)
                return
            except OSError:
                # The client has gone.
                self.close()
                return
            del self._pending[:written]
        self._loop.forget(self._end)
        if self._is_ending:
            self.close()
        else:
            self.on_room()


def start_command(
    events: loop.Loop,
    connection: socket.socket,
    number: object,
    launch: Callable[[], execute.Execution],
) -> None:
    """Run a command for the client at the connection: what `launch` has begun to start. It raises OSError."""

    def heard(message: dict[str, Any]) -> None:
        if message.get("op") == "kill" and is_running:
            # It leads a session of its own, and nobody has waited for it yet: the number is nobody else's.
            os.killpg(execution.pid, signal.SIGKILL)

    is_running = False
    client = Client(events, connection, number, heard=heard)
    try:
        execution = launch()
    except OSError as error:
        client.refuse(f"no process can be made in the container: {error.strerror or error}")
        return

    def outcome(_events: int) -> None:
        nonlocal is_running
        data = os.read(execution.outcome, 65536)
        events.forget(execution.outcome)
        os.close(execution.outcome)
        if data:
            os.waitpid(execution.pid, 0)
            os.close(execution.pidfd)
            execution.streams.close()
            code, text = json.loads(data)
            client.refuse(text, code)
            return
        is_running = True
        events.watch(execution.pidfd, exited)
        try:
            execution.streams.receive_terminal()
        except OSError as error:
            client.refuse(f"the command has no terminal: {error.strerror or error}")
        else:
            client.answer(_ends(execution.streams))
        execution.streams.close()

    def exited(_events: int) -> None:
        nonlocal is_running
        is_running = False
        events.forget(execution.pidfd)
        os.close(execution.pidfd)
        _, status = os.waitpid(execution.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        client.tell_exit(code if code >= 0 else 128 - code)

    events.watch(execution.outcome, outcome)


def _ends(streams: Streams) -> dict[str, int]:
    if streams.is_terminal:
        return {"terminal": streams.stdin} if streams.stdin is not None else {}
    found = zip(_NAMES, (streams.stdin, streams.stdout, streams.stderr), strict=True)
    return {name: end for name, end in found if end is not None}


class Attachment:
    """A client at a container's own process."""

    def __init__(
        self,
        events: loop.Loop,
        connection: socket.socket,
        number: object,
        streams: Streams,
        wanted: dict[str, bool],
        *,
        release_stdin: Callable[[], None],
        left: Callable[[Attachment], None],
    ) -> None:
        """`release_stdin` is called when the client's input has ended, `left` when the client goes."""
        self.taps: dict[str, Tap] = {}
        self._release_stdin = release_stdin if wanted.get("stdin") else lambda: None
        self._left = left
        self._client = Client(events, connection, number, heard=self._hear, gone=self._gone)
        outputs = ("stdout",) if streams.is_terminal else ("stdout", "stderr")
        ends: dict[str, int] = {}
        if streams.stdin is not None and wanted.get("stdin"):
            ends["terminal" if streams.is_terminal else "stdin"] = streams.stdin
        reading: list[int] = []
        try:
            for name in outputs:
                if wanted.get(name):
                    end, ours = os.pipe()
                    reading.append(end)
                    os.set_blocking(end, False)
                    ends[name] = end
                    self.taps[name] = Tap(events, ours)
            self._client.answer(ends)
        except OSError as error:
            self._client.refuse(f"the container can't be attached to: {error.strerror or error}")
        finally:
            for end in reading:
                os.close(end)

    def ended(self, code: int) -> None:
        """The container's process has ended, and all that it wrote is in the taps."""
        for tap in self.taps.values():
            tap.end()
        self._client.tell_exit(code)

    def _hear(self, message: dict[str, Any]) -> None:
        if message.get("op") == "close-stdin":
            self._release_stdin()

    def _gone(self) -> None:
        self._release_stdin()
        self._left(self)
