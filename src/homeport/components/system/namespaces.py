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

from homeport.client.client import Client
from homeport.client.discovery import ApiResource
from homeport.components.system.monitor import Monitor
from homeport.control.cache import Change
from homeport.control.informer import Informers
from homeport.control.loop import KeyedLoop
from homeport.kube.errors import AlreadyExists, ApiError, Conflict, MethodNotAllowed, NotFound
from homeport.kube.kind import Resource
from homeport.kube.meta import Object, find_condition, is_deleting, metadata, name, spec, status, timestamp, uid

NAMESPACES = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
PODS = Resource("", "v1", "pods", "Pod")
INITIAL = ("default", "kube-system", "kube-public", "kube-node-lease")
_FINALIZER = "kubernetes"
_WORKERS = 4
_CHECK = 15.0
"""Seconds after which a namespace that is not yet empty is looked at even if nothing was heard of its objects: those of
a resource that can't be watched make no sound. Only while a namespace ends."""


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
        self._informer = informers.get(NAMESPACES)
        self._ending: set[str] = set()
        self._loop: KeyedLoop[str] = KeyedLoop(self.name, self._finish, workers=_WORKERS)
        self._informer.subscribe(self._changed)
        monitor.subscribe(self._content_changed)

    async def run(self) -> None:
        for initial in self._initial:
            try:
                await self._client.create(
                    NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": initial}}
                )
            except AlreadyExists:
                continue
        await self._informer.synced.wait()
        self.ready.set()
        await self._loop.run()

    def _changed(self, change: Change) -> None:
        own = name(change.object)
        if change.new is None or not is_deleting(change.new):
            self._ending.discard(own)
        elif own not in self._ending:
            self._ending.add(own)
            self._loop.queue.add(own)

    def _content_changed(self, resource: Resource, change: Change) -> None:
        if change.new is None and self._ending:
            place = metadata(change.object).get("namespace")
            if place in self._ending:
                self._loop.queue.add(place)

    async def _finish(self, own: str) -> float | None:
        namespace = self._informer.cache.get("", own)
        if namespace is None or not is_deleting(namespace):
            return None
        if _FINALIZER not in (spec(namespace).get("finalizers") or ()):
            return None
        found = [entry for entry in await self._client.discover(refresh=True) if _holds_content(entry)]
        remaining: Counter[str] = Counter()
        finalizers: Counter[str] = Counter()
        failures: list[str] = []
        pods = [entry for entry in found if entry.resource == PODS]
        others = [entry for entry in found if entry.resource != PODS]
        for group in (pods, others):
            await asyncio.gather(*(self._empty(entry, own, remaining, finalizers, failures) for entry in group))
            if remaining or failures:
                break
        if not remaining and not failures:
            await self._finalize(namespace)
            return None
        await self._report(namespace, remaining, finalizers, failures)
        return _CHECK

    async def _empty(
        self, entry: ApiResource, own: str, remaining: Counter[str], finalizers: Counter[str], failures: list[str]
    ) -> None:
        """Delete all objects of one resource, and count what stays (to finish by itself, or held by a finalizer)."""
        resource = entry.resource
        try:
            present = await self._client.list(resource, own, metadata_only=True)
            if not present.items:
                return
            if any(not is_deleting(obj) for obj in present.items):
                await self._delete_all(entry, own, present.items)
                present = await self._client.list(resource, own, metadata_only=True)
        except (NotFound, MethodNotAllowed):  # the resource has gone meanwhile, or is not really a collection
            return
        except ApiError as error:
            failures.append(f"{resource.qualified}: {error}")
            return
        if present.items:
            remaining[f"{resource.plural}.{resource.group}"] += len(present.items)
        for obj in present.items:
            for finalizer in metadata(obj).get("finalizers") or ():
                finalizers[finalizer] += 1

    async def _delete_all(self, entry: ApiResource, own: str, present: Sequence[Object]) -> None:
        if entry.can("deletecollection"):
            await self._client.delete_collection(entry.resource, own, propagation="Background")
            return
        for obj in present:
            try:
                await self._client.delete(entry.resource, name(obj), own, propagation="Background", uid=uid(obj))
            except (NotFound, Conflict):
                continue

    async def _finalize(self, namespace: Object) -> None:
        live = await self._client.get(NAMESPACES, name(namespace))
        if uid(live) != uid(namespace):
            return
        left = [finalizer for finalizer in spec(live).get("finalizers") or () if finalizer != _FINALIZER]
        finalized = {**live, "spec": {**spec(live), "finalizers": left}}
        try:
            await self._client.replace(NAMESPACES, finalized, subresource="finalize")
        except NotFound:
            return

    async def _report(
        self, namespace: Object, remaining: Counter[str], finalizers: Counter[str], failures: Sequence[str]
    ) -> None:
        wanted = _conditions(remaining, finalizers, failures)
        known = status(namespace).get("conditions") or ()
        moment = timestamp(self._now())
        conditions = []
        for condition in wanted:
            before = find_condition(known, condition["type"]) or {}
            same = before.get("status") == condition["status"]
            conditions.append({**condition, "lastTransitionTime": before.get("lastTransitionTime") if same else moment})
        if conditions == list(known):
            return
        body = {
            "metadata": {"uid": uid(namespace)},
            "status": {"phase": "Terminating", "conditions": conditions},
        }
        try:
            await self._client.patch(NAMESPACES, name(namespace), "", body, subresource="status")
        except NotFound:
            return


def _holds_content(entry: ApiResource) -> bool:
    return entry.resource.namespaced and entry.preferred and entry.can("list", "delete")


def _conditions(remaining: Counter[str], finalizers: Counter[str], failures: Sequence[str]) -> list[Object]:
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
