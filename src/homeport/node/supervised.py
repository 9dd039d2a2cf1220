"""A sandbox as the platform sees it: its supervisor at the other end of a unix socket, its state on disk."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

from homeport.node import inside
from homeport.node.control import Connection, readable
from homeport.node.messages import container_message, fields, state_from
from homeport.node.runtime import (
    ContainerSpec,
    ContainerState,
    Limits,
    NotYet,
    SandboxError,
    Session,
    Wanted,
)
from homeport.node.sandbox import logs, processes, record, registry, spec, wire
from homeport.node.warmth import Warmth, warmth_of

_DESTROY_SECONDS = 60.0
"""Deleting what the containers wrote takes its time; a supervisor that needs longer is stuck."""
_UNKNOWN_EXIT = 137


class Supervised:
    """One sandbox. Implements :class:`homeport.node.runtime.Sandbox`; made by the runtime only."""

    def __init__(
        self,
        state: Mapping[str, Any],
        on_destroyed: Callable[[Supervised], Any],
        settle: Callable[[str], Awaitable[None]],
        kindle: Callable[[Warmth, dict[str, Any]], None],
    ) -> None:
        """`settle` returns once it is in a state file how the containers of a supervisor ended that was killed, as far
        as anybody can know; it raises nothing. `kindle` is told of a container that could have been started warm."""
        self._uid = str(state["uid"])
        self._directory = str(state["directory"])
        self._address = str(state["address"])
        self._pid = int(state["pid"])
        self._start_time = str(state["start_time"])
        self._identity = {key: state[key] for key in ("namespace", "name") if key in state}
        self._states = {name: state_from(value) for name, value in state.get("containers", {}).items()}
        self._on_destroyed = on_destroyed
        self._settle = settle
        self._kindle = kindle
        self._exits: asyncio.Queue[ContainerState | None] = asyncio.Queue()
        self._connection: Connection | None = None
        self._reconnecting: asyncio.Task[None] | None = None

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
        return self._connection is not None or self._reconnecting is not None

    def containers(self) -> Mapping[str, ContainerState]:
        return dict(self._states)

    async def start(self, container: ContainerSpec) -> ContainerState:
        message, warmth = container_message(container), warmth_of(container)
        if warmth is not None:
            message["warm"] = warmth.key
        answer = await self._request(op="start", spec=message)
        if "waits" in answer:
            raise NotYet(*answer["waits"])
        if warmth is not None and not answer.get("warm"):
            self._kindle(warmth, message)
        state = state_from(answer["state"])
        known = self._states.get(state.name)
        # An exit can overtake this coroutine's turn: it was told after the answer and is the later truth.
        if known is None or known.attempt != state.attempt or known.phase != "exited":
            self._states[state.name] = state
        return state

    async def execute(self, container: str, argv: Sequence[str], wanted: Wanted) -> Session:
        command = {"argv": list(argv), **dataclasses.asdict(wanted)}
        return await self._session(attached=False, op="exec", container=container, command=command)

    async def attach(self, container: str, wanted: Wanted) -> Session:
        streams = dataclasses.asdict(wanted)
        return await self._session(attached=True, op="attach", container=container, streams=streams)

    async def _session(self, *, attached: bool, **message: Any) -> Session:
        try:
            return await inside.open_session(self._directory, attached=attached, **message)
        except OSError as error:
            raise SandboxError(f"the supervisor of pod {self._identity.get('name', self._uid)} has ended") from error

    async def connect(self, port: int) -> socket.socket:
        return await inside.connect(self._directory, port)

    async def read(self, volume: str, path: str) -> bytes | None:
        try:
            content = (await self._request(op="read", volume=volume, path=path)).get("content")
        except ConnectionError as error:
            raise SandboxError(f"the supervisor of pod {self._identity.get('name', self._uid)} has ended") from error
        return None if content is None else bytes.fromhex(content)

    async def limit(self, pod: Limits, containers: Mapping[str, Limits]) -> None:
        limits = {name: fields(wanted) for name, wanted in containers.items()}
        try:
            await self._request(op="limit", pod=fields(pod), containers=limits)
        except ConnectionError as error:
            raise SandboxError(f"the supervisor of pod {self._identity.get('name', self._uid)} has ended") from error

    async def signal(self, container: str, signal: int) -> None:
        with contextlib.suppress(ConnectionError):
            # A supervisor that has gone took its containers along.
            await self._request(op="signal", container=container, signal=signal)

    async def changes(self) -> AsyncIterator[ContainerState]:
        while (state := await self._exits.get()) is not None:
            yield state
        # For the next reader, who is to see the end too.
        self._exits.put_nowait(None)

    async def destroy(self) -> None:
        pidfd = processes.open_process(self._pid, self._start_time)
        if pidfd is not None:
            try:
                try:
                    async with asyncio.timeout(_DESTROY_SECONDS):
                        # An answer that is an error says that something is left over: what follows deletes it.
                        with contextlib.suppress(ConnectionError, SandboxError):
                            await self._request(op="destroy")
                        await readable(pidfd)
                except TimeoutError:
                    with contextlib.suppress(ProcessLookupError):
                        processes.send(self._pid, pidfd, signal.SIGKILL)
                    await readable(pidfd)
            finally:
                os.close(pidfd)
        if self._reconnecting is not None:
            # The end was noticed by the connection, too, and how it came about is being found out.
            await asyncio.shield(self._reconnecting)
        self._lost()
        await self._on_destroyed(self)

    async def leave(self, grace: float) -> None:
        """End the containers, politely first, and then the supervisor. How they ended stays on disk for the next
        ``adopt``. `grace` is in seconds."""
        pidfd = processes.open_process(self._pid, self._start_time)
        if pidfd is None:
            return
        try:
            with contextlib.suppress(ProcessLookupError):
                processes.send(self._pid, pidfd, signal.SIGTERM)
            if await _ends_within(pidfd, grace):
                return
            for state in self.containers().values():
                if state.phase == "running":
                    await self.signal(state.name, signal.SIGKILL)
            if not await _ends_within(pidfd, _DESTROY_SECONDS):
                with contextlib.suppress(ProcessLookupError):
                    processes.send(self._pid, pidfd, signal.SIGKILL)
                await readable(pidfd)
        finally:
            os.close(pidfd)

    def detach(self) -> None:
        """Stop listening; the sandbox goes on."""
        if self._reconnecting is not None:
            self._reconnecting.cancel()
            self._reconnecting = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._exits.put_nowait(None)

    def talk_over(self, connection: Connection) -> None:
        """Talk to the supervisor by this connection."""
        self._connection = connection
        connection.listen(self._event, self._closed)

    async def _request(self, **message: Any) -> dict[str, Any]:
        if self._reconnecting is not None:
            await asyncio.shield(self._reconnecting)
        if self._connection is None:
            if message["op"] == "start":
                raise SandboxError(f"the supervisor of pod {self._identity.get('name', self._uid)} has ended")
            raise ConnectionResetError("the supervisor has ended")
        try:
            return await self._connection.request(**message)
        except ConnectionError:
            if message["op"] != "start":
                raise
            raise SandboxError(
                f"the supervisor of pod {self._identity.get('name', self._uid)} ended while a container was started"
            ) from None

    def _event(self, message: dict[str, Any]) -> None:
        if message["event"] == "exit":
            self._exited(state_from(message["state"]))

    def _exited(self, state: ContainerState) -> None:
        known = self._states.get(state.name)
        if known is not None and known.attempt == state.attempt and known.phase == "exited":
            return
        self._states[state.name] = state
        self._exits.put_nowait(state)

    def _closed(self) -> None:
        self._connection = None
        self._reconnecting = asyncio.get_running_loop().create_task(self._reconnect())

    async def _reconnect(self) -> None:
        """The connection has gone, the supervisor may not have: it drops whoever doesn't keep up, or it is ending."""
        try:
            if not processes.is_alive(self._pid, self._start_time):
                raise ConnectionResetError("the supervisor has ended")
            connection, state = await connect(self._directory)
            for value in state["containers"].values():
                if value["phase"] == "exited":
                    self._exited(state_from(value))
                else:
                    self._states[value["name"]] = state_from(value)
            self.talk_over(connection)
        except (OSError, SandboxError):
            pidfd = processes.open_process(self._pid, self._start_time)
            if pidfd is not None:
                try:
                    await readable(pidfd)
                finally:
                    os.close(pidfd)
            written = _read_states(self._state_path, self._pid)
            if any(state.phase == "running" for state in (*self._states.values(), *written.values())):
                await self._settle(self._state_path)
            self._lost()
        finally:
            self._reconnecting = None

    @property
    def _state_path(self) -> str:
        return os.path.join(self._directory, spec.STATE_FILE)

    def _lost(self) -> None:
        """The supervisor has gone, and with it whatever ran. How that ended is on disk, or nobody knows."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        for written in _read_states(self._state_path, self._pid).values():
            known = self._states.get(written.name)
            if known is None or known.attempt < written.attempt:
                # It had begun when the supervisor was killed, before anybody was told: it is not to begin again as if
                # it had not.
                self._states[written.name] = written
                if written.phase == "exited":
                    self._exits.put_nowait(written)
            elif written.phase == "exited" and known.attempt == written.attempt:
                self._exited(written)
        changed = False
        for state in list(self._states.values()):
            if state.phase == "running":
                changed = True
                self._exited(unknown_end(state))
        if changed:
            self._write_state()
        self._exits.put_nowait(None)

    def _write_state(self) -> None:
        """In the supervisor's place, so that the same end is reported after a restart."""
        state = {
            "uid": self._uid,
            **self._identity,
            "directory": self._directory,
            "address": self._address,
            "pid": self._pid,
            "start_time": self._start_time,
            "containers": {
                name: {field: getattr(value, field) for field in value.__dataclass_fields__}
                for name, value in self._states.items()
            },
        }
        # The pod's directory may have gone by now, or the disk be full: then the end is worked out anew next time.
        with contextlib.suppress(OSError):
            record.write(self._state_path, state)


