"""Which pods are the batch scheduler's, and to which group each belongs. Pure; cheap, for it is asked of every pod."""

from __future__ import annotations

from typing import NamedTuple

from homeport.kube import meta, scheduling
from homeport.kube.kind import Resource
from homeport.kube.meta import Object, controller_of, labels, namespace, spec, uid
from homeport.kube.scheduling import names, plain

VOLCANO, INCUBATOR, SIGS, COSCHEDULING, IN_TREE = (
    kind.resource
    for kind in (
        scheduling.VOLCANO_POD_GROUP,
        scheduling.INCUBATOR_POD_GROUP,
        scheduling.SIGS_POD_GROUP,
        scheduling.COSCHEDULING_POD_GROUP,
        scheduling.POD_GROUP,
    )
)
POD_GROUPS = (VOLCANO, INCUBATOR, SIGS, COSCHEDULING, IN_TREE)
QUEUES = tuple(kind.resource for kind in scheduling.QUEUES)
"""Those of Volcano first."""
HYPER_NODES = (scheduling.HYPER_NODE.resource,)
HOMEPORT = "homeport"
NAMES = frozenset({names.VOLCANO, names.KUBE_BATCH, names.SCHEDULER_PLUGINS, HOMEPORT})
"""The values of ``spec.schedulerName`` that are ours whatever the pod belongs to."""

_ANNOTATED = (VOLCANO, INCUBATOR, SIGS)
_KUBE_BATCH = (INCUBATOR, SIGS, VOLCANO)


class Belonging(NamedTuple):
    """Where a pod belongs: to the first of these PodGroups that there is (keys as :func:`group_key` has them)."""

    keys: tuple[str, ...]
    is_named: bool = True
    """False: it names no group. The only key stands for a group that is no object: the pods of one owner."""


def group_key(resource: Resource, namespace: str, name: str) -> str:
    return f"{resource.group}/{namespace}/{name}"


def is_ours(pod: Object) -> bool:
    """Whether the batch scheduler places this pod."""
    return (spec(pod).get("schedulerName") or "") in NAMES or names_group(pod)


def names_group(pod: Object) -> bool:
    """Whether the pod says that it belongs to a group, whoever is to place it."""
    notes, tags = pod["metadata"].get("annotations"), pod["metadata"].get("labels")
    return bool(
        (notes and (notes.get(names.GROUP_NAME) or notes.get(names.VOLCANO_GROUP_NAME)))
        or (tags and tags.get(names.COSCHEDULING_GROUP))
        or (spec(pod).get("schedulingGroup") or {}).get("podGroupName")
    )


def belonging(pod: Object, *, plain_groups: bool = False) -> Belonging:
    """Of a pod that is ours. `plain_groups`: somebody makes groups for pods that name Volcano and none, and writes
    their names onto the pods: these belong there from the first."""
    notes, place = meta.annotations(pod), namespace(pod)
    in_tree = (spec(pod).get("schedulingGroup") or {}).get("podGroupName")
    if in_tree:
        return Belonging((group_key(IN_TREE, place, in_tree),))
    named = notes.get(names.GROUP_NAME) or notes.get(names.VOLCANO_GROUP_NAME)
    if named:
        kinds = _KUBE_BATCH if spec(pod).get("schedulerName") == "kube-batch" else _ANNOTATED
        return Belonging(tuple(group_key(kind, place, named) for kind in kinds))
    named = labels(pod).get(names.COSCHEDULING_GROUP)
    if named:
        return Belonging((group_key(COSCHEDULING, place, named),))
    if plain_groups and plain.is_plain(pod):
        return Belonging(tuple(group_key(kind, place, plain.group_name(pod)) for kind in _ANNOTATED))
    owner = controller_of(pod)
    return Belonging((f"pods/{place}/{owner['uid'] if owner is not None else uid(pod)}",), is_named=False)
