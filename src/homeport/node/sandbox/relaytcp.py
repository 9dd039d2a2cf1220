"""TCP connections from pods to the outside.

A connection's first packet is held back until the outer connection is there, and only then let in to the kernel, which
answers it in the destination's name and hands the connection over. A connection that can't be made is refused as the
destination would have done it.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import socket
import struct
from collections.abc import Callable

from homeport.node.sandbox import loop as loops
from homeport.node.sandbox import packets
from homeport.node.sandbox.loop import Loop
from homeport.node.sandbox.packets import Packet

_ACCEPT_SECONDS = 10.0
"""How long a pod has to answer once its first packet was let in; else it has given up meanwhile."""
_MOST, _MOST_OF_ONE = 8192, 2048
"""Connections at a time, and those of one pod."""
_CHUNK = 1 << 18
_ABORT = struct.pack("ii", 1, 0)
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 4))
"""A pod that was ended says no goodbye."""
_CODES = {
    errno.ENETUNREACH: packets.NET_UNREACHABLE,
    errno.EHOSTUNREACH: packets.HOST_UNREACHABLE,
    errno.EHOSTDOWN: packets.HOST_UNREACHABLE,
    errno.EACCES: packets.PROHIBITED,
    errno.EPERM: packets.PROHIBITED,
}


class Connections:
    def __init__(self, loop: Loop, listener: socket.socket, inject: Callable[[bytes], None], most: int) -> None:
        """`most` is how many the process has room for."""
        self._loop = loop
        self._most = min(most, _MOST)
        self._listener = listener
        self._inject = inject
        self._dials: dict[bytes, _Dial] = {}
        self._of_pod: dict[bytes, int] = {}
        self._count = 0
        self._buffer = memoryview(bytearray(_CHUNK))
        loop.watch(listener.fileno(), self._accept)

    def take(self, packet: Packet) -> None:
        """A packet that no connection has."""
        flags = packets.tcp_flags(packet)
        if flags & packets.RST:
            return
        if flags & (packets.SYN | packets.ACK) != packets.SYN:
            self._inject(packets.reset(packet))
            return
        known = self._dials.get(packet.key)
        if known is not None:
            known.again(packet)
        elif self._count >= self._most or self._of_pod.get(packet.source, 0) >= _MOST_OF_ONE:
            self._inject(packets.reset(packet))
        else:
            self._dial(packet)

    def _dial(self, packet: Packet) -> None:
        self._count += 1
        self._of_pod[packet.source] = self._of_pod.get(packet.source, 0) + 1
        try:
            outer = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        except OSError as error:
            self.gone(packet.source)
            self.refuse(packet, error.errno or errno.EMFILE)
            return
        dial = _Dial(self, self._loop, packet, outer)
        self._dials[packet.key] = dial
        dial.begin()

    def let_in(self, packet: Packet) -> None:
        self._inject(packets.with_checksum(packet))

    def refuse(self, packet: Packet, number: int) -> None:
        """Answer as a host would to which the connection fails so."""
        if number == errno.ETIMEDOUT:
            return  # nobody answered: nor do we
        code = _CODES.get(number)
        self._inject(packets.reset(packet) if code is None else packets.unreachable(packet, code))

    def forget(self, key: bytes) -> None:
        del self._dials[key]

    def gone(self, pod: bytes) -> None:
        """A connection of that pod has ended."""
        self._count -= 1
        self._of_pod[pod] -= 1
        if not self._of_pod[pod]:
            del self._of_pod[pod]

    def _accept(self, _events: int) -> None:
        while True:
            try:
                inner, (address, port) = self._listener.accept()
            except OSError:
                return  # none left, or it has gone before it was its turn
            try:
                destination, destination_port = inner.getsockname()
            except OSError:
                inner.close()
                continue
            key = socket.inet_aton(address) + socket.inet_aton(destination)
            dial = self._dials.get(key + struct.pack(">HH", port, destination_port))
            if dial is None or not dial.is_connected:
                # Nobody was dialled for it: it came to the relay's own port.
                with contextlib.suppress(OSError):
                    inner.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
                inner.close()
                continue
            ended = functools.partial(self.gone, dial.packet.source)
            _Pair(self._loop, inner, dial.hand_over(), self._buffer, ended)


class _Dial:
    """An outer connection in the making, and then until the pod's has come."""

    def __init__(self, owner: Connections, loop: Loop, packet: Packet, outer: socket.socket) -> None:
        self._owner = owner
        self._loop = loop
        self.packet = packet
        self._outer = outer
        self._timer: loops.Timer | None = None
        self.is_connected = False

    def begin(self) -> None:
        target = (socket.inet_ntoa(self.packet.destination), self.packet.ports[1])
        number = self._outer.connect_ex(target)
        if number in (0, errno.EINPROGRESS):
            self._loop.watch(self._outer.fileno(), self._settled, loops.WRITE)
        else:
            self._fail(number)

    def _settled(self, _events: int) -> None:
        number = self._outer.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        self._loop.forget(self._outer.fileno())
        if number:
            self._fail(number)
            return
        self.is_connected = True
        self._timer = self._loop.after(_ACCEPT_SECONDS, self._give_up)
        self._owner.let_in(self.packet)

    def again(self, packet: Packet) -> None:
        """The pod asks again: what was let in got lost, or nothing was yet."""
        if self.is_connected:
            self._owner.let_in(packet)

    def _fail(self, number: int) -> None:
        self._end()
        self._owner.refuse(self.packet, number)

    def _give_up(self) -> None:
        self._end()

    def _end(self) -> None:
        self._outer.close()
        self._owner.forget(self.packet.key)
        self._owner.gone(self.packet.source)

    def hand_over(self) -> socket.socket:
        if self._timer is not None:
            self._timer.cancel()
        self._owner.forget(self.packet.key)
        return self._outer


