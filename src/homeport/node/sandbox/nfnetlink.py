"""Netfilter's netlink sockets and the attributes that all of its parts share (linux/netfilter/nfnetlink.h).

Numbers in attributes are in network byte order here, unlike in rtnetlink.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator

NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 0x1, 0x4, 0x300
NLM_F_EXCL, NLM_F_CREATE, NLM_F_APPEND = 0x200, 0x400, 0x800
NLMSG_ERROR, NLMSG_DONE = 2, 3
_NETLINK_NETFILTER = 12
_SOL_NETLINK, _NETLINK_EXT_ACK, _NETLINK_CAP_ACK = 270, 11, 10
_NESTED, _TYPE_MASK = 0x8000, 0x3FFF
_RECEIVE = 1 << 18


def attribute(kind: int, payload: bytes) -> bytes:
    length = 4 + len(payload)
    return struct.pack("=HH", length, kind) + payload + bytes(-length % 4)


def nested(kind: int, *attributes: bytes) -> bytes:
    return attribute(kind | _NESTED, b"".join(attributes))


def text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")


def u32(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack(">I", value & 0xFFFFFFFF))


def u64(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack(">Q", value))


def attributes(data: bytes) -> dict[int, bytes]:
    """The payloads in `data` by kind."""
    found, offset = {}, 0
    while offset + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, offset)
        if length < 4:
            break
        found[kind & _TYPE_MASK] = data[offset + 4 : offset + length]
        offset += length + (-length % 4)
    return found


def message(kind: int, flags: int, family: int, payload: bytes, sequence: int, resource: int = 0) -> bytes:
    """One request with netfilter's own header."""
    body = struct.pack(">BBH", family, 0, resource) + payload
    return struct.pack("=IHHII", 16 + len(body), kind, flags | NLM_F_REQUEST, sequence, 0) + body


def messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Kind, sequence number and body of each message."""
    offset = 0
    while offset + 16 <= len(data):
        length, kind, _flags, sequence, _ = struct.unpack_from("=IHHII", data, offset)
        if length < 16:
            return
        yield kind, sequence, data[offset + 16 : offset + length]
        offset += length + (-length % 4)


class Socket:
    """Of the network namespace that the caller is in when it makes one; it stays there. Raises OSError where the
    kernel has no netfilter."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER)
        try:
            self._socket.bind((0, 0))
            for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK):
                self._socket.setsockopt(_SOL_NETLINK, option, 1)
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
            yield from messages(data)


def error_of(body: bytes) -> int:
    """The errno in an answer of the kind NLMSG_ERROR; 0 acknowledges."""
    return -int(struct.unpack_from("=i", body)[0])


def words_of(body: bytes) -> str:
    """The kernel's own words about an error (an extended acknowledgement), if there are any."""
    found = attributes(body[20:]).get(1, b"")
    return found.rstrip(b"\0").decode(errors="replace") or os.strerror(error_of(body))
