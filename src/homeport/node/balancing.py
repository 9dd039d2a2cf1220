"""Keeps the balancing of services in step with the API's objects: kube-proxy's part."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from collections.abc import Mapping
from typing import Any

from homeport.client.client import Client
from homeport.control.cache import Cache, Change, key_of
from homeport.control.events import EventRecorder
from homeport.control.informer import Informers
from homeport.kube import core, meta
from homeport.kube.meta import Object
from homeport.node import hostports, services
from homeport.node.healthports import HealthPorts
from homeport.node.loadbalancers import LoadBalancers, in_the_way
from homeport.node.pod import TERMINAL
from homeport.node.runtime import Runtime, SandboxError
from homeport.node.sandbox.network import host_address
from homeport.node.services import ServiceKey
from homeport.node.worker import Worker

_log = logging.getLogger(__name__)
_RETRY_SECONDS = 1.0
_PORT_RETRY_SECONDS = 5.0


class Balancing:
    def __init__(
        self, client: Client, runtime: Runtime, recorder: EventRecorder, node_name: str, *, api: int | None = None
    ) -> None:
        """`api` is the API server's port on the machine."""
        self._runtime = runtime
        self._api = api
        self._recorder = recorder
        self._pods: dict[str, tuple[Object, dict[str, dict[str, Any]]]] = {}
        """Pods with ports of the machine."""
        runtime.watch_ports(self._on_ports)
        self._node_name = node_name
        host = host_address()
        self._frontends = services.Frontends(host, api)
        self._balancers = LoadBalancers(client, recorder, self._frontends, host)
        self._health = HealthPorts()
        self._told: set[int] = set()
        """The ports of health checks that can't be had, and of which the service has been told."""
        self._services: Cache | None = None
        self._pending: dict[str, dict[str, Any] | None] = {}
        self._changed = asyncio.Event()

    async def follow(self, informers: Informers) -> None:
        """Take in what services and endpoints there are, and hear of every change from then on."""
        found, slices = informers.get(core.SERVICE.resource), informers.get(core.ENDPOINT_SLICE.resource)
        await found.synced.wait()
        await slices.synced.wait()
        slices.subscribe(self._on_slice)
        found.subscribe(self._on_service)
        self._services = found.cache
        self._balancers.follow(informers)  # after the front ends are known
        self._changed.set()

    async def run(self) -> None:
        """Tell the runtime of every change, and services what has come of it."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._balancers.run(), name="load balancers")
            group.create_task(self._push(), name="front ends")

    async def _push(self) -> None:
        """The first time, everything."""
        try:
            await self._push_changes()
        finally:
            self._health.close()

    async def _push_changes(self) -> None:
        everything = True
        while True:
            await self._changed.wait()
            self._changed.clear()
            changes, self._pending = self._pending, {}
            try:
                if everything:
                    await self._runtime.set_frontends(dict(self._frontends.all), everything=True)
                elif changes:
                    await self._runtime.set_frontends(changes)
                everything = False
                await self._serve_health()
            except (SandboxError, OSError) as error:
                _log.warning("services could not be balanced anew: %s; again in 1 s", error)
                everything = True
                await asyncio.sleep(_RETRY_SECONDS)
                self._changed.set()

    async def _serve_health(self) -> None:
        wanted = self._frontends.health()
        missing = await self._health.set(wanted)
        for port in missing.keys() - self._told:
            health, error = wanted[port], missing[port]
            message = (
                f"node {self._node_name} failed to start healthcheck "
                f'"{health.namespace}/{health.name}" on port {port}: {os.strerror(error.errno or 0).lower()}. '
                "It is tried again until it is free"
            )
            _log.warning("%s", message)
            service = None if self._services is None else self._services.get(health.namespace, health.name)
            if service is not None:
                self._recorder.record(service, "Warning", "FailedToStartServiceHealthcheck", message)
        self._told = set(missing)
        if missing:
            # Nobody tells when a port is given back.
            asyncio.get_running_loop().call_later(_PORT_RETRY_SECONDS, self._changed.set)

    def see(self, worker: Worker) -> None:
        """Note which ports of the machine a pod of this node has."""
        ended = worker.status.get("phase") in TERMINAL
        ports = {} if ended else self._ports_of(worker.pod, worker.address)
        if ports == self._pods.get(worker.uid, (None, {}))[1]:
            return
        if ports:
            self._pods[worker.uid] = (worker.pod, ports)
        else:
            del self._pods[worker.uid]
        self._note(self._frontends.set_host_ports(worker.uid, ports))

    def _ports_of(self, pod: Object, address: str) -> dict[str, dict[str, Any]]:
        return hostports.frontends(pod, address, self._runtime.gateway, self._api)

    def _on_ports(self, results: Mapping[str, int]) -> None:
        """Which ports the machine's own network has given, and why not others."""
        self._balancers.ports_changed(results)
        self._tell_node_ports(results)
        for pod, ports in self._pods.values():
            for text in ports:
                if number := results.get(text, 0):
                    message = f"{hostports.describe(text)} can't be had: {os.strerror(number).lower()}"
                    again = ". It is tried again until it is free" if number == errno.EADDRINUSE else ""
                    self._recorder.record(pod, "Warning", "HostPortConflict", f"{message}{again}")

    def _tell_node_ports(self, results: Mapping[str, int]) -> None:
        """Tell services of node ports that the machine's network could not give."""
        refused = {text for text, number in results.items() if number}
        for service in () if self._services is None or not refused else self._services:
            for text, owner in self._frontends.node_ports_of(key_of(service)).items():
                if text in refused:
                    self._tell_node_port(service, text, owner, results[text])

    def _tell_node_port(self, service: Object, text: str, owner: ServiceKey, number: int) -> None:
        if problem := in_the_way(text, key_of(service), owner, number):
            again = ". It is tried again until it is free" if number == errno.EADDRINUSE else ""
            self._recorder.record(service, "Warning", "NodePortConflict", f"{problem}{again}")

    def _on_service(self, change: Change) -> None:
        service = change.object
        facts = services.service_facts(service) if change.new is not None else None
        self._note(self._frontends.set_service(key_of(service), facts))
        if change.new is not None and (change.old is None or meta.spec(change.old) != meta.spec(service)):
            for text, owner in self._frontends.node_ports_of(key_of(service)).items():
                self._tell_node_port(service, text, owner, 0)
        if meta.spec(service).get("type") == "LoadBalancer":
            self._changed.set()  # its health check is no front end

    def _on_slice(self, change: Change) -> None:
        obj = change.object
        facts = services.slice_facts(obj, self._node_name) if change.new is not None else None
        self._note(self._frontends.set_slice((meta.namespace(obj), meta.name(obj)), facts))

    def _note(self, changed: dict[str, dict[str, Any] | None]) -> None:
        if changed:
            self._pending.update(changed)
            self._changed.set()
