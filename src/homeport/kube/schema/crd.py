"""A kind as a CustomResourceDefinition, for a real cluster.

The schema there must be structural: without references, and only with what ``apiextensions.k8s.io/v1`` knows. It is
the same schema that our own server uses, but for these differences:

* defaults inside of shared Kubernetes schemas (a pod template's) are left out, except those of list map keys, which a
  cluster insists on: the pods get the others when they are made;
* their descriptions are left out too: a pod template has hundreds of them, and a definition has to fit into one object.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from homeport.kube.kind import Column, Kind
from homeport.kube.meta import Object
from homeport.kube.schema import REF_PREFIX, JsonSchema
from homeport.kube.schema.fields import QUANTITY_FORMAT
from homeport.kube.schema.node import OBJECT_META
from homeport.kube.schema.struct import schema_name

_NATIVE = "io.k8s."
_KEPT = frozenset(
    {
        "type", "format", "description", "title", "nullable", "default", "enum", "pattern", "required",
        "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength",
        "minItems", "maxItems", "minProperties", "maxProperties",
        "x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource", "x-kubernetes-list-type",
        "x-kubernetes-list-map-keys", "x-kubernetes-map-type", "x-kubernetes-validations",
    }
)  # fmt: skip
"""Keys that a CustomResourceDefinition's schema may have, beside those that hold further schemas."""

_QUANTITY_PATTERN = (
    r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))"
    r"(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$"
)
_EITHER = [{"type": "integer"}, {"type": "string"}]
_EMBEDDED_META = ("annotations", "finalizers", "labels", "name", "namespace")
"""Metadata that a pod template may have."""

_APPROVAL = "api-approved.kubernetes.io"
_COLUMN_KEYS = (("description", "description"), ("format", "format"), ("priority", "priority"))


def manifest(kind: Kind, components: Mapping[str, JsonSchema]) -> Object:
    """The CustomResourceDefinition of `kind`.

    Raises ValueError for a kind whose schema refers to itself, or has columns but none with a path.
    """
    resource = kind.resource
    names: dict[str, Any] = {
        "plural": resource.plural,
        "singular": kind.singular or resource.kind.lower(),
        "kind": resource.kind,
        "listKind": resource.kind + "List",
    }
    if kind.short_names:
        names["shortNames"] = list(kind.short_names)
    if kind.categories:
        names["categories"] = list(kind.categories)
    version: dict[str, Any] = {
        "name": resource.version,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": structural(kind, components)},
    }
    columns = [_column(column) for column in kind.columns if column.path]
    if columns:
        version["additionalPrinterColumns"] = columns
    subresources = _subresources(kind)
    if subresources:
        version["subresources"] = subresources
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{resource.plural}.{resource.group}", **_approved(kind)},
        "spec": {
            "group": resource.group,
            "names": names,
            "scope": "Namespaced" if resource.namespaced else "Cluster",
            "versions": [version],
        },
    }


def _approved(kind: Kind) -> Object:
    return {"annotations": {_APPROVAL: kind.approval}} if kind.approval else {}


def _column(column: Column) -> Object:
    result: Object = {"name": column.name, "type": column.type, "jsonPath": column.path}
    for attribute, key in _COLUMN_KEYS:
        value = getattr(column, attribute)
        if value:
            result[key] = value
    return result


def _subresources(kind: Kind) -> Object:
    found: Object = {}
    if "status" in kind.subresources:
        found["status"] = {}
    if "scale" in kind.subresources and kind.scale_paths is not None:
        spec, status, selector = kind.scale_paths
        found["scale"] = {"specReplicasPath": spec, "statusReplicasPath": status}
        if selector:
            found["scale"]["labelSelectorPath"] = selector
    return found


def structural(kind: Kind, components: Mapping[str, JsonSchema]) -> JsonSchema:
    """The structural schema of the kind's objects. Raises ValueError for one that refers to itself."""
    name = schema_name(kind.struct)
    root = _Inliner(components).schema(components[name], (name,), native=False)
    root["properties"]["metadata"] = {"type": "object"}
    return root


