"""The fork server: it has everything loaded that a pod's supervisor needs, and forks one per pod.

One runs per directory, on the machine's own network. It outlives the platform as long as a pod does, and pods outlive
it. A new one joins the namespaces that are still in use, through the network helper or any supervisor. Once nobody
holds it and no pod's supervisor runs it ends, and takes the network helper along.
"""

from __future__ import annotations

import contextlib
import gc
import ipaddress
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from homeport.node.sandbox import (
    cgroups,
    errands,
    groupends,
    idmap,
    keeping,
    linux,
    loop,
    namespaced,
    network,
    orphans,
    record,
    registry,
    sealing,
    spec,
    surveying,
    trees,
    warmers,
    wire,
)
from homeport.node.sandbox.nethelper import NetHelper
from homeport.node.sandbox.node import Node
from homeport.node.sandbox.peers import Peers
from homeport.node.sandbox.wire import Peer

_SETTLING_SECONDS = 5.0
_UNUSED_SECONDS = 60.0
"""How long a fork server waits for the first who holds it."""


def socket_path(directory: str) -> str:
    return os.path.join(directory, "zygote.sock")


class Zygote:
    def __init__(
        self,
        directory: str,
        net: ipaddress.IPv4Network,
        services: ipaddress.IPv4Network,
        hidden: list[str],
        pods: registry.Registry,
        starter: int,
    ) -> None:
        """Enter or join the namespaces and start the network helper if none runs. `starter` is the platform's pid.
        Raises OSError or Refused."""
        self._directory = directory
        self._network = net
        linux.set_process_name("homeport-zygote")
        # What a killed supervisor leaves comes here, so that somebody knows how it ended.
        linux.adopt_orphans()
        # After all pods, as the kubelet and container runtimes have it for themselves.
        linux.set_oom_score(-999)
        linux.new_session_keyring()
        idmap.remember()
        self._registry = pods
        self._loop = loop.Loop()
        self._in_use: dict[int, ipaddress.IPv4Address | None] = {}
        self._supervised: set[str] = set()
        """State files of the pods whose supervisors are not known to have ended."""
        self._taken: set[ipaddress.IPv4Address] = set()
        self._last = int(net.network_address) + 1
        self._is_stopping = False
        self._holders: set[Peer] = set()
        self._was_asked = False
        """Whether anybody has come yet: what this process itself has begun may end before."""
        self._orphans = orphans.Orphans(self._settled, lambda ended: self._warmers.note(ended))
        self._curious: list[tuple[str, Peer, object]] = []
        """Who waits to hear that all is known about the pod with that state file, and the id of the question."""
        self._asked_to_stop: list[tuple[Peer, object]] = []
        self._watch_children()
        layers = os.path.join(directory, "layers")
        os.makedirs(layers, mode=0o700, exist_ok=True)
        # A file system of its own, since the layers of an overlay may not be inside one another.
        linux.mount("tmpfs", layers, "tmpfs", linux.MS_NOSUID, "mode=755")
        in_user_namespace = not linux.is_machines_root()
        self._surveying: surveying.Surveying | None = surveying.Surveying(
            self._fork, layers, [directory, *hidden], user_namespace=in_user_namespace
        )
        self._helper = NetHelper(directory, net, services, pods, self._loop, self._fork)
        self._peers = Peers(self._loop, self._handle, self._left)
        self._keeping = keeping.Keeping(self._loop)
        self._groups = cgroups.open_groups(directory, starter)
        for problem in self._groups.problems:
            print(f"not everything can be limited: {problem}", flush=True)
        self._adopt()
        self._node = Node(net, self._helper.namespace, pods, self._groups, directory, user_namespace=in_user_namespace)
        self._warmers = warmers.Warmers(directory, self._node, self._loop, self._fork)
        self._peers.accept_from(wire.listen(socket_path(directory)))
        self._loop.after(_UNUSED_SECONDS, self._end_if_unused)

    def serve(self) -> None:
        """Returns when nobody needs it any more. Raises OSError if what pods need can't be made."""
        if self._surveying is not None:
            self._loop.watch(self._surveying.result, lambda _events: self._finish_survey())
        # What exists now is never looked at by the collector, so forks keep sharing it.
        gc.collect()
        gc.freeze()
        self._loop.run()

    def _finish_survey(self) -> None:
        """The machine has been looked at when this returns."""
        if self._surveying is not None:
            running, self._surveying = self._surveying, None
            self._loop.forget(running.result)
            self._node.layout = running.finish()

    # Processes.

    def _fork(self, keep: set[int], run: Callable[[], object]) -> int:
        """Run a function in a new process that has none of this one's descriptors but those."""
        sys.stdout.flush()
        pid = os.fork()
        if pid:
            return pid
        try:
            signal.set_wakeup_fd(-1)
            linux.leave_signals((signal.SIGCHLD,))
            linux.close_descriptors({0, 1, 2, *keep})
            run()
            os._exit(0)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            sys.stderr.flush()
        finally:
            os._exit(1)

    def _watch_pod(
        self,
        pid: int,
        pidfd: int,
        address: ipaddress.IPv4Address | None = None,
        state_path: str | None = None,
        uid: str = "",
    ) -> None:
        """Look after a process that works on a pod, a supervisor if there is a state file."""
        self._in_use[pidfd] = address
        if address is not None:
            self._taken.add(address)
        if state_path is not None:
            self._supervised.add(state_path)

        def ended(_events: int) -> None:
            if state_path is not None:
                self._supervised.discard(state_path)
                self._orphans.inherit(state_path)
            self._loop.forget_process(pid, pidfd)
            del self._in_use[pidfd]
            if address is not None:
                self._taken.discard(address)
            if uid and self._groups.has_pod(uid, pid):
                self._in_background(lambda: self._groups.clear_pod(uid, pid))
            self._orphans.reap()
            if self._was_asked:
                self._end_if_unused()

        self._loop.watch(pidfd, ended)

    def _in_background(self, clear: Callable[[], object]) -> None:
        """Clear up after supervisors that were killed, in a process of its own: it takes as long as what they have
        left takes to end."""
        try:
            pid = self._fork(set(), clear)
        except OSError as error:
            print(f"the cgroups of a pod that is gone are left: {error}", flush=True)
            return
        self._watch_pod(pid, os.pidfd_open(pid))

    def _watch_children(self) -> None:
        """Reap whatever ends: this one's own children, whose pidfds tell too, and what killed supervisors have left."""
        awake, wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

        def told(_events: int) -> None:
            os.read(awake, 4096)
            self._orphans.reap()

        self._loop.watch(awake, told)

    def _adopt(self) -> None:
        alive: dict[str, int] = {}
        for entry in self._registry.entries():
            pidfd = linux.open_process(entry.pid, entry.start_time)
            if pidfd is None:
                continue
            address = ipaddress.IPv4Address(entry.address)
            alive[entry.uid] = entry.pid
            routed = address if address in self._network else None
            state_path = os.path.join(entry.directory, spec.STATE_FILE)
            self._watch_pod(entry.pid, pidfd, routed, state_path, entry.uid)
            if entry.has_memory:
                self._keeping.adopt(entry.directory, entry.pid)
            if address in self._network:
                self._last = max(self._last, int(address))
        others = self._groups.others(alive)
        if others:
            self._in_background(lambda: groupends.end_all(others))

    # The platform's requests.

    def _handle(self, peer: Peer, message: dict[str, Any]) -> None:
        operation = message.get("op")
        self._was_asked = True
        if operation == "create":
            self._create(peer, message)
        elif operation in errands.LONG:
            if operation == "remove":
                self._keeping.forget(str(message["path"]))
            self._answer_from_elsewhere(peer, message["id"], errands.LONG[operation](message))
        elif operation in errands.SHORT:
            self._peers.send(peer, {"id": message["id"], **errands.SHORT[operation](message)()})
        elif operation == "helper":
            self._helper.require()
            self._peers.send(peer, {"id": message["id"]})
        elif operation == "kindle":
            self._finish_survey()
            self._warmers.kindle(str(message["key"]), message)
            self._peers.send(peer, {"id": message["id"]})
        elif operation == "hold":
            self._holders.add(peer)
            self._peers.send(peer, {"id": message["id"], **spec.release()})
        elif operation == "ends":
            self._curious.append((str(message["path"]), peer, message["id"]))
            self._settled(str(message["path"]))
        elif operation == "stop":
            self._stop(peer, message["id"])
        else:
            raise ValueError(f"no such operation: {operation}")

    def _allocate(self) -> ipaddress.IPv4Address:
        """The next free address; one that was given back is used again as late as can be. The network's own, the
        gateway's, the machine's and the last are no pod's."""
        first, size = int(self._network.network_address) + 2, self._network.num_addresses - 4
        for step in range(size):
            value = ipaddress.IPv4Address(first + (self._last + 1 - first + step) % size)
            if value not in self._taken:
                self._last = int(value)
                return value
        raise ValueError(f"every address of {self._network} is in use")

    def _create(self, peer: Peer, message: dict[str, Any]) -> None:
        pod, number = spec.pod_from(message["pod"]), message["id"]
        self._finish_survey()
        address = None if pod.host_network else self._allocate()
        connection = self._peers.release(peer)
        heir: keeping.Heir | None = None
        try:
            heir = self._keeping.begin(pod.directory) if pod.memory else None
            pid = self._fork(
                {connection.fileno(), self._helper.namespace, *(() if heir is None else heir.descriptors)},
                lambda: namespaced.run(self._node, pod, address, heir, connection, number),
            )
        except OSError as error:
            text = f"no process can be made for the pod: {error.strerror or error}"
            self._peers.send(self._peers.add(connection), {"id": number, "error": text})
            return
        finally:
            if heir is not None:
                heir.let_go()
        connection.close()
        self._watch_pod(pid, os.pidfd_open(pid), address, pod.state_path, pod.uid)

    def _answer_from_elsewhere(self, peer: Peer, number: object, errand: errands.Errand) -> None:
        """Do what may take long in a process of its own."""
        connection = self._peers.release(peer)

        def run() -> None:
            answer: wire.Message = {"id": number, **errand()}
            connection.setblocking(True)
            connection.sendall(wire.encode(answer))

        pid = self._fork({connection.fileno()}, run)
        connection.close()
        self._watch_pod(pid, os.pidfd_open(pid))

    def _settled(self, path: str) -> None:
        """Tell those who asked for the ends of a killed supervisor's containers, once all is written that can be."""
        if path in self._supervised or self._orphans.is_open(path):
            return
        told = [entry for entry in self._curious if entry[0] == path]
        self._curious = [entry for entry in self._curious if entry[0] != path]
        for _, peer, number in told:
            self._peers.send(peer, {"id": number})
        self._stop_if_settled()

    # The end.

    def _stop(self, peer: Peer, number: object) -> None:
        """Shut down, but not before it is written down how the containers of killed supervisors ended: nobody else can
        find out. What doesn't end within some seconds is waited for in vain."""
        self._asked_to_stop.append((peer, number))
        # Supervisors whose ends are to be heard in this turn of the loop are heard first.
        self._loop.after(0, self._stop_if_settled)
        self._loop.after(_SETTLING_SECONDS, self._shut_down_asked)

    def _stop_if_settled(self) -> None:
        if self._asked_to_stop and not self._orphans.any_open and self._loop.is_running:
            self._shut_down_asked()

    def _shut_down_asked(self) -> None:
        if self._loop.is_running:
            self._shut_down()
            for peer, number in self._asked_to_stop:
                self._peers.send(peer, {"id": number})

    def _left(self, peer: Peer) -> None:
        self._curious = [entry for entry in self._curious if entry[1] is not peer]
        self._holders.discard(peer)
        self._end_if_unused()

    def _end_if_unused(self) -> None:
        if not (self._holders or self._in_use or self._is_stopping):
            self._shut_down()

    def give_up(self) -> None:
        """It can't go on: leave nothing behind that no pod needs, such as when its directory was deleted."""
        if not self._in_use:
            self._shut_down()

    def _shut_down(self) -> None:
        """End the network helper, and then this process; pods are the caller's to destroy first."""
        self._is_stopping = True
        if self._surveying is not None:
            self._loop.forget(self._surveying.result)
            self._surveying.give_up()
            self._surveying = None
        # Those that a pod needs are found again by the next fork server.
        self._warmers.end(only_idle=bool(self._supervised))
        self._helper.end()
        for path in leftovers(self._directory):
            trees.remove(path)
        self._groups.give_up()
        self._loop.is_running = False


