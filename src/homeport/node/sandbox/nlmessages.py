"""Netlink: the frame of messages, and the attributes in them, that all of its families share (linux/netlink.h)."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator

NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 0x1, 0x4, 0x300
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE, NLM_F_APPEND = 0x100, 0x200, 0x400, 0x800
NLMSG_ERROR, NLMSG_DONE = 2, 3
_SOL_NETLINK, _NETLINK_EXT_ACK, _NETLINK_CAP_ACK = 270, 11, 10
_TYPE_MASK = 0x3FFF


def connect(family: int) -> socket.socket:
    """A socket of the network namespace that the caller is in; it stays there. Raises OSError where the kernel has no
    such family."""
    made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, family)
    try:
        made.bind((0, 0))
        for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK):
            made.setsockopt(_SOL_NETLINK, option, 1)
    except BaseException:
        made.close()
        raise
    return made


def attribute(kind: int, payload: bytes) -> bytes:
    length = 4 + len(payload)
    return struct.pack("=HH", length, kind) + payload + bytes(-length % 4)


def text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")


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


def request(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
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


def error_of(body: bytes) -> int:
    """The errno in an answer of the kind NLMSG_ERROR; 0 acknowledges."""
    return -int(struct.unpack_from("=i", body)[0])


def words_of(body: bytes) -> str:
    """The kernel's own words about an error (an extended acknowledgement), or the usual ones if it has none."""
    found = attributes(body[20:]).get(1, b"")
    return found.rstrip(b"\0").decode(errors="replace") or os.strerror(error_of(body))
