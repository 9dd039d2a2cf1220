"""The node's agent: registers the node and gives each pod bound to it a worker.

Start-up finds everything again that a former life has left: running sandboxes are adopted by the workers of their pods,
those without a pod are ended, and what else lies about is removed.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from homeport.client.client import Client
from homeport.clock import utc_now
from homeport.control.cache import Change
from homeport.control.events import EventRecorder
from homeport.control.informer import Informers
from homeport.kube import core, meta
from homeport.kube.errors import HomeportError, InternalError, NotFound, ServiceUnavailable
from homeport.kube.meta import Object
from homeport.node import (
    admission,
    clockwatch,
    gpus,
    logs,
    machinefacts,
    nvml,
    pressure,
    security,
    sharedmemory,
    summary,
)
from homeport.node.balancing import Balancing
from homeport.node.clusternames import ClusterNames
from homeport.node.ended import EndedPods
from homeport.node.enforcement import Enforcement
from homeport.node.evictor import Evictor
from homeport.node.following import Following
from homeport.node.heartbeat import Heartbeat
from homeport.node.host import Host, ImageSource
from homeport.node.inotify import Watches, watches
from homeport.node.leaving import Leaving
from homeport.node.leftovers import Leftovers, insist
from homeport.node.logs import LogOptions
from homeport.node.nvml import Gpu
from homeport.node.pressure import DEFAULT_THRESHOLDS
from homeport.node.provisioner import Provisioner
from homeport.node.registration import register
from homeport.node.room import Room
from homeport.node.runtime import Runtime, Sandbox, SandboxError, Session, StartError, Wanted
from homeport.node.sandbox.network import host_address
from homeport.node.usage import Meter
from homeport.node.worker import Worker

_log = logging.getLogger(__name__)

API_PORT = 443
"""Where pods find the API server, at the node's gateway: what ``https://kubernetes.default.svc`` means."""


