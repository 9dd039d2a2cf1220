"""Slices for Endpoints that somebody wrote by hand, for services without a selector.

Upstream: ``pkg/controller/endpointslicemirroring``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from homeport.client.client import Client
from homeport.components.system.endpoints import facts, slices, writing
from homeport.components.system.endpoints.slices import Group, Slices
from homeport.control.cache import Change, ObjectKey, key_of
from homeport.control.informer import Informers
from homeport.control.loop import KeyedLoop
from homeport.kube import core, meta
from homeport.kube.meta import Object

SKIP = "endpointslice.kubernetes.io/skip-mirror"
_LEADER = "control-plane.alpha.kubernetes.io/leader"
_NOT_COPIED = frozenset(
    ("kubectl.kubernetes.io/last-applied-configuration", "endpoints.kubernetes.io/last-change-trigger-time")
)
_MOST = 1000
"""Addresses of one subset, as upstream's ``--mirroring-max-endpoints-per-subset``."""


class EndpointsMirror:
    """`ready` is set once it works."""

    def __init__(self, client: Client, informers: Informers) -> None:
        self.name = "endpoints mirror"
        self.ready = asyncio.Event()
        self._services = informers.get(core.SERVICE.resource)
        self._endpoints = informers.get(core.ENDPOINTS.resource)
        self._slices = informers.get(core.ENDPOINT_SLICE.resource)
        self._mirrored: dict[ObjectKey, dict[ObjectKey, Object]] = {}
        self._writer = writing.slices(client, self._slices)
        self._loop: KeyedLoop[ObjectKey] = KeyedLoop(self.name, self._sync)
        self._services.subscribe(self._changed)
        self._endpoints.subscribe(self._changed)
        self._slices.subscribe(self._slice_changed)

    async def run(self) -> None:
        for informer in (self._services, self._endpoints, self._slices):
            await informer.synced.wait()
        self.ready.set()
        await self._loop.run()

    def _changed(self, change: Change) -> None:
        self._loop.queue.add(key_of(change.object))

    def _slice_changed(self, change: Change) -> None:
        obj = change.object
        if meta.labels(obj).get(facts.MANAGED_BY) != facts.MIRROR_CONTROLLER:
            return
        service = (meta.namespace(obj), meta.labels(obj).get(facts.SERVICE_NAME, ""))
        if change.new is not None:
            self._mirrored.setdefault(service, {})[key_of(obj)] = obj
        elif (known := self._mirrored.get(service)) is not None and known.pop(key_of(obj), obj) and not known:
            del self._mirrored[service]
        self._loop.queue.add(service)

    async def _sync(self, key: ObjectKey) -> None:
        known = list(self._mirrored.get(key, {}).values())
        endpoints, service = self._endpoints.cache.get(*key), self._services.cache.get(*key)
        if endpoints is None or service is None or not _is_mirrored(endpoints, service):
            if known:
                await self._writer.delete(known)
            return
        metadata = meta.metadata(endpoints)
        of = Slices(
            key[1],
            key[0],
            meta.owner_reference(endpoints),
            facts.MIRROR_CONTROLLER,
            {name: value for name, value in meta.labels(endpoints).items() if name != SKIP},
            {name: value for name, value in (metadata.get("annotations") or {}).items() if name not in _NOT_COPIED},
        )
        await self._writer.carry_out(slices.plan(of, _groups(endpoints), known))


def _is_mirrored(endpoints: Object, service: Object) -> bool:
    metadata = meta.metadata(endpoints)
    return not (
        meta.labels(endpoints).get(SKIP) == "true"
        or _LEADER in (metadata.get("annotations") or {})
        or meta.spec(service).get("selector")
        or meta.is_deleting(endpoints)
    )


def _groups(endpoints: Object) -> dict[Group, list[Object]]:
    groups: dict[Group, list[Object]] = {}
    for subset in endpoints.get("subsets") or ():
        ports = tuple(
            sorted(
                (
                    (port.get("name") or "", port.get("protocol") or "TCP", port["port"], port.get("appProtocol"))
                    for port in subset.get("ports") or ()
                ),
                key=lambda port: (port[0], port[1], port[2]),
            )
        )
        left = _MOST
        for key, is_ready in (("addresses", True), ("notReadyAddresses", False)):
            for address in (subset.get(key) or ())[:left]:
                left -= 1
                family = "IPv6" if ":" in address["ip"] else "IPv4"
                groups.setdefault((family, ports), []).append(_endpoint(address, is_ready))
    return groups


def _endpoint(address: Mapping[str, Any], is_ready: bool) -> Object:
    result: Object = {"addresses": [address["ip"]], "conditions": {"ready": is_ready}}
    result.update((key, address[key]) for key in ("targetRef", "nodeName", "hostname") if address.get(key))
    return result
