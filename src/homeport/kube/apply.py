"""Server-side apply, and keeping track of who manages which field (upstream: structured-merge-diff ``merge`` and
apimachinery ``util/managedfields``). Pure; nothing changes its arguments.

A *manager* is a client's name together with how it writes. Appliers state what they want; other writers manage what
they changed last. A field belongs to everyone who set it to its present value.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import msgspec

from homeport.kube import fieldset, meta, names, structured
from homeport.kube.errors import BadRequest, Conflict
from homeport.kube.fieldset import FieldSet
from homeport.kube.managed import (
    BEFORE_FIRST_APPLY,
    STRIPPED,
    Entry,
    Manager,
    capped,
    is_reset,
    read,
    with_entries,
    without_entries,
)
from homeport.kube.merge_schema import Components, Node, Schema, root
from homeport.kube.meta import Object, name, namespace, timestamp

LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"


def track_update(
    old: Object | None,
    new: Object,
    manager: str,
    *,
    schema: Schema | None,
    components: Components | None,
    now: datetime,
    subresource: str = "",
) -> Object:
    """`new` with the ``managedFields`` that it has to have after `manager` wrote it over `old` (None: created it).

    The manager gets what it changed or added, everyone else loses that and what was removed. Entries that did not
    change stay as they are, and so does everything if the write changed nothing. An entry's time is that of the last
    change of a value that it covers. An object whose managers were reset, or that never had any, stays without until
    it is applied to.
    """
    sent = (new.get("metadata") or {}).get("managedFields")
    stored = (old.get("metadata") or {}).get("managedFields") if old else None
    if subresource or sent == stored:
        entries = _readable(stored)
    elif is_reset(sent):
        return without_entries(new)
    else:
        # A client may edit the entries; one that does not know them, or breaks them, leaves them as they were.
        entries = _readable(sent, trusted=False) or _readable(stored)
    if old is not None and not entries:
        return without_entries(new)
    node = root(schema, components)
    writer = Manager(manager or "unknown", "Update", str(new.get("apiVersion", "")), subresource)
    entries = _after_update(old or {}, new, entries, writer, node, now)
    return with_entries(new, capped(entries))


def apply(
    live: Object | None,
    applied: Object,
    manager: str,
    force: bool,
    schema: Schema | None,
    components: Components | None,
    now: datetime,
    subresource: str = "",
) -> Object:
    """The object after `manager` applied the configuration `applied` to `live` (None: there is no object yet).

    The configuration is merged in. What the manager applied before and does not mention any more is removed, unless
    somebody else manages it. Fields of others that would change are a conflict: raises Conflict with one cause for
    each, unless `force` takes them. Raises BadRequest for a configuration that cannot be applied. `live` itself is
    the answer if nothing changes.

    Afterwards the caller defaults and validates the result.
    """
    node = root(schema, components)
    if (applied.get("metadata") or {}).get("managedFields") is not None:
        raise BadRequest("metadata.managedFields must be nil")
    if live is not None and applied.get("apiVersion") != live.get("apiVersion"):
        raise BadRequest(
            "Incorrect version specified in apply patch. "
            f"Specified patch version: {applied.get('apiVersion')}, expected: {live.get('apiVersion')}"
        )
    try:
        wanted = structured.fields_of(applied, node)
    except structured.ElementError as error:
        raise BadRequest(
            f"failed to create typed patch object ({namespace(applied)}/{name(applied)}; "
            f"{applied.get('apiVersion')}, Kind={applied.get('kind')}): {error}"
        ) from None
    applier = Manager(manager, "Apply", str(applied.get("apiVersion", "")), subresource)
    base = without_entries(live or {})
    entries = _entries_before(live, base, node, now)
    try:
        result, entries = _applied(base, applied, wanted, entries, applier, node, force, now)
    except _ConflictsError as conflicts:
        if manager != "kubectl" or live is None:
            raise conflicts.to_api_error() from None
        # Whoever moves from client-side to server-side apply with kubectl takes along what kubectl applied before.
        rest = conflicts.without(_last_applied_fields(base, node))
        if rest.found:
            raise rest.to_api_error() from None
        result, entries = _applied(base, applied, wanted, entries, applier, node, True, now)
    if manager == "kubectl" and meta.annotations(result).get(LAST_APPLIED):
        result = _with_last_applied(result, applied)
    result = with_entries(result, entries)
    return live if live is not None and result == live else result


def _entries_before(live: Object | None, base: Object, node: Node, now: datetime) -> list[Entry]:
    """The managers of the live object. If nobody kept track so far, all fields get one manager of their own."""
    if live is None:
        return []
    entries = _readable((live.get("metadata") or {}).get("managedFields"))
    if not entries:
        before = Manager(BEFORE_FIRST_APPLY, "Update", str(live.get("apiVersion", "")))
        return _after_update({}, base, [], before, node, now)
    return [entry.having(structured.reconciled(entry.fields, node)) for entry in entries]


def _readable(managed_fields: Any, *, trusted: bool = True) -> list[Entry]:
    """Entries that make sense. As upstream, malformed ones count as none: they must not block every write."""
    try:
        return read(managed_fields, trusted=trusted)
    except ValueError:
        return []


def _after_update(
    old: Object, new: Object, entries: list[Entry], writer: Manager, node: Node, now: datetime
) -> list[Entry]:
    if not old and not entries:
        return _of_new(new, writer, node, now)
    difference = structured.diff(_unmanaged(old), _unmanaged(new), node)
    if not difference.changed and not difference.removed:
        return entries
    touched = fieldset.union(difference.changed, difference.removed)
    mine = fieldset.difference(difference.changed, STRIPPED)
    time = timestamp(now)
    written = Entry(writer, mine, time)
    result = []
    for entry in entries:
        if mine and entry.manager.identity == writer.identity:
            fields = fieldset.union(fieldset.difference(entry.fields, difference.removed), mine)
            written = entry.having(fields).at(time)
        elif kept := fieldset.difference(entry.fields, touched):
            result.append(entry.having(kept))
    if mine:
        result.append(written)
    return result


def _of_new(new: Object, writer: Manager, node: Node, now: datetime) -> list[Entry]:
    """The entries of an object that there was not before: all of it is the writer's."""
    fields = structured.everything(_unmanaged(new), node)
    # Neither is part of a set by itself: the root, and the object's metadata.
    mine = {element: child for element, child in fields.items() if element != fieldset.SELF}
    mine = fieldset.difference(mine, STRIPPED)
    return [Entry(writer, mine, timestamp(now), in_order=True)] if mine else []