def _read_states(path: str, pid: int) -> dict[str, ContainerState]:
    """What is on disk about a supervisor's containers; nothing if that can't be read, or is about another one's."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError), open(path, encoding="utf-8") as file:
        state = json.load(file)
        if state["pid"] == pid:
            return {name: state_from(value) for name, value in state["containers"].items()}
    return {}


async def connect(directory: str) -> tuple[Connection, dict[str, Any]]:
    """A connection to the supervisor of the pod in that directory, and what it knows. Raises OSError if it has gone."""
    connection = await Connection.open(wire.connect(os.path.join(directory, spec.SOCKET_FILE)))
    try:
        return connection, (await connection.request(op="state"))["state"]
    except BaseException:
        connection.close()
        raise


def unknown_end(state: ContainerState) -> ContainerState:
    """How a container is reported whose supervisor was killed (as the kubelet reports one that its runtime lost)."""
    return ContainerState(
        name=state.name,
        attempt=state.attempt,
        phase="exited",
        pid=state.pid,
        ids=state.ids,
        started_at=state.started_at,
        finished_at=logs.Stamps().now(),
        exit_code=_UNKNOWN_EXIT,
        signal=int(signal.SIGKILL),
        reason="ContainerStatusUnknown",
        message="the container's supervisor was killed, and the container with it",
    )


async def _ends_within(pidfd: int, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await readable(pidfd)
    except TimeoutError:
        return False
    return True


def dead(
    entry: registry.Entry,
    on_destroyed: Callable[[Supervised], Any],
    settle: Callable[[str], Awaitable[None]],
    kindle: Callable[[Warmth, dict[str, Any]], None],
) -> Supervised:
    """A sandbox whose supervisor ended while nobody listened, from what it left on disk."""
    state: dict[str, Any] = {**entry._asdict(), "containers": {}}
    del state["namespace"]
    # Without a state file, or with one that can't be read, nothing was ever started in it.
    with (
        contextlib.suppress(OSError, ValueError),
        open(os.path.join(entry.directory, spec.STATE_FILE), encoding="utf-8") as file,
    ):
        state = json.load(file)
    sandbox = Supervised(state, on_destroyed, settle, kindle)
    sandbox._lost()
    return sandbox
