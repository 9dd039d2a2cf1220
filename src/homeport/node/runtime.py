"""The swap point between the node's agent and what runs pods: processes here, Docker or Podman elsewhere.

A *sandbox* is a pod's namespaces and its supervisor; containers start inside it. Everything that a runtime reports
can be asked for again after a restart of the platform: a sandbox keeps its own state on disk and outlives the
platform.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from homeport.node.sandbox import capabilities


@dataclass(frozen=True, slots=True)
class Mount:
    """A host path shown at `target` inside the container; a directory or a file."""

    source: str
    target: str
    read_only: bool = False
    sub_path: str = ""
    """What of `source` is shown, relative to it. Looked up when the container starts, and never outside of `source`
    whatever links are on the way; made as a directory if it is not there."""
    device: bool = False
    """A device that the node gives to the container: else character devices are shown, but can't be opened."""
    image: ImageRoot | None = None
    """An image whose tree is shown, in the place of `source`; for reading only."""
    follows: bool = False
    """Whether the container sees what is mounted below `source` after it has started."""


@dataclass(frozen=True, slots=True)
class ImageRoot:
    """What a container sees as its root: the host's own /usr and so on below, the environment on top.

    `environment` is the directory of a relocatable virtual environment, shown at ``/opt/venv`` (writes go to the
    container's own layer, never to the image); None for a plain image. `interpreter` is the prefix of the Python
    installation that the environment refers to, shown read-only at the same path. `files` are extra directories or
    files of the image (host path -> path inside); unless ``read_only``, writes go to the container's own layer too.

    `layers` are directories as overlayfs reads them (whiteouts, opaque marks), the topmost first; all in one directory.
    They lie over all of the above, or, without `machine`, are the whole root: nothing of the host is below then.
    """

    environment: str | None = None
    interpreter: str | None = None
    files: tuple[Mount, ...] = ()
    layers: tuple[str, ...] = ()
    machine: bool = True
    warm: tuple[str, ...] = ()
    """Python modules that an interpreter of the environment may be kept with, for containers to be forked of
    (:mod:`homeport.node.warmth`)."""
    reference: str = ""
    """The id of an engine's image, where containers are an engine's; then it is all that counts."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the processes of a pod, or of a container, may use. 0 stands for no limit."""

    memory: int = 0
    """Bytes. Beyond them a process is ended, which shows as ``OOMKilled``."""
    cpu_shares: int = 0
    """The weight against others that want the processor at the same time, as cgroups of version 1 count it: 1024 for a
    processor. 0: the least."""
    cpu_quota: int = 0
    """Microseconds of processor time in each tenth of a second."""
    pids: int = 0
    """Processes and threads."""


@dataclass(frozen=True, slots=True)
class Security:
    """What the processes of a container may do."""

    capabilities: frozenset[int] = capabilities.DEFAULT
    """All that any of them can ever have; a root user begins with them."""
    no_new_privileges: bool = False
    """Whether setuid programs and the like gain nothing."""
    seccomp: bytes = b""
    """A filter of system calls as the kernel takes it (:mod:`homeport.node.seccomp`); empty: none."""
    unmasked_proc: bool = False
    """Show /proc as it is, with nothing hidden or read-only."""
    privileged: bool = False
    """The machine's devices, and /proc and /sys as they are; with all capabilities, nothing is kept from it."""


@dataclass(frozen=True, slots=True)
class MemoryVolume:
    """A directory in memory that the pod's containers share, and nobody else sees. Where pods are processes, what it
    holds is there again in the pod's next sandbox, until it is deleted (:meth:`Runtime.remove`); an engine's container
    takes it along when the sandbox ends."""

    path: str
    """In the pod's directory; where mounts take it from."""
    size: int
    """The bytes that it holds at most."""
    group: int | None = None
    """Whose the directory and what is made in it are; None: the group of who makes it."""


