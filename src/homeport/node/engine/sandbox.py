"""A pod of the engine: its infrastructure container and its own."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import signal as signals
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from homeport.node.engine import bodies, logfile, states
from homeport.node.engine.api import Engine, EngineError
from homeport.node.engine.removing import remove, remove_all
from homeport.node.engine.session import EngineSession
from homeport.node.runtime import (
    ContainerSpec,
    ContainerState,
    Limits,
    Mount,
    SandboxError,
    Session,
    StartError,
    Wanted,
)
from homeport.node.sandbox import volumefiles

_LOG = logging.getLogger(__name__)
_LOG_SECONDS = 10.0
"""How long after a container's end its output may take to arrive."""
_NOT_FOUND, _CANNOT_START = 127, 128
_RESIZE_DELAYS = (0.01, 0.03, 0.1, 0.3)
"""A command has no terminal before it runs, which the engine does not tell: as Docker's own client, ask again."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What all sandboxes of a node share."""

    engine: Engine
    node: str
    """The node's key (:func:`homeport.node.engine.bodies.node_key`)."""
    is_podman: bool
    unlink: Callable[[str], Awaitable[None]]
    """Take an address out of the node's network."""
    loopback: Callable[[int], Awaitable[socket.socket]]
    """A socket, unconnected, of the network of the process with this id. Raises OSError."""
    kill: Callable[[int], Awaitable[None]]
    """Kill the process with this id, which may be another user's. Raises SandboxError."""

    def waiting(self, container: str) -> tuple[str, Mapping[str, str]]:
        """Where to ask for a container's end. Podman's answer in Docker's words takes a processor for itself while it
        waits (version 4.3); in its own it looks ten times a second, which costs next to nothing."""
        if self.is_podman:
            return f"/libpod/containers/{container}/wait", {"condition": "stopped", "interval": "100ms"}
        return f"/containers/{container}/wait", {}


@dataclass(slots=True)
class _Known:
    """A container of the engine."""

    id: str
    log: logfile.Place
    termination_log: str
    tty: bool
    state: ContainerState
    following: asyncio.Task[None] | None = None
    watching: asyncio.Task[None] | None = None

    def ended(self, described: Mapping[str, Any]) -> ContainerState:
        return states.ended(self.state, described, states.termination_message(self.termination_log))


