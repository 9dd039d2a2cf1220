"""Netfilter's netlink sockets and what all of its parts share (linux/netfilter/nfnetlink.h).

Numbers in attributes are in network byte order here, unlike in rtnetlink.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

from homeport.node.sandbox import nlmessages
from homeport.node.sandbox.nlmessages import attribute

_NETLINK_NETFILTER = 12
_NESTED = 0x8000
_RECEIVE = 1 << 18


def nested(kind: int, *attributes: bytes) -> bytes:
    return attribute(kind | _NESTED, b"".join(attributes))


def u32(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack(">I", value & 0xFFFFFFFF))


def u64(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack(">Q", value))


def message(kind: int, flags: int, family: int, payload: bytes, sequence: int, resource: int = 0) -> bytes:
    """One request with netfilter's own header."""
    return nlmessages.request(kind, flags, sequence, struct.pack(">BBH", family, 0, resource) + payload)


class Socket:
    """Of the network namespace that the caller is in when it makes one; it stays there. Raises OSError where the
    kernel has no netfilter."""

    def __init__(self) -> None:
        self._socket = nlmessages.connect(_NETLINK_NETFILTER)
        try:
            # As much as the machine allows, for answers to many requests at once.
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 22)
        except BaseException:
            self._socket.close()
            raise
        self.sequence = 0

    def close(self) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.send(data)

    def answers(self) -> Iterator[tuple[int, int, bytes]]:
        """What is there now. The kernel has carried out a request, and answered it, when ``send`` returns; only a dump
        goes on as it is read."""
        while True:
            try:
                data = self._socket.recv(_RECEIVE, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            yield from nlmessages.messages(data)