@dataclass(frozen=True, slots=True)
class SandboxSpec:
    """A pod's shared part."""

    uid: str
    namespace: str
    name: str
    directory: str
    """The pod's directory on the host: state, logs, volumes and writable layers; exists before ``create``."""
    hostname: str
    hosts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Extra lines of /etc/hosts: address -> names (``hostAliases``)."""
    nameservers: tuple[str, ...] = ()
    """Empty: the cluster's DNS."""
    searches: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ("ndots:5",)
    host_network: bool = False
    shm_bytes: int = 64 << 20
    fqdn: str = ""
    """The full name of a pod that has one: ``<hostname>.<subdomain>.<namespace>.svc.<domain>``."""
    limits: Limits = Limits()
    """What all containers together may use."""
    processes: Literal["container", "pod", "host"] = "container"
    """Whom a container's processes see: their container's, all of the pod's, or all of the machine's."""
    host_ipc: bool = False
    """Share System V IPC, message queues and /dev/shm with the machine."""
    sysctls: Mapping[str, str] = field(default_factory=dict)
    """Kernel parameters of the pod's own namespaces."""
    memory: tuple[MemoryVolume, ...] = ()


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    name: str
    attempt: int
    """0 for the first start; each restart adds one. Names the log file and the writable layer."""
    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str
    image: ImageRoot
    mounts: tuple[Mount, ...]
    log_path: str
    """Where the supervisor writes lines as ``<RFC3339Nano> <stdout|stderr> <F|P> <text>`` (the CRI log format)."""
    uid: int | None = None
    """None: as `user` says."""
    gid: int | None = None
    """None: as `user` says, else the user's in the container's /etc/passwd, else 0."""
    groups: tuple[int, ...] = ()
    user: str = ""
    """The image's ``USER``: a name or number, perhaps with a group behind a colon, as the container's /etc/passwd and
    /etc/group have them; empty: root."""
    only_these_groups: bool = False
    """Leave out the groups that the container's /etc/group has the user in."""
    security: Security = Security()
    seccomp_profile: str = ""
    """The text of the profile (JSON) that ``security.seccomp`` was made of; empty for the default one, and without."""
    read_only_root: bool = False
    termination_message_path: str = "/dev/termination-log"
    """A file of this path inside the container is kept by the sandbox; its content comes back with the exit."""
    stdin: bool = False
    """Keep standard input open for whoever attaches; else it is empty."""
    stdin_once: bool = False
    """Close standard input for good when the first who attached to it goes."""
    tty: bool = False
    """Give it a terminal, which is its input, output and errors in one."""
    keeps_writes: bool = False
    """What it writes becomes a layer of an image: all of it goes to the pod's disk, and none to memory."""
    limits: Limits = Limits()
    log_bytes: int = 0
    """Bytes after which the log goes on in another file (``<log_path>.1`` and so on are those before); 0: never."""
    log_files: int = 5
    """How many files of the log stay, the one that is being written among them."""
    target: str = ""
    """The container whose processes it is among and sees; empty: its own. ``start`` fails if it does not run."""
    oom_score: int = 500
    """Who is to end first if the machine has no memory left: -1000 for never, 1000 for before all others. An ordinary
    user's processes can't have less than their user's others."""
    devices: tuple[str, ...] = ()
    """Files of the machine's /dev that it has beside those that all containers have."""


@dataclass(frozen=True, slots=True)
class ContainerState:
    """One container attempt as the sandbox knows it. Times are RFC 3339 with nanoseconds or empty."""

    name: str
    attempt: int
    phase: Literal["running", "exited"]
    pid: int
    started_at: str
    finished_at: str = ""
    exit_code: int = 0
    signal: int = 0
    """The signal that ended it, 0 for none (then ``exit_code`` is 128 + signal too)."""
    reason: str = ""
    """``Completed``, ``Error``, ``OOMKilled``, ``StartError`` (the command could not be started) or
    ``ContainerStatusUnknown``."""
    message: str = ""
    """The termination message, or why the command could not be started."""
    cgroups: Mapping[str, str] = field(default_factory=dict)
    """The directories of the cgroups that count its use: ``memory`` and ``cpu``, as far as there are any."""
    ids: tuple[int, ...] = ()
    """Whom its first process began as: user, group and further groups, as the container knows them. Empty if nobody has
    said."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which streams of a process a client wants to have."""

    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    tty: bool = False
    """All of them as one terminal."""


class Reader(Protocol):
    async def read(self, limit: int = 65536) -> bytes:
        """What is there; empty at the end. One reader at a time."""


class Writer(Protocol):
    async def write(self, data: bytes) -> None:
        """Waits while the process does not read. Raises BrokenPipeError once it can't any more."""

    def close(self) -> None:
        """The process sees the end of its input; of a terminal it does not."""


class Session(Protocol):
    """A client at a process in a container. Streams that were not asked for, or that there are none of, are None."""

    @property
    def stdin(self) -> Writer | None: ...
    @property
    def stdout(self) -> Reader | None: ...
    @property
    def stderr(self) -> Reader | None: ...

    def resize(self, rows: int, columns: int) -> None:
        """Of the terminal, if there is one."""

    async def wait(self) -> int:
        """The process's exit code, 128 and more if a signal ended it. What it wrote can still be read then, to the end.
        Raises ConnectionError if nobody knows it: the supervisor has gone."""

    def kill(self) -> None:
        """End the command, and what it has started in its own process group. Of an attached container's, nothing."""

    def close(self) -> None:
        """Let go. The process goes on, without its streams."""


class StartError(Exception):
    """A command can't be started in a container; the text says why. ``code`` is the shell's for that: 127 if it is not
    there, else 128."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class SandboxError(Exception):
    """The machine refused; the text says what and what to do."""


class NotYet(SandboxError):
    """What a container is to see is not as it has to be: it has not ended, and waits with that reason."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Unenforceable(SandboxError):
    """The kernel can't enforce network policies, and won't until somebody changes the machine."""


