"""Selectors of a pod's own fields and resources."""

from __future__ import annotations

from typing import Annotated, ClassVar

from homeport.kube.core.types.bases import CoreV1
from homeport.kube.schema import JsonSchema
from homeport.kube.schema.fields import Quantity, doc


class ObjectFieldSelector(CoreV1, frozen=True):
    """A field of the pod itself."""

    __schema_extra__: ClassVar[JsonSchema] = {"x-kubernetes-map-type": "atomic"}

    field_path: Annotated[str, doc("Path of the field, such as metadata.name.")]
    api_version: Annotated[str, doc("Version of the API in which the path is meant.")] = "v1"


class ResourceFieldSelector(CoreV1, frozen=True):
    """An amount of a container's resources."""

    __schema_extra__: ClassVar[JsonSchema] = {"x-kubernetes-map-type": "atomic"}

    resource: Annotated[str, doc("The resource, such as limits.cpu.")]
    container_name: Annotated[str, doc("The container; by default the one at hand.")] = ""
    divisor: Annotated[Quantity | None, doc("Unit in which the amount is given.")] = None
