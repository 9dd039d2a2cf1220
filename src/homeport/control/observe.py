"""From caches to `Observed`: what one parent's sync gets to see."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import partial

from homeport.control.cache import Change, ObjectKey, controller_uid, key_of
from homeport.control.claiming import Selectors, Transfer, transfers
from homeport.control.controller import Child, Controller, Failure, Observed, Related
from homeport.control.diff import child_id
from homeport.control.informer import Informer, Informers
from homeport.kube.meta import Object, controller_of, metadata, namespace, uid

_log = logging.getLogger(__name__)
_EVERYBODY: ObjectKey = ("", "")
_ALL = (_EVERYBODY,)


class RelatedIndex:
    """Which related objects concern which parents, kept up to date by the informer's changes."""

    def __init__(
        self,
        related: Related,
        informer: Informer,
        concerns: Callable[[ObjectKey], None],
        parents: Callable[[], Iterable[Object]],
    ) -> None:
        self._related = related
        self._concerns = concerns
        self._parents = parents
        self._by_parent: dict[ObjectKey, dict[str, Object]] = {}
        self._concerned: dict[str, tuple[ObjectKey, ...]] = {}
        informer.subscribe(self._changed)

    def of(self, parent: ObjectKey) -> dict[str, Object]:
        return self._by_parent.get(_EVERYBODY if self._related.key is None else parent, {})

    def _changed(self, change: Change) -> None:
        place, own_name = key_of(change.object)
        label = f"{place}/{own_name}" if place else own_name
        before = self._concerned.pop(label, ())
        after: tuple[ObjectKey, ...] = ()
        if change.new is not None:
            try:
                after = _ALL if self._related.key is None else tuple(self._related.key(change.new))
            except Exception:
                _log.exception("%s %s: the key function failed", self._related.resource.kind, label)
        for parent in before:
            if parent not in after:
                left = self._by_parent[parent]
                left.pop(label, None)
                if not left:
                    del self._by_parent[parent]
        for parent in after:
            assert change.new is not None
            self._by_parent.setdefault(parent, {})[label] = change.new
        if after:
            self._concerned[label] = after
        elif not before:
            return
        old, new = change.old, change.new
        if old is not None and new is not None and before == after and not self._related.matters(old, new):
            return
        if _EVERYBODY in before or _EVERYBODY in after:
            self._concern_all()
            return
        for parent in dict.fromkeys((*before, *after)):
            self._concerns(parent)

    def _concern_all(self) -> None:
        for parent in self._parents():
            self._concerns(key_of(parent))


