"""The supervisor of a pod that has namespaces of its own."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket

from homeport.node.sandbox import (
    cgroups,
    etc,
    execute,
    keeping,
    linux,
    network,
    rootfs,
    spec,
    sysctls,
    warmstart,
    wire,
)
from homeport.node.sandbox import container as containers
from homeport.node.sandbox.infra import Infra
from homeport.node.sandbox.node import Node
from homeport.node.sandbox.running import Running
from homeport.node.sandbox.supervisor import Supervisor
from homeport.node.sandbox.wire import Message


class NamespacedSupervisor(Supervisor):
    def __init__(
        self, node: Node, pod: spec.Pod, address: ipaddress.IPv4Address | None, heir: keeping.Heir | None
    ) -> None:
        """Make the pod's namespaces around the calling process. `heir` is what makes the pod's volumes in memory, if it
        has any. Raises OSError; then the process is of no use."""
        self._heir = heir
        self._infra: Infra | None = None
        super().__init__(node, pod, address)

    def _enter(self, address: ipaddress.IPv4Address | None) -> None:
        """Make what the pod's containers share."""
        node, pod = self._node, self._pod
        if address is not None:
            network.join(node.namespace, node.network, address)
        self._group = node.groups.make_pod(pod.uid, pod.limits)
        linux.unshare(linux.CLONE_NEWUTS | linux.CLONE_NEWNS | (0 if pod.host_ipc else linux.CLONE_NEWIPC))
        linux.set_hostname(pod.hostname[:64])
        server = str(network.gateway_of(node.network))
        rootfs.make_pod_mounts(node.layout, pod, etc.files(pod, self.address, server))
        sysctls.apply(pod.sysctls, own_network=address is not None)
        if self._heir is not None:
            self._heir.make(pod.memory)
        if pod.processes == "pod":
            self._infra = Infra(node.layout)

    def _leave(self) -> None:
        if self._infra is not None:
            self._infra.end()
            self._infra = None

    # Containers.

    def _launch(self, wanted: spec.Container, message: Message, group: cgroups.Group) -> containers.Launch:
        """Begin to start a container. Raises OSError, or ValueError for a target that does not run."""
        among = self._infra.namespace if self._infra is not None else self._processes_of(wanted.target)
        try:
            pod = self._pod if among is None else self._pod._replace(processes="pod")
            root = rootfs.Root(self._node.layout, pod, wanted, user_namespace=self._node.user_namespace)
            launch = self._warm_launch(root, wanted, message, group) if among is None else None
            if launch is not None:
                return launch
            return containers.launch(root, wanted, group, processes=pod.processes, pod_processes=among)
        finally:
            if among is not None and wanted.target:
                os.close(among)

    def _processes_of(self, target: str) -> int | None:
        """A descriptor of the pid namespace of the container that another is to be among; None without one. Raises
        ValueError if it does not run."""
        if not target:
            return None
        running = self._running.get(target)
        if running is not None and running.waiting is None and running.status is None:
            with contextlib.suppress(OSError):  # it is about to end
                return os.open(f"/proc/{running.launch.pid}/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        raise ValueError(f'unable to find target container "{target}"')

    def _warm_launch(
        self, root: rootfs.Root, wanted: spec.Container, message: Message, group: cgroups.Group
    ) -> containers.Launch | None:
        """None if the container is to be started cold."""
        if not wanted.warm or self._pod.host_network or self._pod.host_ipc or self._pod.processes != "container":
            return None
        return warmstart.launch(root, wanted, message, group, self._node.directory)

    def _run(self, running: Running, command: spec.Command) -> execute.Execution:
        """Begin to run a further command in a container. Raises OSError."""
        return execute.launch(running.launch.pid, running.spec, running.group, command)


def run(
    node: Node,
    pod: spec.Pod,
    address: ipaddress.IPv4Address | None,
    heir: keeping.Heir | None,
    connection: socket.socket,
    number: object,
) -> None:
    """Be the supervisor. Failures on the way go to the connection; returns when the sandbox has ended."""
    try:
        supervisor = NamespacedSupervisor(node, pod, address, heir)
    except OSError as error:
        node.groups.clear_pod(pod.uid, os.getpid())
        node.registry.delete(pod.uid)
        where = f" ({error.filename})" if error.filename else ""
        text = f"the pod's sandbox can't be made: {error.strerror or error}{where}"
        with contextlib.suppress(OSError):  # whoever asked has gone; the next one makes the sandbox anew
            connection.sendall(wire.encode({"id": number, "error": text}))
        return
    supervisor.serve(connection, number)
