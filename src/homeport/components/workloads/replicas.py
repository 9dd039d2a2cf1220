"""Replica sets and replication controllers: as many pods of one template as are wanted (upstream: ``pkg/controller/
replicaset``)."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from homeport.components.workloads import pods
from homeport.components.workloads.ranking import doomed
from homeport.control.controller import Desired, Observed
from homeport.control.naming import fresh_names
from homeport.kube import meta
from homeport.kube.core import pod_state
from homeport.kube.meta import Object

BURST = 500
"""The most pods made or deleted in one step."""


def sync(observed: Observed) -> Desired:
    parent = observed.parent
    own = observed.children["Pod"]
    active = [pod for pod in own.values() if pod_state.is_active(pod)]
    surplus = len(active) - int(meta.spec(parent).get("replicas") or 0)
    min_ready = int(meta.spec(parent).get("minReadySeconds") or 0)
    surplus = max(min(surplus, BURST), -BURST)
    made = new_pods(parent, own, -surplus)
    gone = {meta.name(pod) for pod in doomed(active, surplus, observed.now)} if surplus > 0 else frozenset()
    return Desired(
        status=_status(observed, active, surplus, min_ready),
        children=tuple(made),
        keep=frozenset(("Pod", key) for key in own if key not in gone),
        requeue_after=pods.next_availability(active, min_ready, observed.now),
    )


def new_pods(parent: Object, present: Iterable[str], count: int) -> list[Object]:
    """`count` pods of the parent's template, named unlike any that are `present`."""
    if count <= 0:
        return []
    template = meta.spec(parent).get("template") or {}
    prefix = f"{meta.name(parent)}-"
    names = islice(fresh_names(prefix, parent, tuple(present)), count)
    return [pods.from_template(template, name, generateName=prefix) for name in names]


def _status(observed: Observed, active: list[Object], surplus: int, min_ready: int) -> Object:
    parent = observed.parent
    wanted = meta.labels(meta.spec(parent).get("template") or {}).items()
    ready = [pod for pod in active if pod_state.is_ready(pod)]
    counts = pods.without_zeros(
        {
            "fullyLabeledReplicas": sum(wanted <= meta.labels(pod).items() for pod in active),
            "readyReplicas": len(ready),
            "availableReplicas": sum(pods.is_available(pod, min_ready, observed.now) for pod in ready),
            "observedGeneration": meta.metadata(parent).get("generation"),
            "conditions": _conditions(observed, surplus),
        }
    )
    terminating = sum(map(pod_state.is_terminating, observed.children["Pod"].values()))
    status = {"replicas": len(active), **counts}
    return status if parent["kind"] == "ReplicationController" else {**status, "terminatingReplicas": terminating}


def _conditions(observed: Observed, surplus: int) -> list[Object]:
    """``ReplicaFailure`` while pods can't be made or deleted. It says what was first in the way."""
    before = meta.status(observed.parent).get("conditions") or ()
    others = [dict(condition) for condition in before if condition["type"] != "ReplicaFailure"]
    verb = "create" if surplus < 0 else "delete"
    met = next((failure for failure in observed.failures if failure.verb == verb), None)
    if not surplus or met is None:
        return others
    known = meta.find_condition(before, "ReplicaFailure")
    failure = {
        "type": "ReplicaFailure",
        "status": "True",
        "lastTransitionTime": meta.timestamp(observed.now),
        "reason": "FailedCreate" if surplus < 0 else "FailedDelete",
        "message": met.message,
    }
    return [*others, dict(known) if known is not None else failure]