def _unmanaged(obj: Object) -> Object:
    """`obj` without the fields that are never managed, so that they need no comparing."""
    metadata = {key: value for key, value in (obj.get("metadata") or {}).items() if key not in _STRIPPED_META}
    rest = {key: value for key, value in obj.items() if key not in ("apiVersion", "kind", "metadata")}
    return {"metadata": metadata, **rest} if metadata else rest


_STRIPPED_META: Final = frozenset(element.removeprefix("f:") for element in STRIPPED["f:metadata"])


def _applied(
    live: Object,
    applied: Object,
    wanted: FieldSet,
    entries: list[Entry],
    applier: Manager,
    node: Node,
    force: bool,
    now: datetime,
) -> tuple[Object, list[Entry]]:
    """The merged object, without ``managedFields``, and its entries. Raises _ConflictsError."""
    previous = next((entry for entry in entries if entry.manager.identity == applier.identity), None)
    others = [entry for entry in entries if entry is not previous]
    result = structured.merge(live, applied, node)
    if previous is not None and not fieldset.contains(wanted, previous.fields):
        managed = claimed = wanted
        for entry in others:
            managed = fieldset.union(managed, entry.fields)
            if entry.manager.operation == "Apply":
                claimed = fieldset.union(claimed, entry.fields)
        result = _pruned(result, previous.fields, managed, claimed, node)
        # Once more, for lists that pruning emptied and that the configuration wants, if empty.
        result = structured.merge(result, applied, node)
    difference = structured.diff(_unmanaged(live), _unmanaged(result), node)
    kept = []
    conflicts: list[tuple[Manager, FieldSet]] = []
    touched = fieldset.union(difference.changed, difference.removed)
    for entry in others:
        common = fieldset.intersection(entry.fields, difference.changed)
        if common:
            conflicts.append((entry.manager, common))
        fields = fieldset.difference(entry.fields, touched)
        if fields:
            kept.append(entry.having(fields))
    if conflicts and not force:
        raise _ConflictsError(conflicts)
    mine = fieldset.difference(wanted, STRIPPED)
    if mine:
        unchanged = previous is not None and mine == previous.fields and applier == previous.manager and not touched
        kept.append(previous if unchanged and previous is not None else Entry(applier, mine, timestamp(now)))
    return result, kept


