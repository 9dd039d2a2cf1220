"""A container between its start and the report of its end."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import socket

from homeport.node.sandbox import cgroups, loop, processes, sessions, spec
from homeport.node.sandbox import container as containers
from homeport.node.sandbox.output import Output
from homeport.node.sandbox.watch import Watch
from homeport.node.sandbox.wire import Peer

_TERMINATION_MESSAGE_BYTES = 4096


class Running:
    __slots__ = (
        "attachments",
        "deadline",
        "group",
        "is_out_of_memory",
        "launch",
        "mounts",
        "output",
        "said",
        "spec",
        "status",
        "waiting",
        "watch",
    )

    def __init__(
        self, specification: spec.Container, launch: containers.Launch, output: Output, group: cgroups.Group
    ) -> None:
        self.spec = specification
        self.launch = launch
        self.group = group
        self.output = output
        self.attachments: list[sessions.Attachment] = []
        self.waiting: tuple[Peer, object] | None = None
        """Who is to hear that the command runs, and the id of the request; None once it does."""
        self.said = b""
        """What its first process has said before it became the command."""
        self.mounts: int | None = None
        """A descriptor of its mount namespace, by which its processes are known where they are among others."""
        self.status: int | None = None
        self.deadline = 0.0
        self.watch: Watch | None = None
        """Who looks at its memory, where no cgroup does."""
        self.is_out_of_memory = False

    def attach(
        self,
        events: loop.Loop,
        connection: socket.socket,
        number: object,
        wanted: dict[str, bool],
    ) -> None:
        """Let a client have the streams that it wants."""
        attachment = sessions.Attachment(
            events,
            connection,
            number,
            self.launch.streams,
            wanted,
            release_stdin=self._client_ended_stdin,
            left=self._left,
        )
        self.attachments.append(attachment)
        for stream in self.output.streams:
            tap = attachment.taps.get(stream.name)
            if tap is not None:
                tap.on_room = functools.partial(self.output.resume, stream)
                stream.listeners.append(tap)

    def watch_memory(self, events: loop.Loop) -> None:
        """Keep to the limit of memory that the container has now."""
        if self.watch is not None:
            self.watch.cancel()
            self.watch = None
        if self.spec.limits.memory and "memory" not in self.group.controllers and self.status is None:
            self.watch = Watch(events, self.launch.pid, self.spec.limits.memory, self._end_for_memory)

    def _end_for_memory(self) -> None:
        self.is_out_of_memory = True
        # One that has ended in this moment needs no end.
        with contextlib.suppress(ProcessLookupError):
            processes.send(self.launch.pid, self.launch.pidfd, signal.SIGKILL)

    def _client_ended_stdin(self) -> None:
        if self.spec.stdin_once and not self.spec.tty:
            self.release_stdin()

    def _left(self, attachment: sessions.Attachment) -> None:
        for stream in self.output.streams:
            tap = attachment.taps.get(stream.name)
            if tap in stream.listeners:
                stream.listeners.remove(tap)
                tap.close()
        if attachment in self.attachments:
            self.attachments.remove(attachment)

    def release_stdin(self) -> None:
        """Nobody writes to the container's input any more but those who have it."""
        streams = self.launch.streams
        if streams.stdin is not None:
            os.close(streams.stdin)
            streams.stdin = None

    def termination_message(self) -> str:
        """What the container has left to be told about its end."""
        try:
            with open(self.launch.termination_log, "rb") as file:
                # The end is what tells most, if it has more to say than there is room for.
                file.seek(max(file.seek(0, os.SEEK_END) - _TERMINATION_MESSAGE_BYTES, 0))
                return file.read(_TERMINATION_MESSAGE_BYTES).decode(errors="replace")
        except OSError:
            return ""

    def tell_attached(self, code: int) -> None:
        """The container has ended, and all its output has been read."""
        for attachment in tuple(self.attachments):
            attachment.ended(code)
