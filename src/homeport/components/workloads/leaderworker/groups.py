"""The groups of a leader-worker set: workers for each leader, and what a pod's end means for its group (upstream:
``pod_controller.go``)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from homeport.components.workloads.leaderworker import shape
from homeport.kube import meta
from homeport.kube.core import pod_state
from homeport.kube.meta import Object


class Lost(NamedTuple):
    """A group that has to be made anew, because of one of its pods."""

    leader: Object
    pod: Object


def workers(leader_worker_set: Object, leader: Object, revision: Object, selector: dict[str, str]) -> Object:
    """The stateful set of a leader's workers. `selector` is for nodes, besides that of the template."""
    former = shape.restored(leader_worker_set, revision)
    template, size = shape.template(former), shape.size(former)
    name, labels = meta.name(leader), meta.labels(leader)
    identity = {
        shape.GROUP_INDEX: labels.get(shape.GROUP_INDEX, ""),
        shape.NAME: meta.name(leader_worker_set),
        shape.GROUP_KEY: labels.get(shape.GROUP_KEY, ""),
    }
    marks = {**identity, shape.REVISION: shape.revision_of(leader)}
    annotations = {shape.SIZE: str(size), shape.LEADER_NAME: name}
    given = meta.annotations(leader_worker_set)
    if given.get(shape.EXCLUSIVE):
        annotations[shape.EXCLUSIVE] = given[shape.EXCLUSIVE]
    if template.get("subGroupPolicy"):
        annotations |= subgroup_marks(former)
    pods = marked(template.get("workerTemplate") or {}, marks, annotations)
    if selector:
        spec = pods.get("spec") or {}
        pods["spec"] = {**spec, "nodeSelector": {**(spec.get("nodeSelector") or {}), **selector}}
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": name, "labels": marks, "ownerReferences": [meta.owner_reference(leader)]},
        "spec": {
            "serviceName": name if shape.is_unique(former) else meta.name(leader_worker_set),
            "replicas": size - 1,
            "podManagementPolicy": "Parallel",
            "template": pods,
            "ordinals": {"start": 1},
            "selector": {"matchLabels": identity},
            **claims(former),
        },
    }


def subgroup_marks(leader_worker_set: Object) -> dict[str, str]:
    policy = shape.template(leader_worker_set)["subGroupPolicy"]
    marks = {shape.SUBGROUP_SIZE: str(policy.get("subGroupSize"))}
    topology = meta.annotations(leader_worker_set).get(shape.SUBGROUP_EXCLUSIVE)
    return {**marks, shape.SUBGROUP_EXCLUSIVE: topology} if topology else marks


def marked(template: Object, labels: dict[str, str], annotations: dict[str, str]) -> Object:
    metadata = {
        **meta.metadata(template),
        "labels": {**meta.labels(template), **labels},
        "annotations": {**meta.annotations(template), **annotations},
    }
    return {**template, "metadata": metadata}


def claims(leader_worker_set: Object) -> Object:
    """What a stateful set says of its pods' volumes."""
    template, found = shape.template(leader_worker_set), {}
    if template.get("volumeClaimTemplates"):
        found["volumeClaimTemplates"] = [
            {"metadata": {"name": meta.name(claim)}, "spec": meta.spec(claim)}
            for claim in template["volumeClaimTemplates"]
        ]
    if template.get("persistentVolumeClaimRetentionPolicy"):
        found["persistentVolumeClaimRetentionPolicy"] = template["persistentVolumeClaimRetentionPolicy"]
    return found


def service(name: str, leader_worker_set: Object, selector: dict[str, str], owner: Object | None = None) -> Object:
    """A headless service that knows pods before they are ready."""
    metadata: Object = {"name": name, "labels": {shape.NAME: meta.name(leader_worker_set)}}
    if owner is not None:
        metadata["ownerReferences"] = [meta.owner_reference(owner)]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {"clusterIP": "None", "selector": selector, "publishNotReadyAddresses": True},
    }


def lost(leader_worker_set: Object, pods: Sequence[Object], sets: Mapping[str, Object]) -> Iterator[Lost]:
    """The groups that the restart policy wants to be made anew, each once."""
    policy = shape.template(leader_worker_set).get("restartPolicy")
    if policy not in ("RecreateGroupOnPodRestart", "RecreateGroupAfterStart"):
        return
    patient = policy == "RecreateGroupAfterStart" or shape.AFTER_START in meta.annotations(leader_worker_set)
    by_name = {meta.name(pod): pod for pod in pods}
    seen: set[str] = set()
    for pod in pods:
        if not (_has_restarted(pod) or meta.is_deleting(pod)):
            continue
        if patient and _is_pending(leader_worker_set, pod, pods):
            continue
        leader = _leader_of(pod, by_name, sets)
        if leader is not None and not meta.is_deleting(leader) and meta.name(leader) not in seen:
            seen.add(meta.name(leader))
            yield Lost(leader, pod)


def _leader_of(pod: Object, pods: Mapping[str, Object], sets: Mapping[str, Object]) -> Object | None:
    """None for a worker of a group that goes anyway: of another revision, or of a leader that is no more."""
    if shape.is_leader(pod):
        return pod
    leader = pods.get(shape.parent_and_ordinal(meta.name(pod))[0])
    if leader is None or shape.revision_of(leader) != shape.revision_of(pod):
        return None
    owner = meta.controller_of(pod) or {}
    own = sets.get(owner.get("name", "")) if owner.get("kind") == "StatefulSet" else None
    if own is None or meta.uid(own) != owner.get("uid"):
        return None
    return leader if (meta.controller_of(own) or {}).get("uid") == meta.uid(leader) else None


def _has_restarted(pod: Object) -> bool:
    status = meta.status(pod)
    if status.get("phase") not in ("Running", "Pending"):
        return False
    each = (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ()))
    return any(container.get("restartCount") for container in each)


def _is_pending(leader_worker_set: Object, pod: Object, pods: Sequence[Object]) -> bool:
    """Whether the pod's group has not begun as a whole."""
    index = meta.labels(pod).get(shape.GROUP_INDEX)
    together = [each for each in pods if meta.labels(each).get(shape.GROUP_INDEX) == index]
    if len(together) != shape.size(leader_worker_set):
        return True
    return any(meta.status(each).get("phase", "Pending") == "Pending" for each in together)


def matters(old: Object, new: Object) -> bool:
    """Whether a pod's change is one that its set has to see."""
    return _seen(old) != _seen(new)


def _seen(pod: Object) -> tuple[object, ...]:
    metadata, status = meta.metadata(pod), meta.status(pod)
    return (
        status.get("phase"),
        pod_state.is_ready(pod),
        _has_restarted(pod),
        metadata.get("deletionTimestamp"),
        metadata.get("labels"),
        metadata.get("ownerReferences"),
        meta.spec(pod).get("nodeName"),
    )
