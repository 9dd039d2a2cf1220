"""A small cluster for workloads: an API server, the controllers, and a node that runs pods as the test has it.

It runs on virtual time. The node binds pods, makes them run and ready after `start` seconds, and lets those being
deleted go after `stop` seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any

import support
from homeport.client.client import Client
from homeport.components import workloads
from homeport.components.system.garbage import GarbageCollector
from homeport.components.system.monitor import Monitor
from homeport.components.workloads.daemon_nodes import target
from homeport.control.cache import Change
from homeport.control.events import EventRecorder
from homeport.control.informer import Informers
from homeport.control.manager import Manager
from homeport.kube import core, meta
from homeport.kube.errors import Conflict, NotFound
from homeport.kube.kind import Resource
from homeport.kube.meta import Object
from virtual_time import now

PODS = core.POD.resource
REPLICA_SETS = core.REPLICA_SET.resource
DEPLOYMENTS = core.DEPLOYMENT.resource
STATEFUL_SETS = core.STATEFUL_SET.resource
DAEMON_SETS = core.DAEMON_SET.resource
REVISIONS = core.CONTROLLER_REVISION.resource
CONTROLLERS = core.REPLICATION_CONTROLLER.resource
CLAIMS = core.PERSISTENT_VOLUME_CLAIM.resource
NODES = core.NODE.resource


def workload(kind: str, name: str = "web", image: str = "web:1", **spec: Any) -> Object:
    """A workload with the label ``app: NAME``."""
    labels = {"app": name}
    api_version = "v1" if kind == "ReplicationController" else "apps/v1"
    selector: Object = labels if kind == "ReplicationController" else {"matchLabels": labels}
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"selector": selector, "template": template(image, labels), **spec},
    }


def template(image: str, labels: dict[str, str], **spec: Any) -> Object:
    return {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "web", "image": image}], **spec}}


class Cluster:
    def __init__(self, world: support.World, manager: Manager) -> None:
        self.world = world
        self.client = world.client
        self.manager = manager
        self.start = 1.0
        self.stop = 1.0
        self.broken: set[str] = set()
        """Images whose pods never become ready."""
        self.watchers: list[Callable[[Cluster], None]] = []
        self.live: dict[str, Object] = {}
        """Every pod as it is now."""
        self._begun: set[str] = set()

    # -- asking

    async def pods(self, **labels: str) -> list[Object]:
        text = ",".join(f"{key}={value}" for key, value in labels.items())
        return (await self.client.list(PODS, "default", labels=text)).items

    async def names(self, resource: Resource = PODS) -> list[str]:
        return await self.world.names(resource, "default")

    async def status(self, resource: Resource, name: str = "web") -> Object:
        return meta.status(await self.client.get(resource, name, "default"))

    async def settled(self, resource: Resource, name: str = "web", **expected: Any) -> Object:
        """Wait until the status has these fields and nothing is going on."""

        async def check() -> Object | None:
            obj = await self.client.get(resource, name, "default")
            found = meta.status(obj)
            if any(found.get(key, 0) != value for key, value in expected.items()):
                return None
            seen = (found.get("observedGeneration") or 0) >= (meta.metadata(obj).get("generation") or 0)
            return obj if seen and self.manager.idle else None

        found: Object = await self.world.eventually(check, 120, 0.05)
        return found

    async def events(self, name: str) -> list[tuple[str, str]]:
        """Reason and message of all events about an object, in the order of their making."""
        await asyncio.sleep(0.2)
        listed = (await self.client.list(core.EVENT.resource, "default")).items
        listed.sort(key=lambda event: str(event["metadata"]["name"].rpartition(".")[2]))
        return [(each["reason"], each["message"]) for each in listed if each["involvedObject"]["name"] == name]

    # -- doing

    async def create(self, obj: Object) -> Object:
        resource = await self.client.resource_for(obj["apiVersion"], obj["kind"])
        return await self.client.create(resource, obj)

    async def patch(self, resource: Resource, body: Object, name: str = "web") -> Object:
        return await self.client.patch(resource, name, "default", body)

    async def image(self, resource: Resource, image: str, name: str = "web") -> Object:
        containers = [{"name": "web", "image": image}]
        return await self.patch(resource, {"spec": {"template": {"spec": {"containers": containers}}}}, name)

    async def ready(self, name: str, ready: bool = True) -> None:
        """Make a pod ready or not."""
        condition = {
            "type": "Ready",
            "status": "True" if ready else "False",
            "lastTransitionTime": meta.timestamp(now()),
        }
        await self.world.set_status(PODS, name, "default", phase="Running", conditions=[condition])

    # -- the node

    def _saw(self, change: Change) -> None:
        pod, own = change.object, meta.uid(change.object)
        if change.new is None:
            self.live.pop(own, None)
        else:
            self.live[own] = pod
            if own not in self._begun:
                self._begun.add(own)
                self._later(self.start, self._run, pod)
            if meta.is_deleting(pod) and f"{own} stops" not in self._begun:
                self._begun.add(f"{own} stops")
                self._later(self.stop, self._end, pod)
        for watcher in self.watchers:
            watcher(self)

    def _later(self, delay: float, work: Callable[[Object], Awaitable[None]], pod: Object) -> None:
        async def after() -> None:
            await asyncio.sleep(delay)
            await work(pod)

        self._tasks.append(asyncio.create_task(after()))

    _tasks: list[asyncio.Task[None]]

    async def _run(self, pod: Object) -> None:
        image = meta.spec(pod)["containers"][0]["image"]
        if "nodeName" not in meta.spec(pod):
            to = {"target": {"kind": "Node", "name": target(pod) or "one"}, "metadata": pod["metadata"]}
            with suppress(NotFound, Conflict):
                await self.client.create(PODS, {"apiVersion": "v1", "kind": "Binding", **to}, subresource="binding")
        live = await self.world.get(PODS, meta.name(pod), "default")
        if live is None or meta.uid(live) != meta.uid(pod) or meta.is_deleting(live) or image in self.broken:
            return
        await self.ready(meta.name(pod))

    async def _end(self, pod: Object) -> None:
        with suppress(NotFound, Conflict):
            await self.client.delete(PODS, meta.name(pod), "default", grace_period=0, uid=meta.uid(pod))


def _collection(client: Client) -> tuple[Coroutine[Any, Any, None], ...]:
    informers, recorder = Informers(client), EventRecorder(client, "homeport", now=now)
    monitor = Monitor(client, informers)
    collector = GarbageCollector(client, monitor, recorder)
    return informers.run(), monitor.run(), recorder.run(), collector.run()


@asynccontextmanager
async def cluster(
    nodes: Iterable[str] = ("one",), *, seed: int | None = None, collecting: bool = False
) -> AsyncIterator[Cluster]:
    """With a `seed`, one of ten requests of the controllers fails, half of them after they were carried out. If
    `collecting`, the garbage collector runs too."""
    async with support.world(workloads.KINDS, now, workloads.ADMISSION) as world:
        transport = world.transport if seed is None else support.FlakyTransport(world.transport, seed=seed)
        client = Client(transport, field_manager="homeport")
        informers = Informers(client, freeze=True)
        manager = Manager(client, workloads.CONTROLLERS, informers=informers, now=now)
        made = Cluster(world, manager)
        made._tasks = []
        for node in nodes:
            await world.client.create(NODES, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}})
        informers.get(PODS).subscribe(made._saw)
        more = _collection(world.client) if collecting else ()
        async with support.running(informers.run(), manager.run(), *more):
            async with asyncio.timeout(10):
                await manager.ready.wait()
            try:
                yield made
            finally:
                for task in made._tasks:
                    task.cancel()
                await asyncio.gather(*made._tasks, return_exceptions=True)
