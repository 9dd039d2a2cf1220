"""Echoes (``ping``) from pods to the outside, where the machine lets programs send any: as its root, or by an ordinary
user's datagram sockets (net.ipv4.ping_group_range)."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

from homeport.node.sandbox import packets
from homeport.node.sandbox.loop import Loop, Timer
from homeport.node.sandbox.packets import Packet

_IDLE_SECONDS = 30.0
_MOST = 512


class Echoes:
    def __init__(self, loop: Loop, inject: Callable[[bytes], None]) -> None:
        self._loop = loop
        self._inject = inject
        self._flows: dict[bytes, _Flow] = {}

    def take(self, packet: Packet) -> None:
        if packet.body[:2] != bytes([packets.ECHO, 0]):
            return
        key = packet.source + packet.destination + packet.body[4:6]
        flow = self._flows.get(key)
        if flow is None:
            if len(self._flows) >= _MOST:
                next(iter(self._flows.values())).close()
            try:
                flow = _Flow(self._loop, packet, self._inject, lambda: self._flows.pop(key))
            except OSError:
                self._inject(packets.unreachable(packet, packets.PROHIBITED))
                return
            self._flows[key] = flow
        flow.send(packet)


class _Flow:
    """The echoes of one ``ping``."""

    def __init__(
        self, loop: Loop, packet: Packet, inject: Callable[[bytes], None], closed: Callable[[], object]
    ) -> None:
        """Raises OSError where no echo may be sent."""
        self._loop = loop
        self._inject = inject
        self._closed = closed
        self._first = packet
        self._is_raw = False
        self._identity = packet.body[4:6]
        try:
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, packets.ICMP)
        except PermissionError:
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, packets.ICMP)
            self._is_raw = True
            self._identity = os.urandom(2)
        try:
            self._socket.connect((socket.inet_ntoa(packet.destination), 0))
        except OSError:
            self._socket.close()
            raise
        self._timer: Timer = loop.after(_IDLE_SECONDS, self.close)
        loop.watch(self._socket.fileno(), self._readable)

    def send(self, packet: Packet) -> None:
        self._timer.cancel()
        self._timer = self._loop.after(_IDLE_SECONDS, self.close)
        try:
            self._socket.send(packets.echo(self._identity + packet.body[6:]))
        except BlockingIOError:
            return
        except OSError:
            self._inject(packets.unreachable(packet, packets.HOST_UNREACHABLE))

    def _readable(self, _events: int) -> None:
        try:
            data = self._socket.recv(65535)
        except OSError:
            return
        if self._is_raw:
            # With the IP header, and every ICMP packet of that host.
            answer = packets.parse(data)
            if answer is None or answer.body[4:6] != self._identity:
                return
            data = answer.body
        if data[:1] == bytes([packets.ECHO_REPLY]):
            rest = self._first.body[4:6] + data[6:]
            self._inject(packets.echo_reply(self._first.destination, self._first.source, rest))

    def close(self) -> None:
        self._timer.cancel()
        self._loop.forget(self._socket.fileno())
        self._socket.close()
        self._closed()
