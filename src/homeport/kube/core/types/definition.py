"""CustomResourceDefinitions (apiextensions.k8s.io/v1)."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from homeport.kube.core.types.bases import ApiextensionsV1
from homeport.kube.core.types.meta import ObjectMeta
from homeport.kube.schema.fields import AnyObject, AnyValue, Bytes, Int64, Time, atomic_list, doc, map_list


class CustomResourceDefinition(ApiextensionsV1, frozen=True):
    """Adds a kind of object to the API."""

    spec: Annotated[CustomResourceDefinitionSpec, doc("The kind to add.")]
    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None
    status: Annotated[CustomResourceDefinitionStatus | None, doc("The definition's state.")] = None


class CustomResourceDefinitionSpec(ApiextensionsV1, frozen=True):
    """Names, scope and versions of the kind."""

    group: Annotated[str, doc("API group of the kind.")]
    names: Annotated[CustomResourceDefinitionNames, doc("How the kind is called.")]
    scope: Annotated[str, doc("Namespaced or Cluster.")]
    versions: Annotated[
        list[CustomResourceDefinitionVersion], doc("The versions. Exactly one is the storage version."), atomic_list()
    ]
    conversion: Annotated[CustomResourceConversion | None, doc("How objects are converted between versions.")] = None
    preserve_unknown_fields: Annotated[bool, doc("Deprecated: must be false.")] = False


class CustomResourceDefinitionStatus(ApiextensionsV1, frozen=True):
    """State of a definition."""

    conditions: Annotated[
        list[CustomResourceDefinitionCondition],
        doc("The current state, aspect by aspect."),
        map_list("type", patch=None),
    ] = []
    accepted_names: Annotated[CustomResourceDefinitionNames | None, doc("The names in use.")] = None
    stored_versions: Annotated[list[str], doc("Versions that objects may be stored in."), atomic_list()] = []
    observed_generation: Annotated[Int64, doc("The metadata.generation that this state is based on.")] = 0


class CustomResourceDefinitionCondition(ApiextensionsV1, frozen=True):
    """One aspect of a definition's current state."""

    # Both are required upstream, but its Go types read an absent one as the empty string, and its conformance test
    # writes a condition that is nothing but a message.
    type: Annotated[str, doc("What the condition is about.")] = ""
    status: Annotated[str, doc("Whether the condition holds: True, False or Unknown.")] = ""
    last_transition_time: Annotated[Time | None, doc("When the status last changed.")] = None
    reason: Annotated[str, doc("Why, in one CamelCase word.")] = ""
    message: Annotated[str, doc("Why, in words.")] = ""
    observed_generation: Annotated[Int64, doc("The metadata.generation that this state is based on.")] = 0


class CustomResourceDefinitionNames(ApiextensionsV1, frozen=True):
    """How the kind is called."""

    plural: Annotated[str, doc("Plural name, in lower case. It is part of the URL.")]
    kind: Annotated[str, doc("The kind, in CamelCase.")]
    singular: Annotated[str, doc("Singular name, in lower case.")] = ""
    short_names: Annotated[list[str], doc("Short names."), atomic_list()] = []
    list_kind: Annotated[str, doc("Kind of the lists; by default the kind and List.")] = ""
    categories: Annotated[list[str], doc("Groups that kubectl get knows the kind by, such as all."), atomic_list()] = []


class CustomResourceDefinitionVersion(ApiextensionsV1, frozen=True):
    """One version of the kind."""

    name: Annotated[str, doc("Name of the version, such as v1.")]
    served: Annotated[bool, doc("Whether the version can be used.")]
    storage: Annotated[bool, doc("Whether objects are stored in this version.")]
    deprecated: Annotated[bool, doc("Whether clients that use the version are warned.")] = False
    deprecation_warning: Annotated[str | None, doc("The text of the warning.")] = None
    schema: Annotated[CustomResourceValidation | None, doc("Schema of the objects.")] = None
    subresources: Annotated[CustomResourceSubresources | None, doc("Subresources of the objects.")] = None
    additional_printer_columns: Annotated[
        list[CustomResourceColumnDefinition], doc("Columns of kubectl get."), atomic_list()
    ] = []
    selectable_fields: Annotated[list[SelectableField], doc("Fields that field selectors may use."), atomic_list()] = []


