"""Server-side apply, and keeping track of who manages which field (upstream: structured-merge-diff ``merge`` and
apimachinery ``util/managedfields``). Pure; nothing changes its arguments.

A *manager* is a client's name together with how it writes. Appliers state what they want; other writers manage what
they changed last. A field belongs to everyone who set it to its present value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec

from homeport.kube import fieldset, merging, meta, names, structured
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
from homeport.kube.managed_versions import Versions, View, unmanaged
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
    versions: Versions | None = None,
) -> Object:
    """`new` with the ``managedFields`` that it has to have after `manager` wrote it over `old` (None: created it).

    The manager gets what it changed or added, everyone else loses that and what was removed. Entries that did not
    change stay as they are, and so does everything if the write changed nothing. An entry's time is that of the last
    change of a value that it covers. An object whose managers were reset, or that never had any, stays without until
    it is applied to. What managers of other `versions` own is compared in those; without `versions` there are none.
    """
    sent = (new.get("metadata") or {}).get("managedFields")
    writer = Manager(manager or "unknown", "Update", str(new.get("apiVersion", "")), subresource)
    if old is None and sent is None:
        return with_entries(new, _of_new(new, writer, root(schema, components), now))
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
    view = View(writer.api_version, root(schema, components), versions)
    entries = _after_update(old or {}, new, entries, writer, view, now)
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
    versions: Versions | None = None,
) -> Object:
    """The object after `manager` applied the configuration `applied` to `live` (None: there is no object yet).

    The configuration is merged in. What the manager applied before and does not mention any more is removed, unless
    somebody else manages it. Fields of others that would change are a conflict: raises Conflict with one cause for
    each, unless `force` takes them. Raises BadRequest for a configuration that cannot be applied. `live` itself is
    the answer if nothing changes. `versions` are as in :func:`track_update`.

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
    view = View(applier.api_version, node, versions)
    entries = _entries_before(live, base, view, now)
    try:
        result, entries = _applied(base, applied, wanted, entries, applier, view, force, now)
    except _ConflictsError as conflicts:
        if manager != "kubectl" or live is None:
            raise conflicts.to_api_error() from None
        # Whoever moves from client-side to server-side apply with kubectl takes along what kubectl applied before.
        rest = conflicts.without(_last_applied_fields(base, node))
        if rest.found:
            raise rest.to_api_error() from None
        result, entries = _applied(base, applied, wanted, entries, applier, view, True, now)
    if manager == "kubectl" and meta.annotations(result).get(LAST_APPLIED):
        result = _with_last_applied(result, applied)
    result = with_entries(result, entries)
    return live if live is not None and result == live else result


def _entries_before(live: Object | None, base: Object, view: View, now: datetime) -> list[Entry]:
    """The managers of the live object. If nobody kept track so far, all fields get one manager of their own."""
    if live is None:
        return []
    entries = _readable((live.get("metadata") or {}).get("managedFields"))
    if not entries:
        before = Manager(BEFORE_FIRST_APPLY, "Update", str(live.get("apiVersion", "")))
        return _after_update({}, base, [], before, view, now)
    present = ((entry, view.node(entry.manager.api_version)) for entry in entries)
    return [entry.having(structured.reconciled(entry.fields, node)) for entry, node in present if node is not None]


def _readable(managed_fields: Any, *, trusted: bool = True) -> list[Entry]:
    """Entries that make sense. As upstream, malformed ones count as none: they must not block every write."""
    try:
        return read(managed_fields, trusted=trusted)
    except ValueError:
        return []


def _after_update(
    old: Object, new: Object, entries: list[Entry], writer: Manager, view: View, now: datetime
) -> list[Entry]:
    if not old and not entries:
        return _of_new(new, writer, view.own, now)
    changes = view.changes(old, new)
    difference = changes.own
    if not difference.changed and not difference.removed:
        return entries
    mine = fieldset.difference(difference.changed, STRIPPED)
    time = timestamp(now)
    written = Entry(writer, mine, time)
    result = []
    for entry in entries:
        if view.node(entry.manager.api_version) is None:
            continue  # nobody can own anything in a version that is gone
        if mine and entry.manager.identity == writer.identity:
            fields = fieldset.union(fieldset.difference(entry.fields, difference.removed), mine)
            written = entry.having(fields).at(time)
        elif kept := fieldset.difference(entry.fields, changes.touched(entry.manager.api_version)):
            result.append(entry.having(kept))
    if mine:
        result.append(written)
    return result


