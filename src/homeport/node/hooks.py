"""Carries out the lifecycle hooks of one pod's containers and keeps how they ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from homeport.kube.meta import Object
from homeport.node.handlers import calls
from homeport.node.handlers.target import Target
from homeport.node.memory import Memory
from homeport.node.pod import Member, full_name, members
from homeport.node.view import RunHook

_log = logging.getLogger(__name__)


class Hooks:
    """`target` says how a container is reached now, None if it is not; `wake` is called when a hook has ended."""

    def __init__(self, pod: Object, target: Callable[[Member], Target | None], wake: Callable[[], None]) -> None:
        self._title = full_name(pod)
        self._members = {member.name: member for member in members(pod) if member.spec.get("lifecycle")}
        self._target = target
        self._wake = wake
        self._results: dict[tuple[str, int, str], str] = {}
        self._tasks: dict[tuple[str, int, str], asyncio.Task[None]] = {}

    @property
    def results(self) -> Mapping[tuple[str, int, str], str]:
        return self._results

    def begin(self, hook: RunHook) -> None:
        key = (hook.name, hook.attempt, hook.kind)
        self._results.pop(key, None)
        self._tasks[key] = asyncio.get_running_loop().create_task(self._run(key))

    def attend(self, memory: Memory) -> None:
        """Let go of what is about attempts that have ended."""
        for key in [key for key in (*self._tasks, *self._results) if not _is_running(memory, key)]:
            self._results.pop(key, None)
            if task := self._tasks.pop(key, None):
                task.cancel()

    def cancel(self) -> None:
        for task in self._tasks.values():
            task.cancel()

    async def _run(self, key: tuple[str, int, str]) -> None:
        name, _, kind = key
        member = self._members[name]
        target = self._target(member)
        try:
            if target is None:
                result = "the container does not run"
            else:
                result = await calls.run_hook(target, member.hook(kind), self._title)
        except Exception as error:
            # A mistake of ours must not leave the container waiting for ever.
            _log.exception("the %s hook of container %s failed", kind, name)
            result = f"{type(error).__name__}: {error}"
        self._results[key] = result
        self._tasks.pop(key, None)
        self._wake()


def _is_running(memory: Memory, key: tuple[str, int, str]) -> bool:
    current = memory.of(key[0]).current
    return current is not None and current.phase == "running" and current.attempt == key[1]
