"""Schemas of built-in kinds that this server has no structs for, such as reviews and ``Scale``: from the tables of
:mod:`homeport.kube.protobuf`, so with fields and types and without descriptions."""

from __future__ import annotations

from homeport.apiserver.openapi.naming import EXTENSION, native_name
from homeport.kube.protobuf import table
from homeport.kube.protobuf.table import Field, Message
from homeport.kube.schema import REF_PREFIX, JsonSchema
from homeport.kube.schema.struct import TYPE_META

_SCALARS: dict[str, JsonSchema] = {
    "string": {"type": "string"},
    "int32": {"type": "integer", "format": "int32"},
    "int64": {"type": "integer", "format": "int64"},
    "bool": {"type": "boolean"},
    "bytes": {"type": "string", "format": "byte"},
    "double": {"type": "number", "format": "double"},
}
_SPECIAL: dict[str, JsonSchema] = {
    "Time": {"type": "string", "format": "date-time"},
    "MicroTime": {"type": "string", "format": "date-time"},
    "Duration": {"type": "string"},
    "Quantity": {"type": "string"},
    "IntOrString": {"type": "string", "format": "int-or-string"},
    "Strings": {"type": "array", "items": {"type": "string"}},
}


def schemas(group: str, version: str, kind: str) -> dict[str, JsonSchema] | None:
    """The schemas of a kind and of what it is made of, by name; None for a kind that upstream does not have."""
    message = table.find(f"{group}/{version}" if group else version, kind)
    if message is None:
        return None
    found: dict[str, JsonSchema] = {}
    pending = [message]
    while pending:
        one = pending.pop()
        if _name(one) not in found:
            found[_name(one)] = _schema(one, pending)
    root = found[native_name(group, version, kind)]
    found[native_name(group, version, kind)] = {
        **root,
        "properties": {**TYPE_META, **root["properties"]},
        EXTENSION: [{"group": group, "version": version, "kind": kind}],
    }
    return found


def _name(message: Message) -> str:
    group, _, version = message.table.rpartition(".")
    return native_name(group, version, message.name)


def _schema(message: Message, pending: list[Message]) -> JsonSchema:
    properties: dict[str, JsonSchema] = {}
    required = []
    for field in message.fields.values():
        if not field.json:
            assert field.message is not None
            properties |= _schema(field.message, pending)["properties"]
            continue
        properties[field.json] = _field(field, pending)
        if field.keeps_zero and field.message is None:
            required.append(field.json)
    result: JsonSchema = {"type": "object", "properties": properties}
    return {**result, "required": required} if required else result


def _field(field: Field, pending: list[Message]) -> JsonSchema:
    inner = field.message
    if inner is None:
        schema = _SCALARS[field.type]
    elif inner.special:
        schema = _SPECIAL.get(inner.special, {"x-kubernetes-preserve-unknown-fields": True})
    else:
        schema = {"$ref": REF_PREFIX + _name(inner)}
        pending.append(inner)
    if field.shape == "list":
        return {"type": "array", "items": schema}
    if field.shape == "map":
        return {"type": "object", "additionalProperties": schema}
    return schema
