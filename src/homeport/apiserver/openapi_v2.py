"""OpenAPI v2, as far as the clients need it that know no better: kubectl 1.27 and 1.28, which read it as protobuf.

They look for one thing: that PATCH of a kind takes ``fieldValidation`` and ``dryRun``, so that the server validates.
The document lists those operations and has no definitions; whoever wants schemas reads OpenAPI v3. Field numbers are
those of gnostic's ``OpenAPIv2.proto``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from homeport.apiserver.discovery import GIT_VERSION
from homeport.apiserver.encoding import encode
from homeport.apiserver.resources import Registry, Served

CONTENT_TYPE = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
"""With a dot: Go's clients refuse to parse the ``@`` that they ask with."""
_PARAMETERS = ("dryRun", "fieldManager", "fieldValidation", "force")

_SWAGGER, _INFO, _PATHS = 1, 2, 8
_NAME, _VALUE = 1, 2
_PATH = 2
_PATCH = 8
_OPERATION_ID, _OPERATION_PARAMETERS, _RESPONSES, _EXTENSION = 5, 8, 9, 13
_YAML = 2


def wants_protobuf(accept: str) -> bool:
    return "proto-openapi.spec.v2" in accept


def protobuf(registry: Registry) -> bytes:
    """The document for `registry`."""
    paths = b"".join(_bytes(_PATH, _bytes(_NAME, path) + _bytes(_VALUE, _item(one))) for path, one in _items(registry))
    info = _bytes(1, "Kubernetes") + _bytes(2, GIT_VERSION)
    return _bytes(_SWAGGER, "2.0") + _bytes(_INFO, info) + _bytes(_PATHS, paths)


def document(registry: Registry) -> dict[str, Any]:
    """The same as JSON."""
    parameters = [{"name": name, "in": "query", "type": "string"} for name in _PARAMETERS]
    return {
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": GIT_VERSION},
        "paths": {
            path: {
                "patch": {
                    "operationId": _operation_id(served),
                    "parameters": parameters,
                    "responses": {"200": {"description": "OK"}},
                    "x-kubernetes-action": "patch",
                    "x-kubernetes-group-version-kind": served.gvk,
                }
            }
            for path, served in _items(registry)
        },
        "definitions": {},
    }


def _items(registry: Registry) -> Iterable[tuple[str, Served]]:
    for served in registry:
        resource = served.resource
        yield resource.path("{namespace}", "{name}"), served


def _operation_id(served: Served) -> str:
    return f"patch_{served.group or 'core'}_{served.resource.version}_{served.kind}"


def _item(served: Served) -> bytes:
    parameters = b"".join(_bytes(_OPERATION_PARAMETERS, _parameter(name)) for name in _PARAMETERS)
    answer = _bytes(1, _bytes(_NAME, "200") + _bytes(_VALUE, _bytes(1, _bytes(1, "OK"))))
    operation = (
        _bytes(_OPERATION_ID, _operation_id(served))
        + parameters
        + _bytes(_RESPONSES, answer)
        + _extension("x-kubernetes-action", b"patch")
        + _extension("x-kubernetes-group-version-kind", encode(served.gvk))
    )
    return _bytes(_PATCH, operation)


def _parameter(name: str) -> bytes:
    query = _bytes(2, "query") + _bytes(4, name) + _bytes(6, "string")
    # ParametersItem.parameter, Parameter.non_body_parameter, NonBodyParameter.query_parameter_sub_schema
    return _bytes(1, _bytes(2, _bytes(3, query)))


def _extension(name: str, yaml: bytes) -> bytes:
    """A vendor extension: its value travels as YAML, of which JSON is a part."""
    return _bytes(_EXTENSION, _bytes(_NAME, name) + _bytes(_VALUE, _bytes(_YAML, yaml)))


def _bytes(number: int, value: bytes | str) -> bytes:
    """A length-delimited protobuf field."""
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
