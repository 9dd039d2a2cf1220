"""The network helper: a process in the node's network namespace that answers the cluster's DNS, and makes sockets there
for the platform, which is outside.

A socket belongs for good to the namespace it was made in, so all that the helper hands over is a new one: the platform
connects it itself.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import resource
import signal
import socket
from typing import Any

from homeport.node.sandbox import forward, hostlink, isolation, linux, loop, network, relay, relaylink, wire
from homeport.node.sandbox.nameserver import NameServer
from homeport.node.sandbox.peers import Peers
from homeport.node.sandbox.records import Records
from homeport.node.sandbox.services import Services
from homeport.node.sandbox.wire import Peer

_BACKLOG = 512
_PASSING = {errno.EAGAIN, errno.EBUSY, errno.EINTR, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
"""Errors of a kernel that can, but not now."""


class Netd:
    def __init__(
        self, directory: str, net: ipaddress.IPv4Network, services: ipaddress.IPv4Network, namespace: int | None
    ) -> None:
        """Become the helper: of the namespace that the descriptor refers to, or of a new one. Raises OSError."""
        linux.set_process_name("homeport-net")
        sockets = forward.HostSockets()
        way_out = relay.Relay()
        link = hostlink.HostLink(directory)
        if namespace is None:
            linux.unshare(linux.CLONE_NEWNET)
        else:
            linux.setns(namespace, linux.CLONE_NEWNET)
        network.set_up_node(net, services)
        try:
            way_out.serve(relaylink.set_up((net, services)))
        except OSError as error:
            # Pods still reach one another; `homeport doctor` says what the machine lacks.
            print(f"pods can't reach the outside: {error}", flush=True)
        try:
            link.set_up((net, services))
        except OSError as error:
            # Only root may; and not where the machine has another use for the addresses.
            print(f"the machine's own programs can't reach pods by their addresses: {error}", flush=True)
        self._gateway = str(network.gateway_of(net))
        self._loop = loop.Loop()
        self._records = Records(self._loop, directory, [net, services], self._gateway)
        NameServer(self._loop, self._records.zone, sockets).listen(self._gateway)
        self._peers = Peers(self._loop, self._handle)
        local = network.api_address_of(services)
        self._services = Services(
            self._loop, directory, network.gateway_of(net), services, local, sockets, self._report
        )
        self._peers.accept_from(wire.listen(network.helper_socket(directory)))

    def serve(self) -> None:
        """Until SIGTERM; what is to be written is then."""
        awake, wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, lambda *_: None)
        self._loop.watch(awake, self._end)
        self._loop.run()
        self._records.save()
        self._services.save()

    def _end(self, _events: int) -> None:
        self._loop.is_running = False

    # The platform's requests.

    def _handle(self, peer: Peer, message: dict[str, Any]) -> None:
        operation = message.get("op")
        if operation == "records":
            self._records.update(message)
            self._peers.send(peer, {"id": message["id"]})
        elif operation == "policies":
            try:
                isolation.apply(message)
            except OSError as error:
                verdict = "later" if error.errno in _PASSING else "error"
                self._peers.send(peer, {"id": message["id"], verdict: str(error.strerror or error)})
                return
            self._peers.send(peer, {"id": message["id"]})
        elif operation == "services":
            reset = bool(message.get("reset"))
            try:
                self._services.change(message.get("set", {}), message.get("remove", ()), reset=reset)
            except OSError as error:
                self._peers.send(peer, {"id": message["id"], "error": str(error)})
                return
            self._peers.send(peer, {"id": message["id"]})
        elif operation == "socket":
            kind = socket.SOCK_DGRAM if message.get("kind") == "udp" else socket.SOCK_STREAM
            self._hand_over(peer, message, socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK))
        elif operation == "listen":
            try:
                listener = self._listen(int(message["port"]))
            except OSError as error:
                self._peers.send(peer, {"id": message["id"], "errno": error.errno or errno.EINVAL})
                return
            self._hand_over(peer, message, listener)
        else:
            raise ValueError(f"no such operation: {operation}")

    def _report(self, results: dict[str, int]) -> None:
        """Which ports of the machine are served now, and why others are not."""
        self._peers.broadcast({"event": "ports", "ports": results})

    def _hand_over(self, peer: Peer, message: dict[str, Any], made: socket.socket) -> None:
        with made:
            try:
                wire.send_descriptors(peer.connection, {"id": message["id"]}, [made.fileno()])
            except OSError:
                self._peers.drop(peer)

    def _listen(self, port: int) -> socket.socket:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # On every address of the namespace: the gateway, and the cluster IP of the API server.
            listener.bind(("", port))
            listener.listen(_BACKLOG)
        except BaseException:
            listener.close()
            raise
        return listener


def run(
    directory: str,
    net: ipaddress.IPv4Network,
    services: ipaddress.IPv4Network,
    namespace: int | None,
    ready: int,
) -> None:
    """Be the helper. Says on `ready` that it serves (an empty line) or why it can't; returns when it has to end."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Every connection of a pod to the outside takes two descriptors.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    try:
        helper = Netd(directory, net, services, namespace)
    except OSError as error:
        os.write(ready, f"{error.strerror or error}\n".encode())
        return
    os.write(ready, b"\n")
    os.close(ready)
    helper.serve()
