"""Which schemas a document needs: those of kinds in the program, of CustomResourceDefinitions and of the questions that
store nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from homeport.apiserver.openapi.naming import EXTENSION, META, definition_name, native_name
from homeport.apiserver.resources import Served
from homeport.apiserver.virtual import Virtual
from homeport.kube.core.types.meta import ListMeta, ObjectMeta
from homeport.kube.kind import imported
from homeport.kube.schema import REF_PREFIX, JsonSchema
from homeport.kube.schema.struct import TYPE_META, components, schema_name

PATCH = META + "Patch"
_METADATA: JsonSchema = {
    "allOf": [{"$ref": REF_PREFIX + schema_name(ObjectMeta)}],
    "description": "Standard object's metadata: its name, namespace, labels and the like.",
}
_LIST_METADATA: JsonSchema = {
    "allOf": [{"$ref": REF_PREFIX + schema_name(ListMeta)}],
    "description": "Standard list metadata.",
}
PATCH_SCHEMA: JsonSchema = {"type": "object", "description": "A patch, of the form that its content type says."}


class Schemas(dict[str, JsonSchema]):
    """``components.schemas`` of one document, filled as its paths ask for them."""

    def __init__(self, components: Mapping[str, JsonSchema]) -> None:
        super().__init__()
        self._components = components
        self[PATCH] = PATCH_SCHEMA

    def reference(self, name: str) -> JsonSchema:
        """A reference to a shared schema, which comes in with all that it refers to."""
        self._close({"$ref": REF_PREFIX + name})
        return {"$ref": REF_PREFIX + name}

    def of_kind(self, group: str, version: str, kind: str) -> JsonSchema | None:
        """A reference to the schema of a kind that is no resource of its own, such as ``Scale``; None if unknown."""
        name = native_name(group, version, kind)
        if name not in self and name not in self._components:
            from homeport.apiserver.openapi import messages

            found = messages.schemas(group, version, kind)
            if found is None:
                return None
            for key, schema in found.items():
                if key in self._components:  # the server's own says more
                    self.reference(key)
                else:
                    self.setdefault(key, schema)
            return {"$ref": REF_PREFIX + name}
        return self.reference(name)

    def virtual(self, virtual: Virtual) -> JsonSchema | None:
        """A reference to the schema of what is served and not stored; None if unknown. A list of it comes in, too."""
        if not virtual.struct:
            return self.of_kind(virtual.group, virtual.version, virtual.kind)
        struct = imported(virtual.struct)
        name = schema_name(struct)
        if name not in self:
            found = components((), (struct,))
            gvk = {"group": virtual.group, "version": virtual.version, "kind": virtual.kind}
            self._close(found[name], found)
            root = found[name]
            self[name] = {**root, "properties": {**TYPE_META, **root["properties"]}, EXTENSION: [gvk]}
        return {"$ref": REF_PREFIX + name}

    def virtual_list(self, virtual: Virtual, one: JsonSchema) -> JsonSchema:
        """A reference to the schema of a list of what :meth:`virtual` gave."""
        name = str(one["$ref"]).removeprefix(REF_PREFIX) + "List"
        gvk = {"group": virtual.group, "version": virtual.version, "kind": f"{virtual.kind}List"}
        self._close(_LIST_METADATA)
        self[name] = {
            "type": "object",
            "description": f"A list of {virtual.kind} objects.",
            "required": ["items"],
            "properties": {
                **TYPE_META,
                "metadata": _LIST_METADATA,
                "items": {"type": "array", "items": one, "description": f"The {virtual.kind} objects."},
            },
            EXTENSION: [gvk],
        }
        return {"$ref": REF_PREFIX + name}

    def add(self, served: Served) -> str:
        """The schemas of a resource's objects and lists; the name of the first (the second's ends in ``List``)."""
        root, components = served.definition.parts
        reference = root.get("$ref")
        if reference is not None:
            name = str(reference).removeprefix(REF_PREFIX)
            for wanted in (name, name + "List"):
                self._close({"$ref": REF_PREFIX + wanted}, components)
            return name
        name = definition_name(served)
        self[name] = _published(served, root)
        self[name + "List"] = {
            "type": "object",
            "description": f"{served.list_kind} is a list of {served.kind}",
            "required": ["items"],
            "properties": {
                **TYPE_META,
                "metadata": _LIST_METADATA,
                "items": {
                    "type": "array",
                    "items": {"$ref": REF_PREFIX + name},
                    "description": f"The {served.kind} objects.",
                },
            },
            EXTENSION: [{**served.gvk, "kind": served.list_kind}],
        }
        self._close(self[name])
        self._close(self[name + "List"])
        return name

    def _close(self, schema: JsonSchema, components: Mapping[str, JsonSchema] | None = None) -> None:
        """Take in what `schema` refers to, directly or not."""
        source = self._components if components is None else components
        pending = list(_references(schema))
        while pending:
            name = pending.pop()
            if name not in self and name in source:
                self[name] = source[name]
                pending += _references(source[name])


def _published(served: Served, root: JsonSchema) -> JsonSchema:
    """A CustomResourceDefinition's schema with what every object has."""
    schema = _embedding(root)
    properties = {**(schema.get("properties") or {}), **TYPE_META, "metadata": _METADATA}
    return {**schema, "type": "object", "properties": properties, EXTENSION: [served.gvk]}


def _embedding(schema: Any) -> Any:
    """`schema` with the type and the metadata of whole objects that are embedded in it."""
    if not isinstance(schema, dict):
        return schema
    result = dict(schema)
    properties = schema.get("properties")
    if isinstance(properties, dict):
        result["properties"] = {key: _embedding(value) for key, value in properties.items()}
    for key in ("items", "additionalProperties"):
        if key in schema:
            result[key] = _embedding(schema[key])
    if schema.get("x-kubernetes-embedded-resource"):
        result["properties"] = {**TYPE_META, "metadata": _METADATA, **(result.get("properties") or {})}
        result["required"] = sorted({*(schema.get("required") or ()), "apiVersion", "kind"})
    return result


def _references(value: Any) -> Iterable[str]:
    if isinstance(value, dict):
        reference = value.get("$ref")
        if isinstance(reference, str):
            yield reference.removeprefix(REF_PREFIX)
        for inner in value.values():
            yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)
