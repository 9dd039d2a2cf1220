"""Datagrams from pods to the outside: each flow has an outer socket, by whose port the answers come back."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable

from homeport.node.sandbox import packets
from homeport.node.sandbox.loop import Loop
from homeport.node.sandbox.packets import Packet

_IDLE_SECONDS = 120.0
"""What connection tracking in the kernel gives a flow that was answered."""
_MOST, _MOST_OF_ONE = 4096, 1024
"""Flows at a time, and those of one pod; one more ends that which was idle longest."""
_BURST = 64


class Datagrams:
    def __init__(self, loop: Loop, inject: Callable[[bytes], None], most: int) -> None:
        """`most` is how many the process has room for."""
        self._loop = loop
        self._most = min(most, _MOST)
        self._inject = inject
        self._flows: dict[bytes, _Flow] = {}
        """The one that was idle longest is first."""
        self._of_pod: dict[bytes, int] = {}

    def take(self, packet: Packet) -> None:
        flow = self._flows.get(packet.key)
        if flow is None:
            flow = self._open(packet)
            if flow is None:
                return
        flow.send(packet)

    def touch(self, flow: _Flow) -> None:
        self._flows[flow.key] = self._flows.pop(flow.key)

    def _open(self, packet: Packet) -> _Flow | None:
        if len(self._flows) >= self._most:
            next(iter(self._flows.values())).close()
        if self._of_pod.get(packet.source, 0) >= _MOST_OF_ONE:
            next(flow for flow in self._flows.values() if flow.pod == packet.source).close()
        try:
            outer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        except OSError:
            return None  # no more descriptors: lost, as on any network that is overloaded
        try:
            outer.connect((socket.inet_ntoa(packet.destination), packet.ports[1]))
        except OSError as error:
            outer.close()
            self._inject(packets.unreachable(packet, code_of(error)))
            return None
        flow = _Flow(self, self._loop, packet, outer, self._inject)
        self._flows[packet.key] = flow
        self._of_pod[packet.source] = self._of_pod.get(packet.source, 0) + 1
        return flow

    def forget(self, flow: _Flow) -> None:
        del self._flows[flow.key]
        self._of_pod[flow.pod] -= 1
        if not self._of_pod[flow.pod]:
            del self._of_pod[flow.pod]


def code_of(error: OSError) -> int:
    """How ICMP says what an outer socket's error says."""
    if error.errno == errno.ENETUNREACH:
        return packets.NET_UNREACHABLE
    if error.errno in (errno.EACCES, errno.EPERM):
        return packets.PROHIBITED
    return packets.PORT_UNREACHABLE if error.errno == errno.ECONNREFUSED else packets.HOST_UNREACHABLE


class _Flow:
    def __init__(
        self,
        owner: Datagrams,
        loop: Loop,
        packet: Packet,
        outer: socket.socket,
        inject: Callable[[bytes], None],
    ) -> None:
        self._owner = owner
        self._loop = loop
        self._outer = outer
        self._inject = inject
        self.key = packet.key
        self.pod = packet.source
        self._first = packet
        """For what an error has to quote."""
        self._used_at = time.monotonic()
        self._timer = loop.after(_IDLE_SECONDS, self._check)
        loop.watch(outer.fileno(), self._readable)

    def send(self, packet: Packet) -> None:
        self._touch()
        try:
            self._outer.send(packet.body[8:])
        except BlockingIOError:
            return  # a full queue loses a datagram, as networks do
        except OSError as error:
            # Often about an earlier one: that there is nobody at the other end.
            if error.errno != errno.EMSGSIZE:
                self._inject(packets.unreachable(packet, code_of(error)))

    def _touch(self) -> None:
        self._used_at = time.monotonic()
        self._owner.touch(self)

    def _readable(self, _events: int) -> None:
        source, destination = self._first.destination, self._first.source
        ports = self._first.body[2:4] + self._first.body[:2]
        for _ in range(_BURST):
            try:
                data = self._outer.recv(65535)
            except BlockingIOError:
                break
            except OSError as error:
                self._inject(packets.unreachable(self._first, code_of(error)))
                break
            self._inject(packets.udp(source, destination, ports, data))
        self._touch()

    def _check(self) -> None:
        idle = time.monotonic() - self._used_at
        if idle >= _IDLE_SECONDS:
            self.close()
        else:
            self._timer = self._loop.after(_IDLE_SECONDS - idle, self._check)

    def close(self) -> None:
        self._timer.cancel()
        self._loop.forget(self._outer.fileno())
        self._outer.close()
        self._owner.forget(self)
