"""Ends pods that use more of the disk than they may, or whose memory or disk the node needs more urgently."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

from homeport.kube import meta
from homeport.node import logs, pressure, summary, volumes
from homeport.node.host import Host
from homeport.node.pressure import Crossing, Footprint
from homeport.node.runtime import SandboxError
from homeport.node.usage import Meter
from homeport.node.worker import Worker

_log = logging.getLogger(__name__)


class Evictor:
    """`workers` are those of the node's pods; `clear` lets go what is kept of pods that are gone."""

    def __init__(
        self,
        host: Host,
        meter: Meter,
        workers: Callable[[], Collection[Worker]],
        clear: Callable[[], None] = lambda: None,
    ) -> None:
        self._host = host
        self._meter = meter
        self._workers = workers
        self._clear = clear

    async def relieve(self, crossings: list[Crossing]) -> None:
        """Look after the disk use of those who have a limit of it; and of what there is too little of, end the one pod
        that is first to go. The next look tells whether that was enough."""
        await self._check_storage([worker for worker in self._living() if pressure.limits_storage(worker.pod)])
        if not crossings:
            return
        if any(worker.memory.verdict is not None for worker in self._living()):
            return  # one is about to go: what it leaves may do
        crossing = crossings[0]
        if crossing.resource not in ("memory", "pids"):
            self._clear()
        footprints = await self._footprints(crossing.resource)
        ranked = pressure.ranked(footprints, crossing.resource)
        if not ranked:
            _log.warning("the node is short of %s, and there is no pod to end for it", crossing.resource)
            return
        first = ranked[0]
        worker = next((worker for worker in self._living() if worker.pod is first.pod), None)
        if worker is None:
            return  # it has ended while all were measured, which may do
        _log.warning("pod %s/%s is ended: %s is low", meta.namespace(first.pod), meta.name(first.pod), crossing.signal)
        worker.fail(pressure.eviction(crossing, first))

    def _living(self) -> list[Worker]:
        return [worker for worker in self._workers() if worker.is_taken]

    async def _footprints(self, resource: str) -> list[Footprint]:
        workers = self._living()
        if resource == "memory":
            pods = [(worker.pod, worker.running()) for worker in workers]
            usage = await self._meter.measure(summary.roots(pods))
            used: dict[str, dict[str, int]] = {}
            for root, rated in usage.containers.items():
                used.setdefault(root.uid, {})[root.name] = rated.memory
            return [Footprint(w.pod, sum(used.get(w.uid, {}).values()), used.get(w.uid, {})) for w in workers]
        if resource == "ephemeral-storage":
            return [
                Footprint(worker.pod, sum(containers.values()) + sum(others.values()), containers)
                for worker, containers, others in await self._storage(workers)
            ]
        # Inodes and process ids: nobody asks for any, so that priority alone counts.
        return [Footprint(worker.pod, 0) for worker in workers]

    async def _check_storage(self, workers: list[Worker]) -> None:
        for worker, containers, others in await self._storage(workers):
            verdict = pressure.storage_verdict(worker.pod, containers, others)
            if verdict is not None and worker.is_taken:
                worker.fail(verdict)

    async def _storage(self, workers: list[Worker]) -> list[tuple[Worker, Mapping[str, int], Mapping[str, int]]]:
        """Bytes on the disk: of each container's layer and logs, and of each emptyDir volume that is not in memory.

        All pods are measured in one request, which is one process. Where that fails it is one for each pod, so that a
        pod that can't be measured, which is left out, doesn't hide what the others use.
        """
        if not workers:
            return []
        try:
            return await self._measure(workers)
        except (SandboxError, OSError) as error:
            if len(workers) > 1:
                return [found for worker in workers for found in await self._storage([worker])]
            _log.warning("what pod %s has on the disk can't be measured: %s", meta.name(workers[0].pod), error)
            return []

    async def _measure(self, workers: list[Worker]) -> list[tuple[Worker, Mapping[str, int], Mapping[str, int]]]:
        parts = [(worker, *part) for worker in workers for part in _parts(worker)]
        sizes = await self._host.runtime.measure([str(path) for _, _, _, path in parts])
        containers: dict[str, dict[str, int]] = {}
        others: dict[str, dict[str, int]] = {}
        for (worker, name, is_container, _), size in zip(parts, sizes, strict=True):
            target = (containers if is_container else others).setdefault(worker.uid, {})
            target[name] = target.get(name, 0) + size
        return [(worker, containers.get(worker.uid, {}), others.get(worker.uid, {})) for worker in workers]


def _parts(worker: Worker) -> Iterator[tuple[str, bool, Path]]:
    """Where a pod's bytes lie: a container's or a volume's name, whether it is a container, and the directory."""
    for name, state in worker.containers().items():
        yield name, True, worker.directory / "layers" / f"{name}-{state.attempt}"
        yield name, True, logs.path_of(worker.directory, name, 0).parent
    places = volumes.VolumePlaces(worker.directory, worker.uid)
    for volume in meta.spec(worker.pod).get("volumes") or ():
        source = volume.get("emptyDir")
        if source is not None and source.get("medium") in (None, ""):
            yield str(volume["name"]), False, places.of(str(volume["name"]))
