"""Desired against observed: which writes bring one to the other. Pure.

A child is brought up to date only if it needs it: when the observed child lacks something that is desired, or when our
field manager still owns something that no longer is. So a settled world causes no writes at all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import Any

import msgspec

from homeport.control.controller import Child, Controller, Desired, Observed
from homeport.kube.errors import Permanent
from homeport.kube.kind import Resource
from homeport.kube.meta import (
    Object,
    is_deleting,
    metadata,
    name,
    namespace,
    owner_reference,
    resource_version,
    status,
    uid,
)

_encode = msgspec.json.Encoder().encode
_WITHOUT_DEFAULTS = (
    ("metadata", "labels"),
    ("metadata", "annotations"),
    ("data",),
    ("binaryData",),
    ("stringData",),
    ("spec", "selector"),
)


class Write(msgspec.Struct, frozen=True):
    """One child to create or to apply. `observed` is its present state for the latter."""

    resource: Resource
    object: Object
    observed: Object | None = None


class Deletion(msgspec.Struct, frozen=True):
    resource: Resource
    object: Object
    foreground: bool = False


class Change(msgspec.Struct, frozen=True):
    """A merge patch of an observed object."""

    resource: Resource
    object: Object
    patch: Object
    subresource: str = ""


class Plan(msgspec.Struct, frozen=True):
    """All writes of one sync. `status` is a merge patch of the parent's status, None if it is as desired."""

    others: tuple[Write, ...] = ()
    creates: tuple[Write, ...] = ()
    applies: tuple[Write, ...] = ()
    patches: tuple[Change, ...] = ()
    finalized: tuple[Deletion, ...] = ()
    """Children whose finalizer is taken off."""
    deletes: tuple[Deletion, ...] = ()
    status: Object | None = None

    @property
    def empty(self) -> bool:
        return self == _NOTHING

    @property
    def of_deleted_parent(self) -> Plan:
        """What of it is done for a parent that is being deleted."""
        return Plan(patches=self.patches, finalized=self.finalized, status=self.status)


_NOTHING = Plan()


def child_id(parent: Object, child: Object) -> str:
    """How `Observed.children` names a child: by name; ``namespace/name`` for one of a cluster-scoped parent."""
    place = namespace(child)
    return name(child) if not place or namespace(parent) else f"{place}/{name(child)}"


