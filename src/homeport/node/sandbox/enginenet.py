"""The network helper of a node whose pods are containers of Docker or Podman.

It is a privileged container of the engine itself, on the machine's network and with its process ids, and works in the
node's network namespace, which another container holds. Beside what the helper does for every node it links containers'
namespaces to the node's, and removes files of containers that only the engine's root can.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from homeport.node.sandbox import groups, linux, netd, netlink, network, trees, wire
from homeport.node.sandbox.wire import Peer

T = TypeVar("T")
READY = b"the network is ready\n"
_IN_MEMORY = "/dev/shm/homeport-"
"""Where the node keeps volumes that are not on disk."""


class EngineNetd(netd.Netd):
    def __init__(
        self, directory: str, net: ipaddress.IPv4Network, services: ipaddress.IPv4Network, namespace: int, volumes: str
    ) -> None:
        super().__init__(directory, net, services, namespace)
        self._places = (f"{directory}/", f"{volumes}/", _IN_MEMORY)
        self._net = net
        self._namespace = namespace
        self._netlink = netlink.Netlink()

    def _handle(self, peer: Peer, message: dict[str, Any]) -> None:
        operation = message.get("op")
        if operation == "link":
            self._answer_to(peer, message, lambda: self._link(int(message["pid"]), str(message["address"])))
        elif operation == "join":
            self._answer_to(peer, message, lambda: self._join(int(message["pid"]), str(message["address"])))
        elif operation == "unlink":
            self._answer_to(peer, message, lambda: self._unlink(str(message["address"])))
        elif operation == "remove":
            self._answer_from_elsewhere(peer, message, lambda: self._remove(str(message["path"])))
        elif operation == "copy":
            self._answer_from_elsewhere(
                peer, message, lambda: self._copy(str(message["source"]), str(message["target"]))
            )
        elif operation == "give":
            self._answer_from_elsewhere(peer, message, lambda: self._give(message))
        elif operation == "give-file":
            self._answer_from_elsewhere(peer, message, lambda: self._give_file(message))
        elif operation == "measure":
            self._answer_from_elsewhere(peer, message, lambda: {"sizes": [trees.measure(p) for p in message["paths"]]})
        elif operation == "kill":
            self._answer_to(peer, message, lambda: os.kill(int(message["pid"]), signal.SIGKILL))
        elif operation == "pod-socket":
            self._pod_socket(peer, message)
        else:
            super()._handle(peer, message)

    def _answer_to(self, peer: Peer, message: dict[str, Any], act: Any) -> None:
        answer: dict[str, object] = {"id": message["id"]}
        try:
            act()
        except OSError as error:
            answer["error"] = _words(error)
        self._peers.send(peer, answer)

    def _answer_from_elsewhere(
        self, peer: Peer, message: dict[str, Any], work: Callable[[], dict[str, object]]
    ) -> None:
        """Do what may take long in a process of its own, which the kernel reaps (see `main`)."""
        connection = self._peers.release(peer)
        if os.fork():
            connection.close()
            return
        answer: dict[str, object] = {"id": message["id"]}
        try:
            answer |= work()
        except OSError as error:
            answer["error"] = _words(error)
        try:
            connection.setblocking(True)
            connection.sendall(wire.encode(answer))
        finally:
            os._exit(0)

    def _link(self, pid: int, address: str) -> None:
        """Connect the network of the process with this id, whatever had the address before."""
        self._unlink(address)
        with self._network_of(pid) as (namespace, pod):
            network.link(self._netlink, pod, namespace, self._net, ipaddress.IPv4Address(address))

    def _join(self, pid: int, address: str) -> None:
        """The same for a pod that may be connected already."""
        with self._network_of(pid) as (namespace, pod):
            try:
                network.link(self._netlink, pod, namespace, self._net, ipaddress.IPv4Address(address))
            except FileExistsError:
                return

    @contextlib.contextmanager
    def _network_of(self, pid: int) -> Iterator[tuple[int, netlink.Netlink]]:
        """A descriptor of a process's network namespace, and a connection to the kernel from there."""
        namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            pod = self._inside(namespace, netlink.Netlink)
            try:
                yield namespace, pod
            finally:
                pod.close()
        finally:
            os.close(namespace)

    def _inside(self, namespace: int, make: Callable[[], T]) -> T:
        """What `make` gives in another network namespace."""
        linux.setns(namespace, linux.CLONE_NEWNET)
        try:
            return make()
        finally:
            linux.setns(self._namespace, linux.CLONE_NEWNET)

    def _pod_socket(self, peer: Peer, message: dict[str, Any]) -> None:
        try:
            namespace = os.open(f"/proc/{message['pid']}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            try:
                made = self._inside(
                    namespace, lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
                )
            finally:
                os.close(namespace)
        except OSError as error:
            self._peers.send(peer, {"id": message["id"], "errno": error.errno or errno.EINVAL})
            return
        self._hand_over(peer, message, made)

    def _unlink(self, address: str) -> None:
        # There is none if the container has ended: the kernel has taken it away.
        with contextlib.suppress(OSError):
            self._netlink.run(netlink.delete_link(network.index_of(self._net, ipaddress.IPv4Address(address))))

    def _copy(self, source: str, target: str) -> dict[str, object]:
        for path in (source, target):
            self._check(path)
        trees.copy(source, target)
        return {}

    def _give(self, message: dict[str, Any]) -> dict[str, object]:
        self._check(str(message["path"]))
        groups.give(
            str(message["path"]),
            int(message["group"]),
            read_only=message["read_only"],
            only_if_root_differs=message["only_if_root_differs"],
        )
        return {}

    def _give_file(self, message: dict[str, Any]) -> dict[str, object]:
        self._check(str(message["path"]))
        groups.give_file(str(message["path"]), int(message["user"]))
        return {}

    def _remove(self, path: str) -> dict[str, object]:
        self._check(path)
        trees.remove(path)
        return {}

    def _check(self, path: str) -> None:
        if not path.startswith(self._places) or ".." in path.split("/"):
            raise OSError(f"{path} is none of the node's")


def _words(error: OSError) -> str:
    return f"{error.strerror or error}" + (f" ({error.filename})" if error.filename else "")


def main(arguments: list[str]) -> int:
    """``engine-net DIRECTORY NETWORK SERVICES PID VOLUMES``, where PID has the node's network namespace.

    Says on the standard output that it serves (:data:`READY`) or why it can't.
    """
    directory, pid, volumes = arguments[0], int(arguments[3]), arguments[4]
    net, services = ipaddress.IPv4Network(arguments[1]), ipaddress.IPv4Network(arguments[2])
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    try:
        helper = EngineNetd(
            directory, net, services, os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC), volumes
        )
    except OSError as error:
        print(f"{error.strerror or error}", flush=True)
        return 1
    sys.stdout.buffer.write(READY)
    sys.stdout.flush()
    helper.serve()
    return 0
