"""The network helper of a node of plain processes: the cluster's DNS, and listeners for what the machine's own network
is to reach (node ports, host ports). It is on the machine's network as the pods are, and outlives the platform.

What pods look up themselves, it keeps in the files of :mod:`homeport.node.plain.tables`.
"""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import json
import os
import signal
import socket
from typing import Any

from homeport.node.plain.addressing import Networks
from homeport.node.plain.doors import Doors
from homeport.node.plain.shared import RELAYS
from homeport.node.plain.supervisor import hosts_path
from homeport.node.plain.tables import DNS
from homeport.node.sandbox import dns, loop, network, processes, record, spec, wire
from homeport.node.sandbox.forward import HostSockets
from homeport.node.sandbox.frontends import ANY, Backend, Frontend
from homeport.node.sandbox.handover import Relay, StreamRelay
from homeport.node.sandbox.nameserver import NameServer, Reply
from homeport.node.sandbox.peers import Peers
from homeport.node.sandbox.records import Records
from homeport.node.sandbox.services import Balancer, Services
from homeport.node.sandbox.wire import Peer
from homeport.node.sandbox.zone import Zone


class Sockets(HostSockets):
    """There is but one network here."""

    def __init__(self) -> None:
        """No thread is needed."""

    def open_raw(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)
        return made


class PlainNameServer(NameServer):
    """Knows besides what only one pod knows: its own name, and ``hostAliases``."""

    def __init__(self, events: loop.Loop, zone: Zone, directory: str) -> None:
        super().__init__(events, zone, Sockets())
        self._directory = directory

    def answer(self, data: bytes, reply: Reply, *, stream: bool, asker: str = "") -> None:
        with contextlib.suppress(dns.Malformed, OSError, ValueError, KeyError):
            query = dns.parse(data)
            addresses = self._own_names(asker, query.name.lower().rstrip("."))
            if addresses and query.kind in (dns.A, dns.AAAA):
                version = 4 if query.kind == dns.A else 6
                packed = [v.packed for a in addresses if (v := ipaddress.ip_address(a)).version == version]
                found = [dns.Record(query.kind, one) for one in packed]
                reply(dns.respond(query, dns.NOERROR, found, size=65535 if stream else query.size))
                return
        super().answer(data, reply, stream=stream, asker=asker)

    def _own_names(self, asker: str, name: str) -> list[str]:
        """Raises OSError if no pod has that address."""
        ipaddress.IPv4Address(asker)
        place = hosts_path(self._directory, asker)
        for uid in sorted(os.listdir(place)):
            if not uid.endswith(record.SUFFIX):
                with open(os.path.join(place, uid), encoding="utf-8") as file:
                    if found := _own_names(json.load(file), name):
                        return found
        return []


def _own_names(known: dict[str, Any], name: str) -> list[str]:
    """What a pod calls so."""
    names: dict[str, list[str]] = known["names"]
    for search in ("", *known["searches"]):
        if name.endswith(f".{search}" if search else ""):
            short = name.removesuffix(f".{search}") if search else name
            if short in names:
                return names[short]
    return []


class PlainServices(Services):
    """Front ends on the machine's network alone: pods find their targets themselves, or what listens for them."""

    def __init__(self, inside: Balancer, *arguments: Any) -> None:
        self._given = inside
        super().__init__(*arguments)

    def _balancer(self, *_arguments: Any) -> Balancer:
        return self._given

    def _watch_addresses(self) -> None:
        """Node ports are listeners at any address."""

    def _save_later(self) -> None:
        self._save()  # at once, as pods read it


class Nothing:
    def set_addresses(self, addresses: Any) -> None:
        """Nobody asks."""

    def change(self, changes: dict[Frontend, Backend | None]) -> None:
        """Nobody asks."""


class Relays:
    """A port of the machine for each port of a cluster IP, which pods are told of in place of that: where they share an
    address, and nothing can be done about their calls. `address` is that one."""

    def __init__(self, events: loop.Loop, path: str, address: str) -> None:
        self._loop = events
        self._path = path
        self._address = address
        self._relays: dict[Frontend, Relay] = {}
        self._ports: dict[str, int] = {}
        with contextlib.suppress(OSError, ValueError), open(path, encoding="utf-8") as file:
            self._ports = json.load(file)

    def set_addresses(self, addresses: Any) -> None:
        """Nobody asks."""

    def change(self, changes: dict[Frontend, Backend | None]) -> None:
        """Raises OSError."""
        before = dict(self._ports)
        for frontend, backend in changes.items():
            if frontend.protocol != "tcp" or frontend.address == ANY:
                continue
            key, relay = f"{frontend.address}:{frontend.port}", self._relays.get(frontend)
            if backend is None:
                if relay is not None:
                    self._relays.pop(frontend).close()
                self._ports.pop(key, None)
            elif relay is not None:
                relay.backend = backend
            else:
                listener = self._listener(self._ports.get(key, 0))
                self._relays[frontend] = StreamRelay(self._loop, listener, backend, _dial)
                self._ports[key] = listener.getsockname()[1]
        if self._ports != before:
            record.write(self._path, self._ports)

    def _listener(self, port: int) -> socket.socket:
        """At that port if it is free, as pods know it. Raises OSError."""
        made = socket.socket()
        try:
            made.setblocking(False)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                made.bind((self._address, port))
            except OSError:
                made.bind((self._address, 0))
            made.listen(512)
        except BaseException:
            made.close()
            raise
        return made


