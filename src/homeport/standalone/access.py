"""The rights that controllers need, worked out from what they declare to read and write: no more than that."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from homeport.control.controller import Child, Controller
from homeport.kube import core
from homeport.kube.admission import Hook
from homeport.kube.kind import Resource
from homeport.kube.meta import Object

SEEN = frozenset({"list", "watch"})
"""What a cache takes."""
READ = SEEN | {"get"}
"""Of what is written: a look at how it is now goes before some writes."""
_EVENTS = frozenset({"create", "patch", "list"})
"""Counting up an event that an earlier process wrote takes a look for it."""


def rules(controllers: Iterable[Controller], hooks: Iterable[Hook] = (), others: Iterable[Object] = ()) -> list[Object]:
    """The rules of a ClusterRole for these controllers, for the look-ups of these hooks and for what `others` say
    (rules of what declares nothing else), in a steady order."""
    verbs: dict[tuple[str, str], set[str]] = {}
    for (group, resource), wanted in (*_needs(controllers, hooks), *_granted(others)):
        verbs.setdefault((group, resource), set()).update(wanted)
    gathered: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (group, resource), found in sorted(verbs.items()):
        gathered.setdefault((group, tuple(sorted(found))), []).append(resource)
    return [
        {"apiGroups": [group], "resources": names, "verbs": list(found)} for (group, found), names in gathered.items()
    ]


def _needs(controllers: Iterable[Controller], hooks: Iterable[Hook]) -> Iterator[tuple[tuple[str, str], set[str]]]:
    yield _at(core.EVENT.resource), set(_EVENTS)
    for controller in controllers:
        yield _at(controller.parent), {*READ, *controller.on_parent}
        yield _at(controller.parent, "status"), {"patch"}
        # Clusters may ask for this of whoever makes an object that its owner has to wait for.
        yield _at(controller.parent, "finalizers"), {"update"}
        for child in controller.children:
            yield _at(child.resource), _of_child(child)
        for related in controller.related:
            yield _at(related.resource), {*READ, "delete"} if related.removed else set(SEEN)
        yield from _granted(controller.grants)
    for hook in hooks:
        for resource in hook.reads:
            yield _at(resource), set(SEEN)


def _granted(rules: Iterable[Object]) -> Iterator[tuple[tuple[str, str], set[str]]]:
    for rule in rules:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                yield (group, resource), set(rule["verbs"])


def _of_child(child: Child) -> set[str]:
    changes = child.update == "apply" or child.patched or child.claim is not None or child.finalizer
    return {*READ, "create", "delete", *(("patch",) if changes else ())}


def _at(resource: Resource, subresource: str = "") -> tuple[str, str]:
    return resource.group, f"{resource.plural}/{subresource}" if subresource else resource.plural
