"""Names, labels and numbers of leader-worker sets, and what their spec says."""

from __future__ import annotations

import json
import re
from hashlib import sha1
from typing import Any

from homeport.components.workloads.amounts import scaled
from homeport.components.workloads.lineage import fnv1a, safe
from homeport.kube import meta
from homeport.kube.meta import Object

_PREFIX = "leaderworkerset.sigs.k8s.io/"
EXCLUSIVE = _PREFIX + "exclusive-topology"
SUBGROUP_EXCLUSIVE = _PREFIX + "subgroup-exclusive-topology"
NAME = _PREFIX + "name"
GROUP_INDEX = _PREFIX + "group-index"
WORKER_INDEX = _PREFIX + "worker-index"
SIZE = _PREFIX + "size"
REPLICAS = _PREFIX + "replicas"
GROUP_KEY = _PREFIX + "group-key"
LEADER_NAME = _PREFIX + "leader-name"
REVISION = _PREFIX + "template-revision-hash"
SUBGROUP_INDEX = _PREFIX + "subgroup-index"
SUBGROUP_SIZE = _PREFIX + "subgroup-size"
SUBGROUP_KEY = _PREFIX + "subgroup-key"
SUBGROUP_TYPE = _PREFIX + "subgroup-policy-type"
SUBDOMAIN_POLICY = _PREFIX + "subdomainPolicy"
AFTER_START = _PREFIX + "experimental-recreate-group-after-start"
UNIQUE = "UniquePerReplica"
_NUMBERED = re.compile("(.*)-([0-9]+)")


def template(leader_worker_set: Object) -> Object:
    """What the pods of a group are."""
    return meta.spec(leader_worker_set).get("leaderWorkerTemplate") or {}


def size(leader_worker_set: Object) -> int:
    return _number(template(leader_worker_set).get("size"), 1)


def replicas(leader_worker_set: Object) -> int:
    return _number(meta.spec(leader_worker_set).get("replicas"), 1)


def rolling(leader_worker_set: Object) -> Object:
    strategy = meta.spec(leader_worker_set).get("rolloutStrategy") or {}
    return strategy.get("rollingUpdateConfiguration") or {}


def partition(leader_worker_set: Object) -> int:
    return _number(rolling(leader_worker_set).get("partition"), 0)


def surge(leader_worker_set: Object) -> int:
    count = replicas(leader_worker_set)
    return min(scaled(rolling(leader_worker_set).get("maxSurge"), count, up=True), count)


def unavailable(leader_worker_set: Object) -> int:
    value = rolling(leader_worker_set).get("maxUnavailable")
    return scaled(1 if value is None else value, replicas(leader_worker_set), up=False)


def is_unique(leader_worker_set: Object) -> bool:
    """Whether each group has a subdomain of its own."""
    return (meta.spec(leader_worker_set).get("networkConfig") or {}).get("subdomainPolicy") == UNIQUE


def _number(value: Any, otherwise: int) -> int:
    return otherwise if value is None else int(value)


def parent_and_ordinal(name: str) -> tuple[str, int]:
    """Of a stateful set's pod; -1 for a name without a number."""
    found = _NUMBERED.fullmatch(name)
    return (found[1], int(found[2])) if found else ("", -1)


def unique_key(first: str, second: str) -> str:
    return sha1(f"{first}/{second}".encode(), usedforsecurity=False).hexdigest()


def is_leader(pod: Object) -> bool:
    return meta.labels(pod).get(WORKER_INDEX) == "0"


def revision_of(obj: Object) -> str:
    return meta.labels(obj).get(REVISION, "")


def snapshot(leader_worker_set: Object) -> Object:
    """What a revision remembers: a merge patch that brings template and network back."""
    spec = meta.spec(leader_worker_set)
    network = spec.get("networkConfig") or {"subdomainPolicy": "Shared"}
    return {
        "spec": {
            "leaderWorkerTemplate": {**template(leader_worker_set), "$patch": "replace"},
            "networkConfig": {**network, "$patch": "replace"},
        }
    }


def restored(leader_worker_set: Object, revision: Object) -> Object:
    """The set as it was when the revision was made."""
    remembered = meta.spec(revision.get("data") or {})
    parts = {key: {name: value for name, value in part.items() if name != "$patch"} for key, part in remembered.items()}
    return {**leader_worker_set, "spec": {**meta.spec(leader_worker_set), **parts}}


def digest(data: Object) -> str:
    text = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return safe(str(fnv1a(text.encode())))
