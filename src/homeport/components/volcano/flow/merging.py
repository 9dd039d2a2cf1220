"""A job template's spec with the patch of a flow, by the rules of Volcano's design "Job Template Parameter Overriding":
objects are merged, lists of things that have names are merged by name, anything else is replaced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from homeport.kube.meta import Object

_KEYS: Mapping[str, str] = {
    "tasks": "name",
    "containers": "name",
    "initContainers": "name",
    "env": "name",
    "volumeMounts": "mountPath",
    "ports": "containerPort",
    "tolerations": "key",
    "hostAliases": "ip",
}
"""Lists whose elements are merged, and what tells these apart."""
_REPLACED = frozenset({"affinity", "securityContext", "livenessProbe", "readinessProbe", "startupProbe"})
"""Objects that are taken whole."""


def patched(spec: Object, patch: Object) -> Object:
    """A job's spec; shares what the patch leaves as it is."""
    result = _merged(spec, {key: value for key, value in patch.items() if key not in ("volumes", "plugins")})
    if patch.get("volumes"):
        result["volumes"] = _listed(spec.get("volumes") or (), patch["volumes"], "mountPath", whole=True)
    if patch.get("plugins"):
        plugins = dict(spec.get("plugins") or {})
        for name, arguments in patch["plugins"].items():
            plugins[name] = [*(plugins.get(name) or ()), *(arguments or ())]
        result["plugins"] = plugins
    return result


def _merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(old)
    for key, value in new.items():
        before = old.get(key)
        if key == "volumes":  # a pod's: of another kind, it has none of the old one's fields
            result[key] = _listed(before or (), value or (), "name", whole=True)
        elif key in _KEYS and isinstance(before, list | tuple) and isinstance(value, list | tuple):
            result[key] = _listed(before, value, _KEYS[key])
        elif isinstance(before, Mapping) and isinstance(value, Mapping) and key not in _REPLACED:
            result[key] = _merged(before, value)
        else:
            result[key] = value
    return result


def _listed(
    old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]], key: str, *, whole: bool = False
) -> list[Any]:
    """`old` with the elements of `new`, in `old`'s order; `whole`: an element takes the place of another's. One that
    does not say its name is the one at its place."""
    result: list[Any] = list(old)
    places = {item.get(key): place for place, item in enumerate(old)}
    for index, item in enumerate(new):
        place = places.get(item[key]) if item.get(key) else index
        if place is None or place >= len(old):
            result.append(item)
        else:
            result[place] = item if whole else _merged(result[place], item)
    return result
