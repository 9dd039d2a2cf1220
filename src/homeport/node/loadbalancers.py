"""Load balancers: services of that type have this machine's address, as far as their ports can be had here.

On a cluster a cloud's controller does this (upstream: ``cloud-provider/controllers/service``). Here the network helper
listens, and says which ports it could not open.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from homeport.client.client import Client
from homeport.control.cache import Change, key_of
from homeport.control.events import EventRecorder
from homeport.control.informer import Informers
from homeport.control.loop import KeyedLoop
from homeport.kube import core, meta
from homeport.kube.errors import Conflict, NotFound
from homeport.kube.meta import Object
from homeport.node import services
from homeport.node.services import Frontends, ServiceKey, is_published

_COMPONENT = "service-controller"
"""Who says so on a cluster."""


def in_the_way(frontend: str, key: ServiceKey, owner: ServiceKey, number: int) -> str:
    """Why a service does not have a port of the machine, in words for people: it is `owner`'s, or it can't be opened
    (errno). Empty if it has it."""
    protocol, _address, port = frontend.split(" ")
    which = f"port {port}/{protocol} of this machine"
    if owner == services.API:
        return f"{which} is the API server's own"
    if owner != key:
        whom = "a pod" if owner[0] == services.POD else f"service {owner[0]}/{owner[1]}"
        return f"{which} is that of {whom}"
    if not number:
        return ""
    reason = f"{which} can't be opened: {os.strerror(number)}"
    if int(port) < 1024 and os.geteuid() != 0:
        return f"{reason} (allow it with: sudo sysctl -w net.ipv4.ip_unprivileged_port_start={port})"
    return reason


class LoadBalancers:
    """Writes the status of services. `frontends` are kept up to date by somebody else; `host` is the address that is
    given out."""

    def __init__(self, client: Client, recorder: EventRecorder, frontends: Frontends, host: str) -> None:
        self._client = client
        self._recorder = recorder
        self._frontends = frontends
        self._host = host
        self._problems: dict[str, int] = {}
        """Errno of the front ends that can't be had."""
        self._informers: Informers | None = None
        self._loop: KeyedLoop[ServiceKey] = KeyedLoop("load balancers", self._sync)

    def follow(self, informers: Informers) -> None:
        self._informers = informers
        informers.get(core.SERVICE.resource).subscribe(self._on_service)

    async def run(self) -> None:
        await self._loop.run()

    def _on_service(self, change: Change) -> None:
        if any(obj is not None and meta.spec(obj).get("type") == "LoadBalancer" for obj in (change.old, change.new)):
            self._add_all()

    def ports_changed(self, results: Mapping[str, int]) -> None:
        """The network helper has opened these front ends, or not: errno, 0 for those that it has."""
        changed = {text: number for text, number in results.items() if self._problems.get(text, 0) != number}
        for text, number in changed.items():
            if number:
                self._problems[text] = number
            else:
                del self._problems[text]
        if changed:
            self._add_all()

    def _add_all(self) -> None:
        """A port that one gives up is another's."""
        assert self._informers is not None
        for service in self._informers.get(core.SERVICE.resource).cache:
            if meta.spec(service).get("type") == "LoadBalancer" or _ingress(service):
                self._loop.queue.add(key_of(service))

    async def _sync(self, key: ServiceKey) -> None:
        assert self._informers is not None
        service = self._informers.get(core.SERVICE.resource).cache.get(*key)
        if service is None or meta.is_deleting(service):
            return
        spec, given = meta.spec(service), _ingress(service)
        if spec.get("type") == "LoadBalancer" and not is_published(service):
            return  # another one's
        if spec.get("type") != "LoadBalancer":
            await self._write(service, [])
            return
        problem = self._problem(key)
        wanted = [] if problem else [{"ip": self._host, "ipMode": "VIP"}]
        if problem:
            text = f"Error syncing load balancer: failed to ensure load balancer: {problem}"
            self._recorder.record(service, "Warning", "SyncLoadBalancerFailed", text, component=_COMPONENT)
        elif given != wanted:
            words = "Ensured load balancer"
            self._recorder.record(service, "Normal", "EnsuredLoadBalancer", words, component=_COMPONENT)
        await self._write(service, wanted)

    def _problem(self, key: ServiceKey) -> str:
        for text, owner in self._frontends.published_by(key).items():
            if problem := in_the_way(text, key, owner, self._problems.get(text, 0)):
                return problem
        return ""

    async def _write(self, service: Object, ingress: list[dict[str, Any]]) -> None:
        if _ingress(service) == ingress:
            return
        body = {"metadata": {"uid": meta.uid(service)}, "status": {"loadBalancer": {"ingress": ingress or None}}}
        try:
            await self._client.patch(
                core.SERVICE.resource, meta.name(service), meta.namespace(service), body, subresource="status"
            )
        except (NotFound, Conflict):
            return  # the watch tells what there is now


def _ingress(service: Object) -> list[dict[str, Any]]:
    return list((meta.status(service).get("loadBalancer") or {}).get("ingress") or ())
