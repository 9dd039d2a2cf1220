"""One pod's supervisor: starts its containers, writes their logs, keeps how they ended.

It needs nobody: the platform may come and go. What happened is in ``state.json`` in the pod's directory and on the
pod's socket. It stays after the last container ended, since the pod's address is its network namespace's, and ends when
it is told to destroy the sandbox.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import signal
import socket
import time
from typing import Any

from homeport.node.sandbox import (
    aside,
    cgroups,
    execute,
    logs,
    network,
    outcomes,
    processes,
    registry,
    spec,
    trees,
    warmstart,
    wire,
)
from homeport.node.sandbox import container as containers
from homeport.node.sandbox.clients import Clients
from homeport.node.sandbox.loop import Loop
from homeport.node.sandbox.node import Node
from homeport.node.sandbox.output import Output
from homeport.node.sandbox.peers import Peers
from homeport.node.sandbox.running import Running
from homeport.node.sandbox.states import States
from homeport.node.sandbox.wire import Message, Peer

_RETRY_SECONDS = 1.0
_LOG_GRACE_SECONDS = 30.0
"""How long an ended container waits for a full disk to take the rest of its log."""


class Supervisor:
    _group: cgroups.Group
    """The pod's."""

    def __init__(self, node: Node, pod: spec.Pod, address: ipaddress.IPv4Address | None) -> None:
        """Make of the calling process what its containers need. Raises OSError; then the process is of no use."""
        self._node = node
        self._pod = pod
        processes.set_name("homeport-pod")
        self._pid = os.getpid()
        self._start_time = processes.start_time(self._pid)
        self.address = network.host_address() if address is None else str(address)
        # First, so that a new zygote finds the address taken.
        self._register()
        self._enter(address)
        with contextlib.suppress(FileExistsError):  # of an earlier sandbox of the pod
            os.mkdir(pod.layers, 0o711)
        self._stamps = logs.Stamps()
        self._states = States(pod.state_path, self._identity(), self._stamps)
        self._states.begin()
        self._running: dict[str, Running] = {}
        self._ending: list[tuple[Peer, object]] | None = None
        self._is_stale = False
        self._is_retrying = False
        self._is_leaving = False
        self._loop = Loop()
        self._peers = Peers(self._loop, self._handle)
        self._clients = Clients(self._loop, self._peers, self._running, self._run)
        self._peers.accept_from(wire.listen(pod.socket_path))
        # What a terminal sends is ignored already, as by the fork server.
        signal.signal(signal.SIGTERM, self._terminate)

    def _enter(self, address: ipaddress.IPv4Address | None) -> None:
        """Make what the pod's containers share, ``_group`` among it. Raises OSError."""
        raise NotImplementedError

    def _register(self) -> None:
        entry = registry.Entry(
            *(self._pod.uid, self._pod.directory, self.address, self._pid, self._start_time, self._node.namespace),
            has_memory=bool(self._pod.memory),
        )
        self._node.registry.write(entry)

    def serve(self, first: socket.socket, number: object) -> None:
        """Answer the connection that asked for the sandbox, and serve it and everybody else until the sandbox ends."""
        self._peers.send(self._peers.add(first), {"id": number, "state": self._states.whole()})
        self._loop.run()
        self._peers.close()

    # What is known, on disk and on the wire.

    def _identity(self) -> Message:
        return {
            "uid": self._pod.uid,
            "namespace": self._pod.namespace,
            "name": self._pod.name,
            "directory": self._pod.directory,
            "address": self.address,
            "pid": self._pid,
            "start_time": self._start_time,
        }

    def _write_state(self) -> None:
        try:
            self._states.write()
            self._is_stale = False
        except OSError:
            # A full disk, most likely: the pod's socket still tells the truth, and the file follows.
            self._is_stale = True
            self._retry_later()

    def _handle(self, peer: Peer, message: dict[str, Any]) -> None:
        operation = message.get("op")
        if operation == "start":
            self._start(peer, message)
        elif operation == "signal":
            self._signal(message["container"], message["signal"])
            self._peers.send(peer, {"id": message["id"]})
        elif operation == "limit":
            self._limit(peer, message)
        elif operation == "state":
            self._peers.send(peer, {"id": message["id"], "state": self._states.whole()})
        elif operation == "destroy":
            self._destroy(peer, message["id"])
        else:
            self._clients.handle(peer, message)

    # Starting.

    def _start(self, peer: Peer, message: dict[str, Any]) -> None:
        wanted = spec.container_from(message["spec"])
        if self._ending is not None:
            raise ValueError("the sandbox is being destroyed")
        if wanted.name in self._running:
            raise ValueError(f"container {wanted.name} still runs")
        if self._pod.processes != "container":
            wanted = wanted._replace(target="")  # it sees them all
        self._remove_layers_of(wanted.name)
        log: logs.LogFile | None = None
        group: cgroups.Group | None = None
        try:
            log = logs.LogFile(wanted.log_path, wanted.log_bytes, wanted.log_files)
            group = self._group.make(wanted.layer_name, wanted.limits)
            wanted = wanted._replace(limits=self._left_to_hold(wanted.limits))
            launch = self._launch(wanted, message["spec"], group)
        except (OSError, ValueError) as error:
            if log is not None:
                log.close()
            if group is not None:
                group.remove()
            if not isinstance(error, OSError):
                raise
            text = f"the container can't be set up: {(error.strerror or str(error))}"
            self._states.not_started(wanted, containers.NOT_STARTED, text)
            self._peers.send(peer, {"id": message["id"], "state": self._states.of(wanted.name)})
            self._write_state()
            return
        output = Output(self._loop, log, self._stamps, self._retry_later)
        running = Running(wanted, launch, output, group)
        running.waiting = (peer, message["id"])
        self._running[wanted.name] = running
        self._loop.watch(launch.outcome, lambda _events: self._outcome(running))

    def _left_to_hold(self, limits: spec.Limits) -> spec.Limits:
        """A container's limits, with that of processes as far as no cgroup holds it: then each container has for itself
        what the pod may have in all."""
        is_held = "pids" in self._group.controllers or not self._node.user_namespace
        return limits._replace(pids=0 if is_held else limits.pids or self._pod.limits.pids)

    def _launch(self, wanted: spec.Container, message: Message, group: cgroups.Group) -> containers.Launch:
        """Begin to start a container. Raises OSError, or ValueError for a target that does not run."""
        raise NotImplementedError

    def _remove_layers_of(self, name: str) -> None:
        """An earlier attempt's layer goes; in a process of its own, as it may be large."""
        attempt = self._states.attempt(name)
        if attempt is None:
            return
        path = os.path.join(self._pod.layers, f"{name}-{attempt}")
        # What is left goes with the pod.
        aside.do(self._loop, lambda: trees.remove(path), lambda: None)

    def _outcome(self, running: Running) -> None:
        """The command runs, or it is known why it doesn't."""
        launch, wanted = running.launch, running.spec
        more = os.read(launch.outcome, 65536)
        running.said += more
        ids, data = outcomes.heard(running.said)
        if more and not data:
            return  # it has its ids, and is about to become the command
        self._loop.forget(launch.outcome)
        os.close(launch.outcome)
        waits: list[str] = []
        if data:
            code, text, *waits = json.loads(data)
            launch.reap()
            os.close(launch.pidfd)
            launch.streams.close()
            running.output.close()
            running.group.remove()
            del self._running[wanted.name]
            if not waits:
                self._states.not_started(wanted, code, text)
        else:
            self._states.started(wanted, launch.pid, running.group.usage_paths(), ids)
            running.watch_memory(self._loop)
            if self._pod.processes != "container" or wanted.target:
                # None if it has ended already, and it was the last.
                with contextlib.suppress(OSError):
                    running.mounts = os.open(f"/proc/{launch.pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
            # The child has sent it before it became its command.
            launch.streams.receive_terminal()
            for descriptor, name in ((launch.streams.stdout, "stdout"), (launch.streams.stderr, "stderr")):
                if descriptor is not None:
                    running.output.add(descriptor, name)
            # They are the output's to close.
            launch.streams.stdout = launch.streams.stderr = None
            self._loop.watch(launch.pidfd, lambda _events: self._exited(running))
        # First of all, so that whoever is told finds the process on record, should this one be killed now.
        self._write_state()
        if running.waiting is not None:
            peer, number = running.waiting
            running.waiting = None
            if waits:
                self._peers.send(peer, {"id": number, "waits": [*waits, text]})
            else:
                is_warm = isinstance(launch, warmstart.WarmLaunch)
                self._peers.send(peer, {"id": number, "state": self._states.of(wanted.name), "warm": is_warm})
        if data:
            self._finish_if_ended()

    # The disk is full.

    def _retry_later(self) -> None:
        if not self._is_retrying:
            self._is_retrying = True
            self._loop.after(_RETRY_SECONDS, self._retry)

    def _retry(self) -> None:
        self._is_retrying = False
        if self._is_stale:
            self._write_state()
        for running in list(self._running.values()):
            if running.output.is_stuck:
                running.output.retry()
                if running.status is not None:
                    self._finish(running)

    # The end.

    def _exited(self, running: Running) -> None:
        """The container's first process has ended. Unless others see it, every process of its namespace has too."""
        self._loop.forget(running.launch.pidfd)
        if running.mounts is None:
            self._ended(running)
        else:
            mounts = running.mounts
            aside.do(self._loop, lambda: aside.end_processes_in(mounts), lambda: self._ended(running))

    def _ended(self, running: Running) -> None:
        """No process of the container is left: what they wrote is in the pipes."""
        os.close(running.launch.pidfd)
        if running.mounts is not None:
            os.close(running.mounts)
        # Reaped when it is on record how it ended: if this process is killed meanwhile, its heir can still find out.
        running.status = running.launch.status()
        running.watch_memory(self._loop)
        running.release_stdin()
        running.deadline = time.monotonic() + _LOG_GRACE_SECONDS
        running.output.end()
        self._finish(running)

    def _finish(self, running: Running) -> None:
        if running.output.is_stuck and time.monotonic() < running.deadline and self._ending is None:
            self._retry_later()
            return
        assert running.status is not None
        lost = running.output.is_stuck
        running.output.close()
        del self._running[running.spec.name]
        message = running.termination_message()
        if lost and not message:
            message = "the end of the log is lost: there was no room on the disk"
        out_of_memory = running.is_out_of_memory or running.group.out_of_memory() > 0
        running.group.remove()
        state = self._states.ended(running.spec.name, running.status, message, out_of_memory=out_of_memory)
        running.tell_attached(state["exit_code"])
        self._write_state()
        running.launch.reap()
        self._peers.broadcast({"event": "exit", "state": state})
        self._finish_if_ended()

    # While it runs.

    def _run(self, running: Running, command: spec.Command) -> execute.Execution:
        """Begin to run a further command in a container. Raises OSError."""
        raise NotImplementedError

    def _limit(self, peer: Peer, message: dict[str, Any]) -> None:
        """Change what the pod and its containers may use."""
        wanted = spec.limits_from(message["pod"])
        changes = {
            self._running[name]: spec.limits_from(limits)
            for name, limits in message["containers"].items()
            if name in self._running
        }
        try:
            with contextlib.suppress(OSError):
                # What the containers get more of, the pod has to have first; less of, last. The second try tells.
                self._group.limit(wanted)
            for running, limits in changes.items():
                running.group.limit(limits)
                running.spec = running.spec._replace(limits=self._left_to_hold(limits))
                running.watch_memory(self._loop)
            self._group.limit(wanted)
        except OSError as error:
            text = f"the limits can't be changed: {error.strerror or error} ({error.filename})"
            self._peers.send(peer, {"id": message["id"], "error": text})
            return
        self._peers.send(peer, {"id": message["id"]})

    def _signal(self, name: str, number: int) -> None:
        running = self._running.get(name)
        if running is not None and running.status is None:
            with contextlib.suppress(ProcessLookupError):
                processes.send(running.launch.pid, running.launch.pidfd, number)

    def _terminate(self, *_arguments: object) -> None:
        """The machine goes down: the containers are asked to end, and their ends are kept for the next start."""
        self._is_leaving = True
        if not self._running:
            self._clear()
            os._exit(0)
        for name in list(self._running):
            self._signal(name, signal.SIGTERM)

    def _destroy(self, peer: Peer, number: object) -> None:
        if self._ending is None:
            self._ending = []
        self._ending.append((peer, number))
        for running in list(self._running.values()):
            if running.status is None:
                self._signal(running.spec.name, signal.SIGKILL)
            else:
                self._finish(running)
        self._finish_if_ended()

    def _finish_if_ended(self) -> None:
        if self._running:
            return
        if self._is_leaving:
            self._clear()
            self._loop.is_running = False
            return
        if self._ending is None:
            return
        failure = self._clear(*self._states.paths())
        self._node.registry.delete(self._pod.uid)
        for peer, number in self._ending:
            self._peers.send(peer, {"id": number, "error": failure} if failure else {"id": number})
        self._loop.is_running = False

    def _leave(self) -> None:
        """End what was made by `_enter` and does not end with this process. Raises OSError."""

    def _clear(self, *more: str) -> str:
        """Take away what only a running pod needs, and `more` paths; what could not be, in words."""
        failure = ""
        try:
            self._leave()
            for path in (self._pod.layers, self._pod.socket_path, *more):
                trees.remove(path)
        except OSError as error:
            failure = f"something of the sandbox is left: {error}"
        self._group.remove()
        return failure
