"""Claims and volumes: what binds them, and which volume suits a claim. Pure; for the binder, the scheduler, the
provisioner and the node alike.

The rules and words are upstream's (``component-helpers/storage/volume``, ``pkg/controller/volume/persistentvolume``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from homeport.kube import meta, quantity
from homeport.kube.errors import HomeportError
from homeport.kube.meta import Object
from homeport.kube.selector import from_label_selector

BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
BOUND_BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
PROVISIONERS = ("volume.kubernetes.io/storage-provisioner", "volume.beta.kubernetes.io/storage-provisioner")
NO_PROVISIONER = "kubernetes.io/no-provisioner"
CLAIM_PROTECTION = "kubernetes.io/pvc-protection"
VOLUME_PROTECTION = "kubernetes.io/pv-protection"
FORMER_CLASS = "volume.beta.kubernetes.io/storage-class"
DEFAULT_CLASS = ("storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class")
SINGLE_POD = "ReadWriteOncePod"

LOCAL_PROVISIONER = "homeport.io/local-path"
"""Makes volumes that are directories of the machine that their pod runs on."""


def class_name(obj: Object) -> str:
    """The storage class of a claim or volume; empty: none."""
    return str(meta.annotations(obj).get(FORMER_CLASS) or meta.spec(obj).get("storageClassName") or "")


def lacks_class(claim: Object) -> bool:
    """Whether nobody has said anything about the claim's class, so that it gets the default one."""
    return meta.spec(claim).get("storageClassName") is None and FORMER_CLASS not in meta.annotations(claim)


def default_class(classes: Iterable[Object]) -> Object | None:
    """The newest of the default classes, the first by name of equally old ones."""
    found = (c for c in classes if any(meta.annotations(c).get(key) == "true" for key in DEFAULT_CLASS))
    by_name = sorted(found, key=meta.name)
    return max(by_name, key=lambda c: str(meta.metadata(c).get("creationTimestamp")), default=None)


def delays_binding(storage_class: Object | None) -> bool:
    """Whether claims of the class wait for a pod that uses them."""
    return storage_class is not None and storage_class.get("volumeBindingMode") == "WaitForFirstConsumer"


def mode(obj: Object) -> str:
    return str(meta.spec(obj).get("volumeMode") or "Filesystem")


def requested(claim: Object) -> Decimal:
    """The bytes that a claim asks for."""
    return quantity.parse(((meta.spec(claim).get("resources") or {}).get("requests") or {}).get("storage") or "0")


def capacity(volume: Object) -> Decimal:
    return quantity.parse((meta.spec(volume).get("capacity") or {}).get("storage") or "0")


def claim_ref(volume: Object) -> Mapping[str, Any]:
    """Whose the volume is or shall be; empty: nobody's."""
    return meta.spec(volume).get("claimRef") or {}


def is_meant_for(volume: Object, claim: Object) -> bool:
    """Whether the volume names the claim, by its uid or before it had one."""
    ref = claim_ref(volume)
    return (
        (ref.get("namespace"), ref.get("name")) == (meta.namespace(claim), meta.name(claim))
        and bool(ref)
        and (not ref.get("uid") or ref["uid"] == meta.uid(claim))
    )


def is_fully_bound(claim: Object) -> bool:
    """Whether the binder has done all it does for the claim."""
    bound = meta.status(claim).get("phase") == "Bound" and bool(meta.spec(claim).get("volumeName"))
    return bound and BIND_COMPLETED in meta.annotations(claim)


def mismatch(volume: Object, claim: Object) -> str:
    """Why the claim can't have the volume that it names; empty if it can (upstream: ``checkVolumeSatisfyClaim``)."""
    if meta.is_deleting(volume):
        return "volume is being deleted"  # upstream leaves it to the next step, which fails
    if capacity(volume) < requested(claim):
        return "requested PV is too small"
    if class_name(volume) != class_name(claim):
        return "storageClassName does not match"
    if mode(volume) != mode(claim):
        return "incompatible volumeMode"
    if not _has_modes(volume, claim):
        return "incompatible accessMode"
    return ""


def candidate_key(volume: Object) -> list[tuple[str, ...]]:
    """Where a claim finds the volume: under the claim that it is meant for, else under its class. For indexes."""
    ref = claim_ref(volume)
    if ref:
        return [("claim", ref.get("namespace") or "", ref.get("name") or "")]
    return [("class", class_name(volume))]


def candidate_keys(claim: Object) -> tuple[tuple[str, ...], ...]:
    """The keys of all volumes that may suit a claim that names none."""
    return ("claim", meta.namespace(claim), meta.name(claim)), ("class", class_name(claim))


def suiting(volumes: Iterable[Object], claim: Object, *, delayed: bool = False) -> list[Object]:
    """The volumes that a claim that names none can have: those that are meant for it, then the free ones, the smallest
    first (upstream: ``FindMatchingVolume``). `delayed`: only ones that are meant for it, as others wait for a pod."""
    selector = meta.spec(claim).get("selector")
    wanted = from_label_selector(selector) if selector else None
    found: list[tuple[bool, Decimal, str, Object]] = []
    for volume in volumes:
        if mode(volume) != mode(claim) or meta.is_deleting(volume) or capacity(volume) < requested(claim):
            continue
        is_other = not is_meant_for(volume, claim)
        if is_other:
            if delayed or claim_ref(volume) or meta.status(volume).get("phase") != "Available":
                continue
            if class_name(volume) != class_name(claim) or not _has_modes(volume, claim):
                continue
            if wanted is not None and not wanted.matches(meta.labels(volume)):
                continue
        found.append((is_other, capacity(volume), meta.name(volume), volume))
    return [each[-1] for each in sorted(found, key=lambda each: each[:3])]


def _has_modes(volume: Object, claim: Object) -> bool:
    return set(meta.spec(claim).get("accessModes") or ()) <= set(meta.spec(volume).get("accessModes") or ())


class NotOwner(HomeportError):
    """A claim has the name that a pod's ephemeral volume needs, but is not the pod's."""


def check_owner(pod: Object, claim: Object) -> None:
    """Raises NotOwner unless the claim was made for an ephemeral volume of the pod."""
    owner = meta.controller_of(claim)
    if owner is None or owner.get("uid") != meta.uid(pod):
        raise NotOwner(
            f"PVC {meta.namespace(claim)}/{meta.name(claim)} was not created for pod "
            f"{meta.namespace(pod)}/{meta.name(pod)} (pod is not owner)"
        )


def claim_names(pod: Object) -> dict[str, tuple[str, bool]]:
    """Volume -> the claim that it uses, and whether that is made for the pod (an ephemeral volume)."""
    found: dict[str, tuple[str, bool]] = {}
    for volume in meta.spec(pod).get("volumes") or ():
        if source := volume.get("persistentVolumeClaim"):
            found[volume["name"]] = (str(source.get("claimName") or ""), False)
        elif volume.get("ephemeral") is not None:
            found[volume["name"]] = (f"{meta.name(pod)}-{volume['name']}", True)
    return found
