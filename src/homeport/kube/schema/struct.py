"""Structs to OpenAPI v3 schemas. :mod:`homeport.kube.schema.fields` has the rules.

A struct's schema is made once, on first use, and shared from then on: nobody may change what these functions return.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable
from functools import cache
from threading import Lock
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

from homeport.kube.core.types.meta import ListMeta
from homeport.kube.kind import Kind
from homeport.kube.schema import REF_PREFIX, JsonSchema
from homeport.kube.schema.fields import Component, Marker, StructRef

NO_DEFAULTS = "x-homeport-no-defaults"
"""On a ``$ref``: set none of the defaults inside (see :func:`homeport.kube.schema.fields.ref`)."""

TYPE_META: JsonSchema = {
    "apiVersion": {
        "type": "string",
        "description": "APIVersion defines the group and version of this object's schema, such as batch/v1; for the "
        "core group just v1.",
    },
    "kind": {"type": "string", "description": "Kind is the name of this object's schema, such as Pod."},
}

_Found = dict[str, "type[msgspec.Struct] | JsonSchema"]
"""The schemas that one schema refers to, by name."""


class Components(dict[str, JsonSchema]):
    """``components.schemas`` of an OpenAPI document, by name.

    It remembers what compiled schemas made of the shared ones (a pod template, say), so that the next one need not.
    """

    __slots__ = ("filling", "nodes", "whole")

    def __init__(self) -> None:
        super().__init__()
        self.nodes: dict[Any, Any] = {}
        """Belongs to :mod:`homeport.kube.schema.node`."""
        self.whole: dict[str, Kind] = {}
        """Kinds whose objects may be parts of objects of other kinds, by the schema's name."""
        self.filling = Lock()
        """Held while schemas are added: one is there before those that it refers to."""


def schema_name(struct: type[msgspec.Struct]) -> str:
    """Name of the struct's schema in the OpenAPI document, such as ``io.k8s.api.core.v1.PodSpec``.

    It is ``__schema_name__`` if the class itself has it, else ``__schema_prefix__`` and the class name.
    """
    own = struct.__dict__.get("__schema_name__")
    if isinstance(own, str):
        return own
    prefix = getattr(struct, "__schema_prefix__", "")
    if not prefix:
        raise TypeError(f"{struct.__module__}.{struct.__qualname__} has no __schema_prefix__: give it or its base one")
    return f"{prefix}.{struct.__name__}"


def ref_to(name: str) -> JsonSchema:
    return {"$ref": REF_PREFIX + name}


def components(kinds: Iterable[Kind], structs: Iterable[type[msgspec.Struct]] = ()) -> Components:
    """All schemas that `kinds`, their lists and `structs` need, by name (``components.schemas`` of OpenAPI)."""
    found = Components()
    add(found, kinds, (ListMeta, *structs))
    return found


def add(found: Components, kinds: Iterable[Kind], structs: Iterable[type[msgspec.Struct]] = ()) -> None:
    """Put what is missing of `kinds`, their lists and `structs` into `found`."""
    with found.filling:
        _add(found, kinds, list(structs))


def _add(found: Components, kinds: Iterable[Kind], pending: list[type[msgspec.Struct]]) -> None:
    for kind in kinds:
        name = schema_name(kind.struct)
        if name + "List" in found:
            continue
        schema, needed = _struct_schema(kind.struct)
        if name not in found:
            found[name] = _top_level(kind, schema)
        found[name + "List"] = _list_schema(kind, name)
        _visit(needed, found, pending)
    while pending:
        struct = pending.pop()
        name = schema_name(struct)
        if name in found:
            continue
        schema, needed = _struct_schema(struct)
        whole = found.whole.get(name)
        found[name] = schema if whole is None else _top_level(whole, schema)
        _visit(needed, found, pending)


def _visit(needed: _Found, found: Components, pending: list[type[msgspec.Struct]]) -> None:
    for name, what in needed.items():
        if name not in found:
            if isinstance(what, dict):
                found[name] = what
            else:
                pending.append(what)


def group_version_kind(kind: Kind, suffix: str = "") -> list[JsonSchema]:
    resource = kind.resource
    return [{"group": resource.group, "kind": resource.kind + suffix, "version": resource.version}]


def _top_level(kind: Kind, schema: JsonSchema) -> JsonSchema:
    return schema | {
        "properties": {**TYPE_META, **schema["properties"]},
        "x-kubernetes-group-version-kind": group_version_kind(kind),
    }


def _list_schema(kind: Kind, name: str) -> JsonSchema:
    metadata = {"allOf": [ref_to(schema_name(ListMeta))], "description": "The list's own metadata."}
    items = {"type": "array", "items": ref_to(name), "description": f"The {kind.kind} objects."}
    return {
        "description": f"A list of {kind.kind} objects.",
        "type": "object",
        "properties": {**TYPE_META, "metadata": metadata, "items": items},
        "required": ["items"],
        "x-kubernetes-group-version-kind": group_version_kind(kind, "List"),
    }


