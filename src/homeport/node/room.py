"""Which pods a node takes, and who gets what another has left: asked with all pods that are here in view."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from homeport.kube import meta
from homeport.kube.meta import Object
from homeport.node import admission, gpus, security
from homeport.node.host import Host
from homeport.node.memory import Verdict
from homeport.node.worker import Worker


class Room:
    """`workers` are those of the pods that are here, by uid; `orphaned` tells which GPUs pods that are gone may still
    use, `node` and `pressures` how the node itself is."""

    def __init__(
        self,
        host: Host,
        workers: Mapping[str, Worker],
        *,
        node: Callable[[], Object],
        pressures: Callable[[], Iterable[str]],
        orphaned: Callable[[], Iterable[str]],
    ) -> None:
        self._host = host
        self._workers = workers
        self._node = node
        self._pressures = pressures
        self._orphaned = orphaned
        self._deferred: set[str] = set()
        """Pods that wait for other resources until others leave room, by uid."""

    def _others(self, pod: Object) -> list[Worker]:
        return [worker for worker in self._workers.values() if worker.is_taken and worker.uid != meta.uid(pod)]

    @staticmethod
    def _claims(others: Iterable[Worker]) -> list[Object]:
        """The pods that have a claim to what the node has, with what it gives them. Those that were deleted by force
        may still be ending, but have none, as with the kubelet."""
        return [worker.allocated for worker in others if not worker.is_gone]

    def admit(self, pod: Object) -> Verdict | gpus.Assignment:
        """Whether the node takes a pod that it has not had before, and which GPUs it gets."""
        others = self._others(pod)
        refused = security.refusal(pod, self._host.policy) or admission.refusal(
            pod,
            self._claims(others),
            allocatable=self._host.allocatable,
            node=self._node(),
            node_name=self._host.node_name,
            pressures=self._pressures(),
        )
        if refused is not None:
            return refused
        held = (uuid for worker in others for uuids in worker.memory.devices.values() for uuid in uuids)
        return gpus.assign(pod, self._host.gpus, (*held, *self._orphaned()))

    def lacking(self, pod: Object) -> str:
        """Why a pod that is here can't have other resources just now; empty if it can."""
        short = admission.lacking(pod, self._claims(self._others(pod)), self._host.allocatable)
        return "" if short is None else short.message

    def see(self, worker: Worker) -> None:
        """A pod here has changed: whoever waits for room is asked again if it may have left some."""
        if worker.memory.resize_pending == "Deferred" and worker.is_taken:
            self._deferred.add(worker.uid)
        elif self._deferred:
            self.left_by(worker)

    def left_by(self, worker: Worker) -> None:
        """The pod may have left, or have less now."""
        self._deferred.discard(worker.uid)
        for uid in self._deferred & self._workers.keys():
            self._workers[uid].wake()