class CustomResourceConversion(ApiextensionsV1, frozen=True):
    """How objects are converted between versions."""

    strategy: Annotated[str, doc("None or Webhook.")]
    webhook: Annotated[WebhookConversion | None, doc("The webhook.")] = None


class CustomResourceValidation(ApiextensionsV1, frozen=True):
    """Schema of the objects."""

    open_api_v3_schema: Annotated[JSONSchemaProps | None, doc("The schema.")] = msgspec.field(
        name="openAPIV3Schema", default=None
    )


class CustomResourceSubresources(ApiextensionsV1, frozen=True):
    """Subresources of the objects."""

    status: Annotated[AnyObject | None, doc("Whether there is a status subresource.")] = None
    scale: Annotated[CustomResourceSubresourceScale | None, doc("The scale subresource.")] = None


class CustomResourceSubresourceScale(ApiextensionsV1, frozen=True):
    """Where the scale subresource finds its values."""

    spec_replicas_path: Annotated[str, doc("Path of the wanted number of replicas.")]
    status_replicas_path: Annotated[str, doc("Path of the actual number of replicas.")]
    label_selector_path: Annotated[str | None, doc("Path of the label selector as text.")] = None


class CustomResourceColumnDefinition(ApiextensionsV1, frozen=True):
    """A column of kubectl get."""

    name: Annotated[str, doc("Heading of the column.")]
    type: Annotated[str, doc("OpenAPI type of the column, or date.")]
    json_path: Annotated[str, doc("JSON path of the value.")]
    format: Annotated[str, doc("OpenAPI format.")] = ""
    description: Annotated[str, doc("What it is.")] = ""
    priority: Annotated[int, doc("0 for columns that are always shown.")] = 0


class SelectableField(ApiextensionsV1, frozen=True):
    """A field that field selectors may use."""

    json_path: Annotated[str, doc("JSON path of the value.")]


class WebhookConversion(ApiextensionsV1, frozen=True):
    """A webhook that converts objects."""

    conversion_review_versions: Annotated[
        list[str], doc("Versions of ConversionReview that the webhook understands."), atomic_list()
    ]
    client_config: Annotated[WebhookClientConfig | None, doc("How to reach the webhook.")] = None


class WebhookClientConfig(ApiextensionsV1, frozen=True):
    """How to reach a webhook."""

    url: Annotated[str | None, doc("The URL.")] = None
    service: Annotated[ServiceReference | None, doc("The service.")] = None
    ca_bundle: Annotated[Bytes, doc("Certificates to check the webhook's with, in base64 of PEM.")] = ""


class ServiceReference(ApiextensionsV1, frozen=True):
    """A service that answers a webhook."""

    namespace: Annotated[str, doc("Namespace of the service.")]
    name: Annotated[str, doc("Name of the service.")]
    path: Annotated[str | None, doc("Path to send the request to.")] = None
    port: Annotated[int, doc("Port of the service.")] = 443


class ExternalDocumentation(ApiextensionsV1, frozen=True):
    """Where to read more."""

    description: Annotated[str, doc("What it is.")] = ""
    url: Annotated[str, doc("The URL.")] = ""


