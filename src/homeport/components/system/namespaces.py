"""The life cycle of namespaces: the first four, and how one ends.

A namespace that is being deleted is emptied: pods first, so that nothing runs on without the configuration it uses,
then everything else. Once nothing is left, the ``kubernetes`` finalizer is taken away and the server removes it. While
something keeps it, conditions say what (the reasons are upstream's).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime

import msgspec

from homeport.client.client import Client
from homeport.client.discovery import ApiResource
from homeport.client.partial import Meta
from homeport.components.system.monitor import Monitor
from homeport.control.cache import Change
from homeport.control.informer import Informers
from homeport.control.loop import KeyedLoop
from homeport.kube import core
from homeport.kube.errors import AlreadyExists, Conflict, HomeportError, MethodNotAllowed, NotFound
from homeport.kube.kind import Resource
from homeport.kube.meta import Object, is_deleting, metadata, name, spec, status, uid, with_transition

INITIAL = ("default", "kube-system", "kube-public", "kube-node-lease")
_FINALIZER = "kubernetes"
_WORKERS = 4
_CHECK = 15.0
"""Seconds after which a namespace that is not yet empty is looked at even if nothing was heard of its objects: those of
a resource that can't be watched make no sound. Only while a namespace ends."""


class _Left(msgspec.Struct):
    """What one pass over a namespace could not remove."""

    objects: Counter[str] = msgspec.field(default_factory=Counter)
    """By ``plural.group``."""
    finalizers: Counter[str] = msgspec.field(default_factory=Counter)
    failures: list[str] = msgspec.field(default_factory=list)


class _Content(msgspec.Struct):
    """What a namespace has of one resource."""

    count: int = 0
    finalizers: Counter[str] = msgspec.field(default_factory=Counter)
    live: list[Object] = msgspec.field(default_factory=list)
    """Those that nobody has deleted yet; where they can be deleted together, a few of them."""