class _Way:
    """One direction of a connection."""

    __slots__ = ("is_ended", "rest", "source", "target")

    def __init__(self, source: socket.socket, target: socket.socket) -> None:
        self.source = source
        self.target = target
        self.rest = b""
        """What the target didn't take yet; nothing more is read until it does."""
        self.is_ended = False


class _Pair:
    """Two connections, joined. The end of each direction is passed on alone."""

    def __init__(
        self,
        loop: Loop,
        inner: socket.socket,
        outer: socket.socket,
        buffer: memoryview,
        ended: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._buffer = buffer
        self._ended = ended
        self._ways = {inner.fileno(): _Way(inner, outer), outer.fileno(): _Way(outer, inner)}
        self._is_open = True
        for connection in (inner, outer):
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in _KEEPALIVE:
                connection.setsockopt(socket.IPPROTO_TCP, option, value)
        for descriptor in self._ways:
            self._watch(descriptor)

    def _watch(self, descriptor: int) -> None:
        """Wait for what the connection is needed for now."""
        way = self._ways[descriptor]
        back = self._ways[way.target.fileno()]
        wanted = (0 if way.rest or way.is_ended else loops.READ) | (loops.WRITE if back.rest else 0)
        self._loop.watch(descriptor, lambda events: self._ready(descriptor, events), wanted)

    def _ready(self, descriptor: int, events: int) -> None:
        way = self._ways[descriptor]
        back = self._ways[way.target.fileno()]
        try:
            if back.rest and events & ~loops.READ:
                self._send(back, back.rest)
            # An error or a hang-up is told by reading.
            if not way.rest and not way.is_ended and events & ~loops.WRITE:
                self._read(way)
        except OSError as error:
            self._close(abort=error.errno != errno.EPIPE)
            return
        if way.is_ended and back.is_ended and not way.rest and not back.rest:
            self._close(abort=False)
            return
        self._watch(descriptor)
        self._watch(way.target.fileno())

    def _read(self, way: _Way) -> None:
        try:
            count = way.source.recv_into(self._buffer)
        except BlockingIOError:
            return
        if count:
            self._send(way, self._buffer[:count])
        else:
            way.is_ended = True
            way.target.shutdown(socket.SHUT_WR)

    def _send(self, way: _Way, data: bytes | memoryview) -> None:
        try:
            sent = way.target.send(data)
        except BlockingIOError:
            sent = 0
        way.rest = bytes(data[sent:])

    def _close(self, *, abort: bool) -> None:
        if not self._is_open:
            return
        self._is_open = False
        for descriptor, way in self._ways.items():
            self._loop.forget(descriptor)
            if abort:
                with contextlib.suppress(OSError):
                    way.source.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
            way.source.close()
        self._ended()
