"""The pod groups of pods that name Volcano and no group (upstream: ``pkg/controllers/podgroup``). Pure.

All pods of one controller (a ReplicaSet, a Job, ...) are one group, any other pod is one by itself. The group's name
follows from the owner's uid: whoever sees such a pod knows its group before somebody has made it.
"""

from __future__ import annotations

from collections.abc import Mapping

from homeport.kube import core, meta
from homeport.kube.meta import Object, controller_of, metadata, spec, uid
from homeport.kube.scheduling import VOLCANO_POD_GROUP, amounts, names

PREFIX = "podgroup-"
OWNERS = frozenset({"ReplicaSet", "StatefulSet", "DaemonSet", "Job"})
"""The kinds of owners whose annotations count."""
_TOPOLOGY_MODE = "volcano.sh/network-topology-mode"
_TOPOLOGY_TIER = "volcano.sh/network-topology-highest-tier"


def is_plain(pod: Object) -> bool:
    """Whether it names Volcano and no group. Cheap, for it is asked of every pod."""
    wanted = pod["spec"]
    if wanted.get("schedulerName") != names.VOLCANO:
        return False
    known = pod["metadata"]
    notes, tags = known.get("annotations") or {}, known.get("labels") or {}
    return not (
        notes.get(names.GROUP_NAME)
        or notes.get(names.VOLCANO_GROUP_NAME)
        or tags.get(names.COSCHEDULING_GROUP)
        or (wanted.get("schedulingGroup") or {}).get("podGroupName")
    )


def group_name(pod: Object) -> str:
    owner = controller_of(pod)
    return PREFIX + (owner["uid"] if owner is not None else uid(pod))


def matters(annotations: Mapping[str, str]) -> dict[str, str]:
    """What of an owner's annotations makes a difference to its group."""
    own = (names.GROUP_MIN_MEMBER, names.GROUP_MIN_RESOURCES)
    return {key: value for key, value in annotations.items() if key in own or key.startswith(names.VOLCANO_PREFIX)}


def pod_group(pod: Object, owner: Object | None, default_queue: str = "") -> Object:
    """The group of the pod. `owner`: what controls it, if that is of `OWNERS`; `default_queue`: the namespace's."""
    upper = meta.annotations(owner) if owner is not None else {}
    notes = meta.annotations(pod)
    least = upper.get(names.GROUP_MIN_MEMBER) or ""
    members = int(least) if least.isdecimal() else 1
    wanted: Object = {
        "minMember": members,
        "queue": notes.get(names.QUEUE_NAME) or default_queue or names.DEFAULT_QUEUE,
    }
    if resources := amounts.needed([(spec(pod), max(members, 1))]):
        wanted["minResources"] = resources
    if spec(pod).get("priorityClassName"):
        wanted["priorityClassName"] = spec(pod)["priorityClassName"]
    inherited = {key: value for key, value in (upper | notes).items() if key.startswith(names.VOLCANO_PREFIX)}
    if topology := _topology(inherited):
        wanted["networkTopology"] = topology
    known: Object = {
        "name": group_name(pod),
        "namespace": meta.namespace(pod),
        "ownerReferences": _owners(pod),
    }
    if inherited:
        known["annotations"] = inherited
    return {
        "apiVersion": VOLCANO_POD_GROUP.api_version,
        "kind": VOLCANO_POD_GROUP.kind,
        "metadata": known,
        "spec": wanted,
    }


def _topology(notes: Mapping[str, str]) -> Object | None:
    mode, tier = notes.get(_TOPOLOGY_MODE), notes.get(_TOPOLOGY_TIER) or ""
    if mode is None and not tier:
        return None
    found: Object = {"mode": "soft" if (mode or "").lower() == "soft" else "hard"}
    if tier.isdecimal():
        found["highestTierAllowed"] = int(tier)
    return found


def _owners(pod: Object) -> list[Object]:
    """The pod's own if it is controlled, else the pod: the group goes with the last of them."""
    if controller_of(pod) is not None:
        return [dict(one) for one in metadata(pod)["ownerReferences"]]
    return [
        {
            "apiVersion": "v1",
            "kind": core.POD.kind,
            "name": meta.name(pod),
            "uid": uid(pod),
            "controller": True,
            "blockOwnerDeletion": True,
        }
    ]
