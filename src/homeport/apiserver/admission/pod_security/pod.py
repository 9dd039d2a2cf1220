"""What the Pod Security Standards look at in a pod, and the words of what they find."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

from homeport.kube.meta import Object


class Violation(NamedTuple):
    reason: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.reason} ({self.detail})" if self.detail else self.reason


def plural(one: str, many: str, things: Collection[Any]) -> str:
    return one if len(things) == 1 else many


def quoted(texts: Iterable[str]) -> str:
    return ", ".join(json.dumps(text, ensure_ascii=False) for text in texts)


def containers(names: Collection[str]) -> str:
    return f"{plural('container', 'containers', names)} {quoted(names)}"


def setters(pod_too: bool, names: Collection[str]) -> str:
    """Who has set something: the pod, containers, or both."""
    return " and ".join((["pod"] if pod_too else []) + ([containers(names)] if names else []))


class Pod:
    """What the checks look at; whatever is not there is empty."""

    def __init__(self, metadata: Mapping[str, Any], spec: Object) -> None:
        self.spec = spec
        self.annotations: Mapping[str, str] = metadata.get("annotations") or {}
        self.context: Mapping[str, Any] = spec.get("securityContext") or {}
        self.containers: list[Object] = [
            container
            for group in ("initContainers", "containers", "ephemeralContainers")
            for container in spec.get(group) or ()
        ]
        self.is_windows = (spec.get("os") or {}).get("name") == "windows"
        self.has_own_users = spec.get("hostUsers") is False

    def contexts(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        for container in self.containers:
            yield str(container.get("name")), container.get("securityContext") or {}

    def of_all(self, wrong: Callable[[Mapping[str, Any]], bool]) -> tuple[bool, list[str]]:
        """Whether the pod's own settings are `wrong`, and which containers' are."""
        return wrong(self.context), [name for name, context in self.contexts() if wrong(context)]


Check: TypeAlias = Callable[[Pod], Violation | None]


def typed(field: str, allowed: Collection[str]) -> Callable[[Mapping[str, Any]], str | None]:
    """Gives the type of a profile that is set but not allowed."""

    def wrong(context: Mapping[str, Any]) -> str | None:
        profile = context.get(field)
        if profile is None or profile.get("type") in allowed:
            return None
        return str(profile.get("type") or "")

    return wrong


def values_of(pod: Pod, wrong: Callable[[Mapping[str, Any]], str | None]) -> tuple[bool, list[str], list[str]]:
    """As :meth:`Pod.of_all`, with the values that are not allowed."""
    contexts = (pod.context, *(context for _, context in pod.contexts()))
    values = sorted({value for context in contexts if (value := wrong(context)) is not None})
    return (*pod.of_all(lambda context: wrong(context) is not None), values)


def added_capabilities(pod: Pod, allowed: Collection[str]) -> tuple[list[str], list[str]]:
    """Which containers add capabilities that are not allowed, and which those are."""
    names, added = [], set()
    for name, context in pod.contexts():
        more = set((context.get("capabilities") or {}).get("add") or ()) - set(allowed)
        if more:
            names.append(name)
            added |= more
    return names, sorted(added)
