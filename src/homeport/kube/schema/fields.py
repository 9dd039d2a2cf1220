"""What the fields of a kind's structs are written with.

::

    class JobSpec(Model, frozen=True):
        \"\"\"What the user wants.\"\"\"

        template: Annotated[dict[str, Any], doc("The pods to run."), ref(PodTemplateSpec)]
        parallelism: Annotated[int | None, doc("Pods at a time.", minimum=0)] = None
        policy: Annotated[Literal["Never", "OnFailure"], doc("What to do with a pod that fails.")] = "Never"
        hosts: Annotated[list[Host], doc("Where to look."), map_list("name")] = []

The rules that make a schema of it:

* a field without a default is ``required``;
* a default that is not empty (``None``, ``""``, ``0``, ``False``, ``[]``, ``{}``) is the API's default; an empty one
  that the API shall set is given by ``doc(..., default=0)``;
* a name goes to the wire in camelCase; where that is not it, ``msgspec.field(name="podIP")`` says what is;
* ``int`` is a 32 bit integer, as most are in Kubernetes; :data:`Int64` is a 64 bit one;
* ``X | None`` means that the field may be absent, not that it may be ``null``.

A struct's docstring is its description. ``__schema_prefix__`` (usually from a base class of the API group) and the
class name make the schema's name: ``io.k8s.api.core.v1`` and ``PodSpec``.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, TypeAlias

import msgspec

from homeport.kube.schema import JsonSchema


class Model(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Base of every struct that describes a part of an API object."""

    __schema_prefix__: ClassVar[str] = ""
    """Group part of the schema's name, reversed: ``org.kubeflow.v1``."""
    __schema_extra__: ClassVar[JsonSchema] = {}
    """Keys to add to the struct's schema, such as ``x-kubernetes-map-type``."""


class Marker(msgspec.Struct, frozen=True, eq=False):
    """Keys that an annotation adds to a field's schema. They win over those that the type gives."""

    keys: JsonSchema


class Component(msgspec.Struct, frozen=True, eq=False):
    """Says that a field's schema is the shared schema `name`, whatever the annotated type."""

    name: str
    schema: JsonSchema


class StructRef(msgspec.Struct, frozen=True, eq=False):
    """Says that a field's schema is that of `struct`, whatever the annotated type."""

    struct: type[msgspec.Struct]
    defaults: bool


_BOUNDS = {
    "minimum": "minimum",
    "maximum": "maximum",
    "exclusive_minimum": "exclusiveMinimum",
    "exclusive_maximum": "exclusiveMaximum",
    "multiple_of": "multipleOf",
    "min_length": "minLength",
    "max_length": "maxLength",
    "pattern": "pattern",
    "min_items": "minItems",
    "max_items": "maxItems",
    "min_properties": "minProperties",
    "max_properties": "maxProperties",
    "format": "format",
    "enum": "enum",
    "default": "default",
    "nullable": "nullable",
    "rules": "x-kubernetes-validations",
}


def doc(text: str, **bounds: Any) -> Marker:
    """The field's description and its bounds.

    `bounds` are those of JSON schema in snake case: ``minimum``, ``maximum``, ``exclusive_minimum``,
    ``exclusive_maximum``, ``multiple_of``, ``min_length``, ``max_length``, ``pattern`` (RE2), ``min_items``,
    ``max_items``, ``min_properties``, ``max_properties``, ``format``, ``enum``, ``nullable``; ``default`` for an API
    default that is an empty value, and ``rules`` for CEL rules (``x-kubernetes-validations``).
    """
    keys: JsonSchema = {"description": text}
    for name, value in bounds.items():
        if name not in _BOUNDS:
            raise TypeError(f"doc() knows no bound {name!r}; there are {', '.join(sorted(_BOUNDS))}")
        keys[_BOUNDS[name]] = value
    return Marker(keys)


_SAME: Any = object()


def map_list(*keys: str, patch: str | None = _SAME, strategy: str = "merge") -> Marker:
    """A list whose items are told apart by `keys`: apply and strategic merge patch merge it item by item.

    `patch` is the key for strategic merge patch, which knows only one (the first of `keys`, if not said); None makes
    that patch replace the list. `strategy` is ``merge`` or ``merge,retainKeys``.
    """
    schema: JsonSchema = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}
    merge_key = keys[0] if patch is _SAME else patch
    if merge_key is not None:
        schema |= {"x-kubernetes-patch-merge-key": merge_key, "x-kubernetes-patch-strategy": strategy}
    return Marker(schema)