class Agent:
    """Runs the pods of one node.

    `data_dir` is the node's own directory. `volumes_dir` is where the directories of persistent volumes are, which
    outlive everything but their volumes; without it ``volumes`` below `data_dir`. `informers` may be shared with others
    in the process; without them the agent has its own. `runtime_starts` is the runtime's start if it has been begun
    already. `api` is where pods reach the API server (address, port), None
    if they can't; `own_api` is where those on the machine's own network do. `serve_api` serves the API on a listening
    socket: with it, pods reach the server at `api_address`, the cluster IP of its service (the node's gateway without
    one), port 443. `thresholds` are how much has to be left of what the machine has before pods are ended, `most_pids`
    how many processes a pod may have (0: half of the machine's). Containers' logs are cut into files of `log_bytes`, of
    which `log_files` stay. `policy` says what pods may have.
    """

    def __init__(
        self,
        client: Client,
        runtime: Runtime,
        images: ImageSource,
        *,
        node_name: str,
        data_dir: Path,
        volumes_dir: Path | None = None,
        informers: Informers | None = None,
        runtime_starts: Awaitable[None] | None = None,
        api: tuple[str, int] | None = None,
        own_api: tuple[str, int] | None = None,
        serve_api: Callable[[socket.socket], Awaitable[None]] | None = None,
        api_address: str = "",
        thresholds: Mapping[str, str] = DEFAULT_THRESHOLDS,
        most_pids: int = 0,
        log_bytes: int = 10 << 20,
        log_files: int = 5,
        find_gpus: Callable[[], tuple[Gpu, ...]] = nvml.discover,
        policy: security.Policy = security.DEFAULT_POLICY,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self.ready = asyncio.Event()
        """Set once the node is registered and all its pods have their workers."""
        self.problem = ""
        """Why this machine can't run pods; empty if it can."""
        self._runtime = runtime
        self._runtime_starts = runtime_starts
        self._own_informers = Informers(client) if informers is None else None
        self._informers = informers or self._own_informers or Informers(client)
        self._host = Host(
            client=client,
            runtime=runtime,
            images=images,
            recorder=EventRecorder(client, "kubelet", instance=node_name, now=now),
            following=Following(client),
            pods=Path(data_dir) / "pods",
            seccomp=Path(data_dir) / "seccomp",
            policy=policy,
            node_name=node_name,
            now=now,
            api=api,
            own_api=own_api,
            thresholds=thresholds,
            most_pids=most_pids,
            log_bytes=log_bytes,
            log_files=log_files,
        )
        self._provisioner = Provisioner(
            client,
            self._informers,
            self._host.recorder,
            node_name=node_name,
            directory=Path(data_dir) / "volumes" if volumes_dir is None else volumes_dir,
            remove=runtime.remove,
            copy=runtime.copy,
        )
        self._serve_api = serve_api
        self._api_address = api_address
        self._workers: dict[str, Worker] = {}
        self._adopted: dict[str, Sandbox] = {}
        self._names = ClusterNames(runtime)
        self._enforcement = Enforcement(runtime, self._host.recorder)
        self._host.settled = self._enforcement.settled
        self._balancing = Balancing(client, runtime, self._host.recorder, node_name, api=own_api and own_api[1])
        self._watches: Watches | None = None
        self._meter = Meter()
        self._node: Object = {}
        self._look_for_gpus = find_gpus
        self._heartbeat: Heartbeat | None = None
        self._ended = EndedPods(Path(data_dir) / "ended", self._informers, now)
        self._leaving = Leaving(client, self._workers, self._ended)
        self._leftovers = Leftovers(runtime, self._ended.keep_left)
        self._room = Room(
            self._host,
            self._workers,
            node=lambda: self._node,
            pressures=lambda: () if self._heartbeat is None else self._heartbeat.pressures,
            orphaned=self._leftovers.gpus,
        )
        self._host.admit, self._host.lacking = self._room.admit, self._room.lacking
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Run the node until cancelled. Pods go on when it ends."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                group.create_task(self._host.recorder.run(), name="node events")
                if self._own_informers is not None:
                    group.create_task(self._own_informers.run(), name="node informers")
                await self._start_runtime()
                await self._register()
                if not self.problem:
                    await self._take_over()
                    group.create_task(self._provisioner.run(), name="provisioner")
                self.ready.set()
                await asyncio.get_running_loop().create_future()
        finally:
            self._group = None
            self._host.following.close()
            if self._watches is not None:
                self._watches.close()
                self._watches = None

    async def _start_runtime(self) -> None:
        self._host.pods.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            await (self._runtime_starts or self._runtime.start())
            # The one that pods on its network have; a machine without is reached at the gateway by pods at least.
            address = host_address()
            self._host.address = self._runtime.gateway if address.startswith("127.") else address
            self._adopted = {sandbox.uid: sandbox for sandbox in await self._runtime.adopt()}
        except (SandboxError, OSError) as error:
            self.problem = str(error)
            _log.error("this machine can't run pods: %s", error)
            return
        if self._serve_api is not None:
            try:
                await self._runtime.publish(API_PORT, self._serve_api)
            except OSError as error:
                _log.error("pods can't reach the API server: port %d of their network: %s", API_PORT, error)
            else:
                self._host.api = (self._api_address or self._runtime.gateway, API_PORT)

    async def _register(self) -> None:
        assert self._group is not None
        facts = machinefacts.read_facts(self._host.pods)
        self._host.gpus = await self._find_gpus()
        capacity = machinefacts.resources(facts)
        if self._host.gpus:
            capacity[gpus.RESOURCE] = str(len(self._host.gpus))
        kept = {
            "memory": pressure.least("memory.available", facts.memory, self._host.thresholds),
            "ephemeral-storage": pressure.least("nodefs.available", facts.disk, self._host.thresholds),
        }
        self._host.capacity = capacity
        self._host.allocatable = admission.allocatable(capacity, kept)
        self._host.most_pids = self._host.most_pids or machinefacts.most_pids(facts)
        delay = 0.1
        while True:
            try:
                self._node = await register(self._host, facts, self.problem)
                break
            except HomeportError as error:
                _log.warning("node %s could not be registered: %s; again in %.2g s", self._host.node_name, error, delay)
                await asyncio.sleep(delay)
                delay = min(delay * 2, 30.0)
        self._heartbeat = Heartbeat(
            self._host,
            self._node,
            look=lambda: machinefacts.levels(facts, self._host.pods),
            relieve=Evictor(self._host, self._meter, self._workers.values, self._ended.clear).relieve,
            thresholds=self._host.thresholds,
        )
        self._group.create_task(self._heartbeat.run(), name="node heartbeat")
        self._group.create_task(clockwatch.watch(self._clock_stepped), name="node clock")

    async def _find_gpus(self) -> tuple[Gpu, ...]:
        try:
            return await asyncio.to_thread(self._look_for_gpus)
        except nvml.NvmlError as error:
            _log.warning("the machine's GPUs can't be used: %s", error)
            return ()

    async def _take_over(self) -> None:
        """Give every pod its worker, and end what belongs to no pod."""
        assert self._group is not None
        pods = self._informers.get(core.POD.resource)
        nodes = self._informers.get(core.NODE.resource)
        await pods.synced.wait()
        await nodes.synced.wait()
        nodes.subscribe(self._on_node)
        services = self._informers.get(core.SERVICE.resource)
        await services.synced.wait()
        services.subscribe(self._host.links.see)
        await self._names.follow(self._informers)
        await self._balancing.follow(self._informers)
        self._group.create_task(self._names.run(), name="node dns")
        await self._enforcement.follow(self._informers)
        self._group.create_task(self._enforcement.run(), name="node policies")
        self._group.create_task(self._balancing.run(), name="node services")
        pods.subscribe(self._on_pod)
        orphans = [sandbox for uid, sandbox in self._adopted.items() if uid not in self._workers]
        self._adopted = {}
        for sandbox in orphans:
            self._leftovers.see(sandbox)
            self._group.create_task(self._leftovers.end(sandbox))
        known = {*self._workers, *(sandbox.uid for sandbox in orphans)}
        self._group.create_task(self._ended.restore(), name="node logs of ended pods")
        for path in sharedmemory.abandoned():
            self._group.create_task(self._leftovers.take_away(path))
        for name in os.listdir(self._host.pods):
            if name not in known:
                self._group.create_task(self._leftovers.sweep(self._host.pods / name))

    def _clock_stepped(self, step: timedelta) -> None:
        _log.warning("the machine's clock has been set by %+.0f s", step.total_seconds())
        for worker in self._workers.values():
            worker.clock_stepped(step)

    def _on_node(self, change: Change) -> None:
        """Labels come and go while the node runs, and pods that select them with them."""
        if change.new is not None and meta.name(change.new) == self._host.node_name:
            self._node = change.new
            if self._heartbeat is not None:
                self._heartbeat.see(change.new)

    # Pods.

    def _on_pod(self, change: Change) -> None:
        pod = change.object
        if meta.spec(pod).get("nodeName") != self._host.node_name:
            return
        uid = meta.uid(pod)
        former = meta.uid(change.old) if change.old is not None else uid
        if former != uid and former in self._workers:
            # The name went to another pod and the watch has not said when.
            self._workers[former].remove()
        worker = self._workers.get(uid)
        if change.type == "DELETED":
            if worker is not None:
                worker.update(pod)
                worker.remove()
        elif worker is not None:
            worker.update(pod)
        elif self._group is not None:  # else the platform is about to end, and the next one begins it
            self._begin(pod, self._group)

    def _begin(self, pod: Object, group: asyncio.TaskGroup) -> None:
        uid = meta.uid(pod)
        worker = Worker(
            self._host, pod, self._adopted.get(uid), changed=self._on_worker_changed, ended=self._on_worker_ended
        )
        self._workers[uid] = worker
        group.create_task(worker.run(), name=f"pod {meta.namespace(pod)}/{meta.name(pod)}")

    def _on_worker_changed(self, worker: Worker) -> None:
        self._names.see(worker)
        self._enforcement.see(worker)
        self._balancing.see(worker)
        self._room.see(worker)

    def _on_worker_ended(self, worker: Worker) -> None:
        if self._workers.get(worker.uid) is worker:
            del self._workers[worker.uid]
        self._room.left_by(worker)
        if self._group is not None:
            self._leaving.see(worker)
            self._group.create_task(self._clean_up(worker))

    async def _clean_up(self, worker: Worker) -> None:
        await self._leaving.keep(worker)
        await insist(worker.clean_up, f"{worker.directory} could not be removed")

    # Logs.

    async def logs(self, pod: Object, container: str, options: LogOptions) -> AsyncIterator[bytes]:
        """What a container wrote, in chunks. Raises BadRequest or NotFound before the first chunk.

        A followed log ends with the container, also when its pod is deleted meanwhile.
        """
        source = self._worker(pod).log_source(container, previous=bool(options.previous))
        return logs.read(source, options, self._log_watches(), self._host.now())

    def _log_watches(self) -> Watches:
        if self._watches is None:
            self._watches = watches()
        return self._watches

    async def ended(self, namespace: str) -> list[Object]:
        """Jobs' pods that are gone and whose logs are there; of all namespaces if none is given."""
        return await self._leaving.listed(namespace)

    async def ended_logs(self, pod: tuple[str, str, str], container: str, options: LogOptions) -> AsyncIterator[bytes]:
        """What a container of such a pod (namespace, name, uid) wrote. Raises BadRequest or NotFound."""
        return await self._leaving.logs(pod, container, options, self._log_watches(), self._host.now())

    async def event_files(self, pod: Object, container: str, directory: str, after: str) -> Object:
        """The newest scalars of event files in a container's directory. Raises BadRequest or NotFound."""
        from homeport.node import eventfiles  # for the first job that has some

        worker = self._worker(pod)
        place = await eventfiles.locate(self._host.client, pod, container, directory, worker.volume_places)
        return await asyncio.to_thread(eventfiles.look, place, after)

    # Resources.

    async def summary(self) -> Object:
        """What the node and its running containers use now. Raises ServiceUnavailable if that can't be measured."""
        pods = [(worker.pod, running) for worker in self._workers.values() if (running := worker.running())]
        try:
            usage = await self._meter.measure(summary.roots(pods))
        except (OSError, KeyError, ValueError) as error:
            raise ServiceUnavailable(f"the machine's use can't be read: {error}") from error
        return summary.summary(self._host.node_name, usage, pods, self._host.now())

    # Connections.

    async def dial(self, address: str, port: int) -> socket.socket:
        """A TCP connection to a pod's address, non-blocking. Raises OSError as ``connect`` does."""
        try:
            return await self._runtime.dial(address, port)
        except SandboxError as error:
            raise OSError(errno.ENETDOWN, str(error)) from None

    async def connect(self, pod: Object, port: int) -> socket.socket:
        """A TCP connection to a pod's own loopback, non-blocking. Raises OSError as ``connect`` does, NotFound for one
        that does not run here, InternalError for one without a sandbox."""
        return await self._worker(pod).sandbox_in_use().connect(port)

    # Processes.

    def _worker(self, pod: Object) -> Worker:
        worker = self._workers.get(meta.uid(pod))
        if worker is None:
            raise NotFound.of("", "pods", meta.name(pod))
        return worker

    def check_running(self, pod: Object, container: str) -> None:
        """Raises NotFound or InternalError, in the kubelet's words, if the container does not run."""
        self._worker(pod).sandbox_of(container)

    async def execute(self, pod: Object, container: str, command: Sequence[str], wanted: Wanted) -> Session:
        """Run a further command in a container. Raises NotFound or InternalError if that can't be."""
        try:
            return await self._worker(pod).sandbox_of(container).execute(container, command, wanted)
        except (SandboxError, StartError) as error:
            raise InternalError(f"error executing command in container: failed to exec in container: {error}") from None

    async def attach(self, pod: Object, container: str, wanted: Wanted) -> Session:
        """Get at a container's own streams. Raises NotFound or InternalError if it does not run."""
        try:
            return await self._worker(pod).sandbox_of(container).attach(container, wanted)
        except SandboxError as error:
            raise InternalError(f"error attaching to container: failed to attach container: {error}") from None
