"""Structs of meta/v1: what all kinds share."""

from __future__ import annotations

from typing import Annotated, ClassVar

from homeport.kube.core.types.bases import MetaV1
from homeport.kube.schema import JsonSchema
from homeport.kube.schema.fields import AnyObject, Int64, Time, atomic_list, doc, map_list, set_list


class ObjectMeta(MetaV1, frozen=True):
    """Metadata that every stored object has: its name, labels, owners and history."""

    name: Annotated[str, doc("Name of the object, unique for its kind in the namespace. It can't be changed.")] = ""
    generate_name: Annotated[str, doc("Prefix of a name that the server completes, if no name is given.")] = ""
    namespace: Annotated[str, doc("Namespace of the object; empty for kinds without namespaces.")] = ""
    self_link: Annotated[str, doc("No longer used.")] = ""
    uid: Annotated[str, doc("Identifier unique in time and space, given by the server.")] = ""
    resource_version: Annotated[str, doc("Opaque version of the object. It changes with every write.")] = ""
    generation: Annotated[Int64, doc("Counts the changes of the desired state.")] = 0
    creation_timestamp: Annotated[
        Time | None, doc("CreationTimestamp is a timestamp of when the server created the object.")
    ] = None
    deletion_timestamp: Annotated[
        Time | None, doc("When the object shall be gone. Set by the server when deletion is asked for.")
    ] = None
    deletion_grace_period_seconds: Annotated[
        Int64 | None, doc("Seconds that the object has for an orderly end. Set together with deletionTimestamp.")
    ] = None
    labels: Annotated[dict[str, str], doc("Keys and values to organise and select objects by.")] = {}
    annotations: Annotated[
        dict[str, str], doc("Keys and values that tools store with the object. They can't be selected by.")
    ] = {}
    owner_references: Annotated[list[OwnerReference], doc("The objects that own this one."), map_list("uid")] = []
    finalizers: Annotated[
        list[str],
        doc("What must still be done before the object is removed. Each party removes its own entry."),
        set_list(patch=True),
    ] = []
    managed_fields: Annotated[
        list[ManagedFieldsEntry], doc("Which manager owns which fields; kept for server-side apply."), atomic_list()
    ] = []


class ListMeta(MetaV1, frozen=True):
    """Metadata of a list of objects."""

    self_link: Annotated[str, doc("No longer used.")] = ""
    resource_version: Annotated[
        str, doc("Opaque version of the collection at the time of the list. Watches start from it.")
    ] = ""
    continue_: Annotated[str, doc("Token to ask for the next part of the list with; empty at the end.")] = ""
    remaining_item_count: Annotated[Int64 | None, doc("How many items follow after this part, if known.")] = None
    shard_info: Annotated[ShardInfo | None, doc("Which shard was asked for.")] = None


class ShardInfo(MetaV1, frozen=True):
    """Which part of a collection a sharded list or watch covers."""

    selector: Annotated[str, doc("The selector of the shard.")]


class OwnerReference(MetaV1, frozen=True):
    """Points to an object that owns this one. When all owners are gone, this object is deleted."""

    __schema_extra__: ClassVar[JsonSchema] = {"x-kubernetes-map-type": "atomic"}

    api_version: Annotated[str, doc("Group and version of the owner.")]
    kind: Annotated[str, doc("Kind of the owner.")]
    name: Annotated[str, doc("Name of the owner.")]
    uid: Annotated[str, doc("UID of the owner.")]
    controller: Annotated[bool | None, doc("Whether the owner is the one that manages this object.")] = None
    block_owner_deletion: Annotated[
        bool | None, doc("Whether foreground deletion of the owner waits until this object is gone.")
    ] = None


class ManagedFieldsEntry(MetaV1, frozen=True):
    """The fields that one manager owns at one version of the API."""

    manager: Annotated[str, doc("Who manages the fields.")] = ""
    operation: Annotated[str, doc("How the manager wrote them.")] = ""
    api_version: Annotated[str, doc("Version of the API in which the fields are named.")] = ""
    time: Annotated[Time | None, doc("When the entry last changed.")] = None
    fields_type: Annotated[str, doc("Format of the fields; always FieldsV1.")] = ""
    fields_v1: Annotated[AnyObject | None, doc("The fields, as a tree.")] = None
    subresource: Annotated[str, doc("Subresource through which the fields were written.")] = ""


