"""A pod as a task of its group. Pure."""

from __future__ import annotations

from msgspec.structs import replace

from homeport.kube import core, meta
from homeport.kube.meta import Object, is_deleting, labels, namespace, spec, status
from homeport.kube.scheduling import names
from homeport.scheduler.batch.groups import flag, seconds
from homeport.scheduler.batch.model import Shape, Task, TaskStatus
from homeport.scheduler.model import NodeChoice, Pod

_ROLES = (names.TASK_SPEC, "training.kubeflow.org/replica-type", "jobset.sigs.k8s.io/replicatedjob-name")
_INDEXES = (
    "volcano.sh/task-index",
    "training.kubeflow.org/replica-index",
    "batch.kubernetes.io/job-completion-index",
)
_PREEMPTABLE = "volcano.sh/preemptable"
_CRITICAL = frozenset({"system-cluster-critical", "system-node-critical"})


def shape_of(pod: Pod, choices: tuple[NodeChoice, ...] = (), refused: str = "") -> Shape:
    """`choices` and `refused`: what its volumes say."""
    demand = pod.demand
    if demand.claims:
        demand = replace(demand, claims=(), choices=choices)
    return Shape(pod.namespace, demand, pod.rules, pod.preempts, refused)


def task_of(obj: Object, pod: Pod, shape: int, assumed: str, *, held_back: bool = False) -> Task:
    """`assumed`: the node that it has been given and the API does not know of. `held_back`: it is not to be placed just
    now."""
    notes, tags, state = meta.annotations(obj), labels(obj), status(obj)
    node = spec(obj).get("nodeName") or ""
    found = status_of(obj, assumed)
    if held_back and found is TaskStatus.PENDING:
        found = TaskStatus.GATED
    index = next((text for key in _INDEXES if (text := notes.get(key) or tags.get(key) or "").isdigit()), "0")
    return Task(
        uid=pod.uid,
        namespace=pod.namespace,
        name=pod.name,
        shape=shape,
        status=found,
        node=node or assumed,
        role=next((text for key in _ROLES if (text := notes.get(key) or tags.get(key) or "")), ""),
        index=int(index),
        priority=pod.priority,
        created=seconds(pod.created),
        started=seconds(state.get("startTime")),
        labels=tags,
        nominated=state.get("nominatedNodeName") or "",
        preemptable=flag(notes.get(_PREEMPTABLE) or tags.get(_PREEMPTABLE)),
        critical=is_critical(obj),
    )


def status_of(obj: Object, assumed: str) -> TaskStatus:
    phase = status(obj).get("phase")
    if phase == "Succeeded":
        return TaskStatus.SUCCEEDED
    if phase == "Failed":
        return TaskStatus.FAILED
    if core.has_ended(obj):
        return TaskStatus.UNKNOWN
    if spec(obj).get("nodeName"):
        if is_deleting(obj):
            return TaskStatus.RELEASING
        return TaskStatus.RUNNING if phase == "Running" else TaskStatus.BOUND
    if is_deleting(obj):
        return TaskStatus.UNKNOWN
    if assumed:
        return TaskStatus.BINDING
    return TaskStatus.GATED if spec(obj).get("schedulingGates") else TaskStatus.PENDING


def is_critical(obj: Object) -> bool:
    return namespace(obj) == "kube-system" or spec(obj).get("priorityClassName") in _CRITICAL
