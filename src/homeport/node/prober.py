"""Carries out the probes of one pod's containers and keeps what they say.

What is due when, and what results mean, is decided by :mod:`homeport.node.probes`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import datetime

from homeport.kube import meta
from homeport.kube.meta import Object
from homeport.node.handlers import calls
from homeport.node.handlers.target import Result, Target, Unanswerable
from homeport.node.memory import Memory
from homeport.node.pod import Member, members
from homeport.node.probes import Kind, ProbeSpec, Watch, fold, plan, specs_of, watch
from homeport.node.status import container_statuses
from homeport.node.view import Health, Notice

_log = logging.getLogger(__name__)
_TITLES: Mapping[Kind, str] = {"startup": "Startup", "readiness": "Readiness", "liveness": "Liveness"}
_TRIES = 3
"""How often a probe is tried that could not be carried out, before it counts as not run."""


class Prober:
    """`target` says how a container is reached now, None if it is not; `note` emits an event; `wake` is called when
    what the probes say has changed."""

    def __init__(
        self,
        pod: Object,
        now: Callable[[], datetime],
        *,
        target: Callable[[Member], Target | None],
        note: Callable[[Notice], None],
        wake: Callable[[], None],
    ) -> None:
        self._now = now
        self._target = target
        self._note = note
        self._wake = wake
        self._probed: dict[str, tuple[Member, tuple[ProbeSpec, ...]]] = {
            member.name: (member, specs) for member in members(pod) if (specs := specs_of(member))
        }
        self._reported = {entry["name"]: entry for entry in container_statuses(meta.status(pod))}
        """What the API said when the pod was taken over."""
        self._watches: dict[str, Watch] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._tasks: dict[str, set[asyncio.Task[None]]] = {}
        self._deleting = False

    @property
    def health(self) -> Mapping[str, Health]:
        return {name: state.health for name, state in self._watches.items()}

    def attend(self, memory: Memory, *, deleting: bool) -> None:
        """Look after the containers that are up now, and no more after the others."""
        if not self._probed:
            return
        changed = deleting != self._deleting
        self._deleting = deleting
        for name, (_, specs) in self._probed.items():
            known = memory.of(name)
            current = known.current
            is_up = current is not None and current.phase == "running" and known.post_start in ("", "done")
            state = self._watches.get(name)
            if state is not None and (not is_up or current is None or current.attempt != state.attempt):
                self._forget(name)
                state = None
            if current is None or not is_up:
                continue
            if state is None:
                self._watches[name] = self._begin(name, specs, current.attempt, current.started_at)
            if state is None or changed:
                self._plan(name)

    def cancel(self) -> None:
        for name in list(self._watches):
            self._forget(name)

    def _begin(self, name: str, specs: tuple[ProbeSpec, ...], attempt: int, started_at: str) -> Watch:
        loop = asyncio.get_running_loop()
        age = (self._now() - meta.parse_time(started_at)).total_seconds() if started_at else 0.0
        # A clock that was set must not put a probe off for ever.
        began = loop.time() - max(age, 0.0)
        before = self._reported.pop(name, {})
        same = "running" in (before.get("state") or {}) and int(before.get("restartCount") or 0) == attempt
        started, ready = same and bool(before.get("started")), same and bool(before.get("ready"))
        return watch(specs, attempt, began, started=started, ready=ready)

    def _forget(self, name: str) -> None:
        del self._watches[name]
        if timer := self._timers.pop(name, None):
            timer.cancel()
        for task in self._tasks.pop(name, set()):
            task.cancel()

    def _plan(self, name: str) -> None:
        loop = asyncio.get_running_loop()
        if timer := self._timers.pop(name, None):
            timer.cancel()
        state, begun, wake = plan(self._watches[name], loop.time(), deleting=self._deleting)
        self._watches[name] = state
        for kind in begun:
            task = loop.create_task(self._run(name, kind))
            self._tasks.setdefault(name, set()).add(task)
            task.add_done_callback(lambda done: self._tasks.get(name, set()).discard(done))
        if wake is not None:
            self._timers[name] = loop.call_at(wake, self._plan, name)

    async def _run(self, name: str, kind: Kind) -> None:
        member, _ = self._probed[name]
        state = self._watches[name]
        result = await self._ask(member, kind, state.specs[kind])
        if result is not None and (not result.success or result.warning):
            reason, verb = ("ProbeWarning", "warning") if result.warning else ("Unhealthy", "failed")
            self._note(Notice("Warning", reason, f"{_TITLES[kind]} probe {verb}: {result.text}", name))
        now = asyncio.get_running_loop().time()
        before = self._watches[name]
        self._watches[name] = fold(before, kind, None if result is None else result.success, now)
        self._plan(name)
        if self._watches[name].health != before.health:
            self._wake()

    async def _ask(self, member: Member, kind: Kind, spec: ProbeSpec) -> Result | None:
        """None: it could not be carried out."""
        problem = ""
        for _ in range(_TRIES):
            target = self._target(member)
            if target is None:
                return None
            try:
                return await calls.probe(target, spec.handler, spec.timeout)
            except Unanswerable as error:
                problem = str(error)
            except Exception as error:
                # A mistake of ours must not end the probing.
                _log.exception("the %s probe of container %s failed", kind, member.name)
                problem = f"{type(error).__name__}: {error}"
                break
        self._note(Notice("Warning", "Unhealthy", f"{_TITLES[kind]} probe errored: {problem}", member.name))
        return None