def _of_new(new: Object, writer: Manager, node: Node, now: datetime) -> list[Entry]:
    """The entries of an object that there was not before: all of it is the writer's."""
    obj = unmanaged(new)
    mine = {f"f:{name}": structured.everything(obj[name], node.child(name)) for name in sorted(obj)}
    metadata = mine.get("f:metadata")
    if metadata is not None:  # which is no part of a set by itself, as little as the root is
        mine["f:metadata"] = {element: child for element, child in metadata.items() if element != fieldset.SELF}
    return [Entry(writer, mine, timestamp(now), in_order=True)] if mine else []


def _applied(
    live: Object,
    applied: Object,
    wanted: FieldSet,
    entries: list[Entry],
    applier: Manager,
    view: View,
    force: bool,
    now: datetime,
) -> tuple[Object, list[Entry]]:
    """The merged object, without ``managedFields``, and its entries. Raises _ConflictsError."""
    previous = next((entry for entry in entries if entry.manager.identity == applier.identity), None)
    others = [entry for entry in entries if entry is not previous]
    result = merging.merge(live, applied, view.own)
    if previous is not None and _gives_up(previous, applier, wanted):
        result = _pruned(result, previous, _ownership(others, Entry(applier, wanted)), view)
        # Once more, for lists that pruning emptied and that the configuration wants, if empty.
        result = merging.merge(result, applied, view.own)
    changes = view.changes(live, result)
    kept = []
    conflicts: list[tuple[Manager, FieldSet]] = []
    for entry in others:
        version = entry.manager.api_version
        common = fieldset.intersection(entry.fields, changes.of(version).changed)
        if common:
            conflicts.append((entry.manager, common))
        fields = fieldset.difference(entry.fields, changes.touched(version))
        if fields:
            kept.append(entry.having(fields))
    if conflicts and not force:
        raise _ConflictsError(conflicts)
    mine = fieldset.difference(wanted, STRIPPED)
    if mine:
        touched = changes.touched(applier.api_version)
        unchanged = previous is not None and mine == previous.fields and applier == previous.manager and not touched
        kept.append(previous if unchanged and previous is not None else Entry(applier, mine, timestamp(now)))
    return result, kept


def _gives_up(previous: Entry, applier: Manager, wanted: FieldSet) -> bool:
    """Whether an applier may have set something last time that it does not want any more."""
    if previous.manager.api_version != applier.api_version:
        return True  # other fields stand for the same there
    return not fieldset.contains(wanted, previous.fields)


class _Owned(NamedTuple):
    """What has owners in one version."""

    managed: FieldSet = fieldset.EMPTY
    claimed: FieldSet = fieldset.EMPTY
    """The part that appliers own."""


def _ownership(others: Iterable[Entry], applied: Entry) -> dict[str, _Owned]:
    owned: dict[str, _Owned] = {}
    for entry in (applied, *others):
        version, before = entry.manager.api_version, owned.get(entry.manager.api_version)
        if before is None:
            before = _Owned()
        claims = entry.manager.operation == "Apply"
        owned[version] = _Owned(
            fieldset.union(before.managed, entry.fields),
            fieldset.union(before.claimed, entry.fields) if claims else before.claimed,
        )
    return owned


def _pruned(merged: Object, previous: Entry, owned: Mapping[str, _Owned], view: View) -> Object:
    """`merged` without what the applier set last time, sets no more, and nobody else manages. Containers that appliers
    have claimed stay, if empty.

    First everything of last time goes, with all that is below it. Then what somebody manages comes back, in each
    version that has owners, and last what is below a removed place but was never the applier's: fields that a default
    or an unknown writer put there. What is taken out is said, in the end, in the version of last time.
    """
    version = previous.manager.api_version
    node = view.node(version)
    if node is None:
        return merged
    last = structured.with_named(previous.fields, node)
    whole = merged = view.shown(merged, version)
    pruned: Object = merging.remove(merged, last, node)
    # Its own version first: what others need to convert the object at all is back by then.
    for owners in sorted(owned, key=lambda each: (each != version, each)):
        place = view.node(owners)
        if place is None:
            continue
        merged, pruned = view.shown(merged, owners), view.shown(pruned, owners)
        managed, claimed = owned[owners]
        left = _members(pruned, place)
        gone = fieldset.difference(_members(merged, place), fieldset.union(left, structured.with_named(managed, place)))
        pruned = merging.remove(merged, gone, place, claimed)
    left = _members(view.shown(pruned, version), node)
    gone = fieldset.intersection(fieldset.difference(_members(whole, node), left), last)
    claimed = owned[version].claimed if version in owned else fieldset.EMPTY
    result: Object = merging.remove(whole, gone, node, claimed)
    return view.shown(result, view.api_version)


def _members(obj: Object, node: Node) -> FieldSet:
    return structured.with_named(structured.fields_of_stored(obj, node), node)


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
