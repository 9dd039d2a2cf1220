"""Adopting and releasing children by their labels (upstream: ``pkg/controller/controller_ref_manager.go``)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import msgspec

from homeport.client.client import Client
from homeport.control.controller import Child, Claim
from homeport.control.informer import Informer
from homeport.control.writes import OwnWrites
from homeport.kube.errors import Conflict, Invalid, NotFound, Superseded
from homeport.kube.kind import Resource
from homeport.kube.meta import (
    Object,
    is_deleting,
    labels,
    metadata,
    name,
    namespace,
    owner_reference,
    resource_version,
    uid,
)
from homeport.kube.selector import Selector


class Transfer(msgspec.Struct, frozen=True):
    """A child that has to change hands: to the parent (`adopt`) or away from it."""

    child: Child
    object: Object
    adopt: bool


class Selectors:
    """The selectors of parents, each worked out once for a generation of its parent."""

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self._known: dict[str, tuple[int, Selector]] = {}

    def of(self, parent: Object) -> Selector:
        own, generation = uid(parent), metadata(parent).get("generation") or 0
        known = self._known.get(own)
        if known is None or known[0] != generation:
            known = self._known[own] = (generation, self.claim.selector(parent))
        return known[1]

    def fits(self, parent: Object, child: Object) -> bool:
        return self.of(parent).matches(labels(child)) and self.claim.member(parent, child)

    def forget(self, parent: Object) -> None:
        self._known.pop(uid(parent), None)


def transfers(parent: Object, child: Child, selectors: Selectors, informer: Informer) -> Iterator[Transfer]:
    """What has to change hands. An orphan that is being deleted is not adopted any more."""
    claim = selectors.claim
    if not claim.claims(parent):
        return
    for obj in informer.cache.owned(uid(parent)).values():
        if claim.considered(obj) and not selectors.fits(parent, obj):
            yield Transfer(child, obj, adopt=False)
    for obj in informer.cache.orphans(namespace(parent)).values():
        if not is_deleting(obj) and claim.considered(obj) and selectors.fits(parent, obj):
            yield Transfer(child, obj, adopt=True)


class Claimer:
    """Carries transfers out. `manager` is the field manager."""

    def __init__(self, client: Client, manager: str) -> None:
        self._client = client
        self._manager = manager

    async def carry_out(
        self, parent_resource: Resource, parent: Object, changes: list[Transfer], writes: OwnWrites
    ) -> None:
        """Whether the parent is being deleted is asked of the server before anything is adopted: by the cache alone, a
        child that the garbage collector has just set free would be caught again."""
        if any(change.adopt for change in changes):
            await self._check(parent_resource, parent)
        for change in changes:
            with contextlib.suppress(NotFound, Invalid):  # gone, or adopted by another: the cache will show it
                await (self._adopt if change.adopt else self._release)(parent, change, writes)

    async def strip(self, child: Child, obj: Object, writes: OwnWrites) -> None:
        """Take off the child's finalizer."""
        with contextlib.suppress(NotFound):
            await self._patch(child, obj, {"$deleteFromPrimitiveList/finalizers": [child.finalizer]}, writes)

    async def _check(self, resource: Resource, parent: Object) -> None:
        try:
            live = await self._client.get(resource, name(parent), namespace(parent))
        except NotFound as error:
            raise Superseded(f"{resource.kind} {name(parent)!r} has just gone") from error
        if uid(live) != uid(parent) or is_deleting(live):
            raise Superseded(f"{resource.kind} {name(parent)!r} is just being deleted")

    async def _adopt(self, parent: Object, change: Transfer, writes: OwnWrites) -> None:
        patch: Object = {
            "resourceVersion": resource_version(change.object),
            "ownerReferences": [owner_reference(parent)],
        }
        if change.child.finalizer:
            patch["finalizers"] = [change.child.finalizer]
        try:
            await self._patch(change.child, change.object, patch, writes)
        except Conflict as error:
            raise Superseded(f"{change.object['kind']} {name(change.object)!r} changed meanwhile") from error

    async def _release(self, parent: Object, change: Transfer, writes: OwnWrites) -> None:
        patch: Object = {"ownerReferences": [{"$patch": "delete", "uid": uid(parent)}]}
        if change.child.finalizer:
            patch["$deleteFromPrimitiveList/finalizers"] = [change.child.finalizer]
        await self._patch(change.child, change.object, patch, writes)

    async def _patch(self, child: Child, obj: Object, changes: Object, writes: OwnWrites) -> None:
        body = {"metadata": {"uid": uid(obj), **changes}}
        written = await self._client.patch(
            child.resource, name(obj), namespace(obj), body, type="strategic", field_manager=self._manager
        )
        writes.note(child.resource, written)
