"""The committed records of one resource, in the order that lists have."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Sequence
from itertools import chain
from operator import attrgetter

from homeport.store.protocol import Record

_name = attrgetter("key.name")


class _Namespace:
    """Records by name. `names` and `records` are parallel and sorted, so that a list is one copy of a Python list."""

    __slots__ = ("by_name", "names", "records")

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self.records = sorted(records, key=_name)
        self.names = [record.key.name for record in self.records]
        self.by_name = dict(zip(self.names, self.records, strict=True))

    def put(self, record: Record) -> None:
        name = record.key.name
        at = bisect_left(self.names, name)
        if name in self.by_name:
            self.records[at] = record
        else:
            self.names.insert(at, name)
            self.records.insert(at, record)
        self.by_name[name] = record

    def remove(self, name: str) -> None:
        del self.by_name[name]
        at = bisect_left(self.names, name)
        del self.names[at]
        del self.records[at]


class Index:
    """Records of one resource, sorted by (namespace, name)."""

    __slots__ = ("_count", "_names", "_namespaces")

    def __init__(self, records: Iterable[Record] = ()) -> None:
        groups: dict[str, list[Record]] = {}
        for record in records:
            groups.setdefault(record.key.namespace, []).append(record)
        self._namespaces = {namespace: _Namespace(group) for namespace, group in groups.items()}
        self._names = sorted(groups)
        self._count = sum(len(group) for group in groups.values())

    def __len__(self) -> int:
        return self._count

    def get(self, namespace: str, name: str) -> Record | None:
        group = self._namespaces.get(namespace)
        return group.by_name.get(name) if group is not None else None

    def named(self, name: str) -> list[Record]:
        """The records of that name, of all namespaces, in order."""
        found = (self._namespaces[namespace].by_name.get(name) for namespace in self._names)
        return [record for record in found if record is not None]

    def put(self, record: Record) -> None:
        group = self._namespaces.get(record.key.namespace)
        if group is None:
            group = self._namespaces[record.key.namespace] = _Namespace()
            insort(self._names, record.key.namespace)
        self._count -= len(group.names)
        group.put(record)
        self._count += len(group.names)

    def remove(self, namespace: str, name: str) -> None:
        group = self._namespaces[namespace]
        group.remove(name)
        self._count -= 1
        if not group.names:
            del self._namespaces[namespace]
            del self._names[bisect_left(self._names, namespace)]

    def page(self, namespace: str | None, after: tuple[str, str] | None, limit: int) -> tuple[list[Record], int]:
        """At most `limit` records behind `after`, and how many follow them. Copies no others."""
        names = self._names if namespace is None else [namespace] if namespace in self._namespaces else []
        if after is not None:
            names = names[bisect_left(names, after[0]) :]
        found: list[Record] = []
        following = 0
        for name in names:
            group = self._namespaces[name]
            start = bisect_right(group.names, after[1]) if after is not None and name == after[0] else 0
            end = start + limit - len(found)
            found += group.records[start:end]
            following += max(0, len(group.names) - end)
        return found, following

    def scan(self, namespace: str | None) -> Sequence[Record]:
        """A copy that later writes do not change."""
        if namespace is not None:
            group = self._namespaces.get(namespace)
            return group.records.copy() if group else []
        if len(self._names) == 1:
            return self._namespaces[self._names[0]].records.copy()
        return list(chain.from_iterable(self._namespaces[name].records for name in self._names))