class JSONSchemaProps(ApiextensionsV1, frozen=True):
    """An OpenAPI v3 schema."""

    id: Annotated[str, doc("Not supported.")] = ""
    schema_url: Annotated[str, doc("Not supported.")] = msgspec.field(name="$schema", default="")
    reference: Annotated[str | None, doc("Not supported.")] = msgspec.field(name="$ref", default=None)
    description: Annotated[str, doc("What it is.")] = ""
    type: Annotated[str, doc("JSON type of the value.")] = ""
    format: Annotated[str, doc("OpenAPI format.")] = ""
    title: Annotated[str, doc("A heading.")] = ""
    default: Annotated[AnyValue | None, doc("Value to set where the field is absent.")] = None
    maximum: Annotated[float | None, doc("Upper bound.")] = None
    exclusive_maximum: Annotated[bool, doc("Whether the bound itself is out.")] = False
    minimum: Annotated[float | None, doc("Lower bound.")] = None
    exclusive_minimum: Annotated[bool, doc("Whether the bound itself is out.")] = False
    max_length: Annotated[Int64 | None, doc("The most characters.")] = None
    min_length: Annotated[Int64 | None, doc("The fewest characters.")] = None
    pattern: Annotated[str, doc("Regular expression that must match.")] = ""
    max_items: Annotated[Int64 | None, doc("The most items.")] = None
    min_items: Annotated[Int64 | None, doc("The fewest items.")] = None
    unique_items: Annotated[bool, doc("Not supported.")] = False
    multiple_of: Annotated[float | None, doc("The value must be a multiple of this.")] = None
    enum: Annotated[list[AnyValue], doc("The values that are allowed."), atomic_list()] = []
    max_properties: Annotated[Int64 | None, doc("The most fields.")] = None
    min_properties: Annotated[Int64 | None, doc("The fewest fields.")] = None
    required: Annotated[list[str], doc("Fields that must be there."), atomic_list()] = []
    items: Annotated[AnyValue | None, doc("Schema of the items.")] = None
    all_of: Annotated[list[JSONSchemaProps], doc("Schemas that must all match."), atomic_list()] = []
    one_of: Annotated[list[JSONSchemaProps], doc("Schemas of which exactly one must match."), atomic_list()] = []
    any_of: Annotated[list[JSONSchemaProps], doc("Schemas of which at least one must match."), atomic_list()] = []
    not_: Annotated[JSONSchemaProps | None, doc("Schema that must not match.")] = None
    properties: Annotated[dict[str, JSONSchemaProps], doc("Schemas of the fields.")] = {}
    additional_properties: Annotated[AnyValue | None, doc("Schema of all fields that are not in properties.")] = None
    pattern_properties: Annotated[dict[str, JSONSchemaProps], doc("Not supported.")] = {}
    dependencies: Annotated[dict[str, AnyValue], doc("Not supported.")] = {}
    additional_items: Annotated[AnyValue | None, doc("Not supported.")] = None
    definitions: Annotated[dict[str, JSONSchemaProps], doc("Not supported.")] = {}
    external_docs: Annotated[ExternalDocumentation | None, doc("Where to read more.")] = None
    example: Annotated[AnyValue | None, doc("An example.")] = None
    nullable: Annotated[bool, doc("Whether null is allowed.")] = False
    x_kubernetes_preserve_unknown_fields: Annotated[bool | None, doc("Keep fields that the schema does not know.")] = (
        msgspec.field(name="x-kubernetes-preserve-unknown-fields", default=None)
    )
    x_kubernetes_embedded_resource: Annotated[bool, doc("The value is a whole object.")] = msgspec.field(
        name="x-kubernetes-embedded-resource", default=False
    )
    x_kubernetes_int_or_string: Annotated[bool, doc("The value is an integer or a string.")] = msgspec.field(
        name="x-kubernetes-int-or-string", default=False
    )
    x_kubernetes_list_map_keys: Annotated[
        list[str], doc("Fields that tell the items of a map list apart."), atomic_list()
    ] = msgspec.field(name="x-kubernetes-list-map-keys", default_factory=list)
    x_kubernetes_list_type: Annotated[str | None, doc("atomic, set or map.")] = msgspec.field(
        name="x-kubernetes-list-type", default=None
    )
    x_kubernetes_map_type: Annotated[str | None, doc("atomic or granular.")] = msgspec.field(
        name="x-kubernetes-map-type", default=None
    )
    x_kubernetes_validations: Annotated[
        list[ValidationRule], doc("Rules in the Common Expression Language."), map_list("rule")
    ] = msgspec.field(name="x-kubernetes-validations", default_factory=list)


class ValidationRule(ApiextensionsV1, frozen=True):
    """A rule in the Common Expression Language."""

    rule: Annotated[str, doc("The expression. It is true for valid values; self is the value.")]
    message: Annotated[str, doc("What to say of an invalid value.")] = ""
    message_expression: Annotated[str, doc("Expression that gives the message.")] = ""
    reason: Annotated[
        Literal["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"] | None,
        doc("Reason of the error, such as FieldValueInvalid."),
    ] = None
    field_path: Annotated[str, doc("Field to blame, relative to the value.")] = ""
    optional_old_self: Annotated[
        bool | None, doc("Whether the rule also applies where there was no old value; oldSelf is optional then.")
    ] = None
