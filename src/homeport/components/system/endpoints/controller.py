"""Keeps the slices and the Endpoints of services with a selector.

Upstream: ``pkg/controller/endpointslice`` and ``pkg/controller/endpoint``, which see the same events and write the same
facts in two ways; here one pass over a service's pods writes both.
"""

from __future__ import annotations

import asyncio

from homeport.client.client import Client
from homeport.components.system.endpoints import facts, slices, subsets, writing
from homeport.components.system.endpoints.index import SelectorIndex
from homeport.components.system.endpoints.slices import Group, Slices
from homeport.control.cache import Change, ObjectKey, key_of
from homeport.control.informer import Informers
from homeport.control.loop import KeyedLoop
from homeport.kube import core, meta
from homeport.kube.meta import Object

_WORKERS = 5
"""Services at a time, as upstream's ``--concurrent-service-endpoint-syncs``."""


class ServiceEndpoints:
    """`ready` is set once it works."""

    def __init__(self, client: Client, informers: Informers) -> None:
        self.name = "endpoints"
        self.ready = asyncio.Event()
        self._services = informers.get(core.SERVICE.resource)
        self._pods = informers.get(core.POD.resource)
        self._nodes = informers.get(core.NODE.resource)
        self._slices = informers.get(core.ENDPOINT_SLICE.resource)
        self._endpoints = informers.get(core.ENDPOINTS.resource)
        self._index = SelectorIndex()
        self._written: dict[ObjectKey, dict[ObjectKey, Object]] = {}
        """The slices of each service that are this controller's."""
        self._deleted: set[ObjectKey] = set()
        """Services that have gone and whose Endpoints have not yet."""
        self._slice_writer = writing.slices(client, self._slices)
        self._endpoints_writer = writing.Writer(client, core.ENDPOINTS, self._endpoints)
        self._loop: KeyedLoop[ObjectKey] = KeyedLoop(self.name, self._sync, workers=_WORKERS)
        self._pods.subscribe(self._pod_changed)
        self._services.subscribe(self._service_changed)
        self._slices.subscribe(self._slice_changed)
        self._endpoints.subscribe(self._endpoints_changed)

    async def run(self) -> None:
        for informer in (self._services, self._pods, self._nodes, self._slices, self._endpoints):
            await informer.synced.wait()
        self.ready.set()
        await self._loop.run()

    # What concerns which service.

    def _pod_changed(self, change: Change) -> None:
        old, new = change.old, change.new
        if old is not None and new is not None and facts.relevant(old) == facts.relevant(new):
            return
        for service in self._index.set_pod(key_of(change.object), meta.labels(new) if new is not None else None):
            self._loop.queue.add(service)

    def _service_changed(self, change: Change) -> None:
        key = key_of(change.object)
        self._index.set_service(key, meta.spec(change.new).get("selector") if change.new is not None else None)
        (self._deleted.add if change.new is None else self._deleted.discard)(key)
        self._loop.queue.add(key)

    def _slice_changed(self, change: Change) -> None:
        obj = change.object
        labels = meta.labels(obj)
        service = (meta.namespace(obj), labels.get(facts.SERVICE_NAME, ""))
        if change.old is not None and (before := meta.labels(change.old)) != labels:
            self._forget((meta.namespace(obj), before.get(facts.SERVICE_NAME, "")), key_of(obj))
        if labels.get(facts.MANAGED_BY) != facts.SLICE_CONTROLLER:
            return
        if change.new is None:
            self._forget(service, key_of(obj))
        else:
            self._written.setdefault(service, {})[key_of(obj)] = obj
            self._loop.queue.add(service)

    def _forget(self, service: ObjectKey, key: ObjectKey) -> None:
        known = self._written.get(service)
        if known is not None and known.pop(key, None) is not None:
            if not known:
                del self._written[service]
            self._loop.queue.add(service)

    def _endpoints_changed(self, change: Change) -> None:
        self._loop.queue.add(key_of(change.object))

    # One service.

    async def _sync(self, key: ObjectKey) -> None:
        service = self._services.cache.get(*key)
        if service is None:
            await self._clean_up(key)
            return
        spec = meta.spec(service)
        if spec.get("type") == "ExternalName" or not spec.get("selector"):
            return  # somebody else says what is behind it
        if meta.is_deleting(service):
            return
        pods = [
            pod
            for found in sorted(self._index.pods_of(key))
            if (pod := self._pods.cache.get(*found)) is not None and facts.has_address(pod)
        ]
        of = Slices(
            key[1],
            key[0],
            meta.owner_reference(service),
            facts.SLICE_CONTROLLER,
            _labels(service),
        )
        wanted = self._groups(service, pods)
        await self._slice_writer.carry_out(slices.plan(of, wanted, self._written.get(key, {}).values()))
        known = self._endpoints.cache.get(*key)
        changed = subsets.endpoints(service, pods, known)
        if changed is not None:
            new = [changed]
            await self._endpoints_writer.write(new if known is None else (), new if known is not None else ())

    def _groups(self, service: Object, pods: list[Object]) -> dict[Group, list[Object]]:
        families = meta.spec(service).get("ipFamilies") or ["IPv4"]
        groups: dict[Group, list[Object]] = {}
        for family in families:
            for pod in pods:
                if found := facts.addresses(pod, family):
                    node = self._nodes.cache.get("", meta.spec(pod).get("nodeName") or "")
                    entry = facts.endpoint(service, pod, found, node)
                    groups.setdefault((family, facts.ports(service, pod)), []).append(entry)
            if not any(group[0] == family for group in groups):
                groups[family, ()] = []  # one without endpoints says that this is known
        return groups

    async def _clean_up(self, key: ObjectKey) -> None:
        """Of a service that has gone: its slices go with it by owner reference, its Endpoints do not. Endpoints of a
        service that has never been are left alone, unless they are of this controller: from before it started."""
        known = self._endpoints.cache.get(*key)
        is_own = known is not None and meta.labels(known).get(subsets.MANAGER_LABEL) == subsets.MANAGER
        if known is not None and (is_own or key in self._deleted):
            await self._endpoints_writer.delete([known])
        self._deleted.discard(key)


def _labels(service: Object) -> dict[str, str]:
    labels = {
        name: value
        for name, value in meta.labels(service).items()
        if name not in (facts.MANAGED_BY, facts.SERVICE_NAME, facts.HEADLESS)
    }
    if facts.is_headless(service):
        labels[facts.HEADLESS] = ""
    return labels