class Settled:
    """Which children are known to be as desired: a look at a digest instead of a comparison field by field.

    It also ends what would go on for ever: a value that the server writes in its own way (a quantity) never looks equal
    to what was applied, but applying it changed nothing.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, bytes]] = {}

    def __contains__(self, pair: tuple[Object, Object]) -> bool:
        child, wanted = pair
        known = self._known.get(uid(child))
        return known is not None and known[0] == resource_version(child) and known[1] == _digest(wanted)

    def add(self, child: Object, wanted: Object) -> None:
        self._known[uid(child)] = (resource_version(child), _digest(wanted))

    def forget(self, child_uid: str) -> None:
        self._known.pop(child_uid, None)


def _digest(wanted: Object) -> bytes:
    return blake2b(_encode(wanted), digest_size=16).digest()


def plan(controller: Controller, observed: Observed, desired: Desired, settled: Settled | None = None) -> Plan:
    """The writes that are missing. Raises Permanent if `desired` can't be, which is a mistake of the controller.

    `settled` remembers between calls what needed no comparison again.
    """
    settled = settled if settled is not None else Settled()
    parent = observed.parent
    kinds = {child.resource.kind: child for child in controller.children}
    wanted: dict[str, dict[str, Object]] = {kind: {} for kind in kinds}
    for obj in desired.children:
        child = _complete(controller, kinds, parent, obj)
        kind, key = child["kind"], child_id(parent, child)
        if key in wanted[kind]:
            raise Permanent(f"controller {controller.name}: {kind} {key!r} is desired twice")
        wanted[kind][key] = child
    creates: list[Write] = []
    applies: list[Write] = []
    deletes = list(_removed(controller, desired))
    for kind, declared in kinds.items():
        present = observed.children.get(kind, {})
        for key, child in wanted[kind].items():
            known = present.get(key)
            if known is None:
                creates.append(Write(declared.resource, child))
            elif declared.update == "apply" and not is_deleting(known) and (known, child) not in settled:
                if outdated(known, child, controller.name):
                    applies.append(Write(declared.resource, child, known))
                else:
                    settled.add(known, child)
        for key, known in present.items():
            if key not in wanted[kind] and (kind, key) not in desired.keep and not is_deleting(known):
                deletes.append(Deletion(declared.resource, known, declared.foreground))
    patch = None if desired.status is None else merge_patch(status(parent), desired.status)
    return Plan(
        others=tuple(_others(controller, observed, desired)),
        creates=tuple(creates),
        applies=tuple(applies),
        patches=tuple(_patches(controller, desired)),
        finalized=tuple(_finalized(kinds, observed, desired)),
        deletes=tuple(deletes),
        status=patch or None,
    )


def _others(controller: Controller, observed: Observed, desired: Desired) -> Iterator[Write]:
    resources = {related.resource.kind: related.resource for related in controller.related}
    for obj in desired.others:
        resource = resources.get(obj.get("kind") or "")
        if resource is None:
            raise Permanent(f"controller {controller.name}: kind {obj.get('kind')!r} is not declared as related")
        place = (namespace(obj) or namespace(observed.parent)) if resource.namespaced else ""
        label = f"{place}/{name(obj)}" if place else name(obj)
        if label not in observed.related.get(resource.kind, {}):
            complete = {**metadata(obj), **({"namespace": place} if place else {})}
            yield Write(resource, {**obj, "apiVersion": resource.api_version, "metadata": complete})


def _removed(controller: Controller, desired: Desired) -> Iterator[Deletion]:
    resources = {related.resource.kind: related.resource for related in controller.related}
    for obj in desired.removed:
        resource = resources.get(obj.get("kind") or "")
        if resource is None:
            raise Permanent(f"controller {controller.name}: kind {obj.get('kind')!r} is not declared as related")
        if not is_deleting(obj):
            yield Deletion(resource, obj, foreground=True)


def _patches(controller: Controller, desired: Desired) -> Iterator[Change]:
    """Those that change something."""
    resources = {child.resource.kind: child.resource for child in controller.children}
    resources |= {related.resource.kind: related.resource for related in controller.related}
    resources[controller.parent.kind] = controller.parent
    for patch in desired.patches:
        resource = resources.get(patch.object.get("kind") or "")
        if resource is None:
            raise Permanent(f"controller {controller.name}: kind {patch.object.get('kind')!r} is not declared")
        if merged(patch.object, patch.changes) != patch.object:
            yield Change(resource, patch.object, patch.changes, patch.subresource)


def _finalized(kinds: Mapping[str, Child], observed: Observed, desired: Desired) -> Iterator[Deletion]:
    """Those that have the finalizer still."""
    for kind, key in sorted(desired.finalized):
        child, declared = observed.child(kind, key), kinds.get(kind)
        if (
            child is not None
            and declared is not None
            and declared.finalizer in (metadata(child).get("finalizers") or ())
        ):
            yield Deletion(declared.resource, child)


def _complete(controller: Controller, kinds: Mapping[str, Child], parent: Object, obj: Object) -> Object:
    """A desired child with what the runtime adds: apiVersion, namespace and the controller reference."""
    kind = obj.get("kind") or ""
    declared = kinds.get(kind)
    if declared is None:
        raise Permanent(f"controller {controller.name}: child kind {kind!r} is not declared")
    meta = metadata(obj)
    if not meta.get("name"):
        raise Permanent(f"controller {controller.name}: a desired {kind} has no name")
    references = [ref for ref in meta.get("ownerReferences") or () if not ref.get("controller")]
    complete = {**meta, "ownerReferences": [*references, owner_reference(parent)]}
    if declared.resource.namespaced:
        place = namespace(parent) or meta.get("namespace") or ""
        if not place or meta.get("namespace", place) != place:
            raise Permanent(f"controller {controller.name}: {kind} {meta['name']!r} must be in its parent's namespace")
        complete["namespace"] = place
    elif namespace(parent):
        raise Permanent(f"controller {controller.name}: a namespaced parent can't own the cluster-scoped {kind}")
    return {**obj, "apiVersion": declared.resource.api_version, "kind": kind, "metadata": complete}


def outdated(observed: Object, desired: Object, manager: str) -> bool:
    """Whether `desired` has to be applied to `observed`."""
    return not covers(observed, desired) or any(
        _surplus(entry, desired)
        for entry in metadata(observed).get("managedFields") or ()
        if entry.get("manager") == manager and not entry.get("subresource")
    )


def covers(observed: Any, desired: Any) -> bool:
    """Whether everything in `desired` is in `observed`. Empty and absent are the same; lists must agree throughout."""
    if isinstance(desired, dict):
        if not isinstance(observed, dict):
            return observed is None and all(covers(None, value) for value in desired.values())
        return all(covers(observed.get(key), value) for key, value in desired.items())
    if isinstance(desired, list):
        if not isinstance(observed, list):
            return observed is None and not desired
        return len(observed) == len(desired) and all(map(covers, observed, desired))
    if desired is None:
        return observed is None
    return bool(observed == desired) and isinstance(observed, bool) == isinstance(desired, bool)


def _surplus(entry: Mapping[str, Any], desired: Object) -> bool:
    """Whether a managedFields entry of ours owns a field that is no longer desired.

    An entry of operation Update (the child as created) also lists what the server filled in. There only fields count
    that have no defaults.
    """
    fields = entry.get("fieldsV1") or {}
    if entry.get("operation") == "Apply":
        return not _within(fields, desired)
    for path in _WITHOUT_DEFAULTS:
        owned: Any = fields
        below: Any = desired
        for key in path:
            owned = (owned or {}).get(f"f:{key}")
            below = (below or {}).get(key)
        if owned and not _within(owned, below or {}):
            return True
    return False


def _within(fields: Mapping[str, Any], desired: Any) -> bool:
    """Whether every field of a managedFields set (FieldsV1) is one that `desired` still has."""
    for path, inner in fields.items():
        if path == ".":
            continue
        kind, _, rest = path.partition(":")
        if kind == "f":
            if not isinstance(desired, Mapping) or rest not in desired:
                return False
            below: Any = desired[rest]
        elif kind == "k":
            keys = json.loads(rest)
            below = _item(desired, keys)
            if below is None:
                return False
        elif kind == "v":
            if not isinstance(desired, list) or json.loads(rest) not in desired:
                return False
            continue
        else:  # "i:": an index, which servers no longer write
            continue
        if inner and not _within(inner, below):
            return False
    return True


def _item(items: Any, keys: Mapping[str, Any]) -> Any:
    """The list item with these keys. A key that the item leaves out was filled in by a default (``protocol: TCP``)."""
    for item in items if isinstance(items, list) else ():
        if isinstance(item, dict) and all(key not in item or item[key] == value for key, value in keys.items()):
            return {**keys, **item}
    return None


def merge_patch(old: Any, new: Mapping[str, Any]) -> Object:
    """The JSON merge patch (RFC 7386) that turns `old` into `new`; empty if they are equal. None counts as absent."""
    before: Mapping[str, Any] = old if isinstance(old, dict) else {}
    patch: Object = {}
    for key, value in new.items():
        known = before.get(key)
        if value is None:
            if known is not None:
                patch[key] = None
        elif isinstance(value, dict) and isinstance(known, dict):
            inner = merge_patch(known, value)
            if inner:
                patch[key] = inner
        elif value != known:
            patch[key] = value
    for key, value in before.items():
        if key not in new and value is not None:
            patch[key] = None
    return patch


def merged(obj: Any, patch: Any) -> Any:
    """`obj` after a JSON merge patch."""
    if not isinstance(patch, Mapping):
        return patch
    result = dict(obj) if isinstance(obj, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result
