"""Services by a process: it takes connections and datagrams, and hands on what comes to one of the targets.

For what the kernel's rules can't do: connections from the machine's own network into that of the pods, and everything
where there are no rules.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import random
import socket
import struct
import time
from collections.abc import Callable

from homeport.node.sandbox import loop
from homeport.node.sandbox.frontends import Backend, Target

_PIECE = 1 << 18
_MOST_WAITING = 1 << 20
"""Bytes that one side has sent and the other has not taken; no more is read then."""
_FLOW_SECONDS = 60.0
"""A flow of datagrams ends when nothing has come for so long."""
_MOST_FLOWS = 4096
_MOST_CLIENTS = 65536
_DIAL_SECONDS = 30.0


class Chooser:
    """Picks a target for each client."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self._clients: dict[str, tuple[Target, float]] = {}
        """Of sticky ones: the target, and until when. The one that has been quiet for longest comes first."""

    def choose(self, client: str) -> Target | None:
        """None: the client may not connect, or there is nobody to connect it to."""
        backend = self.backend
        if backend.sources:
            address = ipaddress.IPv4Address(client)
            if not any(address in network for network in backend.sources):
                return None
        if not backend.targets:
            return None
        if not backend.sticky:
            return random.choice(backend.targets)
        now = time.monotonic()
        target, until = self._clients.pop(client, (None, 0.0))
        if target is None or until < now or target not in backend.targets:
            target = random.choice(backend.targets)
        self._clients[client] = (target, now + backend.sticky)
        if len(self._clients) > _MOST_CLIENTS:
            del self._clients[next(iter(self._clients))]
        return target


class Relay(Chooser):
    """Serves one listening socket; `dial` makes a socket that can reach targets."""

    def __init__(
        self, events: loop.Loop, listener: socket.socket, backend: Backend, dial: Callable[[int], socket.socket]
    ) -> None:
        super().__init__(backend)
        self._loop = events
        self._listener = listener
        self._dial = dial

    def close(self) -> None:
        """Take nothing more. What has begun goes on."""
        self._loop.forget(self._listener.fileno())
        self._listener.close()


class StreamRelay(Relay):
    def __init__(
        self, events: loop.Loop, listener: socket.socket, backend: Backend, dial: Callable[[int], socket.socket]
    ) -> None:
        super().__init__(events, listener, backend, dial)
        events.watch(listener.fileno(), self._accept)

    def _accept(self, _events: int) -> None:
        try:
            client, (address, _port) = self._listener.accept()
        except OSError:
            return  # the client has gone before it was its turn
        client.setblocking(False)
        target = self.choose(address)
        if target is None:
            _reset(client)
            return
        try:
            made = self._dial(socket.SOCK_STREAM)
        except OSError:
            _reset(client)
            return
        _Connection(self._loop, client, made, target)


