"""The cluster's name server: what the zone knows is answered at once, the machine's own names likewise, and everything
else is asked of the machine's resolvers."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from collections.abc import Callable

from homeport.node.sandbox import dns, forward
from homeport.node.sandbox.askers import StreamAskers
from homeport.node.sandbox.dnscache import Cache
from homeport.node.sandbox.hostnames import HostNames
from homeport.node.sandbox.loop import Loop
from homeport.node.sandbox.zone import Zone

PORT = 53
_STREAM_SIZE = 65535
_BURST = 64
_MOST_OF_ONE = 512
"""Questions of one asker that others are asked at a time: one pod must not keep the rest from being answered."""
Reply = Callable[[bytes], None]


class NameServer:
    def __init__(self, events: Loop, zone: Zone, sockets: forward.HostSockets) -> None:
        self._loop = events
        self._zone = zone
        self._forwarder = forward.Forwarder(events, sockets)
        self._cache = Cache()
        self._names = HostNames()
        self._pending: dict[str, int] = {}

    def listen(self, address: str, port: int = PORT) -> int:
        """Answer at that address, by UDP and TCP, on a port that the system chooses if it is 0; the port. Raises
        OSError."""
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        datagrams.setblocking(False)
        listener.setblocking(False)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((address, port))
            datagrams.bind(listener.getsockname())
            listener.listen(512)
        except BaseException:
            listener.close()
            datagrams.close()
            raise
        self._loop.watch(datagrams.fileno(), lambda _events: self._datagrams(datagrams))
        StreamAskers(self._loop, listener, self.answer)
        return int(listener.getsockname()[1])

    def _datagrams(self, datagrams: socket.socket) -> None:
        for _ in range(_BURST):
            try:
                data, asker = datagrams.recvfrom(4096)
            except BlockingIOError:
                return
            except OSError:
                # An earlier answer's asker has gone; the error is reported here.
                continue

            def reply(answer: bytes, asker: tuple[str, int] = asker) -> None:
                # A full queue loses a datagram, as networks do; askers ask again.
                with contextlib.suppress(OSError):
                    datagrams.sendto(answer, asker)

            self.answer(data, reply, stream=False, asker=asker[0])

    def answer(self, data: bytes, reply: Reply, *, stream: bool, asker: str = "") -> None:
        """Give `reply` the answer to a query, now or later; none to what is no query."""
        try:
            query = dns.parse(data)
        except dns.Malformed:
            if refusal := dns.refuse(data, dns.FORMAT_ERROR):
                reply(refusal)
            return
        size = _STREAM_SIZE if stream else query.size
        for wrong, code in (
            (query.flags & dns.OPCODE, dns.NOT_IMPLEMENTED),
            (query.version, dns.BAD_VERSION),
            (query.cls != dns.INTERNET, dns.REFUSED),
        ):
            if wrong:
                reply(dns.respond(query, code, size=size))
                return
        found = self._zone.find(query)
        if found is None:
            self._answer_foreign(query, data, reply, size, stream=stream, asker=asker)
        elif found.target:
            self._follow(query, found.answers, found.target, reply, size, stream=stream, asker=asker)
        else:
            reply(dns.respond(query, found.code, found.answers, found.authority, found.additional, size=size))

    def _answer_foreign(
        self, query: dns.Query, data: bytes, reply: Reply, size: int, *, stream: bool, asker: str
    ) -> None:
        if own := self._of_machine(query):
            reply(dns.respond(query, dns.NOERROR, own[1], size=size, authoritative=False))
            return
        kept = self._cache.get(query, size)
        if kept is not None:
            reply(kept)
            return

        def forwarded(answer: bytes) -> None:
            if not answer:
                reply(dns.respond(query, dns.SERVER_FAILURE, size=size))
                return
            self._cache.put(query, answer)
            reply(data[:2] + answer[2:])

        self._ask(data, forwarded, stream=stream, asker=asker)

    def _of_machine(self, query: dns.Query) -> tuple[str, list[dns.Record]] | None:
        """The name, and its records, if the machine's hosts file has it. A name with addresses of the other family
        only has none, and nobody else is asked for them."""
        addresses = self._names.addresses(query.name)
        if not addresses or query.kind not in (dns.A, dns.AAAA):
            return None
        version = 4 if query.kind == dns.A else 6
        packed = [value.packed for a in addresses if (value := ipaddress.ip_address(a)).version == version]
        return query.name, [dns.Record(query.kind, data) for data in packed]

    def _follow(
        self,
        query: dns.Query,
        aliases: tuple[dns.Record, ...],
        target: str,
        reply: Reply,
        size: int,
        *,
        stream: bool,
        asker: str,
    ) -> None:
        """An alias that leads out of the cluster: answered together with what others say of its target."""

        def forwarded(data: bytes) -> None:
            try:
                answer = dns.read(data)
            except dns.Malformed:
                answer = None
            if answer is not None and answer.is_truncated and not stream:
                self._follow(query, aliases, target, reply, size, stream=True, asker=asker)
                return
            if answer is None or answer.code not in (dns.NOERROR, dns.NAME_ERROR):
                reply(dns.respond(query, dns.SERVER_FAILURE, size=size))
                return
            reply(dns.respond(query, answer.code, (*aliases, *answer.records), size=size))

        number = int.from_bytes(forward.random_number(), "big")
        asked = dns.ask(number, target, query.kind, options=True)
        self._answer_foreign(dns.parse(asked), asked, forwarded, _STREAM_SIZE, stream=stream, asker=asker)

    def _ask(self, data: bytes, answered: Reply, *, stream: bool, asker: str) -> None:
        """Ask the machine's resolvers; no bytes are the answer if none gives one."""
        if self._pending.get(asker, 0) >= _MOST_OF_ONE:
            answered(b"")
            return
        self._pending[asker] = self._pending.get(asker, 0) + 1

        def done(answer: bytes) -> None:
            self._pending[asker] -= 1
            if not self._pending[asker]:
                del self._pending[asker]
            answered(answer)

        if not self._forwarder.ask(forward.random_number() + data[2:], done, stream=stream):
            done(b"")
