"""The machine's own IPv4 addresses, and word of their changes (rtnetlink(7))."""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Callable, Iterable

from homeport.node.sandbox import loop
from homeport.node.sandbox.forward import HostSockets

_RTM_NEWADDR, _RTM_GETADDR = 20, 22
_REQUEST_DUMP = 0x301
_RTMGRP_IPV4_IFADDR = 0x10
_IFA_LOCAL = 2


class HostAddresses:
    """Tells `changed` all addresses but those of the loopback, now and whenever they change."""

    def __init__(self, events: loop.Loop, sockets: HostSockets, changed: Callable[[Iterable[str]], None]) -> None:
        self._changed = changed
        self._told: frozenset[str] = frozenset()
        self._found: set[str] = set()
        self._socket = sockets.open_raw(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._socket.bind((0, _RTMGRP_IPV4_IFADDR))
        events.watch(self._socket.fileno(), self._ready)
        self._ask()
        self._ready(0)

    def _ask(self) -> None:
        self._found = set()
        self._socket.send(struct.pack("=IHHIIB3xI", 24, _RTM_GETADDR, _REQUEST_DUMP, 1, 0, socket.AF_INET, 0))

    def _ready(self, _events: int) -> None:
        has_changed = False
        while True:
            try:
                data = self._socket.recv(1 << 16)
            except BlockingIOError:
                break
            except OSError:
                has_changed = True  # more has changed at once than the socket holds
                continue
            offset = 0
            while offset + 16 <= len(data):
                length, kind, _flags, sequence, _ = struct.unpack_from("=IHHII", data, offset)
                if length < 16:
                    break
                if sequence == 0:
                    has_changed = True
                elif kind == _RTM_NEWADDR:
                    self._found |= _addresses(data[offset + 24 : offset + length])
                offset += length + (-length % 4)
        if has_changed:
            self._ask()
            self._ready(0)
            return
        found = frozenset(self._found)
        if found != self._told:
            self._told = found
            self._changed(found)


def _addresses(data: bytes) -> set[str]:
    found, offset = set(), 0
    while offset + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, offset)
        if length < 4:
            break
        if kind == _IFA_LOCAL and length == 8:
            address = ipaddress.IPv4Address(data[offset + 4 : offset + 8])
            if not address.is_loopback:
                found.add(str(address))
        offset += length + (-length % 4)
    return found