class Observer:
    """Subscribes to all that a controller declared, calls `concerns` with the key of each parent that a change
    concerns (`child_concerns`, if it was one of a child), and gathers what that parent's sync sees."""

    def __init__(
        self,
        controller: Controller,
        informers: Informers,
        concerns: Callable[[ObjectKey], None],
        child_concerns: Callable[[ObjectKey], None] | None = None,
    ) -> None:
        self._controller = controller
        self._concerns = concerns
        self._child_concerns = child_concerns or concerns
        self._parents = informers.get(controller.parent)
        self._children = [_Watched(child, informers.get(child.resource)) for child in controller.children]
        self._parents.subscribe(self._parent_changed)
        for watched in self._children:
            if watched.child.update == "apply":
                watched.informer.keep_managed_fields(controller.name)
            if watched.selectors is not None:
                watched.informer.cache.index_orphans()
            watched.informer.subscribe(partial(self._child_changed, watched))
        self._related = [
            (
                related,
                RelatedIndex(related, informers.get(related.resource), concerns, lambda: list(self._parents.cache)),
            )
            for related in controller.related
        ]
        self.informers: list[Informer] = [
            self._parents,
            *(watched.informer for watched in self._children),
            *(informers.get(related.resource) for related in controller.related),
        ]

    def parent(self, key: ObjectKey) -> Object | None:
        return self._parents.cache.get(*key)

    def observe(
        self,
        parent: Object,
        now: datetime,
        failures: tuple[Failure, ...] = (),
        memory: Mapping[str, Object] | None = None,
    ) -> Observed:
        own = uid(parent)
        children = {
            watched.child.resource.kind: {
                child_id(parent, obj): obj for obj in watched.informer.cache.owned(own).values()
            }
            for watched in self._children
        }
        related: dict[str, dict[str, Object]] = {}
        for entry, index in self._related:
            related.setdefault(entry.resource.kind, {}).update(index.of(key_of(parent)))
        return Observed(
            parent=parent, children=children, related=related, now=now, failures=failures, memory=memory or {}
        )

    def transfers(self, parent: Object) -> list[Transfer]:
        """The children that have to be adopted or released."""
        return [
            transfer
            for watched in self._children
            if watched.selectors is not None
            for transfer in transfers(parent, watched.child, watched.selectors, watched.informer)
        ]

    def strays(self, key: ObjectKey) -> list[tuple[Child, Object]]:
        """Children that a finalizer of this controller holds for a parent of this key that no longer is."""
        parent = self.parent(key)
        own = uid(parent) if parent is not None else ""
        return [
            (watched.child, obj)
            for watched in self._children
            for obj in watched.held.get(key, {}).values()
            if not own or controller_uid(obj) != own
        ]

    def _parent_changed(self, change: Change) -> None:
        if change.new is None:
            for watched in self._children:
                if watched.selectors is not None:
                    watched.selectors.forget(change.object)
        self._concerns(key_of(change.object))

    def _child_changed(self, watched: _Watched, change: Change) -> None:
        if watched.child.finalizer:
            self._hold(watched, change)
        old, new = change.old, change.new
        # Most objects are somebody else's children: that is found out first.
        owners = [self._owner(obj) for obj in (new, old) if obj is not None]
        is_orphan = watched.selectors is not None and new is not None and controller_of(new) is None
        if not any(owners) and not is_orphan:
            return
        if old is not None and new is not None and not watched.child.matters(old, new):
            return
        for owner in owners:
            if owner is not None:
                self._child_concerns(owner)
        if is_orphan and watched.selectors is not None and new is not None:
            for parent in self._parents.cache:
                if namespace(parent) == namespace(new) and watched.selectors.fits(parent, new):
                    self._concerns(key_of(parent))

    def _hold(self, watched: _Watched, change: Change) -> None:
        if change.old is not None:
            watched.release(self._holder(change.old), change.old)
        new = change.new
        if new is not None and watched.child.finalizer in (metadata(new).get("finalizers") or ()):
            holder = self._holder(new)
            if holder is not None:
                watched.held.setdefault(holder, {})[key_of(new)] = new
                if controller_of(new) is None:
                    self._concerns(holder)

    def _holder(self, child: Object) -> ObjectKey | None:
        """Whose key looks after a child's finalizer: its parent's; that of nobody in its namespace, if it has none."""
        return (namespace(child), "") if controller_of(child) is None else self._owner(child)

    def _owner(self, child: Object) -> ObjectKey | None:
        """The key of the parent of this controller's kind that controls `child`."""
        parent, owner = self._controller.parent, controller_of(child)
        if owner is None:
            return None
        group = owner["apiVersion"].rpartition("/")[0]
        if owner["kind"] != parent.kind or group != parent.group:
            return None
        return (namespace(child) if parent.namespaced else "", owner["name"])


class _Watched:
    """One kind of child."""

    def __init__(self, child: Child, informer: Informer) -> None:
        self.child = child
        self.informer = informer
        self.selectors = None if child.claim is None else Selectors(child.claim)
        self.held: dict[ObjectKey, dict[ObjectKey, Object]] = {}
        """Parent -> its children that have the finalizer."""

    def release(self, holder: ObjectKey | None, obj: Object) -> None:
        held = self.held.get(holder) if holder is not None else None
        if held is not None and holder is not None:
            held.pop(key_of(obj), None)
            if not held:
                del self.held[holder]
