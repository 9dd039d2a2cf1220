"""From caches to `Observed`: what one parent's sync gets to see."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime

from homeport.control.cache import Change, ObjectKey, key_of
from homeport.control.controller import Controller, Observed, Related
from homeport.control.diff import child_id
from homeport.control.informer import Informer, Informers
from homeport.kube.meta import Object, controller_of, namespace, uid

_log = logging.getLogger(__name__)


class RelatedIndex:
    """Which related objects concern which parents, kept up to date by the informer's changes."""

    def __init__(self, related: Related, informer: Informer, concerns: Callable[[ObjectKey], None]) -> None:
        self._related = related
        self._concerns = concerns
        self._by_parent: dict[ObjectKey, dict[str, Object]] = {}
        self._parents: dict[str, tuple[ObjectKey, ...]] = {}
        informer.subscribe(self._changed)

    def of(self, parent: ObjectKey) -> dict[str, Object]:
        return self._by_parent.get(parent, {})

    def _changed(self, change: Change) -> None:
        place, own_name = key_of(change.object)
        label = f"{place}/{own_name}" if place else own_name
        before = self._parents.pop(label, ())
        after: tuple[ObjectKey, ...] = ()
        if change.new is not None:
            try:
                after = tuple(self._related.key(change.new))
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
            self._parents[label] = after
        for parent in dict.fromkeys((*before, *after)):
            self._concerns(parent)


class Observer:
    """Subscribes to all that a controller declared, calls `concerns` with the key of each parent that a change
    concerns, and gathers what that parent's sync sees."""

    def __init__(self, controller: Controller, informers: Informers, concerns: Callable[[ObjectKey], None]) -> None:
        self._controller = controller
        self._concerns = concerns
        self._parents = informers.get(controller.parent)
        self._children = [(child, informers.get(child.resource)) for child in controller.children]
        self._parents.subscribe(self._parent_changed)
        for child, informer in self._children:
            if child.update == "apply":
                informer.keep_managed_fields(controller.name)
            informer.subscribe(self._child_changed)
        self._related = [
            (related, RelatedIndex(related, informers.get(related.resource), concerns))
            for related in controller.related
        ]
        self.informers: list[Informer] = [
            self._parents,
            *(informer for _, informer in self._children),
            *(informers.get(related.resource) for related in controller.related),
        ]

    def parent(self, key: ObjectKey) -> Object | None:
        return self._parents.cache.get(*key)

    def observe(self, parent: Object, now: datetime) -> Observed:
        own = uid(parent)
        children = {
            child.resource.kind: {child_id(parent, obj): obj for obj in informer.cache.owned(own).values()}
            for child, informer in self._children
        }
        related: dict[str, dict[str, Object]] = {}
        for entry, index in self._related:
            related.setdefault(entry.resource.kind, {}).update(index.of(key_of(parent)))
        return Observed(parent=parent, children=children, related=related, now=now)

    def _parent_changed(self, change: Change) -> None:
        self._concerns(key_of(change.object))

    def _child_changed(self, change: Change) -> None:
        for obj in (change.new, change.old):
            if obj is None:
                continue
            owner = self._owner(obj)
            if owner is not None:
                self._concerns(owner)

    def _owner(self, child: Object) -> ObjectKey | None:
        """The key of the parent of this controller's kind that controls `child`."""
        parent, owner = self._controller.parent, controller_of(child)
        if owner is None:
            return None
        group = owner["apiVersion"].rpartition("/")[0]
        if owner["kind"] != parent.kind or group != parent.group:
            return None
        return (namespace(child) if parent.namespaced else "", owner["name"])
