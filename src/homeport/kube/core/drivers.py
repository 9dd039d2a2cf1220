"""Storage drivers and runtime classes."""

from __future__ import annotations

from homeport.kube import meta
from homeport.kube.core.columns import UNSET, joined
from homeport.kube.core.declare import TYPES, deferred, grouped
from homeport.kube.kind import Column
from homeport.kube.meta import Object
from homeport.kube.table import AGE

_STORAGE = "storage.k8s.io"

_rule = deferred("homeport.kube.core.driver_validation")


def prepare_attachment(new: Object, old: Object | None) -> Object:
    return new if old is not None else {**new, "status": {"attached": False}}


def prepare_driver(new: Object, old: Object | None) -> Object:
    """A driver that says nothing has persistent volumes."""
    spec = new.get("spec")
    if not isinstance(spec, dict) or spec.get("volumeLifecycleModes"):
        return new
    return {**new, "spec": {**spec, "volumeLifecycleModes": ["Persistent"]}}


CSI_DRIVER = grouped(
    _STORAGE,
    "csidrivers",
    TYPES + "csi:CSIDriver",
    namespaced=False,
    columns=(
        Column("AttachRequired", "boolean", ".spec.attachRequired"),
        Column("PodInfoOnMount", "boolean", ".spec.podInfoOnMount"),
        Column("StorageCapacity", "boolean", ".spec.storageCapacity"),
        Column(
            "TokenRequests",
            "string",
            compute=lambda obj: (
                ",".join(item.get("audience", "") for item in meta.spec(obj).get("tokenRequests") or ()) or UNSET
            ),
        ),
        Column("RequiresRepublish", "boolean", ".spec.requiresRepublish"),
        Column("Modes", "string", compute=lambda obj: joined(meta.spec(obj).get("volumeLifecycleModes") or ())),
        AGE,
    ),
    prepare=prepare_driver,
    validate=_rule("validate_driver"),
)
CSI_NODE = grouped(
    _STORAGE,
    "csinodes",
    TYPES + "csi:CSINode",
    namespaced=False,
    columns=(Column("Drivers", "integer", compute=lambda obj: len(meta.spec(obj).get("drivers") or ())), AGE),
    validate=_rule("validate_node_drivers"),
)
CSI_STORAGE_CAPACITY = grouped(
    _STORAGE,
    "csistoragecapacities",
    TYPES + "csi:CSIStorageCapacity",
    columns=(Column("StorageClassName", "string", ".storageClassName"), Column("Capacity", "string", ".capacity")),
    validate=_rule("validate_capacity"),
)
VOLUME_ATTACHMENT = grouped(
    _STORAGE,
    "volumeattachments",
    TYPES + "csi:VolumeAttachment",
    namespaced=False,
    status=True,
    generation=False,
    columns=(
        Column("Attacher", "string", ".spec.attacher"),
        Column("PV", "string", ".spec.source.persistentVolumeName"),
        Column("Node", "string", ".spec.nodeName"),
        Column("Attached", "boolean", compute=lambda obj: bool(meta.status(obj).get("attached"))),
        AGE,
    ),
    prepare=prepare_attachment,
    validate=_rule("validate_attachment"),
)
VOLUME_ATTRIBUTES_CLASS = grouped(
    _STORAGE,
    "volumeattributesclasses",
    TYPES + "csi:VolumeAttributesClass",
    namespaced=False,
    short_names=("vac",),
    columns=(Column("DriverName", "string", ".driverName"), AGE),
    validate=_rule("validate_attributes_class"),
)
RUNTIME_CLASS = grouped(
    "node.k8s.io",
    "runtimeclasses",
    TYPES + "runtime_class:RuntimeClass",
    namespaced=False,
    columns=(Column("Handler", "string", ".handler"), AGE),
    validate=_rule("validate_runtime_class"),
)
KINDS = (
    CSI_DRIVER,
    CSI_NODE,
    CSI_STORAGE_CAPACITY,
    VOLUME_ATTACHMENT,
    VOLUME_ATTRIBUTES_CLASS,
    RUNTIME_CLASS,
)
