"""The logs of one pod: who reads one hears of its end, and what a failed container wrote last explains its failure."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from homeport.kube import meta
from homeport.kube.errors import NotFound
from homeport.kube.meta import Object
from homeport.node import logs
from homeport.node.memory import Memory
from homeport.node.pod import members
from homeport.node.runtime import ContainerState


class PodLogs:
    """The logs in the pod's `directory`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._ends: dict[tuple[str, int], asyncio.Event] = {}
        """By container and attempt: those that somebody reads, until their end."""
        self._last_words: dict[str, tuple[int, str]] = {}
        """By container: the attempt, and what its log says last."""

    def source(self, pod: Object, status: Object, memory: Memory, container: str, *, previous: bool) -> logs.LogSource:
        """Raises BadRequest with the kubelet's words if there is no log to read, and NotFound if the file is gone: a
        restored backup has pods whose containers it does not have."""
        attempt = logs.choose_attempt(pod, status, memory, container, previous=previous)
        path = logs.path_of(self._directory, container, attempt)
        if not path.exists():
            raise NotFound(
                f'the log of container "{container}" in pod "{meta.name(pod)}" is not there any more: the pod ran on '
                "another data directory, or before a backup was restored; what takes its place has one again"
            )
        event = self._ends.setdefault((container, attempt), asyncio.Event())
        self.tell_ends(memory)

        async def ended() -> None:
            await event.wait()

        return logs.LogSource(path, ended)

    def tell_ends(self, memory: Memory) -> None:
        """Tell those who read of what has ended by now."""
        for key, event in list(self._ends.items()):
            known = memory.of(key[0])
            if not (known.is_running and known.current is not None and known.current.attempt == key[1]):
                event.set()
                del self._ends[key]

    def close(self) -> None:
        """Nobody looks after the pod any more: nothing more is heard of it."""
        for event in self._ends.values():
            event.set()

    def explained(self, pod: Object, state: ContainerState) -> ContainerState:
        """A failure without a message, with the end of its log for one if the container asks for that
        (``terminationMessagePolicy: FallbackToLogsOnError``)."""
        if state.phase != "exited" or state.message or not state.exit_code:
            return state
        attempt, text = self._last_words.get(state.name, (-1, ""))
        if attempt != state.attempt:
            wanted = any(
                member.spec.get("terminationMessagePolicy") == "FallbackToLogsOnError"
                for member in members(pod)
                if member.name == state.name
            )
            text = logs.last_words(logs.path_of(self._directory, state.name, state.attempt)) if wanted else ""
            self._last_words[state.name] = (state.attempt, text)
        return replace(state, message=text)
