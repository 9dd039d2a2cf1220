"""The service ``kubernetes``: where pods find the API server.

Upstream the API server writes the service, its endpoints and their slice itself (``pkg/controlplane``); they have no
selector, and whoever changes or deletes them finds them mended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple

from homeport.client.client import Client
from homeport.control.cache import Change
from homeport.control.informer import Informers
from homeport.control.loop import KeyedLoop
from homeport.kube import core
from homeport.kube.errors import AlreadyExists, Conflict, NotFound
from homeport.kube.kind import Kind
from homeport.kube.meta import Object, is_deleting, name

NAMESPACE, NAME = "default", "kubernetes"
_LABELS = {"component": "apiserver", "provider": "kubernetes"}


class ApiPlace(NamedTuple):
    """Where pods find the API server."""

    address: str
    """The cluster IP of its service."""
    endpoint: str
    """The address that it listens on."""
    port: int
    """Of both."""


class KubernetesService:
    """`ready` is set once it works."""

    def __init__(self, client: Client, informers: Informers, *, place: ApiPlace) -> None:
        self.name = "api service"
        self.ready = asyncio.Event()
        self._client = client
        self._wanted = {kind.kind: (kind, obj) for kind, obj in _objects(place)}
        self._namespaces = informers.get(core.NAMESPACE.resource)
        self._informers = {
            kind.kind: informers.get(kind.resource, fields=f"metadata.name={NAME},metadata.namespace={NAMESPACE}")
            for kind, _ in self._wanted.values()
        }
        self._loop: KeyedLoop[str] = KeyedLoop(self.name, self._provide, workers=1)
        self._namespaces.subscribe(self._namespace_changed)
        for which, informer in self._informers.items():
            informer.subscribe(self._changed(which))

    async def run(self) -> None:
        for informer in (self._namespaces, *self._informers.values()):
            await informer.synced.wait()
        self.ready.set()
        await self._loop.run()

    def _changed(self, which: str) -> Callable[[Change], None]:
        return lambda _change: self._loop.queue.add(which)

    def _namespace_changed(self, change: Change) -> None:
        if name(change.object) == NAMESPACE:
            for which in self._wanted:
                self._loop.queue.add(which)

    async def _provide(self, which: str) -> None:
        place = self._namespaces.cache.get("", NAMESPACE)
        if place is None or is_deleting(place):
            return
        kind, wanted = self._wanted[which]
        known = self._informers[which].cache.get(NAMESPACE, NAME)
        try:
            if known is None:
                await self._client.create(kind.resource, wanted)
            elif not _holds(known, wanted):
                if _address(known) not in ("", _address(wanted)):
                    # The range was another one: a service's address can't be changed.
                    await self._client.delete(kind.resource, NAME, NAMESPACE)
                    return
                await self._client.replace(kind.resource, _merged(known, wanted))
        except (AlreadyExists, Conflict, NotFound):
            return  # somebody else was faster; the watch tells what there is now


def _objects(place: ApiPlace) -> tuple[tuple[Kind, Object], ...]:
    address, endpoint, port = place
    https = {"name": "https", "port": port, "protocol": "TCP"}
    service = core.SERVICE.new(
        NAME,
        NAMESPACE,
        metadata={"labels": _LABELS},
        spec={
            "clusterIP": address,
            "ports": [{**https, "targetPort": port}],
            "sessionAffinity": "None",
            "type": "ClusterIP",
        },
    )
    endpoints = core.ENDPOINTS.new(
        NAME,
        NAMESPACE,
        metadata={"labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        subsets=[{"addresses": [{"ip": endpoint}], "ports": [https]}],
    )
    family = "IPv6" if ":" in endpoint else "IPv4"
    endpoint_slice = core.ENDPOINT_SLICE.new(
        NAME,
        NAMESPACE,
        metadata={"labels": {"kubernetes.io/service-name": NAME}},
        addressType=family,
        endpoints=[{"addresses": [endpoint], "conditions": {"ready": True}}],
        ports=[https],
    )
    return (core.SERVICE, service), (core.ENDPOINTS, endpoints), (core.ENDPOINT_SLICE, endpoint_slice)


def _address(obj: Object) -> str:
    return str((obj.get("spec") or {}).get("clusterIP") or "")


def _holds(known: Any, wanted: Any) -> bool:
    """Whether everything that is wanted is there; what the server added does not count."""
    if isinstance(wanted, dict):
        return isinstance(known, dict) and all(_holds(known.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, list):
        return (
            isinstance(known, list)
            and len(known) == len(wanted)
            and all(_holds(one, other) for one, other in zip(known, wanted, strict=True))
        )
    return bool(known == wanted)


def _merged(known: Object, wanted: Object) -> Object:
    meta = known["metadata"]
    labels = {**(meta.get("labels") or {}), **(wanted["metadata"].get("labels") or {})}
    merged = {**known, **{key: value for key, value in wanted.items() if key != "metadata"}}
    if isinstance(known.get("spec"), dict):
        merged["spec"] = {**known["spec"], **wanted["spec"]}
    return {**merged, "metadata": {**meta, "labels": labels}}
