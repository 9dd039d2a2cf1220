"""Reads Volcano's ``volcano-scheduler.conf``.

Its form is Volcano's (``pkg/scheduler/conf``): ``actions``, ``tiers`` of ``plugins`` with ``enable…`` switches and
``arguments``, and ``configurations`` of actions. What it does not say is as Volcano has it; what it says wrong is an
error that names the field.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from homeport.kube import durations
from homeport.kube.errors import BadRequest
from homeport.scheduler.batch.configuration import Configuration, PluginOption, Tier

if TYPE_CHECKING:
    from homeport.scheduler.batch.plugins.base import Plugin

KEY = "volcano-scheduler.conf"
"""Of the ConfigMap that has it."""

_SWITCHES: Mapping[str, str] = {
    "enableJobOrder": "jobOrder",
    "enableSubJobOrder": "subJobOrder",
    "enableJobReady": "jobReady",
    "enableSubJobReady": "subJobReady",
    "enableJobPipelined": "jobPipelined",
    "enableSubJobPipelined": "subJobPipelined",
    "enableTaskOrder": "taskOrder",
    "enablePreemptable": "preemptable",
    "enableReclaimable": "reclaimable",
    "enablePreemptive": "preemptive",
    "enableQueueOrder": "queueOrder",
    "enableVictimQueueOrder": "victimQueueOrder",
    "enableClusterOrder": "clusterOrder",
    "enablePredicate": "predicate",
    "enableBestNode": "bestNode",
    "enableNodeOrder": "nodeOrder",
    "enableTargetJob": "targetJob",
    "enableReservedNodes": "reservedNodes",
    "enableJobEnqueued": "jobEnqueued",
    "enabledVictim": "victim",
    "enabledVictimTasks": "victim",
    "enableJobStarving": "jobStarving",
    "enabledOverused": "overused",
    "enabledAllocatable": "allocatable",
    "enableHierarchy": "hierarchy",
    "enableHyperNodeOrder": "hyperNodeOrder",
    "enableHyperNodeGradient": "hyperNodeGradient",
}
"""As ``pkg/scheduler/conf/scheduler_conf.go`` names them, and what :class:`PluginOption` calls each."""
_TIMES: Mapping[str, str] = {
    "inqueueTimeout": "inqueue_seconds",
    "staleTimeout": "stale_seconds",
    "reserveAfter": "reserve_seconds",
}
"""What Volcano does not have: how long groups may hold what others wait for."""
VOLCANOS_ACTIONS = frozenset(
    {"enqueue", "allocate", "backfill", "preempt", "reclaim", "shuffle", "gangpreempt", "gangreclaim"}
)
# fmt: off
VOLCANOS_PLUGINS = frozenset({
    "binpack", "capacity", "cdp", "conformance", "deviceshare", "drf", "extender", "gang",
    "network-topology-aware", "nodegroup", "nodeorder", "numaaware", "overcommit", "pdb", "predicates",
    "priority", "proportion", "rescheduling", "resource-strategy-fit", "resourcequota", "sla", "task-topology",
    "tdm", "usage",
})
# fmt: on
"""All that Volcano has: a file that names one of them is right, even where it is passed over."""


class Unreadable(ValueError):
    """The text tells where and why."""


def parse(text: str | bytes, *, actions: Collection[str] = (), plugins: Collection[str] = ()) -> Configuration:
    """`actions` and `plugins`: those that there are, beside Volcano's; none: any name will do. Raises Unreadable."""
    from homeport.kube import yamltext  # few platforms have such a file

    try:
        document, duplicates = yamltext.load(text if isinstance(text, bytes) else text.encode())
    except BadRequest as error:
        raise Unreadable(" ".join(str(error).split())) from error
    if duplicates:
        raise Unreadable(duplicates[0])
    if document is None:
        return Configuration()
    if not isinstance(document, dict):
        raise Unreadable("it is not a mapping")
    known = ("actions", "tiers", "configurations", "metrics", *_TIMES)
    _only(document, known, "")
    found: dict[str, Any] = {name: _seconds(document, key) for key, name in _TIMES.items() if key in document}
    if document.get("actions") is not None:
        found["actions"] = _actions(document["actions"], actions)
    if document.get("tiers") is not None:
        found["tiers"] = tuple(_each("tiers", document["tiers"], lambda at, tier: _tier(at, tier, plugins)))
    if document.get("configurations") is not None:
        entries = _each("configurations", document["configurations"], _of_action)
        found["arguments"] = dict(entries)
    _no_doubles(found.get("tiers") or ())
    return msgspec.structs.replace(Configuration(), **found)


