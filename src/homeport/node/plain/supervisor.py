"""The supervisor of a pod of plain processes: as :mod:`homeport.node.sandbox.supervisor`, but that it makes no
namespaces, answers its containers' system calls, and finds their processes by descent and by their mark."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import ipaddress
import os
import signal
import socket
from collections.abc import Iterator
from typing import Any

from homeport.node.plain import family, process, rewriting
from homeport.node.plain.addressing import Addresses, Networks
from homeport.node.plain.places import Home, Links
from homeport.node.plain.shared import Shared
from homeport.node.plain.tables import Tables
from homeport.node.plain.watching import Watcher
from homeport.node.sandbox import cgroups, execute, linux, processes, record, registry, spec, wire
from homeport.node.sandbox import container as containers
from homeport.node.sandbox.mounts import NotYet
from homeport.node.sandbox.node import Node
from homeport.node.sandbox.running import Running
from homeport.node.sandbox.supervisor import Supervisor
from homeport.node.sandbox.wire import Message, Peer

LOCK_FILE = "supervisor.lock"
"""Of a pod's directory: held by whoever makes its sandbox."""
_REST_SECONDS = 2.0
"""How long the end of what a pod's containers have left is waited for; it is killed in any case."""


def hosts_path(directory: str, address: str, uid: str = "") -> str:
    """Where the names are that only the pod knows (its own and ``hostAliases``), for the name server; without `uid`,
    where those are of all pods behind that address: there may be several on the machine's own network."""
    return os.path.join(directory, "hosts", address, uid.replace("/", "_"))


