"""The pod groups of training jobs whose runtime asks for a gang scheduler (upstream: ``plugins/coscheduling`` and
``plugins/volcano``)."""

from __future__ import annotations

from collections.abc import Callable

from homeport.components.trainer import build, snapshot
from homeport.components.trainer.draft import Draft, Unbuildable
from homeport.components.trainer.jobs import MANAGER
from homeport.components.trainer.sync import is_finished
from homeport.control.controller import Desired, Observed
from homeport.kube import meta
from homeport.kube.errors import ApiError
from homeport.kube.meta import Object
from homeport.kube.scheduling import amounts

_QUEUE = "scheduling.volcano.sh/queue-name"


def coscheduling(observed: Observed) -> Desired:
    return _sync(observed, "coscheduling", _coscheduling_group)


def volcano(observed: Observed) -> Desired:
    return _sync(observed, "volcano", _volcano_group)


def _sync(observed: Observed, scheduler: str, group: Callable[[Draft], Object]) -> Desired:
    job, present = observed.parent, observed.children["PodGroup"]
    keep = frozenset(("PodGroup", name) for name in present)
    config_map = observed.related["ConfigMap"].get(f"{meta.namespace(job)}/{snapshot.snapshot_name(meta.name(job))}")
    # What runs is never changed; of a job of another manager nothing is.
    is_others = (meta.spec(job).get("managedBy") or MANAGER) != MANAGER
    runs = bool(present) and not meta.spec(job).get("suspend")
    if config_map is None or is_others or runs or is_finished(job):
        return Desired(keep=keep)
    try:
        draft = build.drawn(job, snapshot.kept(job, config_map), None)
    except (Unbuildable, ApiError):
        return Desired(keep=keep)  # of which the job's own controller tells
    if draft.gang.get(scheduler) is None:
        return Desired(keep=keep)
    return Desired(children=(group(draft),))


def _least(draft: Draft) -> Object:
    """How many pods it takes to train, and what they need in all."""
    needed = [(pods.pod, pods.count if pods.least is None else pods.least) for pods in draft.sets]
    least: Object = {"minMember": sum(count for _, count in needed)}
    if resources := amounts.needed(needed):
        least["minResources"] = resources
    return least


def _coscheduling_group(draft: Draft) -> Object:
    timeout = draft.gang["coscheduling"].get("scheduleTimeoutSeconds")
    spec = {**_least(draft), "scheduleTimeoutSeconds": 60 if timeout is None else timeout}
    return _group(draft, "scheduling.x-k8s.io/v1alpha1", spec)


def _volcano_group(draft: Draft) -> Object:
    spec = _least(draft)
    if _QUEUE in draft.annotations:
        spec["queue"] = draft.annotations[_QUEUE]
    for pods in draft.sets:
        if pods.pod.get("priorityClassName"):
            spec["priorityClassName"] = pods.pod["priorityClassName"]
    if draft.gang["volcano"].get("networkTopology"):
        spec["networkTopology"] = dict(draft.gang["volcano"]["networkTopology"])
    return _group(draft, "scheduling.volcano.sh/v1beta1", spec)


def _group(draft: Draft, api_version: str, spec: Object) -> Object:
    return {"apiVersion": api_version, "kind": "PodGroup", "metadata": {"name": draft.name}, "spec": spec}