def passed_over(
    found: Configuration, *, actions: Collection[str], plugins: Mapping[str, type[Plugin]]
) -> Iterator[str]:
    """What it says that counts for nothing here, or not as it says."""
    for name in found.actions:
        if name not in actions:
            yield f"actions: action {name} does not exist here and is passed over"
    for number, tier in enumerate(found.tiers):
        for place, option in enumerate(tier):
            at, plugin = f"tiers[{number}].plugins[{place}]", plugins.get(option.name)
            if plugin is None:
                yield f"{at}.name: plugin {option.name} does not exist here and is passed over"
                continue
            for name, text in option.arguments.items():
                if why := plugin.complaint(name, text):
                    yield f"{at}.arguments.{name}: {why}"
    options = {option.name: option for tier in found.tiers for option in tier}
    sharing: list[str] = [name for name in ("proportion", "capacity") if name in options]
    if "drf" in options and "hierarchy" in options["drf"].enabled:
        sharing.append("drf with enableHierarchy")
    if len(sharing) > 1:
        yield f"tiers: {' and '.join(sharing)} all say what each queue is to have; leave but one of them"
    for action, arguments in found.arguments.items():
        for name in arguments:
            yield f"configurations: action {action} has no argument {name} here; it is passed over"


def _actions(value: Any, known: Collection[str]) -> tuple[str, ...]:
    if not isinstance(value, str):
        raise Unreadable('actions: has to be text, names with commas between them ("enqueue, allocate, backfill")')
    names = tuple(name.strip() for name in value.split(",") if name.strip())
    for name in names:
        if known and name not in known and name not in VOLCANOS_ACTIONS:
            raise Unreadable(f'actions: there is no action "{name}"; there are {", ".join(sorted(known))}')
    if not names:
        raise Unreadable("actions: none is named")
    return names


def _tier(at: str, tier: Any, known: Collection[str]) -> Tier:
    _only(_mapping(at, tier), ("plugins",), at)
    return tuple(_each(f"{at}.plugins", tier.get("plugins") or [], lambda at, plugin: _plugin(at, plugin, known)))


def _plugin(at: str, plugin: Any, known: Collection[str]) -> PluginOption:
    found = _mapping(at, plugin)
    _only(found, ("name", "arguments", *_SWITCHES), at)
    name = found.get("name")
    if not isinstance(name, str) or not name:
        raise Unreadable(f"{at}.name: has to be the name of a plugin")
    if known and name not in known and name not in VOLCANOS_PLUGINS:
        raise Unreadable(f'{at}.name: there is no plugin "{name}"; there are {", ".join(sorted(known))}')
    switched: dict[bool, set[str]] = {True: set(), False: set()}
    for key, vote in _SWITCHES.items():
        value = found.get(key)
        if value is None:
            continue
        if not isinstance(value, bool):
            raise Unreadable(f"{at}.{key}: has to be true or false, not {value!r}")
        switched[value].add(vote)
    return PluginOption(
        name,
        arguments=_arguments(f"{at}.arguments", found.get("arguments") or {}),
        disabled=frozenset(switched[False]),
        enabled=frozenset(switched[True]),
    )


def _of_action(at: str, entry: Any) -> tuple[str, dict[str, str]]:
    found = _mapping(at, entry)
    _only(found, ("name", "arguments"), at)
    if not isinstance(found.get("name"), str) or not found["name"]:
        raise Unreadable(f"{at}.name: has to be the name of an action")
    return found["name"], _arguments(f"{at}.arguments", found.get("arguments") or {})


def _arguments(at: str, value: Any) -> dict[str, str]:
    """Everything is text to who reads it; lists and mappings go as JSON."""
    return {key: _text(one) for key, one in _mapping(at, value).items()}


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else msgspec.json.encode(value).decode()


def _seconds(document: Mapping[str, Any], key: str) -> float:
    value = document[key]
    try:
        found = durations.seconds(value) if isinstance(value, str) else None
    except ValueError as error:
        raise Unreadable(f"{key}: {error}") from error
    if found is None or found < 0:
        raise Unreadable(f'{key}: has to be a length of time such as "5m", not {value!r}')
    return found


def _each(at: str, value: Any, parse: Callable[[str, Any], Any]) -> list[Any]:
    if not isinstance(value, list):
        raise Unreadable(f"{at}: has to be a list")
    return [parse(f"{at}[{number}]", one) for number, one in enumerate(value)]


def _mapping(at: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Unreadable(f"{at}: has to be a mapping")
    return value


def _only(found: Mapping[str, Any], known: Collection[str], at: str) -> None:
    for key in found:
        if key not in known:
            place = f"{at}.{key}" if at else key
            raise Unreadable(f"{place}: there is no such field; there are {', '.join(known)}")


def _no_doubles(tiers: tuple[Tier, ...]) -> None:
    seen: dict[str, str] = {}
    for number, tier in enumerate(tiers):
        for place, plugin in enumerate(tier):
            at = f"tiers[{number}].plugins[{place}]"
            if plugin.name in seen:
                raise Unreadable(f'{at}.name: "{plugin.name}" is at {seen[plugin.name]} already')
            seen[plugin.name] = at
