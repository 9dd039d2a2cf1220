"""The fork server's warm interpreters: started when they are asked for, few, and none longer than it is of use."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import struct
from collections.abc import Callable
from typing import Any, NoReturn

from homeport.node.sandbox import capabilities, etc, linux, record, rootfs, spec, trees, warmstart, wire
from homeport.node.sandbox import container as containers
from homeport.node.sandbox.loop import Loop
from homeport.node.sandbox.mounts import SetupError
from homeport.node.sandbox.node import Node

MOST = 4
"""Warm interpreters at a time."""
IDLE_SECONDS = 900.0
"""How long one waits for the next container before it ends."""
MOST_MEMORY = 2 << 30
"""Bytes that one may need: one that comes to more is not kept."""
_SOURCE = "/run/homeport-warm"
_BEGIN = f"import sys; sys.path.insert(0, {_SOURCE!r}); from homeport.node.sandbox import warm; warm.main()"
_KEPT = capabilities.DEFAULT | {capabilities.NUMBERS["SYS_ADMIN"]}
"""What is beyond a container's is for joining namespaces; the filter forbids what else it allows."""

_FORBIDDEN = {
    # mount, umount2, pivot_root, ptrace, process_vm_readv, process_vm_writev, bpf, perf_event_open, kexec_load,
    # kexec_file_load, init_module, finit_module, delete_module, swapon, swapoff, reboot, quotactl, acct, settimeofday,
    # clock_settime, adjtimex, clock_adjtime, open_by_handle_at, fanotify_init, add_key, request_key, syslog, vhangup
    "x86_64": (
        *(165, 166, 155, 101, 310, 311, 321, 298, 246, 320, 175, 313, 176, 167, 168, 169, 179, 163, 164),
        *(227, 159, 305, 304, 300, 248, 249, 103, 153, 172, 173),
    ),
    "aarch64": (
        *(40, 39, 41, 117, 270, 271, 280, 241, 104, 294, 105, 273, 106, 224, 225, 142, 60, 89, 170),
        *(112, 171, 266, 265, 262, 217, 218, 116, 58),
    ),
}
_FORBIDDEN_EVERYWHERE = (428, 429, 430, 431, 432, 433, 438, 442)
"""open_tree, move_mount, fsopen, fsconfig, fsmount, fspick, pidfd_getfd, mount_setattr."""
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_EPERM = 1


class Warmers:
    """Those of one node. `fork` runs a function in a new process, as the fork server does."""

    def __init__(
        self, directory: str, node: Node, loop: Loop, fork: Callable[[set[int], Callable[[], object]], int]
    ) -> None:
        self._directory = place(directory)
        self._node = node
        self._loop = loop
        self._fork = fork
        self._running: dict[str, tuple[int, int]] = {}
        """Pids and pidfds by key, the one that was asked for longest ago first."""
        self._refused: set[str] = set()
        os.makedirs(self._directory, mode=0o711, exist_ok=True)
        self._adopt()

    def kindle(self, key: str, wanted: dict[str, Any]) -> None:
        """Have one of that key, soon, if that can be. `wanted`: the specification of a container that it is to look
        like, what it imports, and how many of the arguments are the interpreter's own."""
        if key in self._running:
            self._running[key] = self._running.pop(key)
            return
        if key in self._refused or os.uname().machine not in _FORBIDDEN:
            return
        for other in list(self._running):
            if len(self._running) < MOST:
                break
            self._end(other, only_idle=True)
        if len(self._running) >= MOST:
            return
        self._start(key, wanted)

    def end(self, *, only_idle: bool) -> None:
        """End all of them, with the containers that are forks of them, or only those that have none."""
        for key in list(self._running):
            self._end(key, only_idle=only_idle)

    def _adopt(self) -> None:
        for key, (pid, started) in _records(self._directory).items():
            pidfd = linux.open_process(pid, started)
            if pidfd is None:
                self._clear(key)
            else:
                self._watch(key, pid, pidfd)

    def _start(self, key: str, wanted: dict[str, Any]) -> None:
        place = os.path.join(self._directory, key)
        self._clear(key)
        os.mkdir(place, 0o711)
        listener = wire.bind(os.path.join(self._directory, f"{key}.sock"))
        receive, said = os.pipe2(os.O_CLOEXEC)
        container = spec.container_from(wanted["spec"])
        options = container.argv[1 : 1 + int(wanted["options"])]
        settings = {"modules": wanted["modules"], "options": options, "idle": IDLE_SECONDS, "most_memory": MOST_MEMORY}
        argv = [container.argv[0], *options, "-c", _BEGIN, json.dumps(settings)]
        source = spec.Mounted(os.path.dirname(linux.__file__).rpartition("/node/")[0], f"{_SOURCE}/homeport", True)
        container = container._replace(argv=argv, mounts=[source], cwd="/", termination_message_path="")
        try:
            self._fork({said, listener}, lambda: _make(self._node, key, place, container, listener, said))
        finally:
            os.close(listener)
            os.close(said)
        with os.fdopen(receive, "rb") as file:
            pid = int.from_bytes(file.read(8), "little")
        if not pid:
            self._refused.add(key)
            self._clear(key)
            return
        try:
            pidfd = os.pidfd_open(pid)
            record.write(os.path.join(self._directory, f"{key}.json"), [pid, linux.start_time(pid)])
        except OSError:
            # It has ended already, and has said why.
            self._refused.add(key)
            self._clear(key)
            return
        self._watch(key, pid, pidfd)

    def _watch(self, key: str, pid: int, pidfd: int) -> None:
        self._running[key] = pid, pidfd

        def ended(_events: int) -> None:
            with contextlib.suppress(ChildProcessError):  # it has been reaped, and noted, before this
                found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                if found is not None:
                    self.note(found)
            self._forget(key)

        self._loop.watch(pidfd, ended)

    def _forget(self, key: str) -> None:
        _, pidfd = self._running.pop(key)
        self._loop.forget(pidfd)
        os.close(pidfd)
        self._clear(key)

    def note(self, ended: os.waitid_result) -> None:
        """A child of the fork server has ended: if it is one of these and it failed, it is not tried again."""
        if ended.si_code == os.CLD_EXITED and ended.si_status:
            self._refused |= {key for key, (pid, _) in self._running.items() if pid == ended.si_pid}

    def _end(self, key: str, *, only_idle: bool = False) -> None:
        pid, pidfd = self._running[key]
        with contextlib.suppress(OSError):
            if only_idle and has_children(pid):
                return
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        self._forget(key)

    def _clear(self, key: str) -> None:
        for name in (f"{key}.sock", f"{key}.json", key):
            with contextlib.suppress(OSError):  # what is left goes with the next one
                trees.remove(os.path.join(self._directory, name))


