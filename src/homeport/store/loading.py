"""Reading all that a store's file holds, each row checked on the way."""

from __future__ import annotations

import gc
import sqlite3
import sys
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Final, NamedTuple

from homeport.store.encode import NO_LABELS, decode_labels, restamp
from homeport.store.format import Damaged, checksum_of
from homeport.store.protocol import Event, Key, Record

_FREEZE_ABOVE: Final = 10_000
"""Records loaded from which on they are taken out of the garbage collector's sight for good."""


class Loaded(NamedTuple):
    """What a file holds."""

    records: list[Record]
    """The current ones, in no order."""
    revision: int
    events: list[Event]
    """The history: every event after `compacted`."""
    compacted: int


def load(connection: sqlite3.Connection, path: Path) -> Loaded:
    """What the database of `path` holds, each row checked against its checksum. Raises Damaged or sqlite3.Error."""
    collecting = gc.isenabled()
    gc.disable()  # Nothing below makes garbage; collections would take half of the time.
    try:
        loaded = _load(connection, path)
    finally:
        if collecting:
            gc.enable()
    if len(loaded.records) > _FREEZE_ABOVE:
        gc.freeze()
    return loaded


def _load(connection: sqlite3.Connection, path: Path) -> Loaded:
    counters = connection.execute("SELECT revision, compacted FROM counter").fetchone()
    if counters is None:
        raise Damaged(path, "its revision counter is missing")
    revision, compacted = counters
    query = "SELECT revision, resource, namespace, name, labels, value, deleted, checksum FROM record ORDER BY revision"
    known: dict[bytes | None, Mapping[str, str]] = {None: NO_LABELS}  # Equal labels share one dict.
    places: dict[tuple[str, str], dict[str, Record]] = {}
    """The current records by resource and namespace, then by name."""
    events: list[Event] = []
    last = 0
    for number, resource, namespace, name, labels, value, deleted, checksum in connection.execute(query):
        if checksum is not None and checksum != checksum_of(number, resource, namespace, name, labels, value, deleted):
            raise Damaged(path, f"the object {resource} {namespace}/{name} of revision {number} is not what was stored")
        if number <= last:
            raise Damaged(path, f"revision {number} comes after revision {last}")
        last = number
        parsed = known.get(labels)
        if parsed is None:
            parsed = known[labels] = decode_labels(labels or b"{}")
        place = places.get((resource, namespace))
        if place is None:
            place = places[sys.intern(resource), sys.intern(namespace)] = {}
        previous = place.get(name)
        key = previous.key if previous else Key(sys.intern(resource), sys.intern(namespace), name)
        if number <= compacted:
            place[name] = Record(key, number, value, parsed)
        elif not deleted:
            record = place[name] = Record(key, number, value, parsed)
            events.append(Event("MODIFIED" if previous else "ADDED", record, previous))
        elif previous is not None:
            del place[name]
            final = Record(key, number, value or restamp(previous.value, number), parsed)
            events.append(Event("DELETED", final, previous))
        else:
            raise Damaged(path, f"{resource} {namespace}/{name} was deleted at revision {number}, but never created")
    newest = events[-1].record.revision if events else compacted
    records = list(chain.from_iterable(place.values() for place in places.values()))
    return Loaded(records, max(revision, newest), events, compacted)
