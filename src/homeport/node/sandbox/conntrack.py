"""Forgetting what the kernel remembers of datagram flows (linux/netfilter/nfnetlink_conntrack.h).

A flow keeps the target that it was once given. That of a connection ends with the connection; a client that goes on
sending datagrams would never hear of a pod that has gone.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from homeport.node.sandbox.nfnetlink import Socket, message
from homeport.node.sandbox.nlmessages import NLM_F_ACK, NLM_F_DUMP, NLMSG_DONE, attribute, attributes

_SUBSYSTEM, _GET, _DELETE = 1, 1, 2
_NESTED = 0x8000
_ORIGINAL, _REPLY = 1, 2
_TUPLE_IP, _TUPLE_PROTO = 1, 2
_SOURCE, _DESTINATION = 1, 2
_NUMBER, _SOURCE_PORT, _DESTINATION_PORT = 1, 2, 3

Place = tuple[str, int]
"""Address and port."""


class Conntrack:
    """Of the network namespace that the caller is in when it makes one. Raises OSError where the kernel has none."""

    def __init__(self) -> None:
        self._socket = Socket()

    def close(self) -> None:
        self._socket.close()

    def forget_datagrams(self, is_stale: Callable[[Place, Place], bool]) -> int:
        """Forget the UDP flows that `is_stale` says so of, by the place that the client sends to and the one that
        answers. How many there were. Raises OSError."""
        self._socket.sequence += 1
        self._socket.send(message(_SUBSYSTEM << 8 | _GET, NLM_F_DUMP, socket.AF_INET, b"", self._socket.sequence))
        stale = []
        done = False
        while not done:
            got = False
            for kind, _sequence, body in self._socket.answers():
                got = True
                if kind == NLMSG_DONE:
                    done = True
                    continue
                found = attributes(body[4:])
                if _ORIGINAL not in found or _REPLY not in found:
                    continue
                number, _source, sent_to = _read(found[_ORIGINAL])
                _number, answers_from, _back = _read(found[_REPLY])
                if number == socket.IPPROTO_UDP and is_stale(sent_to, answers_from):
                    stale.append(found[_ORIGINAL])
            if not got:
                break
        for original in stale:
            self._socket.sequence += 1
            payload = attribute(_ORIGINAL | _NESTED, original)
            self._socket.send(
                message(_SUBSYSTEM << 8 | _DELETE, NLM_F_ACK, socket.AF_INET, payload, self._socket.sequence)
            )
        for _ in self._socket.answers():
            pass  # one that has ended by itself meanwhile is just as well
        return len(stale)


def _read(data: bytes) -> tuple[int, Place, Place]:
    """Protocol, source and destination of a tuple."""
    parts = attributes(data)
    address, protocol = attributes(parts.get(_TUPLE_IP, b"")), attributes(parts.get(_TUPLE_PROTO, b""))

    def place(which: int, port: int) -> Place:
        packed = address.get(which, b"")
        text = socket.inet_ntoa(packed) if len(packed) == 4 else ""
        return text, int.from_bytes(protocol.get(port, b"")[:2], "big")

    number = protocol.get(_NUMBER, b"\0")[0]
    return number, place(_SOURCE, _SOURCE_PORT), place(_DESTINATION, _DESTINATION_PORT)
