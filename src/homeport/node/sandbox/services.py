"""The network helper's part in services: rules for the pods' network, sockets on the machine's own.

Pods reach services by the kernel's rules (:mod:`homeport.node.sandbox.balancer`); where the kernel has none, by
listeners at the cluster IPs, which are addresses of the node's namespace then. Node ports and load balancers are
reached from the machine, and from beyond it, by listeners on its own network, whatever the kernel has.
"""

from __future__ import annotations

import errno
import ipaddress
import json
import os
import socket
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from homeport.node.sandbox import addresses, loop, netlink, record
from homeport.node.sandbox.balancer import KernelBalancer
from homeport.node.sandbox.forward import HostSockets
from homeport.node.sandbox.frontends import ANY, Backend, Frontend, parse_backend, parse_frontend
from homeport.node.sandbox.handover import DatagramRelay, Relay, StreamRelay

_SAVE_SECONDS = 1.0
_RETRY_SECONDS = 5.0
_BACKLOG = 512
_KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


class Balancer(Protocol):
    """Leads pods to services."""

    def set_addresses(self, addresses: Iterable[str]) -> None:
        """The machine's own, under which node ports can be reached."""

    def change(self, changes: dict[Frontend, Backend | None]) -> None:
        """Raises OSError."""


class Services:
    """`report` hears, by front end as it was told, why the machine's own network can't have one (errno; 0: it can)."""

    def __init__(
        self,
        events: loop.Loop,
        directory: str,
        gateway: ipaddress.IPv4Address,
        services: ipaddress.IPv4Network,
        local: ipaddress.IPv4Address,
        sockets: HostSockets,
        report: Callable[[dict[str, int]], None],
    ) -> None:
        self._loop = events
        self._path = os.path.join(directory, "services.json")
        self._sockets = sockets
        self._report = report
        self._told: dict[str, dict[str, Any]] = {}
        self._hosts: dict[Frontend, Relay] = {}
        self._is_saving = False
        self._is_retrying = False
        self._inside = self._balancer(gateway, services, local)
        self._watch_addresses()
        self._load()

    def _watch_addresses(self) -> None:
        """Tell of the machine's own as they change."""
        self._watch = addresses.HostAddresses(self._loop, self._sockets, self._inside.set_addresses)

    def _balancer(
        self, gateway: ipaddress.IPv4Address, services: ipaddress.IPv4Network, local: ipaddress.IPv4Address
    ) -> Balancer:
        """What leads pods to services."""
        try:
            return KernelBalancer(gateway, services, local)
        except OSError as error:
            print(f"services are balanced by this process, as the kernel can't: {error}", flush=True)
            return _ListeningBalancer(self._loop)

    @property
    def kernel(self) -> bool:
        """Whether it is the kernel that balances."""
        return isinstance(self._inside, KernelBalancer)

    def _load(self) -> None:
        try:
            with open(self._path, encoding="utf-8") as file:
                self.change(json.load(file), (), reset=True)
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            # The platform tells all of it again when it connects.
            print(f"{self._path} can't be read: {error}", flush=True)

    def save(self) -> None:
        """Write down what waits to be."""
        if self._is_saving:
            self._save()

    def _save(self) -> None:
        self._is_saving = False
        try:
            record.write(self._path, self._told)
        except OSError as error:
            print(f"{self._path} can't be written: {error}", flush=True)

    def change(self, new: dict[str, dict[str, Any]], removed: Iterable[str], *, reset: bool) -> None:
        """Raises ValueError, KeyError or TypeError for what is not understood; OSError if the kernel refuses."""
        gone = set(removed) | (self._told.keys() - new.keys() if reset else set())
        changes: dict[Frontend, Backend | None] = {
            parse_frontend(text): None for text in gone if text in self._told and text not in new
        }
        changes.update((parse_frontend(text), parse_backend(value)) for text, value in new.items())
        self._inside.change(changes)
        for text in gone:
            self._told.pop(text, None)
        self._told.update(new)
        self._change_hosts(changes)
        self._save_later()

    def _save_later(self) -> None:
        if not self._is_saving:
            self._is_saving = True
            self._loop.after(_SAVE_SECONDS, self._save)

    # The machine's own network.

    def _change_hosts(self, changes: dict[Frontend, Backend | None]) -> None:
        results: dict[str, int] = {}
        for frontend, backend in changes.items():
            if frontend.protocol not in _KINDS:
                continue
            relay = self._hosts.get(frontend)
            if backend is None or not backend.published or not backend.targets:
                if relay is not None:
                    self._hosts.pop(frontend).close()
                continue
            if relay is not None:
                relay.backend = backend
                results[_text(frontend)] = 0
                continue
            problem = results[_text(frontend)] = self._open(frontend, backend)
            if problem:
                print(f"{_text(frontend)} can't be opened on this machine: {os.strerror(problem)}", flush=True)
        if results:
            self._report(results)
        if any(results.values()):
            self._retry_later()

    def _retry_later(self) -> None:
        # Nobody tells when another program gives a port back.
        if not self._is_retrying:
            self._is_retrying = True
            self._loop.after(_RETRY_SECONDS, self._retry)

    def _retry(self) -> None:
        """Have the ports that were somebody else's."""
        self._is_retrying = False
        opened = {}
        missing = 0
        for text, value in self._told.items():
            frontend, backend = parse_frontend(text), parse_backend(value)
            if not backend.published or not backend.targets or frontend in self._hosts:
                continue
            if frontend.protocol not in _KINDS:
                continue
            if self._open(frontend, backend):
                missing += 1
            else:
                opened[text] = 0
        if opened:
            self._report(opened)
        if missing:
            self._retry_later()

    def _open(self, frontend: Frontend, backend: Backend) -> int:
        """Listen on every address of the machine, or on the one that is meant. The errno of what is in the way."""
        try:
            listener = self._sockets.open("", _KINDS[frontend.protocol])
        except OSError as error:
            return error.errno or errno.EINVAL
        try:
            address = frontend.address if backend.exact else ""
            self._hosts[frontend] = _listen(self._loop, listener, address, frontend, backend)
        except OSError as error:
            listener.close()
            return error.errno or errno.EINVAL
        return 0


