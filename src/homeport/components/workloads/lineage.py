"""The replica sets of a deployment: which one has its template, and what their annotations remember (upstream:
``pkg/controller/deployment/util``)."""

from __future__ import annotations

import json
from collections.abc import Iterable

import msgspec

from homeport.kube import meta
from homeport.kube.meta import Object
from homeport.kube.names import SAFE_LETTERS

HASH = "pod-template-hash"
_PREFIX = "deployment.kubernetes.io/"
REVISION = _PREFIX + "revision"
HISTORY = _PREFIX + "revision-history"
DESIRED = _PREFIX + "desired-replicas"
MOST = _PREFIX + "max-replicas"
_OWN = frozenset(
    {
        "kubectl.kubernetes.io/last-applied-configuration",
        REVISION,
        HISTORY,
        DESIRED,
        MOST,
        "deprecated.deployment.rollback.to",
    }
)
"""Annotations that a deployment does not share with its replica sets."""
_LONGEST_HISTORY = 2000


class Lineage(msgspec.Struct, frozen=True):
    """`new` has the deployment's template; `old` are the others, the oldest first."""

    new: Object | None
    old: tuple[Object, ...]

    @property
    def all(self) -> tuple[Object, ...]:
        return self.old if self.new is None else (*self.old, self.new)


def lineage(deployment: Object, sets: Iterable[Object]) -> Lineage:
    """Of several with the deployment's template, the oldest is the new one."""
    template = _plain(meta.spec(deployment).get("template") or {})
    ordered = sorted(sets, key=by_age)
    new = next((each for each in ordered if _plain(meta.spec(each).get("template") or {}) == template), None)
    return Lineage(new, tuple(each for each in ordered if each is not new))


def by_age(replica_set: Object) -> tuple[str, str]:
    """A key that sorts the oldest first."""
    return meta.metadata(replica_set).get("creationTimestamp") or "", meta.name(replica_set)


def size(replica_set: Object) -> int:
    return int(meta.spec(replica_set).get("replicas") or 0)


def _plain(template: Object) -> Object:
    """A template without the label that tells replica sets apart."""
    if HASH not in meta.labels(template):
        return template
    metadata = meta.metadata(template)
    return {**template, "metadata": {**metadata, "labels": _without_hash(metadata["labels"])}}


def _without_hash(labels: Object) -> Object:
    return {key: value for key, value in labels.items() if key != HASH}


def template_hash(template: Object, collisions: int) -> str:
    """What a template is called: the 32 bits of FNV-1a over its JSON, in letters that make no words."""
    text = json.dumps(template, sort_keys=True, separators=(",", ":"))
    return safe(str(fnv1a(text.encode() + (collisions.to_bytes(4, "little") if collisions else b""))))


def fnv1a(data: bytes) -> int:
    number = 2166136261
    for byte in data:
        number = (number ^ byte) * 16777619 & 0xFFFFFFFF
    return number


def safe(text: str) -> str:
    """Upstream's ``SafeEncodeString``."""
    return "".join(SAFE_LETTERS[ord(letter) % len(SAFE_LETTERS)] for letter in text)


def revision(obj: Object) -> int:
    """The number of the rollout that an object's annotation names; 0 without one."""
    return number(obj, REVISION) or 0


def number(obj: Object, annotation: str) -> int | None:
    try:
        return int(meta.annotations(obj)[annotation])
    except (KeyError, ValueError):
        return None


def new_annotations(deployment: Object, new: Object, wanted: int) -> dict[str, str]:
    """What the new replica set's annotations lack: the deployment's own, and the revision `wanted`. A former revision
    of the set goes into its history."""
    present = meta.annotations(new)
    changes = {
        key: value
        for key, value in meta.annotations(deployment).items()
        if key not in _OWN and present.get(key) != value
    }
    before = present.get(REVISION, "")
    if before and number(new, REVISION) is None:
        return changes
    if revision(new) < wanted:
        changes[REVISION] = str(wanted)
        if before:
            changes[HISTORY] = _with(present.get(HISTORY, ""), before)
    return changes


def _with(history: str, former: str) -> str:
    """A list of revisions with one more; the oldest are dropped when it becomes too long."""
    known = [each for each in history.split(",") if each]
    while known and len(",".join((*known, former))) > _LONGEST_HISTORY:
        known.pop(0)
    return ",".join((*known, former))


def sizes(desired: int, most: int) -> dict[str, str]:
    """The annotations that tell of the deployment's size when a set was last scaled."""
    return {DESIRED: str(desired), MOST: str(most)}


def new_set(deployment: Object, name_hash: str, replicas: int, annotations: dict[str, str]) -> Object:
    """The replica set of the deployment's template."""
    spec = meta.spec(deployment)
    template, selector = spec.get("template") or {}, spec.get("selector") or {}
    labels = {**meta.labels(template), HASH: name_hash}
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": set_name(deployment, name_hash), "labels": labels, "annotations": annotations},
        "spec": {
            "replicas": replicas,
            **({"minReadySeconds": spec["minReadySeconds"]} if spec.get("minReadySeconds") else {}),
            "selector": {**selector, "matchLabels": {**(selector.get("matchLabels") or {}), HASH: name_hash}},
            "template": {**template, "metadata": {**meta.metadata(template), "labels": labels}},
        },
    }


def set_name(deployment: Object, name_hash: str) -> str:
    return f"{meta.name(deployment)}-{name_hash}"