class Status(MetaV1, frozen=True):
    """The outcome of a request that does not answer with an object."""

    api_version: Annotated[str, doc("Group and version of the object's schema.")] = ""
    kind: Annotated[str, doc("Kind of the object.")] = ""
    metadata: Annotated[ListMeta | None, doc("Metadata as of a list.")] = None
    status: Annotated[str, doc("Success or Failure.")] = ""
    message: Annotated[str, doc("The outcome in words.")] = ""
    reason: Annotated[str, doc("The outcome in one word for machines.")] = ""
    details: Annotated[StatusDetails | None, doc("More about the outcome.")] = None
    code: Annotated[int, doc("HTTP status code.")] = 0


class StatusDetails(MetaV1, frozen=True):
    """What a status is about, and its causes."""

    name: Annotated[str, doc("Name of the object.")] = ""
    group: Annotated[str, doc("API group of the object.")] = ""
    kind: Annotated[str, doc("Kind or resource of the object.")] = ""
    uid: Annotated[str, doc("UID of the object.")] = ""
    causes: Annotated[list[StatusCause], doc("What exactly went wrong."), atomic_list()] = []
    retry_after_seconds: Annotated[int, doc("Seconds to wait before the next attempt.")] = 0


class StatusCause(MetaV1, frozen=True):
    """One cause of a status, such as one invalid field."""

    reason: Annotated[str, doc("The cause in one word for machines.")] = ""
    message: Annotated[str, doc("The cause in words.")] = ""
    field: Annotated[str, doc("Path of the field that is the cause.")] = ""


class DeleteOptions(MetaV1, frozen=True):
    """How to delete an object."""

    api_version: Annotated[str, doc("Group and version of the object's schema.")] = ""
    kind: Annotated[str, doc("Kind of the object.")] = ""
    grace_period_seconds: Annotated[
        Int64 | None, doc("Seconds before the object is deleted; 0 means at once. The default depends on the kind.")
    ] = None
    preconditions: Annotated[Preconditions | None, doc("Delete only if these hold.")] = None
    orphan_dependents: Annotated[bool | None, doc("Deprecated: use propagationPolicy.")] = None
    propagation_policy: Annotated[
        str | None, doc("What becomes of the objects that this one owns: Orphan, Background or Foreground.")
    ] = None
    dry_run: Annotated[list[str], doc("All: do everything but store the result."), atomic_list()] = []
    ignore_store_read_error_with_cluster_breaking_potential: Annotated[
        bool | None, doc("Delete even an object that can't be read.")
    ] = None


class Preconditions(MetaV1, frozen=True):
    """What must hold for an update or deletion to go ahead."""

    uid: Annotated[str | None, doc("The object must have this UID.")] = None
    resource_version: Annotated[str | None, doc("The object must have this resource version.")] = None


class LabelSelector(MetaV1, frozen=True):
    """Selects objects by their labels. All requirements must hold; an empty selector selects everything."""

    __schema_extra__: ClassVar[JsonSchema] = {"x-kubernetes-map-type": "atomic"}

    match_labels: Annotated[dict[str, str], doc("Labels that must be there with exactly these values.")] = {}
    match_expressions: Annotated[list[LabelSelectorRequirement], doc("Further requirements."), atomic_list()] = []


class LabelSelectorRequirement(MetaV1, frozen=True):
    """One requirement on a label: a key, an operator and values."""

    key: Annotated[str, doc("The label's key.")]
    operator: Annotated[str, doc("How the label and the values relate: In, NotIn, Exists or DoesNotExist.")]
    values: Annotated[list[str], doc("Values for In and NotIn; empty for the others."), atomic_list()] = []


class Condition(MetaV1, frozen=True):
    """One aspect of an object's current state."""

    type: Annotated[str, doc("What the condition is about, in CamelCase.")]
    status: Annotated[str, doc("True, False or Unknown.")]
    last_transition_time: Annotated[Time, doc("When the status last changed.")]
    reason: Annotated[str, doc("Why it changed, in one CamelCase word.")]
    message: Annotated[str, doc("Why it changed, in words.")]
    observed_generation: Annotated[Int64, doc("The metadata.generation that this state is based on.")] = 0
