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
from homeport.node.plain.supervisor import hosts_path
from homeport.node.plain.tables import DNS
from homeport.node.sandbox import dns, linux, loop, netd, network, record, wire
from homeport.node.sandbox.forward import HostSockets
from homeport.node.sandbox.frontends import Backend, Frontend
from homeport.node.sandbox.nameserver import NameServer, Reply
from homeport.node.sandbox.peers import Peers
from homeport.node.sandbox.services import Services
from homeport.node.sandbox.wire import Peer
from homeport.node.sandbox.zone import Zone

RECORDS = "records.json"


class Sockets(HostSockets):
    """There is but one network here."""

    def __init__(self) -> None:
        """No thread is needed."""

    def open_raw(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        return socket.socket(family, kind | socket.SOCK_NONBLOCK, protocol)


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
        with open(hosts_path(self._directory, asker), encoding="utf-8") as file:
            known = json.load(file)
        names: dict[str, list[str]] = known["names"]
        for search in ("", *known["searches"]):
            if name.endswith(f".{search}" if search else ""):
                short = name.removesuffix(f".{search}") if search else name
                if short in names:
                    return names[short]
        return []


class PlainServices(Services):
    """Front ends on the machine's network alone: pods find their targets themselves."""

    def _balancer(self, *_arguments: Any) -> Nothing:
        return Nothing()

    def _save_later(self) -> None:
        self._save()  # at once, as pods read it


class Nothing:
    def set_addresses(self, addresses: Any) -> None:
        """Nobody asks."""

    def change(self, changes: dict[Frontend, Backend | None]) -> None:
        """Nobody asks."""


class PlainNetd:
    def __init__(self, directory: str, networks: Networks) -> None:
        """Raises OSError."""
        linux.set_process_name("homeport-net")
        self._networks = networks
        net, services = networks.pods, networks.services
        gateway = network.gateway_of(net)
        self._path = os.path.join(directory, RECORDS)
        self._socket = network.helper_socket(directory)
        self._zone = Zone(netd.CLUSTER_DOMAIN, [net, services], str(gateway))
        self._loop = loop.Loop()
        self._load()
        port = _listen(
            PlainNameServer(self._loop, self._zone, directory),
            networks.behind(str(gateway)),
            os.path.join(directory, DNS),
        )
        record.write(os.path.join(directory, DNS), port)
        self._peers = Peers(self._loop, self._handle)
        local = network.api_address_of(services)
        self._services = PlainServices(self._loop, directory, gateway, services, local, Sockets(), self._report)
        self._peers.accept_from(wire.listen(self._socket))

    def serve(self) -> None:
        self._loop.run()

    def _load(self) -> None:
        try:
            with open(self._path, encoding="utf-8") as file:
                for name, addresses in json.load(file).items():
                    self._zone.set(name, addresses)
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError, AttributeError) as error:
            print(f"{self._path} can't be read: {error}", flush=True)  # the platform sends all of it again

    def _handle(self, peer: Peer, message: dict[str, Any]) -> None:
        operation = message.get("op")
        if operation == "records":
            if message.get("reset"):
                self._zone.clear()
            for name in message.get("remove", ()):
                self._zone.remove(name)
            for name, addresses in message.get("set", {}).items():
                self._zone.set(name, addresses)
            with contextlib.suppress(OSError):  # a full disk: it is known till this process ends
                record.write(self._path, dict(self._zone.records))
        elif operation == "policies":
            if message.get("pods"):
                raise ValueError('pods of the runtime "plain" share the machine\'s network')
        elif operation == "services":
            new = {text: self._real(value) for text, value in message.get("set", {}).items()}
            self._services.change(new, message.get("remove", ()), reset=bool(message.get("reset")))
        elif operation == "stop":
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._socket)  # before the answer: who hears it may delete the directory
            self._loop.is_running = False
        else:
            raise ValueError(f"no such operation: {operation}")
        self._peers.send(peer, {"id": message["id"]})

    def _real(self, backend: dict[str, Any]) -> dict[str, Any]:
        """The same with targets as the machine's network knows them."""
        return {**backend, "to": [[self._networks.behind(address), port] for address, port in backend["to"]]}

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
