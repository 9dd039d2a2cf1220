"""``metadata.managedFields``: who manages which fields, as entries of an object (upstream: apimachinery
``util/managedfields``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

import msgspec

from homeport.kube.fieldset import FieldSet, decode, ordered, union
from homeport.kube.meta import Object, parse_time
from homeport.kube.remembered import of_short_texts

Operation: TypeAlias = Literal["Apply", "Update"]

MAX_UPDATE_MANAGERS: Final = 10
"""Entries of updates that an object keeps; the oldest ones beyond are merged into one."""

ANCIENT: Final = "ancient-changes"
BEFORE_FIRST_APPLY: Final = "before-first-apply"

STRIPPED: Final[FieldSet] = {
    "f:apiVersion": {},
    "f:kind": {},
    "f:metadata": {
        ".": {},
        "f:name": {},
        "f:namespace": {},
        "f:creationTimestamp": {},
        "f:selfLink": {},
        "f:uid": {},
        "f:clusterName": {},
        "f:generation": {},
        "f:managedFields": {},
        "f:resourceVersion": {},
    },
}
"""Fields that nobody manages: the server's own."""


class Manager(msgspec.Struct, frozen=True):
    """Who an entry is about. An applier keeps its entry when it changes to another version of the API."""

    name: str
    operation: Operation
    api_version: str
    subresource: str = ""

    @property
    def identity(self) -> tuple[str, str, str, str]:
        version = "" if self.operation == "Apply" else self.api_version
        return self.name, self.operation, version, self.subresource

    def __str__(self) -> str:
        """As conflict messages name it."""
        text = f'"{self.name}"'
        if self.subresource:
            text += f' with subresource "{self.subresource}"'
        return f"{text} using {self.api_version}" if self.operation == "Update" else text


class Entry(msgspec.Struct, frozen=True):
    """One entry. ``raw`` is its wire form as long as nothing has changed."""

    manager: Manager
    fields: FieldSet
    time: str = ""
    raw: Mapping[str, Any] | None = None
    in_order: bool = False
    """Whether `fields` have the order in which they are stored."""

    def having(self, fields: FieldSet) -> Entry:
        """The entry with another set of fields."""
        return self if fields is self.fields else Entry(self.manager, fields, self.time)

    def at(self, time: str) -> Entry:
        """The entry with another time."""
        raw = {**self.raw, "time": time} if self.raw is not None else None
        return Entry(self.manager, self.fields, time, raw, self.in_order)

    def encoded(self) -> dict[str, Any]:
        if self.raw is not None:
            return dict(self.raw)
        encoded: dict[str, Any] = {
            "manager": self.manager.name,
            "operation": self.manager.operation,
            "apiVersion": self.manager.api_version,
        }
        if self.time:
            encoded["time"] = self.time
        encoded["fieldsType"] = "FieldsV1"
        encoded["fieldsV1"] = self.fields if self.in_order else ordered(self.fields)
        if self.manager.subresource:
            encoded["subresource"] = self.manager.subresource
        return encoded


def read(managed_fields: Any, *, trusted: bool = True) -> list[Entry]:
    """The entries of an object. Raises ValueError for a malformed one.

    Those that the server stored are `trusted` to be in the form that it writes.
    """
    if managed_fields is None:
        return []
    if not isinstance(managed_fields, list):
        raise ValueError("metadata.managedFields must be a list")
    return [_read(entry, trusted) for entry in managed_fields]


def _read(entry: Any, trusted: bool) -> Entry:
    if not isinstance(entry, dict):
        raise ValueError("metadata.managedFields: an entry must be an object")
    operation = entry.get("operation")
    if operation not in ("Apply", "Update"):
        raise ValueError("metadata.managedFields: operation must be `Apply` or `Update`")
    if not entry.get("apiVersion"):
        raise ValueError("metadata.managedFields: apiVersion must not be empty")
    if entry.get("fieldsType") != "FieldsV1":
        raise ValueError(f"metadata.managedFields: invalid fieldsType {entry.get('fieldsType')!r}")
    manager = Manager(
        str(entry.get("manager") or ""), operation, str(entry["apiVersion"]), str(entry.get("subresource") or "")
    )
    fields = entry.get("fieldsV1") or {}
    time = str(entry.get("time") or "")
    if trusted:
        return Entry(manager, fields, time, entry)
    decoded = decode(fields)
    # Kept as it is only if it is what we would write.
    return Entry(manager, decoded, time, entry if decoded == fields else None)


def is_reset(managed_fields: Any) -> bool:
    """Whether a client asks to forget all managers: with an empty list, or with one empty entry."""
    return managed_fields in ([], [{}])


def with_entries(obj: Object, entries: Sequence[Entry]) -> Object:
    """`obj` with these entries, in upstream's order, as its ``managedFields``; itself if it has exactly those."""
    encoded = [entry.encoded() for entry in (sorted(entries, key=_order) if len(entries) > 1 else entries)]
    metadata = obj.get("metadata") or {}
    if metadata.get("managedFields") == (encoded or None):
        return obj
    metadata = {**metadata, "managedFields": encoded}
    if not encoded:
        del metadata["managedFields"]
    return {**obj, "metadata": metadata}


def without_entries(obj: Object) -> Object:
    """`obj` without ``managedFields``."""
    metadata = obj.get("metadata") or {}
    if "managedFields" not in metadata:
        return obj
    return {**obj, "metadata": {key: value for key, value in metadata.items() if key != "managedFields"}}


def capped(entries: list[Entry]) -> list[Entry]:
    """At most `MAX_UPDATE_MANAGERS` entries of updates: of each API version, the oldest are merged into one."""
    updates = [entry for entry in entries if entry.manager.operation == "Update"]
    excess = len(updates) - MAX_UPDATE_MANAGERS
    if excess <= 0:
        return entries
    updates.sort(key=lambda entry: (_moment(entry.time), entry.manager.identity))
    merged: set[int] = set()
    buckets: dict[str, Entry] = {}
    for entry in updates:
        if excess <= 0:
            break
        version = entry.manager.api_version
        first = buckets.get(version)
        if first is None:
            buckets[version] = entry
        else:
            # The bucket takes the time of the newest change in it.
            bucket = Entry(Manager(ANCIENT, "Update", version), union(first.fields, entry.fields), entry.time)
            merged |= {id(first), id(entry)}
            buckets[version] = bucket
            excess -= 1
    kept = [entry for entry in entries if id(entry) not in merged]
    for version, bucket in buckets.items():
        if bucket.manager.name == ANCIENT and bucket not in kept:
            same = next((e for e in kept if e.manager.identity == bucket.manager.identity), None)
            if same is not None:
                kept.remove(same)
                buckets[version] = bucket = bucket.having(union(bucket.fields, same.fields))
            kept.append(bucket)
    return kept


def _order(entry: Entry) -> tuple[str, float, str, str, str]:
    manager = entry.manager
    return manager.operation, _moment(entry.time), manager.name, manager.api_version, manager.subresource


@of_short_texts(1024)
def _moment(time: str) -> float:
    if not time:
        return 0
    try:
        return float(int(parse_time(time).timestamp()))
    except ValueError:
        return 0
