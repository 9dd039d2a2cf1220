"""Who owns whom: objects by uid, and their dependents. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from typing import Literal, TypeAlias

import msgspec

from homeport.kube.kind import Resource
from homeport.kube.meta import FOREGROUND_FINALIZER, ORPHAN_FINALIZER, Object, metadata

Verdict: TypeAlias = Literal["solid", "waiting", "absent"]
"""Of an owner: it exists; it is being deleted and waits for its dependents; there is none."""

_NOBODY: frozenset[str] = frozenset()


class Owner(msgspec.Struct, frozen=True):
    """One owner reference."""

    api_version: str
    kind: str
    name: str
    uid: str
    blocks: bool


class Node(msgspec.Struct, frozen=True):
    """What garbage collection has to know of an object."""

    resource: Resource
    namespace: str
    name: str
    uid: str
    version: str
    owners: tuple[Owner, ...] = ()
    deleting: bool = False
    foreground: bool = False
    """Its deletion waits for its dependents."""
    orphans: bool = False
    """Its deletion sets its dependents free."""

    @property
    def waits(self) -> bool:
        """Whether its deletion waits for something to be done about its dependents."""
        return self.deleting and (self.foreground or self.orphans)

    def __str__(self) -> str:
        place = f"{self.namespace}/{self.name}" if self.namespace else self.name
        return f"{self.resource.qualified} {place}"


def node_of(resource: Resource, obj: Object) -> Node:
    meta = metadata(obj)
    finalizers = meta.get("finalizers") or ()
    return Node(
        resource=resource,
        namespace=meta.get("namespace") or "",
        name=meta["name"],
        uid=meta["uid"],
        version=meta.get("resourceVersion") or "",
        owners=tuple(
            Owner(
                reference.get("apiVersion") or "",
                reference.get("kind") or "",
                reference.get("name") or "",
                reference["uid"],
                bool(reference.get("blockOwnerDeletion")),
            )
            for reference in meta.get("ownerReferences") or ()
        ),
        deleting="deletionTimestamp" in meta,
        foreground=FOREGROUND_FINALIZER in finalizers,
        orphans=ORPHAN_FINALIZER in finalizers,
    )


class Graph:
    """The objects that own, are owned, or wait for their dependents: most objects do none of it and are not kept.

    A dependent is known by its owner's uid even while the owner is not.
    """

    def __init__(self) -> None:
        self._nodes: dict[str, Node] = {}
        self._dependents: dict[str, set[str]] = {}

    def __len__(self) -> int:
        return len(self._nodes)

    def get(self, uid: str) -> Node | None:
        return self._nodes.get(uid)

    def of_resource(self, resource: Resource) -> list[Node]:
        return [node for node in self._nodes.values() if node.resource == resource]

    def dependents(self, uid: str) -> Iterator[Node]:
        for dependent in tuple(self._dependents.get(uid, _NOBODY)):
            yield self._nodes[dependent]

    def has_dependents(self, uid: str) -> bool:
        return bool(self._dependents.get(uid))

    def blocking(self, uid: str) -> list[Node]:
        """The dependents that a foreground deletion of `uid` waits for."""
        return [
            node for node in self.dependents(uid) if any(owner.uid == uid and owner.blocks for owner in node.owners)
        ]

    def put(self, node: Node) -> Node | None:
        """Add or replace, as long as there is a reason to keep it. Gives the former state."""
        old = self._nodes.get(node.uid)
        self._nodes[node.uid] = node
        before, after = _uids(old), _uids(node)
        if before != after:
            for owner in after - before:
                self._dependents.setdefault(owner, set()).add(node.uid)
            self._unlink(node.uid, before - after)
        self._keep_or_drop(node.uid)
        return old

    def remove(self, uid: str) -> Node | None:
        old = self._nodes.pop(uid, None)
        if old is not None:
            self._unlink(uid, _uids(old))
        return old

    def _unlink(self, uid: str, owners: Iterable[str]) -> None:
        for owner in owners:
            left = self._dependents[owner]
            left.discard(uid)
            if not left:
                del self._dependents[owner]
                self._keep_or_drop(owner)

    def _keep_or_drop(self, uid: str) -> None:
        node = self._nodes.get(uid)
        if node is not None and not (node.owners or node.waits or uid in self._dependents):
            del self._nodes[uid]


def _uids(node: Node | None) -> Set[str]:
    return {owner.uid for owner in node.owners} if node is not None else _NOBODY