def forget_hosts(directory: str, address: str, uid: str) -> None:
    """The pod is no more. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(hosts_path(directory, address, uid))
    with contextlib.suppress(OSError):  # others' are there, too
        os.rmdir(hosts_path(directory, address))


def mark(directory: str, uid: str) -> str:
    """What the marks of a pod's processes begin with; `directory` is the node's."""
    return f"{hashlib.sha256(directory.encode()).hexdigest()[:12]}/{uid}/"


def give_tree(top: str, uid: int, gid: int) -> None:
    """Let a user own a tree in which only we can have made changes so far: what lies in a directory first, so that
    nobody can put something else in its place while it is given. Raises OSError."""
    for directory, names, files in os.walk(top, topdown=False):
        for name in (*files, *(name for name in names if os.path.islink(os.path.join(directory, name)))):
            os.chown(os.path.join(directory, name), uid, gid, follow_symlinks=False)
        os.chown(directory, uid, gid, follow_symlinks=False)


class PlainSupervisor(Supervisor):
    def __init__(
        self,
        node: Node,
        pod: spec.Pod,
        address: ipaddress.IPv4Address | None,
        networks: Networks,
        *,
        watched: bool,
    ) -> None:
        self._networks = networks
        self._watched = watched
        self._homes: dict[str, Home] = {}
        self._commands: set[int] = set()
        self._dying: dict[str, Running] = {}
        super().__init__(node, pod, address)
        if processes.IS_LINUX:
            self._adopt_orphans()
        nameserver = pod.nameservers[0] if pod.nameservers else ""
        addresses = Addresses(
            self.address,
            networks,
            nameserver="" if nameserver == networks.gateway else nameserver,
            is_hosts=address is None,
        )
        tables = Tables(node.directory, self.address)
        self._watcher = Watcher(self._loop, addresses, tables, pod.hostname)

    def _adopt_orphans(self) -> None:
        """Whatever loses its parent becomes ours, and is known by that."""
        linux.adopt_orphans()
        awake, wake = os.pipe()
        os.set_blocking(awake, False)
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._loop.watch(awake, lambda _events: self._child_ended(awake))

    def _enter(self, address: ipaddress.IPv4Address | None) -> None:
        pod = self._pod
        self._group = self._node.groups.make_pod(pod.uid, pod.limits)
        self._links = Links(self._node.directory, pod.uid)
        for volume in pod.memory:
            os.makedirs(volume.path, mode=0o777, exist_ok=True)
        names = {name: [where] for where, known in pod.hosts.items() for name in known}
        names |= {name: [self.address] for name in (pod.hostname, pod.fqdn) if name}
        self._shared: Shared | None = None
        if self._networks.is_shared:
            self._shared = Shared(self._node.directory, self._networks, pod.uid, pod.namespace, pod.hostname)
            if address is not None:
                self._shared.register(self.address)
        path = hosts_path(self._node.directory, self._networks.behind(self.address), pod.uid)
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        record.write(path, {"names": names, "searches": pod.searches})

    # Starting.

    def _start(self, peer: Peer, message: dict[str, Any]) -> None:
        try:
            self._links.show(spec.container_from(message["spec"]).mounts)
        except NotYet as error:
            self._peers.send(peer, {"id": message["id"], "waits": [error.reason, str(error)]})
            return
        except (containers.StartFailure, OSError) as error:
            self._peers.send(peer, {"id": message["id"], "error": str(error)})
            return
        super()._start(peer, message)

    def _launch(self, wanted: spec.Container, message: Message, group: cgroups.Group) -> containers.Launch:
        if wanted.target and wanted.target not in self._running:
            raise ValueError(f'unable to find target container "{wanted.target}"')
        if self._shared is not None:
            look_up = self._shared.look_up
            env = rewriting.environment(wanted.env, look_up)
            wanted = wanted._replace(env=env, argv=rewriting.command(wanted.argv, look_up))
        home = Home(self._pod, wanted)
        home.make()
        self._give(home, wanted)
        env = home.environment(self._pod.searches, self._pod.dns_options, self._marks(wanted))
        made, listener = process.launch(wanted, home.argv(), env, home.termination_log, watched=self._watched)
        self._homes[wanted.name] = home
        self._listen(listener)
        return made

    def _give(self, home: Home, wanted: spec.Container) -> None:
        """Let the container's user have its directory, if that is another one."""
        with contextlib.suppress(containers.StartFailure):  # which the container's own process tells
            user = process.user_of(wanted)
            if user.uid != os.geteuid():
                give_tree(home.directory, user.uid, user.gid)

    def _marks(self, wanted: spec.Container) -> dict[str, str]:
        return {family.MARK: f"{mark(self._node.directory, self._pod.uid)}{wanted.layer_name}"}

    def _listen(self, connection: socket.socket | None) -> None:
        """Answer the system calls of a process as soon as it has said how."""
        if connection is None:
            return

        def told(_events: int) -> None:
            self._loop.forget(connection.fileno())
            with connection, contextlib.suppress(OSError):  # it ended before it could; the outcome says why
                for listener in wire.receive_descriptors(connection)[1]:
                    os.set_inheritable(listener, False)
                    self._watcher.watch(listener)

        self._loop.watch(connection.fileno(), told)

    def _run(self, running: Running, command: spec.Command) -> execute.Execution:
        home, wanted = self._homes[running.spec.name], running.spec
        env = home.environment(self._pod.searches, self._pod.dns_options, self._marks(wanted))
        argv = home.command(command.argv)
        if self._shared is not None:
            argv = rewriting.command(argv, self._shared.look_up)
        made, listener = process.run(wanted, command, argv, env, watched=self._watched)
        self._commands.add(made.pid)
        self._listen(listener)
        return made

    # The end.

    def _exited(self, running: Running) -> None:
        self._loop.forget(running.launch.pidfd)
        self._dying[running.spec.name] = running
        if processes.IS_LINUX:
            self._end_families()
            return
        marked, session = self._marks(running.spec)[family.MARK], running.launch.pid
        family.Ending(self._loop, lambda: family.marked(marked, (session,)), lambda: self._left_nothing(running))

    def _left_nothing(self, running: Running) -> None:
        del self._dying[running.spec.name]
        self._homes.pop(running.spec.name, None)
        self._ended(running)

    def _child_ended(self, awake: int) -> None:
        with contextlib.suppress(BlockingIOError):
            while len(os.read(awake, 4096)) == 4096:
                pass
        self._families()
        self._commands = {pid for pid in self._commands if linux.parent_of(pid) == os.getpid()}
        if self._dying:
            self._end_families()

    def _families(self) -> dict[int, list[int]]:
        """Who is whose parent, when all is reaped that nobody waits for: what has lost its parent, which began in
        another session than ours, and those that connect. What somebody left who ended meanwhile is among it."""
        known = {running.launch.pid for running in self._running.values()} | self._commands
        while True:
            parents, reaped = family.children(), False
            for pid in parents.get(os.getpid(), ()):
                if pid in self._watcher.connecting or (pid not in known and family.session_of(pid) != os.getsid(0)):
                    with contextlib.suppress(ChildProcessError):
                        if os.waitpid(pid, os.WNOHANG)[0]:
                            self._watcher.connecting.discard(pid)
                            reaped = True
            if not reaped:
                return parents

    def _end_families(self) -> None:
        """A container whose first process has ended ends when all of its others have: they are killed."""
        firsts = {running.launch.pid for running in self._running.values()}
        found, before = self._orphans(firsts), None
        # Who ends while it is looked at may have started another: only what stays the same is known.
        while found != before:
            left = {name: self._left_of(running, found) for name, running in self._dying.items()}
            found, before = self._orphans(firsts), found
        for name, running in list(self._dying.items()):
            family.kill(left[name])  # whose ends are told
            if not left[name]:
                self._left_nothing(running)

    def _orphans(self, firsts: set[int]) -> set[int]:
        parents = self._families()
        return set(family.below((pid for pid in parents.get(os.getpid(), ()) if pid not in firsts), parents))

    def _left_of(self, running: Running, orphans: set[int]) -> list[int]:
        marked, session = self._marks(running.spec)[family.MARK], running.launch.pid
        return [pid for pid in orphans if family.mark_of(pid) == marked or family.session_of(pid) == session]

    def _end_rest(self) -> None:
        """Nothing of the pod is to be left: neither what has its mark, nor what has thrown that away and is ours by
        now, as it has lost its parent."""
        prefix = mark(self._node.directory, self._pod.uid)
        if not processes.IS_LINUX:
            family.end(lambda: family.marked(prefix), _REST_SECONDS)
            return
        family.kill(family.marked(prefix))
        family.kill(self._watcher.connecting)
        family.end(self._rest, _REST_SECONDS)

    def _rest(self) -> list[int]:
        own = os.getsid(0)
        return [pid for pid in self._orphans(set()) if family.session_of(pid) != own and not family.is_zombie(pid)]

    def give_up(self) -> None:
        """Leave nothing: nobody knows of this one yet."""
        self._clear(*self._states.paths())
        self._node.registry.delete(self._pod.uid)

    def _clear(self, *more: str) -> str:
        self._end_rest()
        try:
            self._links.release()
            forget_hosts(self._node.directory, self._networks.behind(self.address), self._pod.uid)
        except OSError as error:
            return super()._clear(*more) or f"something of the sandbox is left: {error}"
        return super()._clear(*more)