def leftovers(directory: str) -> list[str]:
    """What the helpers of a node that have ended have in its directory only as long as they run."""
    own = [registry.helper_path(directory), socket_path(directory), network.helper_socket(directory)]
    # What a helper that was killed was about to write.
    names = os.listdir(directory) if os.path.isdir(directory) else []
    torn = [os.path.join(directory, name) for name in names if name.endswith(f".json{record.SUFFIX}")]
    return [*own, *torn, *warmers.leftovers(directory)]


def serve(arguments: list[str]) -> int:
    """``zygote-sealed DIRECTORY NETWORK SERVICES READY_DESCRIPTOR LOCK_DESCRIPTOR STARTER [HIDDEN...]``: be the fork
    server, started by :mod:`homeport.node.sandbox.sealing` for the process STARTER."""
    directory, ready, lock, starter = arguments[0], int(arguments[3]), int(arguments[4]), int(arguments[5])
    net, services = ipaddress.IPv4Network(arguments[1]), ipaddress.IPv4Network(arguments[2])
    for descriptor in (ready, lock):
        os.set_inheritable(descriptor, False)
    code, zygote = 1, None
    try:
        sealing.unseal()
        pods = registry.Registry(os.path.join(directory, "sandboxes"))
        zygote = Zygote(directory, net, services, arguments[6:], pods, starter)
        sealing.say(ready, {"pid": os.getpid()})
        ready = -1
        zygote.serve()
        code = 0
    except BaseException as error:
        sealing.fail(ready, error)
        if zygote is not None:
            with contextlib.suppress(OSError):
                zygote.give_up()
    finally:
        os._exit(code)