class _Inliner:
    def __init__(self, components: Mapping[str, JsonSchema]) -> None:
        self._components = components

    def schema(
        self, schema: JsonSchema, trail: tuple[str, ...], *, native: bool, keep: tuple[str, ...] = ()
    ) -> JsonSchema:
        """`schema` without references. `trail` are the components around it; `keep` are its properties whose defaults
        stay even in a `native` schema."""
        reference, around = _reference(schema)
        if reference:
            return self._component(reference, around, trail, native=native, keep=keep)
        if schema.get("x-kubernetes-int-or-string"):
            return _described(schema, {"x-kubernetes-int-or-string": True, "anyOf": _EITHER})
        result = {key: value for key, value in schema.items() if key in _KEPT and not (native and key == "description")}
        keys = tuple(schema.get("x-kubernetes-list-map-keys") or ())
        for key in ("items", "additionalProperties", "not"):
            part = schema.get(key)
            if isinstance(part, dict):
                result[key] = self.schema(part, trail, native=native, keep=keys if key == "items" else ())
        if keys:
            result["items"] = _with_keys(result["items"], keys)
        for key in ("allOf", "anyOf", "oneOf"):
            if schema.get(key):
                result[key] = [self.schema(part, trail, native=native) for part in schema[key]]
        if "properties" in schema:
            result["properties"] = {
                name: self._property(name, part, trail, native=native, keep=keep)
                for name, part in schema["properties"].items()
            }
        return result

    def _property(
        self, name: str, schema: JsonSchema, trail: tuple[str, ...], *, native: bool, keep: tuple[str, ...]
    ) -> JsonSchema:
        result = self.schema(schema, trail, native=native)
        if native and name not in keep:
            result.pop("default", None)
        return result

    def _component(
        self, name: str, around: JsonSchema, trail: tuple[str, ...], *, native: bool, keep: tuple[str, ...]
    ) -> JsonSchema:
        if name in trail:
            raise ValueError(f"{name} refers to itself, which a CustomResourceDefinition can't express")
        target = self._components[name]
        inside = native or name.startswith(_NATIVE)
        if name == OBJECT_META:
            target = {**target, "properties": {key: target["properties"][key] for key in _EMBEDDED_META}}
        if target.get("format") == QUANTITY_FORMAT:
            result: JsonSchema = {
                "x-kubernetes-int-or-string": True,
                "anyOf": _EITHER,
                "pattern": _QUANTITY_PATTERN,
            }
        else:
            result = self.schema(target, (*trail, name), native=inside, keep=keep)
        own = {key: value for key, value in around.items() if key in _KEPT}
        if native:
            own.pop("description", None)
        elif inside and "description" not in own and "description" in target:
            own["description"] = target["description"]
        return {**result, **own}


def _reference(schema: JsonSchema) -> tuple[str, JsonSchema]:
    """The component that `schema` is, and the keys beside the reference; an empty name if it is none."""
    if "$ref" in schema:
        return schema["$ref"].removeprefix(REF_PREFIX), {}
    every: list[JsonSchema] = schema.get("allOf") or []
    if len(every) == 1 and "$ref" in every[0] and "type" not in schema:
        around = {key: value for key, value in schema.items() if key != "allOf"}
        return every[0]["$ref"].removeprefix(REF_PREFIX), around
    return "", {}


def _with_keys(items: JsonSchema, keys: tuple[str, ...]) -> JsonSchema:
    """A map list's items with a default for each key that may be absent: a cluster takes no other lists."""
    properties = dict(items["properties"])
    for key in keys:
        if key not in items.get("required", ()) and "default" not in properties[key]:
            properties[key] = {**properties[key], "default": 0 if properties[key].get("type") == "integer" else ""}
    return {**items, "properties": properties}


def _described(schema: JsonSchema, result: JsonSchema) -> JsonSchema:
    return {"description": schema["description"], **result} if "description" in schema else result
