"""Answers the system calls of a pod's containers (:mod:`homeport.node.plain.notify`) by its addresses."""

from __future__ import annotations

import errno
import os
import socket
import struct

from homeport.node.plain import addressing, notify
from homeport.node.plain.addressing import Address, Addresses, Place, Refused
from homeport.node.plain.notify import Call
from homeport.node.plain.tables import Tables
from homeport.node.sandbox import forward
from homeport.node.sandbox.loop import Loop

_LONGEST_ADDRESS = 128
_MOST_DATAGRAM = 65536
_NAME_FIELD = 65
"""Bytes of each of the six names that uname(2) tells."""
_IP_BIND_ADDRESS_NO_PORT = 24
_OUT_OF_THE_WAY = ("::1", 0)
"""Where sockets for IPv6 alone listen, as servers have them beside one for IPv4: nobody reaches a pod by IPv6, and who
asks for ``::1`` in it is led to the other one."""


class Watcher:
    """Of the containers of one pod."""

    def __init__(self, loop: Loop, addresses: Addresses, tables: Tables, hostname: str) -> None:
        self._loop = loop
        self._addresses = addresses
        self._tables = tables
        self._hostname = hostname.encode()[: _NAME_FIELD - 1]
        self.connecting: set[int] = set()
        """Children of this process that wait for connections; to be reaped."""

    def watch(self, listener: int) -> None:
        """Answer what comes, till the last process that has the filter has ended."""
        self._loop.watch(listener, lambda events: self._ready(listener, events))

    def _ready(self, listener: int, events: int) -> None:
        try:
            call = notify.receive(listener)
        except OSError:
            # Its process was ended meanwhile. With the last of them the listener reports nothing but that.
            if events & ~1:
                self._loop.forget(listener)
                os.close(listener)
            return
        try:
            self._answer(listener, call)
        except OSError as error:
            if error.errno in (errno.ESRCH, errno.ENOENT):
                return  # it has gone
            # Its memory or its descriptors are nobody's to see: a program that protects itself so. Or what it asks for
            # makes no sense, which the kernel tells it.
            notify.let_go(listener, call)

    def _answer(self, listener: int, call: Call) -> None:
        if call.name == "uname":
            self._name(listener, call)
        elif call.name == "bind":
            self._bind(listener, call)
        elif call.name == "connect":
            self._connect(listener, call)
        else:
            self._send(listener, call)

    def _name(self, listener: int, call: Call) -> None:
        names = list(os.uname())
        names[1] = self._hostname.decode()
        fields = [*names, "(none)"]
        data = b"".join(name.encode()[: _NAME_FIELD - 1].ljust(_NAME_FIELD, b"\0") for name in fields)
        notify.write(listener, call, call.arguments[0], data)
        notify.answer(listener, call)

    def _bind(self, listener: int, call: Call) -> None:
        wanted = addressing.parse(self._read(call, call.arguments[1], call.arguments[2]))
        place = self._addresses.bind(wanted) if wanted is not None else None
        if wanted is None or place is None:
            notify.let_go(listener, call)
            return
        with self._socket_of(call, wanted) as found:
            error = 0
            if notify.is_waiting(listener, call):
                try:
                    found.bind(_OUT_OF_THE_WAY if _is_ipv6_only(found) else wanted.at(*place))
                except OSError as problem:
                    error = problem.errno or errno.EINVAL
            notify.answer(listener, call, error)

    def _connect(self, listener: int, call: Call) -> None:
        data = self._read(call, call.arguments[1], call.arguments[2])
        if addressing.unix_path(data) in addressing.RESOLVERS:
            notify.answer(listener, call, errno.ECONNREFUSED)
            return
        wanted = addressing.parse(data)
        if wanted is None:
            notify.let_go(listener, call)
            return
        with self._socket_of(call, wanted) as found:
            try:
                place = self._target(wanted, found.type)
            except Refused:
                notify.answer(listener, call, errno.ECONNREFUSED)
                return
            if place is None:
                notify.let_go(listener, call)
            elif notify.is_waiting(listener, call):
                self._lead(listener, call, found, wanted, place)

    def _lead(self, listener: int, call: Call, found: socket.socket, wanted: Address, place: Place) -> None:
        """Connect it there. One that waits for its connection is not waited for here."""
        if os.get_blocking(found.fileno()) and found.type == socket.SOCK_STREAM:
            pid = os.fork()
            if pid:
                self.connecting.add(pid)
                return
            try:
                notify.answer(listener, call, self._connect_now(found, wanted, place))
            finally:
                os._exit(0)
        notify.answer(listener, call, self._connect_now(found, wanted, place))

    def _connect_now(self, found: socket.socket, wanted: Address, place: Place) -> int:
        try:
            self._set_source(found, wanted, place)
            return found.connect_ex(wanted.at(*place))
        except OSError as error:
            return error.errno or errno.EINVAL

    def _set_source(self, found: socket.socket, wanted: Address, place: Place) -> None:
        source = self._addresses.source(place)
        if source and not found.getsockname()[1]:
            try:
                found.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
            except OSError:
                return  # an IPv6 socket of an old kernel; it is seen as coming from the machine
            found.bind(wanted.at(source, 0))

    def _send(self, listener: int, call: Call) -> None:
        """A datagram to somebody that it names."""
        wanted = addressing.parse(self._read(call, call.arguments[4], call.arguments[5]))
        if wanted is None:
            notify.let_go(listener, call)
            return
        with self._socket_of(call, wanted) as found:
            try:
                place = self._target(wanted, found.type) if found.type == socket.SOCK_DGRAM else None
            except Refused:
                notify.answer(listener, call, errno.ECONNREFUSED)
                return
            if place is None:
                notify.let_go(listener, call)
                return
            data = notify.read(call, call.arguments[1], min(call.arguments[2], _MOST_DATAGRAM))
            if not notify.is_waiting(listener, call):
                return
            try:
                self._set_source(found, wanted, place)
                sent = found.sendto(data, _int(call.arguments[3]) | socket.MSG_DONTWAIT, wanted.at(*place))
            except OSError as error:
                notify.answer(listener, call, error.errno or errno.EINVAL)
            else:
                notify.answer(listener, call, value=sent)

    def _target(self, wanted: Address, kind: int) -> Place | None:
        """Raises Refused."""
        return self._addresses.connect(
            wanted,
            kind,
            published=self._tables.published,
            dns_port=self._tables.dns_port,
            machines_nameservers=_nameservers() if wanted.port == 53 else frozenset(),
            choose=self._tables.choose,
        )

    def _socket_of(self, call: Call, wanted: Address) -> socket.socket:
        """The socket that the call is about. Raises OSError, also if it can't have such an address at all."""
        found = notify.socket_of(call, _int(call.arguments[0]))
        if found.family != wanted.family:
            found.close()
            raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
        return found

    def _read(self, call: Call, address: int, size: int) -> bytes:
        return notify.read(call, address, min(size & 0xFFFFFFFF, _LONGEST_ADDRESS)) if address else b""


def _is_ipv6_only(found: socket.socket) -> bool:
    return found.family == socket.AF_INET6 and bool(found.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY))


def _int(argument: int) -> int:
    """An argument of a call as the kernel takes it where it is declared as an ``int``."""
    return int(struct.unpack("=i", struct.pack("=I", argument & 0xFFFFFFFF))[0])


def _nameservers() -> frozenset[str]:
    """Of the machine: those that its programs ask."""
    try:
        with open("/etc/resolv.conf", encoding="utf-8", errors="replace") as file:
            # Without one, the C library asks the machine itself.
            return frozenset(forward.nameservers(file.read())) or frozenset({"127.0.0.1"})
    except OSError:
        return frozenset({"127.0.0.1"})
