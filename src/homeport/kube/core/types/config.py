"""Config maps, secrets, namespaces and service accounts."""

from __future__ import annotations

from typing import Annotated

from homeport.kube.core.types.bases import CoreV1
from homeport.kube.core.types.meta import ObjectMeta
from homeport.kube.core.types.references import LocalObjectReference, ObjectReference
from homeport.kube.schema.fields import Bytes, Time, atomic_list, doc, map_list


class ConfigMap(CoreV1, frozen=True):
    """Configuration that pods use, as entries of text or bytes."""

    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None
    immutable: Annotated[bool | None, doc("Once true, the entries can't be changed any more.")] = None
    data: Annotated[dict[str, str], doc("Entries of text.")] = {}
    binary_data: Annotated[dict[str, Bytes], doc("Entries of bytes, in base64.")] = {}


class Secret(CoreV1, frozen=True):
    """Secret data, such as passwords and keys."""

    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None
    immutable: Annotated[bool | None, doc("Once true, the entries can't be changed any more.")] = None
    data: Annotated[dict[str, Bytes], doc("The entries, in base64.")] = {}
    string_data: Annotated[
        dict[str, str], doc("Entries as plain text. They are merged into data when written, and never read back.")
    ] = {}
    type: Annotated[str, doc("What kind of secret it is, such as Opaque or kubernetes.io/tls.")] = "Opaque"


class Namespace(CoreV1, frozen=True):
    """A scope for names and access rules."""

    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None
    spec: Annotated[NamespaceSpec | None, doc("The settings.")] = None
    status: Annotated[NamespaceStatus | None, doc("The namespace's state.")] = None


class NamespaceSpec(CoreV1, frozen=True):
    """Settings of a namespace."""

    finalizers: Annotated[
        list[str], doc("What must still be done before the namespace is removed."), atomic_list()
    ] = []


class NamespaceStatus(CoreV1, frozen=True):
    """State of a namespace."""

    phase: Annotated[str, doc("Active or Terminating.")] = ""
    conditions: Annotated[list[NamespaceCondition], doc("The current state, aspect by aspect."), map_list("type")] = []


class NamespaceCondition(CoreV1, frozen=True):
    """One aspect of a namespace's current state."""

    type: Annotated[str, doc("What the condition is about.")]
    status: Annotated[str, doc("Whether the condition holds: True, False or Unknown.")]
    last_transition_time: Annotated[Time | None, doc("When the status last changed.")] = None
    reason: Annotated[str, doc("Why, in one CamelCase word.")] = ""
    message: Annotated[str, doc("Why, in words.")] = ""


class ServiceAccount(CoreV1, frozen=True):
    """An identity for pods."""

    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None
    secrets: Annotated[list[ObjectReference], doc("Secrets that pods of this account may use."), map_list("name")] = []
    image_pull_secrets: Annotated[
        list[LocalObjectReference], doc("Secrets that pods of this account pull images with."), atomic_list()
    ] = []
    automount_service_account_token: Annotated[
        bool | None, doc("Whether the service account's token is mounted into the containers.")
    ] = None
