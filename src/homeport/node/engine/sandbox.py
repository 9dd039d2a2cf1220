"""A pod of the engine: its infrastructure container and its own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal as signals
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from homeport.node.engine import bodies, lives, logfile, removing, states, visiting
from homeport.node.engine.api import EngineError
from homeport.node.engine.facts import Facts
from homeport.node.engine.volumes import Volumes
from homeport.node.runtime import ContainerSpec, ContainerState, Limits, Mount, SandboxError, Session, Wanted

_LOG = logging.getLogger(__name__)
_LOG_SECONDS = 10.0
"""How long after a container's end its output may take to arrive."""


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
        self._net = facts.net
        self._id = str(shared["Id"])
        self._pid = int(shared["State"]["Pid"])
        self._uid: str = labels[bodies.UID]
        self._pod: str = labels[bodies.POD]
        self._namespace: str = labels[bodies.NAMESPACE]
        self._directory: str = labels[bodies.DIRECTORY]
        self._address: str = labels[bodies.ADDRESS]
        self._processes: str = labels.get(bodies.PROCESSES, "container")
        self._group: str = labels.get(bodies.GROUP, "")
        self._is_linked = shared["HostConfig"]["NetworkMode"] != "host"
        self._volumes = Volumes(facts.net, facts.places, shared)
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

    async def link(self) -> None:
        """Connect the pod to the node's network. Raises SandboxError."""
        await self._net.ask(op="link", pid=self._pid, address=self._address)

    async def rejoin(self) -> None:
        """The same where it may be connected already. Raises SandboxError."""
        if self._is_linked and self._alive:
            await self._net.ask_apart(op="join", pid=self._pid, address=self._address)

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
        if any(mount.image is not None for mount in spec.mounts):
            raise SandboxError("containers of an engine can't have volumes of type image; sandboxes can")
        spec = replace(spec, mounts=tuple([await self._volumes.whole(mount) for mount in spec.mounts]))
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
            group=self._group,
            profile=await asyncio.to_thread(lives.profile, self._directory, spec, is_podman=self._facts.is_podman),
        )
        name = bodies.container_name(self._facts.node, spec.name, self._pod, self._namespace, self._uid, spec.attempt)
        state = ContainerState(spec.name, spec.attempt, "running", 0, "")
        log = logfile.Place(spec.log_path, spec.log_bytes, spec.log_files)
        known = _Known("", log, place, spec.tty, state)
        try:
            known.id, described = await lives.made(self._engine, name, body)
            if described is None:
                described = await lives.started(self._engine, known.id)
        except EngineError as error:
            if not error.status or not self._alive:
                raise SandboxError(f"container {spec.name} could not be started: {error}") from error
            return await self._not_started(known, str(error))
        known.state = states.running(known.state, described)
        self._known[spec.name] = known
        self._begin_following(known)
        known.watching = self._spawn(self._watch(known))
        return known.state

    async def _not_started(self, known: _Known, text: str) -> ContainerState:
        known.state = replace(
            known.state,
            phase="exited",
            exit_code=states.code_of(text),
            reason="StartError",
            message=text,
            finished_at="",
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
        delay = lives.AGAIN_SECONDS
        while True:
            try:
                await logfile.follow(self._engine, known.id, known.log, tty=known.tty)
                return
            except (OSError, EngineError) as error:
                _LOG.warning("the log of container %s of pod %s: %s", known.state.name, self._pod, error)
                if not isinstance(error, EngineError) or error.status == 404:
                    return
            # The engine is being restarted. It has what the container says meanwhile, as far as it goes on.
            await asyncio.sleep(delay)
            delay = min(2 * delay, lives.LONGEST_AGAIN_SECONDS)

    async def _watch(self, known: _Known) -> None:
        described = await lives.until_ended(self._facts, known.id)
        await self._log_complete(known)
        if known.state.phase != "running":
            return
        known.state = states.lost(known.state) if described is None else known.ended(described)
        self._exits.put_nowait(known.state)

    async def _watch_shared(self) -> None:
        """When the infrastructure container ends, so does the sandbox: what still runs has no network any more."""
        await lives.until_ended(self._facts, self._id)
        self._alive = False
        watching = [known.watching for known in self._known.values() if known.watching is not None]
        await asyncio.gather(*(self.signal(name, signals.SIGKILL) for name in list(self._known)))
        await asyncio.gather(*watching)
        self._exits.put_nowait(None)

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
        return await visiting.execute(self._engine, known.id, argv, wanted, self._kill)

    async def attach(self, container: str, wanted: Wanted) -> Session:
        known = self._inside(container)

        async def exited() -> int:
            if known.watching is not None:
                await asyncio.shield(known.watching)
            return known.state.exit_code

        return await visiting.attach(self._engine, known.id, wanted, tty=known.tty, exited=exited)

    async def _kill(self, pid: int) -> None:
        await self._net.ask(op="kill", pid=pid)

    async def connect(self, port: int) -> socket.socket:
        made = await self._net.make_socket(op="pod-socket", pid=self._pid)
        try:
            await asyncio.get_running_loop().sock_connect(made, ("127.0.0.1", port))
        except BaseException:
            made.close()
            raise
        return made

    async def read(self, volume: str, path: str) -> bytes | None:
        return await self._volumes.read(volume, path)

    async def limit(self, pod: Limits, containers: Mapping[str, Limits]) -> None:
        if self._group:
            # What the containers get more of, the pod has to have first; less of, last. The second try tells.
            with contextlib.suppress(SandboxError):
                await self._limit_group(pod)
        for name, wanted in containers.items():
            known = self._inside(name)
            try:
                place, body = bodies.changed(wanted, is_podman=self._facts.is_podman)
                await self._engine.request("POST", f"{place}/{known.id}/update", body)
            except EngineError as error:
                raise SandboxError(f"the limits of container {name} can't be changed: {error}") from error
        if self._group:
            await self._limit_group(pod)

    async def _limit_group(self, limits: Limits) -> None:
        await self._net.ask(op="limit", uid=self._uid, limits=asdict(limits))

    async def signal(self, container: str, signal: int) -> None:
        known = self._known.get(container)
        if known is None or known.state.phase != "running":
            return
        try:
            await self._engine.request("POST", f"/containers/{known.id}/kill", query={"signal": str(int(signal))})
        except EngineError as error:
            if not await lives.has_ended(self._engine, known.id):
                raise SandboxError(f"container {container} can't be sent a signal: {error}") from error

    async def changes(self) -> AsyncIterator[ContainerState]:
        while (state := await self._exits.get()) is not None:
            yield state
        # For the next reader, who is to see the end too.
        self._exits.put_nowait(None)

    # The end.

    async def destroy(self) -> None:
        self._alive = False
        try:
            await removing.remove_pod(self._facts, self._uid)
        except EngineError as error:
            raise SandboxError(f"the containers of pod {self._pod} can't be removed: {error}") from error
        with contextlib.suppress(SandboxError, OSError):
            # The address is free at the latest when the container's network has gone, which it has.
            await self._net.ask(op="unlink", address=self._address)
        await self._give_up_group()
        self.detach()
        self._on_destroyed(self)

    async def _give_up_group(self) -> None:
        """Raises SandboxError."""
        if self._group:
            await self._net.ask_apart(op="ungroup", uid=self._uid)

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
            await lives.until_ended(self._facts, self._id)
        await self._give_up_group()

    def detach(self) -> None:
        """Stop listening; the containers go on."""
        for task in self._tasks:
            task.cancel()
        self._exits.put_nowait(None)

    async def _delete(self, identity: str) -> None:
        """A container of ours, as far as nobody shares its processes: what is left goes with the sandbox."""
        try:
            await removing.remove(self._engine, identity)
        except EngineError as error:
            raise SandboxError(f"the engine can't remove a container of pod {self._pod}: {error}") from error

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _make_empty(path: str) -> None:
    """A file that any user of the container may write."""
    os.makedirs(os.path.dirname(path), mode=0o711, exist_ok=True)
    with open(path, "wb") as file:
        os.fchmod(file.fileno(), 0o666)
