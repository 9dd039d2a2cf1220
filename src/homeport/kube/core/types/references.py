"""References from one object to another."""

from __future__ import annotations

from typing import Annotated, ClassVar

from homeport.kube.core.types.bases import CoreV1
from homeport.kube.schema import JsonSchema
from homeport.kube.schema.fields import doc


class ObjectReference(CoreV1, frozen=True):
    """Enough information to find another object."""

    __schema_extra__: ClassVar[JsonSchema] = {"x-kubernetes-map-type": "atomic"}

    kind: Annotated[str, doc("Kind of the object.")] = ""
    namespace: Annotated[str, doc("Namespace of the object.")] = ""
    name: Annotated[str, doc("Name of the object.")] = ""
    uid: Annotated[str, doc("UID of the object.")] = ""
    api_version: Annotated[str, doc("Group and version of the object.")] = ""
    resource_version: Annotated[str, doc("The version of the object that is meant.")] = ""
    field_path: Annotated[str, doc("The part of the object that is meant, such as spec.containers{trainer}.")] = ""


class LocalObjectReference(CoreV1, frozen=True):
    """Names an object in the same namespace."""

    __schema_extra__: ClassVar[JsonSchema] = {"x-kubernetes-map-type": "atomic"}

    name: Annotated[str, doc("Name of the object.")] = ""


class TypedLocalObjectReference(CoreV1, frozen=True):
    """Names an object of any kind in the same namespace."""

    __schema_extra__: ClassVar[JsonSchema] = {"x-kubernetes-map-type": "atomic"}

    kind: Annotated[str, doc("Kind of the object referred to.")]
    name: Annotated[str, doc("Name of the object.")]
    api_group: Annotated[str | None, doc("API group of the object; empty for the core group.")] = None


class TypedObjectReference(CoreV1, frozen=True):
    """Names an object of any kind, possibly in another namespace."""

    kind: Annotated[str, doc("Kind of the object referred to.")]
    name: Annotated[str, doc("Name of the object.")]
    api_group: Annotated[str | None, doc("API group of the object; empty for the core group.")] = None
    namespace: Annotated[str | None, doc("Namespace of the object; empty for the same one.")] = None


class SecretReference(CoreV1, frozen=True):
    """Names a secret in any namespace."""

    __schema_extra__: ClassVar[JsonSchema] = {"x-kubernetes-map-type": "atomic"}

    name: Annotated[str, doc("Name of the secret.")] = ""
    namespace: Annotated[str, doc("Namespace of the secret.")] = ""