class NamespaceLifecycle:
    """`ready` is set once the initial namespaces exist."""

    def __init__(
        self,
        client: Client,
        informers: Informers,
        monitor: Monitor,
        *,
        now: Callable[[], datetime],
        initial: Sequence[str] = INITIAL,
    ) -> None:
        self.name = "namespaces"
        self.ready = asyncio.Event()
        self._client = client
        self._now = now
        self._initial = initial
        self._informer = informers.get(core.NAMESPACE.resource)
        self._ending: set[str] = set()
        self._emptied: dict[str, set[Resource]] = {}
        """uid of an ending namespace -> resources found empty since it ends. The server lets nothing new in, so they
        stay empty, and a request that fails does not cost the others' progress."""
        self._loop: KeyedLoop[str] = KeyedLoop(self.name, self._reconcile, workers=_WORKERS)
        self._informer.subscribe(self._changed)
        monitor.subscribe(self._content_changed)

    async def run(self) -> None:
        await self._informer.synced.wait()
        for initial in self._initial:
            self._loop.queue.add(initial)
        self._check_ready()
        await self._loop.run()

    def _check_ready(self) -> None:
        if all(self._informer.cache.get("", initial) is not None for initial in self._initial):
            self.ready.set()

    def _changed(self, change: Change) -> None:
        own = name(change.object)
        if own in self._initial:
            self._check_ready()
            if change.new is None:
                self._loop.queue.add(own)
        if change.new is None or not is_deleting(change.new):
            self._ending.discard(own)
            self._emptied.pop(uid(change.object), None)
        elif own not in self._ending:
            self._ending.add(own)
            self._loop.queue.add(own)

    def _content_changed(self, resource: Resource, change: Change) -> None:
        if change.new is None and self._ending:
            place = metadata(change.object).get("namespace")
            if place in self._ending:
                self._loop.queue.add(place)

    async def _reconcile(self, own: str) -> float | None:
        namespace = self._informer.cache.get("", own)
        if namespace is None and own in self._initial:
            await self._create(own)
        if namespace is None or not is_deleting(namespace):
            return None
        if _FINALIZER not in (spec(namespace).get("finalizers") or ()):
            return None
        emptied = self._emptied.setdefault(uid(namespace), set())
        found = [entry for entry in await self._client.discover(refresh=True) if _holds_content(entry)]
        left = _Left()
        pods = [entry for entry in found if entry.resource == core.POD.resource]
        others = [entry for entry in found if entry.resource != core.POD.resource]
        for group in (pods, others):
            todo = [entry for entry in group if entry.resource not in emptied]
            await asyncio.gather(*(self._empty(entry, own, left, emptied) for entry in todo))
            if left.objects or left.failures:
                break
        if not left.objects and not left.failures:
            await self._finalize(namespace)
            return None
        await self._report(namespace, left)
        if left.failures:
            raise HomeportError("; ".join(sorted(left.failures)))
        return _CHECK

    async def _create(self, own: str) -> None:
        try:
            await self._client.create(
                core.NAMESPACE.resource, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": own}}
            )
        except AlreadyExists:
            return

    async def _empty(self, entry: ApiResource, own: str, left: _Left, emptied: set[Resource]) -> None:
        """Delete all objects of one resource, and count what stays (to finish by itself, or held by a finalizer)."""
        resource = entry.resource
        try:
            present = await self._survey(entry, own)
            if present.live:
                await self._delete_all(entry, own, present.live)
                present = await self._survey(entry, own)
        except (NotFound, MethodNotAllowed):  # the resource has gone meanwhile, or is not really a collection
            return
        except HomeportError as error:
            left.failures.append(f"{resource.qualified}: {error}")
            return
        if not present.count:
            emptied.add(resource)
            return
        left.objects[f"{resource.plural}.{resource.group}"] += present.count
        left.finalizers += present.finalizers

    async def _survey(self, entry: ApiResource, own: str) -> _Content:
        """What a namespace has of a resource. There may be more of it than memory should hold."""
        content = _Content()
        collectively = entry.can("deletecollection")

        def look_at(meta: Meta) -> bool:
            content.count += 1
            content.finalizers.update(meta.finalizers or ())
            return not meta.deletionTimestamp and not (collectively and content.live)

        async for page in self._client.pages(entry.resource, own, wanted=look_at):
            content.live += page.items
        return content

    async def _delete_all(self, entry: ApiResource, own: str, live: Sequence[Object]) -> None:
        if entry.can("deletecollection"):
            await self._client.delete_collection(entry.resource, own, propagation="Background")
            return
        for obj in live:
            try:
                await self._client.delete(entry.resource, name(obj), own, propagation="Background", uid=uid(obj))
            except (NotFound, Conflict):
                continue

    async def _finalize(self, namespace: Object) -> None:
        live = await self._client.get(core.NAMESPACE.resource, name(namespace))
        if uid(live) != uid(namespace):
            return
        left = [finalizer for finalizer in spec(live).get("finalizers") or () if finalizer != _FINALIZER]
        finalized = {**live, "spec": {**spec(live), "finalizers": left}}
        try:
            await self._client.replace(core.NAMESPACE.resource, finalized, subresource="finalize")
        except NotFound:
            return

    async def _report(self, namespace: Object, left: _Left) -> None:
        known = status(namespace).get("conditions") or ()
        conditions = [with_transition(condition, known, self._now()) for condition in _conditions(left)]
        if conditions == list(known):
            return
        body = {
            "metadata": {"uid": uid(namespace)},
            "status": {"phase": "Terminating", "conditions": conditions},
        }
        try:
            await self._client.patch(core.NAMESPACE.resource, name(namespace), "", body, subresource="status")
        except NotFound:
            return


def _holds_content(entry: ApiResource) -> bool:
    return entry.resource.namespaced and entry.preferred and entry.can("list", "delete")


def _conditions(left: _Left) -> list[Object]:
    remaining, finalizers, failures = left.objects, left.finalizers, left.failures
    counts = ", ".join(f"{resource} has {count} resource instances" for resource, count in sorted(remaining.items()))
    held = ", ".join(f"{finalizer} in {count} resource instances" for finalizer, count in sorted(finalizers.items()))
    return [
        _condition(
            "NamespaceDeletionContentFailure",
            "ContentDeletionFailed" if failures else "ContentDeleted",
            f"Failed to delete all resource types, {len(failures)} remaining: {'; '.join(sorted(failures))}"
            if failures
            else "All content successfully deleted, may be waiting on finalization",
            bool(failures),
        ),
        _condition(
            "NamespaceContentRemaining",
            "SomeResourcesRemain" if remaining else "ContentRemoved",
            f"Some resources are remaining: {counts}" if remaining else "All content successfully removed",
            bool(remaining),
        ),
        _condition(
            "NamespaceFinalizersRemaining",
            "SomeFinalizersRemain" if finalizers else "ContentHasNoFinalizers",
            f"Some content in the namespace has finalizers remaining: {held}"
            if finalizers
            else "All content-preserving finalizers finished",
            bool(finalizers),
        ),
    ]


def _condition(type: str, reason: str, message: str, holds: bool) -> Object:
    return {"type": type, "status": "True" if holds else "False", "reason": reason, "message": message}
