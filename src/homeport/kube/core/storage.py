"""Persistent volumes, their claims and storage classes."""

from __future__ import annotations

from collections.abc import Iterator

from homeport.kube import field, meta, quantity
from homeport.kube.core.columns import UNSET, access_modes_text, quantity_text
from homeport.kube.core.declare import core, deferred, grouped
from homeport.kube.core.types.persistent_volume import PersistentVolume
from homeport.kube.core.types.storage import StorageClass
from homeport.kube.core.types.volume_claim import PersistentVolumeClaim
from homeport.kube.errors import FieldError
from homeport.kube.kind import Column
from homeport.kube.meta import Object
from homeport.kube.table import AGE

_rule = deferred("homeport.kube.core.persistent_volume_validation")
_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
_FORMER_CLASS = "volume.beta.kubernetes.io/storage-class"
_CHANGEABLE = ("resources", "volumeName", "volumeAttributesClassName")
"""Fields of a claim's spec that may still be set or changed after it was made."""


def _prepare_phase(new: Object, old: Object | None) -> Object:
    """A volume or claim begins as Pending."""
    return new if old is not None else {**new, "status": {"phase": "Pending"}}


def validate_claim(new: Object, old: Object | None) -> Iterator[FieldError]:
    """Upstream: ``ValidatePersistentVolumeClaim`` and its update form."""
    spec = meta.spec(new)
    modes = spec.get("accessModes") or ()
    if not modes:
        yield field.required("spec.accessModes", "at least 1 access mode is required")
    if "ReadWriteOncePod" in modes and len(modes) > 1:
        words = "may not use ReadWriteOncePod with other access modes"
        yield field.forbidden("spec.accessModes", words)
    request = _requested(spec)
    if request is None:
        yield field.required("spec.resources[storage]")
    elif quantity.parse(request) <= 0:
        yield field.invalid("spec.resources[storage]", request, "must be greater than zero")
    if old is not None:
        yield from _claim_update(spec, meta.spec(old))


def _requested(spec: Object) -> str | None:
    amount: str | None = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    return amount


def _claim_update(spec: Object, before: Object) -> Iterator[FieldError]:
    changeable = set(_CHANGEABLE)
    if before.get("storageClassName") is None and not before.get("volumeName"):
        changeable.add("storageClassName")  # a default class that came after the claim
    same = all(spec.get(name) == before.get(name) for name in (spec.keys() | before.keys()) if name not in changeable)
    bound = before.get("volumeName")
    if not same or (bound and spec.get("volumeName") != bound):
        yield field.forbidden(
            "spec",
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims",
        )
    former, wanted = _requested(before), _requested(spec)
    if former and wanted and quantity.parse(wanted) < quantity.parse(former):
        words = "field can not be less than status.capacity"
        yield field.forbidden("spec.resources.requests.storage", words)


def _class_name(obj: Object) -> str:
    return meta.annotations(obj).get(_FORMER_CLASS) or meta.spec(obj).get("storageClassName") or ""


def _phase(obj: Object) -> str:
    return "Terminating" if meta.is_deleting(obj) else meta.status(obj).get("phase") or ""


def _claim(volume: Object) -> str:
    claim = meta.spec(volume).get("claimRef")
    return f"{claim.get('namespace', '')}/{claim.get('name', '')}" if claim else ""


def _name(storage_class: Object) -> str:
    is_default = meta.annotations(storage_class).get(_DEFAULT_CLASS) == "true"
    return meta.name(storage_class) + (" (default)" if is_default else "")


def _attributes_class(obj: Object) -> str:
    return meta.spec(obj).get("volumeAttributesClassName") or UNSET


_VOLUME_MODE = Column("VolumeMode", "string", priority=1, compute=lambda o: meta.spec(o).get("volumeMode") or UNSET)

PERSISTENT_VOLUME = core(
    "persistentvolumes",
    PersistentVolume,
    namespaced=False,
    short_names=("pv",),
    columns=(
        Column("Capacity", "string", compute=lambda obj: quantity_text(meta.spec(obj).get("capacity"), "storage")),
        Column("Access Modes", "string", compute=lambda obj: access_modes_text(meta.spec(obj).get("accessModes"))),
        Column("Reclaim Policy", "string", ".spec.persistentVolumeReclaimPolicy"),
        Column("Status", "string", compute=_phase),
        Column("Claim", "string", compute=_claim),
        Column("StorageClass", "string", compute=_class_name),
        Column("VolumeAttributesClass", "string", compute=_attributes_class),
        Column("Reason", "string", compute=lambda obj: meta.status(obj).get("reason") or ""),
        AGE,
        _VOLUME_MODE,
    ),
    prepare=_prepare_phase,
    validate=_rule("validate_persistent_volume"),
)

PERSISTENT_VOLUME_CLAIM = core(
    "persistentvolumeclaims",
    PersistentVolumeClaim,
    short_names=("pvc",),
    columns=(
        Column("Status", "string", compute=_phase),
        Column("Volume", "string", compute=lambda obj: meta.spec(obj).get("volumeName") or ""),
        Column("Capacity", "string", compute=lambda obj: quantity_text(meta.status(obj).get("capacity"), "storage")),
        Column("Access Modes", "string", compute=lambda obj: access_modes_text(meta.status(obj).get("accessModes"))),
        Column("StorageClass", "string", compute=_class_name),
        Column("VolumeAttributesClass", "string", compute=_attributes_class),
        AGE,
        _VOLUME_MODE,
    ),
    prepare=_prepare_phase,
    validate=validate_claim,
)

STORAGE_CLASS = grouped(
    "storage.k8s.io",
    "storageclasses",
    StorageClass,
    namespaced=False,
    short_names=("sc",),
    columns=(
        Column("Name", "string", description="Name of the object.", format="name", compute=_name),
        Column("Provisioner", "string", ".provisioner"),
        Column("ReclaimPolicy", "string", ".reclaimPolicy"),
        Column("VolumeBindingMode", "string", ".volumeBindingMode"),
        Column("AllowVolumeExpansion", "boolean", compute=lambda obj: bool(obj.get("allowVolumeExpansion"))),
        AGE,
    ),
)

KINDS = (PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM, STORAGE_CLASS)
