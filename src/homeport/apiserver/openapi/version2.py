"""OpenAPI v2, made from the documents of v3. What v2 has no word for is left out, as upstream does."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from homeport.apiserver.answers import JSON
from homeport.apiserver.encoding import encode
from homeport.kube.schema import REF_PREFIX

_DEFINITIONS = "#/definitions/"
_UNKNOWN = frozenset({"nullable", "oneOf", "anyOf", "not", "default", "x-kubernetes-validations", "allOf", "$ref"})
_METHODS = ("get", "put", "post", "delete", "patch", "head", "options")


class Pieces(NamedTuple):
    """The share of one group and version, written: paths and definitions by name."""

    paths: dict[str, bytes]
    definitions: dict[str, bytes]


def pieces(document: dict[str, Any]) -> Pieces:
    converted = convert(document)
    return Pieces(
        {path: encode(item) for path, item in converted["paths"].items()},
        {name: encode(schema) for name, schema in converted["definitions"].items()},
    )


def join(all: Iterable[Pieces], version: str) -> bytes:
    """The whole document in JSON."""
    paths: dict[str, bytes] = {}
    definitions: dict[str, bytes] = {}
    for one in all:
        paths |= one.paths
        definitions |= one.definitions
    head = encode({"swagger": "2.0", "info": {"title": "Kubernetes", "version": version}, "schemes": ["https"]})
    return b'%b,"paths":%b,"definitions":%b}' % (head[:-1], _object(paths), _object(definitions))


def _object(members: dict[str, bytes]) -> bytes:
    return b"{%b}" % b",".join(b"%b:%b" % (encode(key), members[key]) for key in sorted(members))


def convert(document: dict[str, Any]) -> dict[str, Any]:
    """The paths and definitions of a v3 document as v2 has them."""
    schemas = document["components"]["schemas"]
    return {
        "paths": {path: _item(item) for path, item in document["paths"].items()},
        "definitions": {name: schema(one, root=True) for name, one in schemas.items()},
    }


def schema(value: dict[str, Any], *, root: bool = False) -> dict[str, Any]:
    """A schema of v3 as one of v2."""
    result = {key: inner for key, inner in value.items() if key not in _UNKNOWN}
    reference = value.get("$ref")
    choices = value.get("allOf")
    if reference is None and isinstance(choices, list) and len(choices) == 1:
        reference = choices[0].get("$ref")
    if reference is not None:
        result["$ref"] = _DEFINITIONS + str(reference).removeprefix(REF_PREFIX)
        return result
    if value.get("nullable"):
        # v2 has no null: a field that may be null may be anything, so that clients let it pass.
        for key in ("type", "items", "properties", "required"):
            result.pop(key, None)
        return result
    if value.get("x-kubernetes-int-or-string"):
        return {**result, "type": "string", "format": "int-or-string"}
    if "type" not in value and {"type": "string"} in value.get("oneOf", ()):  # a quantity
        result["type"] = "string"
    if value.get("x-kubernetes-preserve-unknown-fields"):
        return _open(result, root)
    properties = value.get("properties")
    if isinstance(properties, dict):
        result["properties"] = {key: schema(inner) for key, inner in properties.items()}
        if "required" in result:
            result["required"] = [key for key in result["required"] if not properties.get(key, {}).get("nullable")]
            if not result["required"]:
                del result["required"]
    for key in ("items", "additionalProperties"):
        if isinstance(value.get(key), dict):
            result[key] = schema(value[key])
    return result


def _open(result: dict[str, Any], root: bool) -> dict[str, Any]:
    """An object with unknown fields: old clients refuse those as soon as any is known."""
    result = {key: inner for key, inner in result.items() if key not in ("items", "properties", "required")}
    if root:
        kept = ("type", "x-kubernetes-group-version-kind")
        return {key: result[key] for key in kept if key in result}
    return result


def _item(item: dict[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {method: _operation(item[method]) for method in _METHODS if method in item}
    if item.get("parameters"):
        result["parameters"] = [_parameter(one) for one in item["parameters"]]
    return result


def _operation(operation: dict[str, Any]) -> dict[str, Any]:
    result = {key: value for key, value in operation.items() if key not in ("parameters", "requestBody", "responses")}
    parameters = [_parameter(one) for one in operation.get("parameters", ())]
    body = operation.get("requestBody")
    result["consumes"] = ["*/*"]
    if body is not None:
        content = body["content"]
        result["consumes"] = list(content)
        sent = {"name": "body", "in": "body", "schema": schema(next(iter(content.values()))["schema"])}
        parameters.insert(0, {**sent, "required": True} if body.get("required") else sent)
    result["produces"] = list(operation["responses"]["200"].get("content", {JSON: None}))
    result["schemes"] = ["https"]
    if parameters:
        result["parameters"] = parameters
    result["responses"] = {code: _response(response) for code, response in operation["responses"].items()}
    return result


def _response(response: dict[str, Any]) -> dict[str, Any]:
    content = response.get("content")
    result = {"description": response["description"]}
    if content:
        result["schema"] = schema(next(iter(content.values()))["schema"])
    return result


def _parameter(parameter: dict[str, Any]) -> dict[str, Any]:
    return {**{key: value for key, value in parameter.items() if key != "schema"}, **parameter["schema"]}
