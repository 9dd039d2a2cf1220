"""The objects of one resource as last seen, with the indexes that controllers look things up in. Read-only to all but
its informer."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple, TypeAlias

from homeport.kube.meta import Object, controller_of

ObjectKey: TypeAlias = tuple[str, str]
"""Namespace (empty for cluster scope) and name."""

_NONE: Mapping[ObjectKey, Object] = MappingProxyType({})


class Change(NamedTuple):
    """What happened to an object. `old` is None for ADDED, `new` None for DELETED (`old` is then the final state)."""

    type: Literal["ADDED", "MODIFIED", "DELETED"]
    old: Object | None
    new: Object | None

    @property
    def object(self) -> Object:
        """The newest state there is."""
        found = self.new if self.new is not None else self.old
        assert found is not None
        return found


def key_of(obj: Object) -> ObjectKey:
    meta = obj["metadata"]
    return meta.get("namespace") or "", meta["name"]


class Index:
    """The objects of a cache by what a function finds in them: its keys. Made by `Cache.index`."""

    def __init__(self, objects: Mapping[ObjectKey, Object], keys: Callable[[Object], Iterable[Hashable]]) -> None:
        self._objects = objects
        self._keys = keys
        self._found: dict[Hashable, dict[ObjectKey, None]] = {}
        self._of: dict[ObjectKey, tuple[Hashable, ...]] = {}
        for key, obj in objects.items():
            self._put(key, obj)

    def get(self, key: Hashable) -> list[Object]:
        """The objects that have the key, the one that got it first coming first."""
        return [self._objects[each] for each in self._found.get(key, ())]

    def count(self, key: Hashable) -> int:
        return len(self._found.get(key, ()))

    def _put(self, own: ObjectKey, obj: Object) -> None:
        keys, former = tuple(self._keys(obj)), self._of.get(own, ())
        if keys == former:
            return
        self._remove(own)
        for key in keys:
            self._found.setdefault(key, {})[own] = None
        if keys:
            self._of[own] = keys

    def _remove(self, own: ObjectKey) -> None:
        for key in self._of.pop(own, ()):
            found = self._found.get(key)
            if found is not None:
                found.pop(own, None)
                if not found:
                    del self._found[key]


class Cache:
    def __init__(self) -> None:
        self._indexes: dict[Callable[[Object], Iterable[Hashable]], Index] = {}
        self._objects: dict[ObjectKey, Object] = {}
        self._owned: dict[str, dict[ObjectKey, Object]] = {}
        self._orphans: dict[str, dict[ObjectKey, Object]] | None = None

    def get(self, namespace: str, name: str) -> Object | None:
        return self._objects.get((namespace, name))

    def __len__(self) -> int:
        return len(self._objects)

    def __iter__(self) -> Iterator[Object]:
        return iter(self._objects.values())

    def keys(self) -> Iterator[ObjectKey]:
        return iter(self._objects)

    def owned(self, uid: str) -> Mapping[ObjectKey, Object]:
        """The objects that name `uid` as their controlling owner."""
        return self._owned.get(uid, _NONE)

    def index(self, keys: Callable[[Object], Iterable[Hashable]]) -> Index:
        """An index of the objects by `keys`, kept up to date from now on. Whoever asks for the same function gets the
        same index."""
        found = self._indexes.get(keys)
        if found is None:
            found = self._indexes[keys] = Index(self._objects, keys)
        return found

    def index_orphans(self) -> None:
        """From now on `orphans` can be asked."""
        if self._orphans is None:
            self._orphans = {}
            for key, obj in self._objects.items():
                if not controller_uid(obj):
                    self._orphans.setdefault(key[0], {})[key] = obj

    def orphans(self, namespace: str) -> Mapping[ObjectKey, Object]:
        """The objects of a namespace that have no controlling owner."""
        return (self._orphans or {}).get(namespace, _NONE)

    def _put(self, obj: Object) -> Object | None:
        """For the informer only. Gives the former state."""
        key = key_of(obj)
        old = self._objects.get(key)
        self._objects[key] = obj
        for index in self._indexes.values():
            index._put(key, obj)
        owner = controller_uid(obj)
        if old is not None:
            former = controller_uid(old)
            if former and former != owner:
                self._disown(former, key)
        if owner:
            self._owned.setdefault(owner, {})[key] = obj
            self._found(key)
        elif self._orphans is not None:
            self._orphans.setdefault(key[0], {})[key] = obj
        return old

    def _remove(self, key: ObjectKey) -> Object | None:
        """For the informer only. Gives the former state."""
        old = self._objects.pop(key, None)
        if old is not None:
            for index in self._indexes.values():
                index._remove(key)
            owner = controller_uid(old)
            if owner:
                self._disown(owner, key)
            self._found(key)
        return old

    def _found(self, key: ObjectKey) -> None:
        """It is no orphan any more."""
        alone = self._orphans.get(key[0]) if self._orphans else None
        if alone is not None and alone.pop(key, None) is not None and not alone:
            assert self._orphans is not None
            del self._orphans[key[0]]

    def _disown(self, uid: str, key: ObjectKey) -> None:
        owned = self._owned.get(uid)
        if owned is not None:
            owned.pop(key, None)
            if not owned:
                del self._owned[uid]


def controller_uid(obj: Object) -> str:
    """The uid of the owner that controls `obj`; empty without one."""
    owner = controller_of(obj)
    return owner["uid"] if owner is not None else ""
