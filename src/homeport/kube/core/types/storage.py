"""Storage classes (storage.k8s.io/v1)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from homeport.kube.core.types.bases import CoreV1, StorageV1
from homeport.kube.core.types.meta import ObjectMeta
from homeport.kube.schema import JsonSchema
from homeport.kube.schema.fields import atomic_list, doc


class StorageClass(StorageV1, frozen=True):
    """A kind of storage that claims can ask for."""

    provisioner: Annotated[str, doc("Who makes volumes of this class.")]
    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None
    parameters: Annotated[dict[str, str], doc("Settings for the provisioner.")] = {}
    reclaim_policy: Annotated[
        Literal["Delete", "Recycle", "Retain"], doc("What becomes of a volume after its claim is deleted.")
    ] = "Delete"
    mount_options: Annotated[list[str], doc("Options to mount with."), atomic_list()] = []
    allow_volume_expansion: Annotated[bool | None, doc("Whether claims may grow.")] = None
    volume_binding_mode: Annotated[
        Literal["Immediate", "WaitForFirstConsumer"], doc("When volumes are made: Immediate or WaitForFirstConsumer.")
    ] = "Immediate"
    allowed_topologies: Annotated[list[TopologySelectorTerm], doc("Where volumes may be made."), atomic_list()] = []


class TopologySelectorTerm(CoreV1, frozen=True):
    """Requirements on the topology, of which all must hold."""

    __schema_extra__: ClassVar[JsonSchema] = {"x-kubernetes-map-type": "atomic"}

    match_label_expressions: Annotated[
        list[TopologySelectorLabelRequirement], doc("The requirements."), atomic_list()
    ] = []


class TopologySelectorLabelRequirement(CoreV1, frozen=True):
    """One requirement on a topology label."""

    key: Annotated[str, doc("Key of the label.")]
    values: Annotated[list[str], doc("Values, of which one must match."), atomic_list()]