def _reset(connection: socket.socket) -> None:
    """Close it so that the other side sees an error, not an end."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


class _Connection:
    """Two sockets; what comes from one goes to the other, and so do ends and errors."""

    def __init__(self, events: loop.Loop, client: socket.socket, made: socket.socket, target: Target) -> None:
        self._loop = events
        self._sockets = (client, made)
        self._waiting = (bytearray(), bytearray())
        """What each is to be given."""
        self._has_ended = [False, False]
        self._watched = [0, 0]
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._timer = events.after(_DIAL_SECONDS, self._fail)
        error = made.connect_ex(target)
        if error not in (0, errno.EINPROGRESS):
            self._fail()
            return
        events.watch(made.fileno(), self._connected, loop.WRITE)
        self._watched[1] = loop.WRITE

    def _connected(self, _events: int) -> None:
        if self._sockets[1].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._fail()
            return
        self._timer.cancel()
        self._watched[1] = 0
        self._loop.forget(self._sockets[1].fileno())
        self._watch()

    def _fail(self) -> None:
        self._timer.cancel()
        for number, each in enumerate(self._sockets):
            if self._watched[number]:
                self._loop.forget(each.fileno())
                self._watched[number] = 0
            _reset(each)

    def _watch(self) -> None:
        for number, each in enumerate(self._sockets):
            wanted = 0
            if not self._has_ended[number] and len(self._waiting[1 - number]) < _MOST_WAITING:
                wanted |= loop.READ
            if self._waiting[number]:
                wanted |= loop.WRITE
            if wanted == self._watched[number]:
                continue
            if wanted:
                self._loop.watch(each.fileno(), self._ready_of(number), wanted)
            else:
                self._loop.forget(each.fileno())
            self._watched[number] = wanted

    def _ready_of(self, number: int) -> Callable[[int], None]:
        return lambda events: self._ready(number, events)

    def _ready(self, number: int, events: int) -> None:
        try:
            if events & loop.WRITE:
                self._flush(number)
            if events & ~loop.WRITE and not self._has_ended[number]:
                self._read(number)
        except OSError:
            self._fail()
            return
        if all(self._has_ended) and not any(self._waiting):
            for which, each in enumerate(self._sockets):
                if self._watched[which]:
                    self._loop.forget(each.fileno())
                each.close()
            return
        self._watch()

    def _read(self, number: int) -> None:
        other = 1 - number
        try:
            data = self._sockets[number].recv(_PIECE)
        except BlockingIOError:
            return
        if not data:
            self._has_ended[number] = True
            self._flush(other)
            return
        self._waiting[other].extend(data)
        self._flush(other)

    def _flush(self, number: int) -> None:
        waiting = self._waiting[number]
        while waiting:
            try:
                sent = self._sockets[number].send(waiting)
            except BlockingIOError:
                return
            del waiting[:sent]
        if self._has_ended[1 - number]:
            with contextlib.suppress(OSError):  # the other side may have closed it altogether
                self._sockets[number].shutdown(socket.SHUT_WR)


class DatagramRelay(Relay):
    """Each client has a socket of its own towards its target, so that answers find their way."""

    def __init__(
        self, events: loop.Loop, listener: socket.socket, backend: Backend, dial: Callable[[int], socket.socket]
    ) -> None:
        super().__init__(events, listener, backend, dial)
        self._flows: dict[tuple[str, int], _Flow] = {}
        """The one that has been quiet for longest comes first."""
        events.watch(listener.fileno(), self._receive)

    def _receive(self, _events: int) -> None:
        for _ in range(64):
            try:
                data, client = self._listener.recvfrom(65536)
            except BlockingIOError:
                return
            except OSError:
                continue  # an earlier answer's client has gone; the error is reported here
            flow = self._flows.pop(client, None)
            if flow is not None and flow.target not in self.backend.targets:
                flow.close()
                flow = None
            if flow is None:
                flow = self._begin(client)
            if flow is not None:
                self._flows[client] = flow
                flow.send(data)

    def _begin(self, client: tuple[str, int]) -> _Flow | None:
        target = self.choose(client[0])
        if target is None:
            return None
        if len(self._flows) >= _MOST_FLOWS:
            oldest = next(iter(self._flows))
            self._flows.pop(oldest).close()
        try:
            made = self._dial(socket.SOCK_DGRAM)
        except OSError:
            return None
        return _Flow(self._loop, self._listener, client, made, target, lambda: self._flows.pop(client, None))

    def close(self) -> None:
        for flow in list(self._flows.values()):
            flow.close()
        self._flows.clear()
        super().close()


class _Flow:
    def __init__(
        self,
        events: loop.Loop,
        listener: socket.socket,
        client: tuple[str, int],
        made: socket.socket,
        target: Target,
        ended: Callable[[], object],
    ) -> None:
        self.target = target
        self._loop = events
        self._listener = listener
        self._client = client
        self._socket = made
        self._ended = ended
        self._timer = events.after(_FLOW_SECONDS, self._expire)
        self._last = time.monotonic()
        made.connect(target)
        events.watch(made.fileno(), self._answered)

    def send(self, data: bytes) -> None:
        self._last = time.monotonic()
        # A full queue loses a datagram, as networks do; so does a target that is not there.
        with contextlib.suppress(OSError):
            self._socket.send(data)

    def _answered(self, _events: int) -> None:
        for _ in range(64):
            try:
                data = self._socket.recv(65536)
            except BlockingIOError:
                return
            except OSError:
                return  # nobody listens there
            self._last = time.monotonic()
            with contextlib.suppress(OSError):
                self._listener.sendto(data, self._client)

    def _expire(self) -> None:
        left = self._last + _FLOW_SECONDS - time.monotonic()
        if left > 0:
            self._timer = self._loop.after(left, self._expire)
            return
        self.close()
        self._ended()

    def close(self) -> None:
        self._timer.cancel()
        self._loop.forget(self._socket.fileno())
        self._socket.close()