def main(arguments: list[str]) -> int:
    """``plain-pod DESCRIPTOR DIRECTORY NETWORK SERVICES REAL-NETWORK``: be the supervisor that the connection asks for,
    in a process that is nobody's child."""
    connection = socket.socket(fileno=int(arguments[0]))
    os.set_inheritable(connection.fileno(), False)
    directory = arguments[1]
    networks = Networks(*map(ipaddress.IPv4Network, arguments[2:5]))
    if os.fork():
        return 0
    os.setsid()
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    os.umask(0o022)
    lines = wire.Lines()
    messages: list[dict[str, Any]] = []
    while not messages:
        if not (data := connection.recv(1 << 18)):
            return 1
        messages = list(lines.feed(data))
    asked = messages[0]
    pod = spec.pod_from(asked["pod"])
    address = ipaddress.IPv4Address(asked["address"]) if asked["address"] else None
    try:
        with alone(pod.directory):
            supervisor = _make(connection, asked["id"], pod, address, directory, networks)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        text = f"the pod's sandbox can't be made: {error.strerror or error}{where}"
        with contextlib.suppress(OSError):
            connection.sendall(wire.encode({"id": asked["id"], "error": text}))
        return 1
    if supervisor is not None:
        supervisor.serve(connection, asked["id"])
    return 0


@contextlib.contextmanager
def alone(directory: str) -> Iterator[None]:
    """While no other process makes a sandbox of the pod in that directory. Raises OSError."""
    descriptor = os.open(os.path.join(directory, LOCK_FILE), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _make(
    connection: socket.socket,
    number: object,
    pod: spec.Pod,
    address: ipaddress.IPv4Address | None,
    directory: str,
    networks: Networks,
) -> PlainSupervisor | None:
    """The supervisor, if the pod is to have one: not if it has, and not if nobody hears of it any more. Who asked was
    killed then, and the next platform asks anew, or the pod is deleted. Raises OSError."""
    entries = registry.Registry(os.path.join(directory, "sandboxes"))
    if any(each.uid == pod.uid and processes.is_alive(each.pid, each.start_time) for each in entries.entries()):
        connection.sendall(wire.encode({"id": number, "exists": True}))
        return None
    if _has_gone(connection):
        return None
    node = Node(networks.pods, 0, entries, cgroups.Groups([], []), directory, user_namespace=False)
    try:
        supervisor = PlainSupervisor(node, pod, address, networks, watched=not networks.is_shared)
    except OSError:
        entries.delete(pod.uid)
        raise
    if _has_gone(connection):
        supervisor.give_up()
        return None
    return supervisor


def _has_gone(connection: socket.socket) -> bool:
    """Whether the other end is closed."""
    connection.setblocking(False)
    try:
        return not connection.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True
