"""A container between its start and the report of its end."""

from __future__ import annotations

import functools
import os
import socket
from collections.abc import Callable

from homeport.node.sandbox import cgroups, logs, loop, sessions, spec
from homeport.node.sandbox import container as containers
from homeport.node.sandbox.wire import Peer


class Running:
    __slots__ = ("attachments", "deadline", "group", "launch", "log", "spec", "status", "streams", "waiting")

    def __init__(
        self, specification: spec.Container, launch: containers.Launch, log: logs.LogFile, group: cgroups.Group
    ) -> None:
        self.spec = specification
        self.launch = launch
        self.group = group
        self.log = log
        self.streams: list[logs.Stream] = []
        self.attachments: list[sessions.Attachment] = []
        self.waiting: tuple[Peer, object] | None = None
        """Who is to hear that the command runs, and the id of the request; None once it does."""
        self.status: int | None = None
        self.deadline = 0.0

    def attach(
        self,
        events: loop.Loop,
        connection: socket.socket,
        number: object,
        wanted: dict[str, bool],
        resume: Callable[[logs.Stream], None],
    ) -> None:
        """Let a client have the streams that it wants. `resume` is called with a stream whose listeners had been slow,
        once they are not."""
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
        for stream in self.streams:
            tap = attachment.taps.get(stream.name)
            if tap is not None:
                tap.on_room = functools.partial(resume, stream)
                stream.listeners.append(tap)

    def _client_ended_stdin(self) -> None:
        if self.spec.stdin_once and not self.spec.tty:
            self.release_stdin()

    def _left(self, attachment: sessions.Attachment) -> None:
        for stream in self.streams:
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

    def tell_attached(self, code: int) -> None:
        """The container has ended, and all its output has been read."""
        for attachment in tuple(self.attachments):
            attachment.ended(code)
