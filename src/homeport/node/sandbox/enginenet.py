"""The network helper of a node whose pods are containers of Docker or Podman.

It is a privileged container of the engine itself, on the machine's network and with its process ids, and works in the
node's network namespace, which another container holds. Beside what the helper does for every node it links containers'
namespaces to the node's, makes pods' control groups, and reads, gives and removes files of containers that only the
engine's root can.
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

from homeport.node.sandbox import enginegroups, linux, netd, netlink, network, wire
from homeport.node.sandbox.enginefiles import EngineFiles
from homeport.node.sandbox.spec import limits_from
from homeport.node.sandbox.wire import Peer

T = TypeVar("T")
READY = b"the network is ready\n"
_IN_MEMORY = "/dev/shm/homeport-"
"""Where the node keeps volumes that are not on disk."""


class EngineNetd(netd.Netd):
    def __init__(
        self,
        directory: str,
        net: ipaddress.IPv4Network,
        services: ipaddress.IPv4Network,
        namespace: int,
        volumes: str,
        node: str,
    ) -> None:
        super().__init__(directory, net, services, namespace)
        self._net = net
        self._namespace = namespace
        self._netlink = netlink.Netlink()
        groups = enginegroups.PodGroups(node)
        self._quick: dict[str, Callable[[dict[str, Any]], object]] = {
            "link": lambda message: self._link(int(message["pid"]), str(message["address"])),
            "join": lambda message: self._join(int(message["pid"]), str(message["address"])),
            "unlink": lambda message: self._unlink(str(message["address"])),
            "kill": lambda message: os.kill(int(message["pid"]), signal.SIGKILL),
            "group": lambda message: groups.make(str(message["uid"]), limits_from(message["limits"])),
            "limit": lambda message: groups.limit(str(message["uid"]), limits_from(message["limits"])),
        }
        self._slow: dict[str, Callable[[dict[str, Any]], dict[str, object]]] = {
            **EngineFiles(places(directory, volumes)).operations,
            "ungroup": lambda message: groups.remove(str(message["uid"])),
            "ungroup-others": lambda message: groups.remove_others([str(uid) for uid in message["uids"]]),
        }

    def _handle(self, peer: Peer, message: dict[str, Any]) -> None:
        operation = str(message.get("op"))
        if operation in self._quick:
            self._answer_to(peer, message, self._quick[operation])
        elif operation in self._slow:
            self._answer_from_elsewhere(peer, message, self._slow[operation])
        elif operation == "pod-socket":
            self._pod_socket(peer, message)
        else:
            super()._handle(peer, message)

    def _answer_to(self, peer: Peer, message: dict[str, Any], act: Callable[[dict[str, Any]], object]) -> None:
        answer: dict[str, object] = {"id": message["id"]}
        try:
            act(message)
        except OSError as error:
            answer["error"] = _words(error)
        self._peers.send(peer, answer)

    def _answer_from_elsewhere(
        self, peer: Peer, message: dict[str, Any], work: Callable[[dict[str, Any]], dict[str, object]]
    ) -> None:
        """Do what may take long in a process of its own, which the kernel reaps (see `main`)."""
        connection = self._peers.release(peer)
        if os.fork():
            connection.close()
            return
        answer: dict[str, object] = {"id": message["id"]}
        try:
            answer |= work(message)
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


def places(directory: str, volumes: str) -> tuple[str, ...]:
    """Where the node in `directory` has files of pods: what the helper may read and write."""
    return f"{directory}/", f"{volumes}/", _IN_MEMORY


def _words(error: OSError) -> str:
    return f"{error.strerror or error}" + (f" ({error.filename})" if error.filename else "")


def main(arguments: list[str]) -> int:
    """``engine-net DIRECTORY NETWORK SERVICES PID VOLUMES NODE``, where PID has the node's network namespace.

    Says on the standard output that it serves (:data:`READY`) or why it can't.
    """
    directory, pid, volumes, node = arguments[0], int(arguments[3]), arguments[4], arguments[5]
    net, services = ipaddress.IPv4Network(arguments[1]), ipaddress.IPv4Network(arguments[2])
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    try:
        namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        helper = EngineNetd(directory, net, services, namespace, volumes, node)
    except OSError as error:
        print(f"{error.strerror or error}", flush=True)
        return 1
    sys.stdout.buffer.write(READY)
    sys.stdout.flush()
    helper.serve()
    return 0