class EngineSandbox:
    """One sandbox. Implements :class:`homeport.node.runtime.Sandbox`; made by the runtime only."""

    def __init__(
        self,
        facts: Facts,
        shared: Mapping[str, Any],
        files: Sequence[Mount],
        on_destroyed: Callable[[EngineSandbox], None],
    ) -> None:
        """`shared` is what the engine says of the infrastructure container; `files` belong to all containers."""
        labels = shared["Config"]["Labels"]
        self._facts = facts
        self._engine = facts.engine
        self._id = str(shared["Id"])
        self._pid = int(shared["State"]["Pid"])
        self._uid: str = labels[bodies.UID]
        self._pod: str = labels[bodies.POD]
        self._namespace: str = labels[bodies.NAMESPACE]
        self._directory: str = labels[bodies.DIRECTORY]
        self._address: str = labels[bodies.ADDRESS]
        self._processes: str = labels.get(bodies.PROCESSES, "container")
        self._alive = bool(shared["State"]["Running"])
        self._files = tuple(files)
        self._on_destroyed = on_destroyed
        self._known: dict[str, _Known] = {}
        self._exits: asyncio.Queue[ContainerState | None] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        if self._alive:
            self._spawn(self._watch_shared())
        else:
            self._exits.put_nowait(None)

    @property
    def uid(self) -> str:
        return self._uid

    @property
    def directory(self) -> str:
        return self._directory

    @property
    def address(self) -> str:
        return self._address

    @property
    def alive(self) -> bool:
        return self._alive

    def containers(self) -> Mapping[str, ContainerState]:
        return {name: known.state for name, known in self._known.items()}

    async def adopt(self, containers: Sequence[Mapping[str, Any]]) -> None:
        """Take over containers that exist, as the engine describes them."""
        newest: dict[str, Mapping[str, Any]] = {}
        for one in sorted(containers, key=lambda one: int(one["Config"]["Labels"][bodies.ATTEMPT])):
            if not states.has_run(one):
                await self._delete(one["Id"])  # the platform ended before it could start it
                continue
            newest[one["Config"]["Labels"][bodies.CONTAINER]] = one
        for name, one in newest.items():
            labels = one["Config"]["Labels"]
            known = _Known(
                id=one["Id"],
                log=logfile.Place(
                    labels[bodies.LOG], int(labels.get(bodies.LOG_BYTES, 0)), int(labels.get(bodies.LOG_FILES, 2))
                ),
                termination_log=labels[bodies.TERMINATION],
                tty=bool(one["Config"].get("Tty")),
                state=ContainerState(name, int(labels[bodies.ATTEMPT]), "running", 0, ""),
            )
            self._known[name] = known
            self._begin_following(known)
            if one["State"]["Running"] or one["State"].get("Paused"):
                known.state = states.running(known.state, one)
                known.watching = self._spawn(self._watch(known))
            else:
                await self._log_complete(known)
                known.state = known.ended(one)

    # Starting.

    async def start(self, spec: ContainerSpec) -> ContainerState:
        former = self._known.get(spec.name)
        if former is not None and former.id:
            await self._delete(former.id)
        try:
            spec = replace(spec, mounts=tuple(whole(mount) for mount in spec.mounts))
        except OSError as error:
            raise SandboxError(f"container {spec.name} could not be started: {error}") from error
        place = os.path.join(self._directory, "termination", f"{spec.name}-{spec.attempt}")
        _make_empty(place)
        os.makedirs(os.path.dirname(spec.log_path), mode=0o755, exist_ok=True)
        body = bodies.container(
            spec,
            node=self._facts.node,
            uid=self._uid,
            shared=self._id,
            files=self._files,
            termination_log=place,
            processes=self._processes,
            target=self._inside(spec.target).id if spec.target else "",
            is_podman=self._facts.is_podman,
        )
        name = bodies.container_name(self._facts.node, spec.name, self._pod, self._namespace, self._uid, spec.attempt)
        state = ContainerState(spec.name, spec.attempt, "running", 0, "")
        log = logfile.Place(spec.log_path, spec.log_bytes, spec.log_files)
        known = _Known("", log, place, spec.tty, state)
        try:
            known.id = (await self._engine.request("POST", "/containers/create", body, query={"name": name}))["Id"]
            described = await self._started(known.id)
        except EngineError as error:
            if not error.status or not self._alive:
                raise SandboxError(f"container {spec.name} could not be started: {error}") from error
            return await self._not_started(known, str(error))
        known.state = states.running(known.state, described)
        self._known[spec.name] = known
        self._begin_following(known)
        known.watching = self._spawn(self._watch(known))
        return known.state

    async def _started(self, identity: str) -> Mapping[str, Any]:
        """Start a container; what the engine says of it then. Raises EngineError."""
        refused: EngineError | None = None
        try:
            await self._engine.request("POST", f"/containers/{identity}/start")
        except EngineError as error:
            refused = error
        described: Mapping[str, Any] = await self._engine.request("GET", f"/containers/{identity}/json")
        # Podman fails for one that has ended before it has looked at it.
        if refused is not None and not states.has_run(described):
            raise refused
        return described

    async def _not_started(self, known: _Known, text: str) -> ContainerState:
        code = _NOT_FOUND if states.is_not_found(text) else _CANNOT_START
        known.state = replace(
            known.state, phase="exited", exit_code=code, reason="StartError", message=text, finished_at=""
        )
        self._known[known.state.name] = known
        if known.id:
            await self._delete(known.id)
        return known.state

    # While it runs.

    def _begin_following(self, known: _Known) -> None:
        if not self._facts.is_podman:  # which writes the log itself
            known.following = self._spawn(self._follow(known))

    async def _follow(self, known: _Known) -> None:
        try:
            await logfile.follow(self._engine, known.id, known.log, tty=known.tty)
        except (OSError, EngineError) as error:
            _LOG.warning("the log of container %s of pod %s: %s", known.state.name, self._pod, error)

    async def _watch(self, known: _Known) -> None:
        described = await self._until_ended(known.id)
        await self._log_complete(known)
        if known.state.phase != "running":
            return
        known.state = states.lost(known.state) if described is None else known.ended(described)
        self._exits.put_nowait(known.state)

    async def _watch_shared(self) -> None:
        """When the infrastructure container ends, so does the sandbox: what still runs has no network any more."""
        await self._until_ended(self._id)
        self._alive = False
        watching = [known.watching for known in self._known.values() if known.watching is not None]
        await asyncio.gather(*(self.signal(name, signals.SIGKILL) for name in list(self._known)))
        await asyncio.gather(*watching)
        self._exits.put_nowait(None)

    async def _until_ended(self, identity: str) -> Mapping[str, Any] | None:
        """Wait for a container's end. What the engine says of it then; None if it does not know it."""
        delay = 0.1
        while True:
            try:
                path, query = self._facts.waiting(identity)
                await self._engine.request("POST", path, query=query)
                return dict(await self._engine.request("GET", f"/containers/{identity}/json"))
            except EngineError as error:
                if error.status == 404:
                    return None
                # The engine is being restarted. Containers go on meanwhile, or end with it.
                _LOG.debug("%s", error)
                await asyncio.sleep(delay)
                delay = min(2 * delay, 5.0)

    async def _log_complete(self, known: _Known) -> None:
        """Return once all that the container wrote is in its log, for which it has some time."""
        if known.following is not None:
            await asyncio.wait((known.following,), timeout=_LOG_SECONDS)

    # Clients inside.

    def _inside(self, container: str) -> _Known:
        known = self._known.get(container)
        if known is None or known.state.phase != "running":
            raise SandboxError(f"container {container} does not run")
        return known

    async def execute(self, container: str, argv: Sequence[str], wanted: Wanted) -> Session:
        known = self._inside(container)
        body = {
            "AttachStdin": wanted.stdin,
            "AttachStdout": wanted.stdout or wanted.tty,
            "AttachStderr": wanted.stderr and not wanted.tty,
            "Tty": wanted.tty,
            "Cmd": list(argv),
        }
        try:
            made = await self._engine.request("POST", f"/containers/{known.id}/exec", body)
            identity = str(made["Id"])
            begin = {"Detach": False, "Tty": wanted.tty}
            connection, early = await self._engine.hijack(f"/exec/{identity}/start", begin)
        except EngineError as error:
            if error.status in (404, 409) and not states.is_not_found(str(error)):
                raise SandboxError(str(error)) from error
            raise StartError(str(error), _NOT_FOUND if states.is_not_found(str(error)) else _CANNOT_START) from error

        async def exited() -> int:
            await session.drained()
            return await self._exit_code(identity)

        async def kill() -> None:
            # The engine has no word for it.
            described = await self._engine.request("GET", f"/exec/{identity}/json")
            if described["Running"] and described.get("Pid"):
                await self._facts.kill(int(described["Pid"]))

        resize = self._resizing(f"/exec/{identity}")
        session = EngineSession(connection, early, wanted, tty=wanted.tty, exited=exited, resize=resize, kill=kill)
        return session

    async def _exit_code(self, identity: str) -> int:
        """Of a command whose streams have ended: the engine notes it a moment later."""
        delay = 0.005
        while True:
            try:
                described = await self._engine.request("GET", f"/exec/{identity}/json")
            except EngineError as error:
                raise ConnectionError(str(error)) from error
            if not described["Running"] and described.get("ExitCode") is not None:
                return int(described["ExitCode"])
            await asyncio.sleep(delay)
            delay = min(2 * delay, 0.5)

    async def attach(self, container: str, wanted: Wanted) -> Session:
        known = self._inside(container)
        query = {"stream": "true", "logs": "false"}
        query |= {name: "true" for name in ("stdin", "stdout", "stderr") if getattr(wanted, name)}
        try:
            connection, early = await self._engine.hijack(f"/containers/{known.id}/attach", query=query)
        except EngineError as error:
            raise SandboxError(str(error)) from error

        async def exited() -> int:
            if known.watching is not None:
                await asyncio.shield(known.watching)
            return known.state.exit_code

        return EngineSession(
            connection,
            early,
            wanted,
            tty=known.tty,
            exited=exited,
            resize=self._resizing(f"/containers/{known.id}"),
        )

    def _resizing(self, path: str) -> Callable[[int, int], Awaitable[None]]:
        async def resize(rows: int, columns: int) -> None:
            for delay in (*_RESIZE_DELAYS, None):
                try:
                    await self._engine.request("POST", f"{path}/resize", query={"h": str(rows), "w": str(columns)})
                    return
                except EngineError as error:
                    if delay is None:
                        raise ConnectionError(str(error)) from error
                    await asyncio.sleep(delay)

        return resize

    async def connect(self, port: int) -> socket.socket:
        made = await self._facts.loopback(self._pid)
        try:
            await asyncio.get_running_loop().sock_connect(made, ("127.0.0.1", port))
        except BaseException:
            made.close()
            raise
        return made

    async def read(self, volume: str, path: str) -> bytes | None:
        try:
            return await asyncio.to_thread(volumefiles.read, volume, path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SandboxError(f"{path} of {volume} can't be read: {error.strerror or error}") from error

    async def limit(self, pod: Limits, containers: Mapping[str, Limits]) -> None:
        # The engine has no place for what all containers of a pod may use together.
        for name, wanted in containers.items():
            known = self._inside(name)
            try:
                await self._engine.request("POST", f"/containers/{known.id}/update", bodies.limited(wanted))
            except EngineError as error:
                raise SandboxError(f"the limits of container {name} can't be changed: {error}") from error

    async def signal(self, container: str, signal: int) -> None:
        known = self._known.get(container)
        if known is None or known.state.phase != "running":
            return
        try:
            await self._engine.request("POST", f"/containers/{known.id}/kill", query={"signal": str(int(signal))})
        except EngineError as error:
            if not await self._has_ended(known.id):
                raise SandboxError(f"container {container} can't be sent a signal: {error}") from error

    async def _has_ended(self, identity: str) -> bool:
        """Whether it runs no more, which whoever waits for it hears."""
        try:
            described = await self._engine.request("GET", f"/containers/{identity}/json")
        except EngineError as error:
            return error.status == 404
        return not described["State"]["Running"]

    async def changes(self) -> AsyncIterator[ContainerState]:
        while (state := await self._exits.get()) is not None:
            yield state
        # For the next reader, who is to see the end too.
        self._exits.put_nowait(None)

    # The end.

    async def destroy(self) -> None:
        self._alive = False
        query = bodies.labelled(node=self._facts.node, uid=self._uid)
        try:
            found = await self._engine.request("GET", "/containers/json", query=query)
            await remove_all(self._engine, [str(one["Id"]) for one in found])
        except EngineError as error:
            raise SandboxError(f"the containers of pod {self._pod} can't be removed: {error}") from error
        with contextlib.suppress(SandboxError, OSError):
            # The address is free at the latest when the container's network has gone, which it has.
            await self._facts.unlink(self._address)
        self.detach()
        self._on_destroyed(self)

    async def leave(self, grace: float) -> None:
        """End the containers, politely first, and the infrastructure container. How they ended stays with the engine
        for the next ``adopt``. `grace` is in seconds."""
        running = [name for name, known in self._known.items() if known.state.phase == "running"]
        watching = [known.watching for known in self._known.values() if known.watching is not None]
        await asyncio.gather(*(self.signal(name, signals.SIGTERM) for name in running))
        if watching:
            _, late = await asyncio.wait(watching, timeout=grace)
            if late:
                await asyncio.gather(*(self.signal(name, signals.SIGKILL) for name in running))
                await asyncio.wait(late)
        with contextlib.suppress(EngineError):
            await self._engine.request("POST", f"/containers/{self._id}/kill")

    def detach(self) -> None:
        """Stop listening; the containers go on."""
        for task in self._tasks:
            task.cancel()
        self._exits.put_nowait(None)

    async def _delete(self, identity: str) -> None:
        """A container of ours, as far as nobody shares its processes: what is left goes with the sandbox."""
        try:
            await remove(self._engine, identity)
        except EngineError as error:
            raise SandboxError(f"the engine can't remove a container of pod {self._pod}: {error}") from error

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def whole(mount: Mount) -> Mount:
    """A mount without a path below its source, since the engine knows none. Raises OSError if that leads out of the
    source; a container that changes it at the same moment is not noticed."""
    if not mount.sub_path:
        return mount
    source = os.path.realpath(mount.source)
    place = os.path.realpath(os.path.join(source, mount.sub_path))
    if place != source and not place.startswith(f"{source}/"):
        raise PermissionError(errno.EPERM, "the path leads out of the volume", mount.sub_path)
    if not os.path.lexists(place):
        os.makedirs(place, mode=0o755)
    return replace(mount, source=place, sub_path="")


def _make_empty(path: str) -> None:
    """A file that any user of the container may write."""
    os.makedirs(os.path.dirname(path), mode=0o711, exist_ok=True)
    with open(path, "wb") as file:
        os.fchmod(file.fileno(), 0o666)