class Sandbox(Protocol):
    @property
    def uid(self) -> str: ...
    @property
    def directory(self) -> str: ...
    @property
    def address(self) -> str:
        """The pod's IP."""

    @property
    def alive(self) -> bool:
        """False once the supervisor has gone: no container can start here any more."""

    def containers(self) -> Mapping[str, ContainerState]:
        """The newest attempt of each container, by name."""

    async def start(self, spec: ContainerSpec) -> ContainerState:
        """Start one container and return once it runs, or once it is known that it can't (phase ``exited``). Raises
        NotYet if it is to wait, SandboxError."""

    async def execute(self, container: str, argv: Sequence[str], wanted: Wanted) -> Session:
        """Run a further command in a running container, as the container's user in its working directory. Raises
        StartError, or SandboxError if the container does not run."""

    async def attach(self, container: str, wanted: Wanted) -> Session:
        """Get at the streams of a running container's first process: from now on what it writes, and its input if it
        keeps one open. Raises SandboxError if it does not run."""

    async def connect(self, port: int) -> socket.socket:
        """A TCP connection to the pod's own loopback, non-blocking. Raises OSError as ``connect`` does."""

    async def read(self, volume: str, path: str) -> bytes | None:
        """A file of one of the pod's volumes, None if there is none. Raises SandboxError, also for one larger than 256
        KiB."""

    async def limit(self, pod: Limits, containers: Mapping[str, Limits]) -> None:
        """Change what the pod, and those of its containers that run, may use. Raises SandboxError if that can't be,
        among others because more memory is in use already."""

    async def signal(self, container: str, signal: int) -> None:
        """Send a signal to the container's first process. No error if it has gone."""

    def changes(self) -> AsyncIterator[ContainerState]:
        """Every exit that no reader has seen yet, from the moment the sandbox was created or adopted, and the end of
        the iterator when the supervisor goes. A container whose ``start`` already returned ``exited`` is not repeated
        here. One reader at a time."""

    async def destroy(self) -> None:
        """Kill what is left, end the supervisor, release the network. Keeps logs and volumes: the agent's business."""


class Runtime(Protocol):
    async def start(self) -> None:
        """Make the node's network and helpers ready, or adopt them if they still run."""

    async def create(self, spec: SandboxSpec) -> Sandbox:
        """Raises SandboxError."""

    def not_held(self, container: ContainerSpec) -> list[str]:
        """What of that pods of this runtime are not held to, in words for the pod's events."""

    async def adopt(self) -> list[Sandbox]:
        """Sandboxes that already exist on disk, running or ended, as after a restart of the platform."""

    async def set_records(self, records: Mapping[str, tuple[str, ...]]) -> None:
        """Replace what the cluster's DNS answers: full name without the final dot -> addresses."""

    def watch_ports(self, changed: Callable[[Mapping[str, int]], None]) -> None:
        """Have `changed` hear of published front ends: 0 for one that the machine's own network has now, an errno for
        one that it can't have."""

    @property
    def is_linked(self) -> bool:
        """Whether the machine's own network leads to pods, so that pods on it reach others and the cluster's DNS."""

    async def set_policies(self, message: Mapping[str, Any]) -> None:
        """Replace what pods may send and take (:func:`homeport.node.policies.message`). Raises Unenforceable where the
        kernel can't enforce that; SandboxError or OSError if it isn't known what holds, and another try is worth while.
        """

    async def set_frontends(self, changes: Mapping[str, Mapping[str, Any] | None], *, everything: bool = False) -> None:
        """Where services are reached and what is behind it, in the words of :mod:`homeport.node.sandbox.frontends`;
        None for a front end that there is no more. With `everything`, there are no others. Raises SandboxError or
        OSError."""

    @property
    def gateway(self) -> str:
        """The address under which pods reach what ``listen`` opened, and the cluster's DNS."""

    async def dial(self, address: str, port: int) -> socket.socket:
        """A TCP connection from the node to a pod, non-blocking. Raises OSError as ``connect`` does."""

    async def listen(self, port: int) -> socket.socket:
        """A listening TCP socket on ``gateway`` that pods can reach, non-blocking; port 0 lets the system choose.
        Raises OSError as ``bind`` does."""

    async def publish(self, port: int, serve: Callable[[socket.socket], Awaitable[None]]) -> None:
        """Give `serve` a listening socket as ``listen`` makes it, and another one whenever the pods' network had to be
        made anew. Raises OSError."""

    async def remove(self, path: str) -> None:
        """Delete a directory tree that containers wrote to, whichever user ids own its files. No error if it is not
        there."""

    async def give(self, path: str, group: int, *, read_only: bool, only_if_root_differs: bool) -> None:
        """Let a group, by its number in containers, have a directory tree: read it, unless `read_only` write it too,
        and own what will be made in it. `only_if_root_differs`: not if the tree's top is the group's already. Raises
        SandboxError."""

    async def give_file(self, path: str, user: int) -> None:
        """Let a user, by its number in containers, own a file. Raises SandboxError."""

    async def copy(self, source: str, target: str) -> None:
        """Make `target`, which is not there, a copy of a directory tree, whichever user ids own what is in it. Raises
        SandboxError."""

    async def measure(self, paths: Sequence[str]) -> list[int]:
        """How many bytes these directory trees take on the disk, whichever user ids own what is in them; 0 for one that
        is not there. Raises SandboxError."""

    async def stop(self, *, end_pods: bool) -> None:
        """Detach; with `end_pods` also kill every sandbox and the node's helpers."""