def _text(frontend: Frontend) -> str:
    return f"{frontend.protocol} {'*' if frontend.address == ANY else frontend.address} {frontend.port}"


def _listen(events: loop.Loop, listener: socket.socket, address: str, frontend: Frontend, backend: Backend) -> Relay:
    """Raises OSError."""
    if frontend.protocol == "udp":
        listener.bind((address, frontend.port))
        return DatagramRelay(events, listener, backend, _dial)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, frontend.port))
    listener.listen(_BACKLOG)
    return StreamRelay(events, listener, backend, _dial)


def _dial(kind: int) -> socket.socket:
    """A socket of the node's namespace, which this thread is in."""
    made = socket.socket(socket.AF_INET, kind)
    made.setblocking(False)
    return made


class _ListeningBalancer:
    """Takes the place of the kernel's: each cluster IP is an address of the node's namespace, with listeners."""

    def __init__(self, events: loop.Loop) -> None:
        self._loop = events
        self._relays: dict[Frontend, Relay] = {}
        self._users: dict[str, set[Frontend]] = {}
        """Of each address: the front ends that have it."""
        self._route = netlink.Netlink()

    def set_addresses(self, addresses: Iterable[str]) -> None:
        """Node ports are reached at the gateway alone: the machine's addresses are not this namespace's."""

    def change(self, changes: dict[Frontend, Backend | None]) -> None:
        for frontend, backend in changes.items():
            if frontend.protocol not in _KINDS:
                continue
            relay = self._relays.get(frontend)
            if backend is None or not backend.targets:
                if relay is not None:
                    self._relays.pop(frontend).close()
                self._use(frontend, backend is not None)
                continue
            self._use(frontend, True)
            if relay is not None:
                relay.backend = backend
                continue
            listener = _dial(_KINDS[frontend.protocol])
            address = "" if frontend.address == ANY else frontend.address
            try:
                self._relays[frontend] = _listen(self._loop, listener, address, frontend, backend)
            except OSError as error:
                listener.close()
                print(f"{_text(frontend)} can't be opened for pods: {error}", flush=True)

    def _use(self, frontend: Frontend, wanted: bool) -> None:
        """Have the address as long as some front end needs it: what has no listener is refused then."""
        if frontend.address == ANY:
            return
        users = self._users.setdefault(frontend.address, set())
        value = ipaddress.IPv4Address(frontend.address)
        if wanted and not users:
            self._route.run(netlink.address(netlink.LOOPBACK, value))
        (users.add if wanted else users.discard)(frontend)
        if not users:
            del self._users[frontend.address]
            if not wanted:
                self._route.run(netlink.delete_address(netlink.LOOPBACK, value))