def place(directory: str) -> str:
    """Where a node has its warm interpreters' sockets, records and layers."""
    return os.path.join(directory, "warm")


def recorded(directory: str) -> list[tuple[int, str]]:
    """Pids and start times of a node's warm interpreters, as they were written down last."""
    return list(_records(place(directory)).values())


def _records(directory: str) -> dict[str, tuple[int, str]]:
    found = {}
    for name in os.listdir(directory) if os.path.isdir(directory) else ():
        key, _, kind = name.partition(".")
        # What can't be read was never complete.
        with contextlib.suppress(OSError, ValueError, TypeError):
            if kind == "json":
                with open(os.path.join(directory, name), encoding="utf-8") as file:
                    pid, started = json.load(file)
                found[key] = int(pid), str(started)
    return found


def leftovers(directory: str) -> list[str]:
    """Paths that belong to warm interpreters which have ended."""
    top = place(directory)
    alive = {key for key, (pid, started) in _records(top).items() if linux.is_alive(pid, started)}
    names = os.listdir(top) if os.path.isdir(top) else []
    return [os.path.join(top, name) for name in names if name.partition(".")[0] not in alive]


def has_children(pid: int) -> bool:
    """Whether containers run that are forks of that warm interpreter. Raises OSError if it has ended."""
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return bool(file.read().strip())


def _make(node: Node, key: str, place: str, container: spec.Container, listener: int, said: int) -> None:
    """In a process of its own: make the sandbox, say the pid of its first process, and go."""
    pod = spec.Pod(
        uid=f"warm-{key}",
        namespace="",
        name=key,
        directory=place,
        hostname="warm",
        hosts={},
        nameservers=[],
        searches=[],
        dns_options=[],
        host_network=False,
        shm_bytes=64 << 20,
    )
    linux.unshare(linux.CLONE_NEWNET | linux.CLONE_NEWUTS | linux.CLONE_NEWIPC | linux.CLONE_NEWNS)
    linux.set_hostname(pod.hostname)
    rootfs.make_pod_mounts(node.layout, pod, etc.files(pod, "127.0.0.1", "127.0.0.1"))
    os.mkdir(pod.layers, 0o711)
    root = rootfs.Root(node.layout, pod, container, user_namespace=node.user_namespace)
    root.make_room()
    pid, _ = linux.fork_into(linux.CLONE_NEWPID | linux.CLONE_NEWNS)
    if pid == 0:
        _become(root, container, listener)
    os.write(said, pid.to_bytes(8, "little"))


def _become(root: rootfs.Root, container: spec.Container, listener: int) -> NoReturn:
    try:
        linux.set_oom_score(0)
        root.assemble([])
        os.setsid()
        os.chdir("/")
        linux.new_session_keyring()
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            with contextlib.suppress(OSError):  # the C library's own
                signal.signal(number, signal.SIG_DFL)
        os.dup2(listener, warmstart.LISTENER)
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(null, 1)
        linux.close_descriptors({0, 1, 2, warmstart.LISTENER})
        linux.limit_bounding_set(_KEPT)
        linux.filter_system_calls(_filter())
        containers.execute(container.argv, container.env)
    except (OSError, SetupError, containers.StartFailure) as error:
        print(f"an interpreter can't be kept warm: {error}", flush=True)
    finally:
        os._exit(1)


def _filter() -> bytes:
    """A seccomp filter that answers EPERM to what CAP_SYS_ADMIN is not kept for."""
    machine = os.uname().machine
    numbers = (*_FORBIDDEN[machine], *_FORBIDDEN_EVERYWHERE)
    load, jump_equal, jump_at_least, give = 0x20, 0x15, 0x35, 0x06
    allow, refuse, kill = 0x7FFF0000, 0x00050000 | _EPERM, 0x80000000
    program = [
        struct.pack("=HBBI", load, 0, 0, 4),
        struct.pack("=HBBI", jump_equal, 1, 0, _ARCHITECTURES[machine]),
        struct.pack("=HBBI", give, 0, 0, kill),
        struct.pack("=HBBI", load, 0, 0, 0),
        # Calls of the x32 interface have other numbers.
        struct.pack("=HBBI", jump_at_least, len(numbers) + 1, 0, 0x40000000),
        *(struct.pack("=HBBI", jump_equal, len(numbers) - place, 0, one) for place, one in enumerate(numbers)),
        struct.pack("=HBBI", give, 0, 0, allow),
        struct.pack("=HBBI", give, 0, 0, refuse),
    ]
    return b"".join(program)