def _pruned(merged: Object, last: FieldSet, managed: FieldSet, claimed: FieldSet, node: Node) -> Object:
    """`merged` without what the applier set last time, sets no more, and nobody else manages. Containers that appliers
    have `claimed` stay, if empty.

    First everything of last time goes, with all that is below it. Then what somebody manages comes back, and last what
    is below a removed place but was never the applier's: fields that a default or an unknown writer put there.
    """
    last = structured.with_named(last, node)
    every = structured.with_named(structured.fields_of_stored(merged, node), node)
    without = structured.remove(merged, last, node)
    left = structured.with_named(structured.fields_of_stored(without, node), node)
    gone = fieldset.difference(every, fieldset.union(left, structured.with_named(managed, node)))
    pruned = structured.remove(merged, gone, node, claimed)
    left = structured.with_named(structured.fields_of_stored(pruned, node), node)
    gone = fieldset.intersection(fieldset.difference(every, left), last)
    result: Object = structured.remove(merged, gone, node, claimed)
    return result


class _ConflictsError(Exception):
    """Fields that an apply would take from others."""

    def __init__(self, found: list[tuple[Manager, FieldSet]]) -> None:
        super().__init__()
        self.found = found

    def without(self, allowed: FieldSet) -> _ConflictsError:
        rest = [(manager, fieldset.difference(fields, allowed)) for manager, fields in self.found]
        return _ConflictsError([(manager, fields) for manager, fields in rest if fields])

    def to_api_error(self) -> Conflict:
        found = [
            (str(manager), path)
            for manager, fields in sorted(self.found, key=lambda pair: str(pair[0]))
            for path in fieldset.paths(fields)
        ]
        causes = [
            {"reason": "FieldManagerConflict", "message": f"conflict with {manager}", "field": path}
            for manager, path in found
        ]
        if len(found) == 1:
            manager, path = found[0]
            text = f"Apply failed with 1 conflict: conflict with {manager}: {path}"
        else:
            lines = []
            for manager in dict.fromkeys(manager for manager, _ in found):
                lines.append(f"conflicts with {manager}:")
                lines += [f"- {path}" for owner, path in found if owner == manager]
            text = f"Apply failed with {len(found)} conflicts: " + "\n".join(lines)
        return Conflict(text, details={"causes": causes})


def _last_applied_fields(live: Object, node: Node) -> FieldSet:
    """What kubectl's annotation says was applied on the client's side and is still so."""
    try:
        last = msgspec.json.decode(meta.annotations(live).get(LAST_APPLIED) or "null")
        if not isinstance(last, dict) or last.get("apiVersion") != live.get("apiVersion"):
            return {}
        fields = structured.fields_of(last, node)
    except (msgspec.DecodeError, structured.ElementError, RecursionError):
        return {}
    difference = structured.diff(last, live, node)
    return fieldset.difference(fields, fieldset.union(difference.changed, difference.removed))


def _with_last_applied(obj: Object, applied: Object) -> Object:
    """Keep kubectl's annotation true, so that a later client-side apply starts from what was applied here."""
    metadata = dict(applied.get("metadata") or {})
    if LAST_APPLIED in meta.annotations(applied):
        metadata["annotations"] = {k: v for k, v in meta.annotations(applied).items() if k != LAST_APPLIED}
    text = msgspec.json.encode({**applied, "metadata": metadata}, order="sorted").decode() + "\n"
    updated = {**meta.annotations(obj), LAST_APPLIED: text}
    if sum(len(key) + len(value) for key, value in updated.items()) > names.ANNOTATIONS_LIMIT:
        del updated[LAST_APPLIED]
    return {**obj, "metadata": {**obj["metadata"], "annotations": updated}}