def _dial(kind: int) -> socket.socket:
    made = socket.socket(socket.AF_INET, kind)
    made.setblocking(False)
    return made


class PlainNetd:
    def __init__(self, directory: str, networks: Networks) -> None:
        """Raises OSError."""
        processes.set_name("homeport-net")
        self._networks = networks
        net, services = networks.pods, networks.services
        gateway = network.gateway_of(net)
        self._socket = network.helper_socket(directory)
        self._loop = loop.Loop()
        delay = 0.0 if networks.is_shared else 1.0  # pods read it then
        self._records = Records(self._loop, directory, [net, services], str(gateway), delay=delay)
        port = _listen(
            PlainNameServer(self._loop, self._records.zone, directory),
            networks.behind(str(gateway)),
            os.path.join(directory, DNS),
        )
        record.write(os.path.join(directory, DNS), port)
        self._peers = Peers(self._loop, self._handle)
        local = network.api_address_of(services)
        self._doors = Doors(directory)
        inside: Balancer = Nothing()
        if networks.is_shared:
            inside = Relays(self._loop, os.path.join(directory, RELAYS), networks.behind(str(gateway)))
        self._services = PlainServices(inside, self._loop, directory, gateway, services, local, Sockets(), self._report)
        self._peers.accept_from(wire.listen(self._socket))

    def serve(self) -> None:
        self._loop.run()

    def _handle(self, peer: Peer, message: dict[str, Any]) -> None:
        operation = message.get("op")
        answer: dict[str, Any] = {"id": message["id"]}
        if operation == "release":
            answer |= spec.release()
        elif operation == "records":
            self._records.update(message)
        elif operation == "policies":
            if message.get("pods"):
                raise ValueError('pods of the runtime "plain" share the machine\'s network')
        elif operation == "services":
            new = {text: self._real(value) for text, value in message.get("set", {}).items()}
            self._services.change(new, message.get("remove", ()), reset=bool(message.get("reset")))
        elif operation == "stop":
            # Before the answer: who hears it may delete the directory.
            self._records.save()
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._socket)
            self._loop.is_running = False
        else:
            raise ValueError(f"no such operation: {operation}")
        self._peers.send(peer, answer)

    def _real(self, backend: dict[str, Any]) -> dict[str, Any]:
        """The same with targets as the machine's network knows them."""
        return {**backend, "to": [self._place(address, port) for address, port in backend["to"]]}

    def _place(self, address: str, port: int) -> tuple[str, int]:
        if self._networks.is_shared and (name := self._doors.name_of(address)):
            port = self._doors.behind(name, port)
        return self._networks.behind(address), port

    def _report(self, results: dict[str, int]) -> None:
        self._peers.broadcast({"event": "ports", "ports": results})


def _listen(server: NameServer, address: str, known: str) -> int:
    """At the port that the pods know already, if there is one and it is free. Raises OSError."""
    with contextlib.suppress(OSError, ValueError), open(known, encoding="utf-8") as file:
        return server.listen(address, int(json.load(file)))
    for _ in range(16):
        with contextlib.suppress(OSError):  # a port that somebody has for datagrams
            return server.listen(address, 0)
    return server.listen(address, 0)


def main(arguments: list[str]) -> int:
    """``plain-net READY_DESCRIPTOR DIRECTORY NETWORK SERVICES REAL-NETWORK``: be the helper, in a process that is
    nobody's child. Says on the descriptor that it serves (an empty line) or why it can't."""
    ready, directory = int(arguments[0]), arguments[1]
    os.set_inheritable(ready, False)
    if os.fork():
        return 0
    os.setsid()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # One at a time; a second one waits for the end of the first.
    lock = os.open(os.path.join(directory, "plain-net.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        helper = PlainNetd(directory, Networks(*map(ipaddress.IPv4Network, arguments[2:5])))
    except OSError as error:
        os.write(ready, f"{error.strerror or error}\n".encode())
        return 1
    os.write(ready, b"\n")
    os.close(ready)
    helper.serve()
    return 0