def patch_list(merge_key: str, strategy: str = "merge") -> Marker:
    """A list that strategic merge patch merges by `merge_key`, and that apply replaces as a whole."""
    return Marker({"x-kubernetes-patch-merge-key": merge_key, "x-kubernetes-patch-strategy": strategy})


def set_list(*, patch: bool = False) -> Marker:
    """A list of distinct scalars; with `patch`, strategic merge patch adds to it and does not replace it."""
    schema: JsonSchema = {"x-kubernetes-list-type": "set"}
    if patch:
        schema["x-kubernetes-patch-strategy"] = "merge"
    return Marker(schema)


def atomic_list() -> Marker:
    """A list that has one owner and is replaced as a whole."""
    return Marker({"x-kubernetes-list-type": "atomic"})


def atomic_map() -> Marker:
    """A map that has one owner and is replaced as a whole."""
    return Marker({"x-kubernetes-map-type": "atomic"})


def ref(struct: type[msgspec.Struct], *, defaults: bool = True) -> StructRef:
    """The schema of `struct`, on a field that stays a plain dict in the typed view.

    Unknown fields survive, and nobody pays for a conversion. With ``defaults=False`` the server sets none of the
    defaults inside (but those of a map list's keys): so do CustomResourceDefinitions with a pod template in them.
    """
    return StructRef(struct, defaults)


_API = "io.k8s.apimachinery.pkg.api.resource."
_META = "io.k8s.apimachinery.pkg.apis.meta.v1."

QUANTITY_FORMAT = "quantity"
"""``format`` by which a schema says that a value is a quantity; the server stores those as canonical strings."""

Int64: TypeAlias = Annotated[int, Marker({"format": "int64"})]

Quantity: TypeAlias = Annotated[
    str,
    Component(
        _API + "Quantity",
        {
            "description": "An amount with an optional unit suffix, such as 500m, 2 or 1.5Gi. Numbers are accepted and "
            "stored as strings.",
            "format": QUANTITY_FORMAT,
            "oneOf": [{"type": "string"}, {"type": "number"}],
        },
    ),
]
"""An amount, such as ``"500m"`` or ``"1Gi"``; a canonical string once the server has it."""

IntOrString: TypeAlias = Annotated[
    int | str,
    Component(
        "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
        {
            "description": "A number, or a string (a name or a percentage, by the field's rules).",
            "format": "int-or-string",
            "oneOf": [{"type": "integer"}, {"type": "string"}],
            "x-kubernetes-int-or-string": True,
        },
    ),
]

Time: TypeAlias = Annotated[
    str,
    Component(
        _META + "Time",
        {"description": "A moment in RFC 3339 with whole seconds.", "type": "string", "format": "date-time"},
    ),
]
MicroTime: TypeAlias = Annotated[
    str,
    Component(
        _META + "MicroTime",
        {"description": "A moment in RFC 3339 with microseconds.", "type": "string", "format": "date-time"},
    ),
]
Duration: TypeAlias = Annotated[
    str,
    Component(
        _META + "Duration",
        {
            "description": "A span of time as a sum of numbers with units, such as 1h30m, 45s or 100ms.",
            "type": "string",
            "pattern": r"^-?(0|([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+$",
        },
    ),
]
Bytes: TypeAlias = Annotated[str, Marker({"format": "byte"})]
"""Bytes in base64."""

AnyObject: TypeAlias = Annotated[
    dict[str, Any], Marker({"type": "object", "x-kubernetes-preserve-unknown-fields": True})
]
"""A JSON object with any fields."""

EmbeddedObject: TypeAlias = Annotated[
    dict[str, Any],
    Marker(
        {"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True},
    ),
]
"""A whole API object (``apiVersion``, ``kind``, ``metadata``) with any further fields."""

AnyValue: TypeAlias = Annotated[Any, Marker({"x-kubernetes-preserve-unknown-fields": True})]
"""Any JSON value at all."""
