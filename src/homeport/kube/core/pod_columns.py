"""``kubectl get pods``: readiness, status and restarts, computed as the API server computes them (upstream:
``pkg/printers/internalversion``)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from homeport.kube import meta
from homeport.kube.core.columns import NONE
from homeport.kube.core.pod_state import has_ended
from homeport.kube.kind import Column
from homeport.kube.meta import Object
from homeport.kube.table import AGE, age

_NODE_LOST = "NodeLost"


class PodSummary:
    """What the columns show of a pod."""

    __slots__ = ("last_restart", "ready", "restarts", "status", "total")

    def __init__(self, pod: Object) -> None:
        status = meta.status(pod)
        spec = meta.spec(pod)
        self.status: str = status.get("reason") or status.get("phase") or ""
        self.ready = 0
        self.restarts = 0
        self.last_restart: str | None = None
        sidecars = {c["name"] for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"}
        self.total = len(spec.get("containers") or ()) + len(sidecars)
        conditions = status.get("conditions") or ()
        if any(c.get("type") == "PodScheduled" and c.get("reason") == "SchedulingGated" for c in conditions):
            self.status = "SchedulingGated"
        initializing, sidecar_restarts = self._init_containers(pod, sidecars)
        if not initializing or meta.holds(conditions, "Initialized"):
            self.restarts, self.last_restart = sidecar_restarts
            self._containers(status.get("containerStatuses") or (), conditions)
        if meta.is_deleting(pod):
            if status.get("reason") == _NODE_LOST:
                self.status = "Unknown"
            elif not has_ended(pod):
                self.status = "Terminating"

    def _count_restarts(self, container: Object) -> None:
        self.restarts += container.get("restartCount") or 0
        self.last_restart = _later(self.last_restart, container)

    def _init_containers(self, pod: Object, sidecars: set[str]) -> tuple[bool, tuple[int, str | None]]:
        """Whether the pod is still initializing, and the restarts of its sidecars alone."""
        sidecar_restarts = 0
        sidecar_date: str | None = None
        for index, container in enumerate(meta.status(pod).get("initContainerStatuses") or ()):
            self._count_restarts(container)
            is_sidecar = container.get("name") in sidecars
            if is_sidecar:
                sidecar_restarts += container.get("restartCount") or 0
                sidecar_date = _later(sidecar_date, container)
            state = container.get("state") or {}
            terminated, waiting = state.get("terminated"), state.get("waiting")
            if terminated is not None and terminated.get("exitCode") == 0:
                continue
            if is_sidecar and container.get("started"):
                self.ready += bool(container.get("ready"))
                continue
            if terminated is not None:
                self.status = "Init:" + _ended(terminated)
            elif waiting is not None and waiting.get("reason") not in (None, "", "PodInitializing"):
                self.status = "Init:" + waiting["reason"]
            else:
                self.status = f"Init:{index}/{len(meta.spec(pod).get('initContainers') or ())}"
            return True, (sidecar_restarts, sidecar_date)
        return False, (sidecar_restarts, sidecar_date)

    def _containers(self, containers: Iterable[Object], conditions: Iterable[Object]) -> None:
        running = False
        for container in reversed(list(containers)):
            self._count_restarts(container)
            state = container.get("state") or {}
            terminated, waiting = state.get("terminated"), state.get("waiting")
            if waiting is not None and waiting.get("reason"):
                self.status = waiting["reason"]
            elif terminated is not None:
                self.status = _ended(terminated)
            elif container.get("ready") and state.get("running") is not None:
                running = True
                self.ready += 1
        if self.status == "Completed" and running:
            self.status = "Running" if meta.holds(conditions, "Ready") else "NotReady"


def _ended(terminated: Object) -> str:
    if terminated.get("reason"):
        return str(terminated["reason"])
    if terminated.get("signal"):
        return f"Signal:{terminated['signal']}"
    return f"ExitCode:{terminated.get('exitCode', 0)}"


def _later(date: str | None, container: Object) -> str | None:
    """The later of `date` and the end of the container's last run (RFC 3339 in UTC sorts as text)."""
    finished = ((container.get("lastState") or {}).get("terminated") or {}).get("finishedAt")
    return finished if finished and (date is None or date < finished) else date


def _restarts(pod: Object, now: datetime) -> str:
    summary = PodSummary(pod)
    if summary.restarts and summary.last_restart:
        return f"{summary.restarts} ({age(summary.last_restart, now)} ago)"
    return str(summary.restarts)


def _ready(pod: Object) -> str:
    summary = PodSummary(pod)
    return f"{summary.ready}/{summary.total}"


def _readiness_gates(pod: Object) -> str:
    gates = meta.spec(pod).get("readinessGates") or ()
    if not gates:
        return NONE
    conditions = meta.status(pod).get("conditions") or ()
    met = sum(meta.holds(conditions, gate.get("conditionType", "")) for gate in gates)
    return f"{met}/{len(gates)}"


def _ip(pod: Object) -> str:
    status = meta.status(pod)
    addresses = status.get("podIPs") or ()
    return (addresses[0].get("ip") if addresses else None) or status.get("podIP") or NONE


def _or_none(value: Any) -> Any:
    return value or NONE


COLUMNS = (
    Column("Ready", "string", description="Containers that are ready, of all.", compute=_ready),
    Column("Status", "string", description="What the pod is doing.", compute=lambda pod: PodSummary(pod).status),
    Column("Restarts", "string", description="Restarts of the containers.", compute_at=_restarts),
    AGE,
    Column("IP", "string", description="Address of the pod.", priority=1, compute=_ip),
    Column(
        "Node",
        "string",
        description="Node that the pod runs on.",
        priority=1,
        compute=lambda pod: _or_none(meta.spec(pod).get("nodeName")),
    ),
    Column(
        "Nominated Node",
        "string",
        description="Node that makes room for the pod.",
        priority=1,
        compute=lambda pod: _or_none(meta.status(pod).get("nominatedNodeName")),
    ),
    Column(
        "Readiness Gates",
        "string",
        description="Readiness gates that are met, of all.",
        priority=1,
        compute=_readiness_gates,
    ),
)