@cache
def _struct_schema(struct: type[msgspec.Struct]) -> tuple[JsonSchema, _Found]:
    needed: _Found = {}
    properties: dict[str, JsonSchema] = {}
    required: list[str] = []
    annotations = _annotations(struct)
    without_default = len(struct.__struct_fields__) - len(struct.__struct_defaults__)
    defaults = (msgspec.NODEFAULT,) * without_default + struct.__struct_defaults__
    for name, json_name, default in zip(
        struct.__struct_fields__, struct.__struct_encode_fields__, defaults, strict=True
    ):
        try:
            schema = _type_schema(annotations[name], needed)
        except TypeError as error:
            raise TypeError(f"{struct.__qualname__}.{name}: {error}") from None
        if default is msgspec.NODEFAULT:
            required.append(json_name)
        elif "default" not in schema:
            api_default = _api_default(default)
            if api_default is not None:
                schema = _with({"default": api_default}, schema)
        properties[json_name] = schema
    result: JsonSchema = {"type": "object", "properties": properties}
    text = struct.__dict__.get("__doc__")
    if text:
        result = {"description": _paragraphs(text), **result}
    if required:
        result["required"] = required
    return result | getattr(struct, "__schema_extra__", {}), needed


def _paragraphs(text: str) -> str:
    """The docstring with its lines joined: kubectl wraps descriptions itself."""
    return "\n\n".join(" ".join(part.split()) for part in inspect.cleandoc(text).split("\n\n"))


class _Read:
    """Stands in for ``Annotated`` and ``Literal`` while annotations are read.

    The real ones check and cache what they are given, and that is most of the time that a first request would wait for.
    """

    __slots__ = ("args", "origin")

    def __init__(self, origin: Any, args: tuple[Any, ...]) -> None:
        self.origin = origin
        self.args = args

    def __or__(self, other: Any) -> _Read:
        return _Read(Union, (self, other))


class _Reader:
    def __init__(self, origin: Any) -> None:
        self._origin = origin

    def __getitem__(self, args: Any) -> _Read:
        return _Read(self._origin, args if isinstance(args, tuple) else (args,))


_READERS = {"Annotated": _Reader(Annotated), "Literal": _Reader(Literal)}


@cache
def _namespace(module: str) -> dict[str, Any]:
    return {**vars(sys.modules[module]), **_READERS}


def _annotations(struct: type[msgspec.Struct]) -> dict[str, Any]:
    """The annotations of the struct's fields, evaluated class by class in one go."""
    found: dict[str, Any] = {}
    for base in reversed(struct.__mro__):
        own = inspect.get_annotations(base) if base.__module__ != "msgspec" else {}
        texts = {name: text for name, text in own.items() if isinstance(text, str) and not text.startswith("ClassVar")}
        found |= own
        if texts:
            source = ",".join(f"{name!r}:({text})" for name, text in texts.items())
            found |= eval("{" + source + "}", _namespace(base.__module__))
    return found


def _api_default(value: Any) -> Any:
    """The API default that a struct field's default stands for; None where there is none."""
    factory = getattr(value, "factory", None)
    return msgspec.to_builtins(value if factory is None else factory()) or None


def _with(keys: JsonSchema, schema: JsonSchema) -> JsonSchema:
    """`schema` and `keys`. OpenAPI 3.0 allows nothing beside ``$ref``, so that becomes an ``allOf`` of one."""
    if "$ref" in schema:
        schema = {"allOf": [schema]}
    return {**schema, **keys}


_SCALARS: dict[Any, JsonSchema] = {
    str: {"type": "string"},
    int: {"type": "integer", "format": "int32"},
    float: {"type": "number", "format": "double"},
    bool: {"type": "boolean"},
    Any: {"x-kubernetes-preserve-unknown-fields": True},
}
_OPEN: JsonSchema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def _type_schema(annotation: Any, needed: _Found) -> JsonSchema:
    if annotation in _SCALARS:
        return _SCALARS[annotation]
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        name = schema_name(annotation)
        needed[name] = annotation
        return ref_to(name)
    if isinstance(annotation, _Read):
        origin, args = annotation.origin, annotation.args
    else:
        origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _annotated(args[0], args[1:], needed)
    if origin in (Union, UnionType):
        rest = [arg for arg in args if arg is not NoneType and arg is not None]
        if len(rest) == 1:
            return _type_schema(rest[0], needed)
    elif origin is Literal:
        return {"type": "string", "enum": list(args)}
    elif origin in (list, tuple):
        return {"type": "array", "items": _type_schema(args[0], needed)}
    elif origin is dict:
        if args[1] is Any:
            return _OPEN
        return {"type": "object", "additionalProperties": _type_schema(args[1], needed)}
    raise TypeError(f"no schema for the type {annotation!r}")


def _annotated(inner: Any, metadata: tuple[Any, ...], needed: _Found) -> JsonSchema:
    shared: JsonSchema | None = None
    keys: JsonSchema = {}
    for item in metadata:
        if isinstance(item, Marker):
            keys |= item.keys
        elif isinstance(item, Component):
            needed[item.name] = item.schema
            shared = ref_to(item.name)
        elif isinstance(item, StructRef):
            name = schema_name(item.struct)
            needed[name] = item.struct
            shared = ref_to(name) if item.defaults else _with({NO_DEFAULTS: True}, ref_to(name))
    base = shared if shared is not None else _type_schema(inner, needed)
    return _with(keys, base) if keys else base
