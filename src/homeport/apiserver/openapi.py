"""OpenAPI v3: an index, and a document for each group and version. Made when first asked for, kept until it changes.

``kubectl`` reads three things off it: that PATCH takes ``fieldValidation`` (then validation is the server's business),
which kind a path is of, and the schemas (``kubectl explain``). The content types of PATCH are left out on purpose: a
client that finds strategic merge patch there works out patches from the document itself instead of from what it knows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from homeport.apiserver import openapi_v2
from homeport.apiserver.answers import JSON
from homeport.apiserver.discovery import GIT_VERSION, not_served
from homeport.apiserver.encoding import encode
from homeport.apiserver.resources import Registry, Served
from homeport.kube.schema import REF_PREFIX, JsonSchema
from homeport.kube.wire import Request, Response

_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
_TYPE_META: JsonSchema = {
    "apiVersion": {
        "type": "string",
        "description": "Group and version of this object's schema, such as batch/v1; for the core group just v1.",
    },
    "kind": {"type": "string", "description": "Name of this object's schema, such as Pod."},
}


class _Document(NamedTuple):
    served: tuple[Served, ...]
    body: bytes
    hash: str


class OpenApi:
    """The answers below ``/openapi``."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._documents: dict[str, _Document] = {}
        self._index = (-1, b"", "")

    def answer(self, request: Request, path: str) -> Response:
        """Raises NotFound for a group and version that isn't served."""
        if path == "/openapi/v2":
            return self._version_2(request)
        if path == "/openapi/v3":
            _, body, digest = self._current_index()
            return _respond(request, body, digest)
        name = path.removeprefix("/openapi/v3/")
        document = None if name == path else self._document(name)
        if document is None:
            raise not_served()
        return _respond(request, document.body, document.hash)

    def _version_2(self, request: Request) -> Response:
        proto = openapi_v2.wants_protobuf(request.headers.get("accept", ""))
        body = openapi_v2.protobuf(self._registry) if proto else encode(openapi_v2.document(self._registry))
        digest = hashlib.sha256(body).hexdigest()
        return _respond(request, body, digest, openapi_v2.CONTENT_TYPE if proto else JSON)

    def _group_versions(self) -> dict[str, list[Served]]:
        found: dict[str, list[Served]] = {}
        for served in self._registry:
            resource = served.resource
            name = f"apis/{resource.group}/{resource.version}" if resource.group else f"api/{resource.version}"
            found.setdefault(name, []).append(served)
        return found

    def _current_index(self) -> tuple[int, bytes, str]:
        if self._index[0] != self._registry.generation:
            paths = {}
            for name in sorted(self._group_versions()):
                document = self._document(name)
                assert document is not None
                paths[name] = {"serverRelativeURL": f"/openapi/v3/{name}?hash={document.hash}"}
            body = encode({"paths": paths})
            self._index = (self._registry.generation, body, hashlib.sha256(body).hexdigest())
        return self._index

    def _document(self, name: str) -> _Document | None:
        served = tuple(self._group_versions().get(name, ()))
        if not served:
            self._documents.pop(name, None)
            return None
        document = self._documents.get(name)
        if document is None or document.served != served:
            body = encode(_make(served, self._registry))
            document = _Document(served, body, hashlib.sha256(body).hexdigest())
            self._documents[name] = document
        return document


def _respond(request: Request, body: bytes, digest: str, content_type: str = JSON) -> Response:
    etag = f'"{digest}"'
    headers = {"content-type": content_type, "etag": etag, "vary": "accept", "cache-control": "no-cache, private"}
    if dict(request.query).get("hash") == digest:
        headers["cache-control"] = "public, immutable"
    if request.headers.get("if-none-match") == etag:
        return Response(304, headers)
    return Response(200, headers, body)


def _make(served: Iterable[Served], registry: Registry) -> dict[str, Any]:
    schemas: dict[str, JsonSchema] = {}
    paths: dict[str, Any] = {}
    for one in served:
        name = _add_schemas(one, registry, schemas)
        paths |= _paths(one, name)
    for name in ("DeleteOptions", "Status"):
        if _META + name in registry.components:
            schemas |= _closure({"$ref": REF_PREFIX + _META + name}, registry.components, schemas)
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": GIT_VERSION},
        "paths": dict(sorted(paths.items())),
        "components": {"schemas": dict(sorted(schemas.items()))},
    }


# -- schemas


def _add_schemas(served: Served, registry: Registry, schemas: dict[str, JsonSchema]) -> str:
    """Add the schema of a resource's objects and lists with all that they refer to; its name."""
    root, components = served.definition.parts
    reference = root.get("$ref")
    if reference is not None:
        name = str(reference).removeprefix(REF_PREFIX)
        for wanted in (name, name + "List"):
            schemas |= _closure({"$ref": REF_PREFIX + wanted}, components, schemas)
        return name
    resource = served.resource
    name = ".".join([*reversed(resource.group.split(".")), resource.version, resource.kind])
    object_meta: JsonSchema = {"$ref": REF_PREFIX + _META + "ObjectMeta"}
    properties = {**_TYPE_META, **(root.get("properties") or {})}
    if _META + "ObjectMeta" in components:
        properties["metadata"] = {"allOf": [object_meta], "description": "The object's metadata."}
    schemas[name] = {**root, "properties": properties, "x-kubernetes-group-version-kind": [served.gvk]}
    schemas[name + "List"] = {
        "type": "object",
        "description": f"A list of {resource.kind} objects.",
        "required": ["items"],
        "properties": {
            **_TYPE_META,
            "metadata": {"type": "object", "description": "The list's own metadata."},
            "items": {"type": "array", "items": {"$ref": REF_PREFIX + name}},
        },
        "x-kubernetes-group-version-kind": [{**served.gvk, "kind": served.list_kind}],
    }
    schemas |= _closure(schemas[name], components, schemas)
    return name


def _closure(
    schema: JsonSchema, components: Mapping[str, JsonSchema], known: Mapping[str, JsonSchema]
) -> dict[str, JsonSchema]:
    """The components that `schema` needs, directly or not, but for the known ones."""
    found: dict[str, JsonSchema] = {}
    pending = list(_references(schema))
    while pending:
        name = pending.pop()
        if name not in found and name not in known and name in components:
            found[name] = components[name]
            pending += _references(components[name])
    return found


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


# -- paths


def _parameter(name: str, type: str, description: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "query",
        "description": description,
        "schema": {"type": type, "uniqueItems": True},
    }


_DRY_RUN = _parameter("dryRun", "string", "All: go through every stage but storing.")
_FIELD_MANAGER = _parameter("fieldManager", "string", "Who makes the change.")
_FIELD_VALIDATION = _parameter(
    "fieldValidation", "string", "What to do with unknown and duplicate fields: Ignore, Warn or Strict."
)
_FORCE = _parameter("force", "boolean", "Apply: take fields from other managers.")
_WRITE = [_DRY_RUN, _FIELD_MANAGER, _FIELD_VALIDATION]
_DELETE = [
    _DRY_RUN,
    _parameter("gracePeriodSeconds", "integer", "Seconds that the object gets to end; 0 ends it at once."),
    _parameter("propagationPolicy", "string", "What becomes of dependents: Orphan, Background or Foreground."),
]
_SELECT = [
    _parameter("labelSelector", "string", "Restricts the objects by their labels."),
    _parameter("fieldSelector", "string", "Restricts the objects by their fields."),
]
_LIST = [
    *_SELECT,
    _parameter("limit", "integer", "The most objects to return in one answer."),
    _parameter("continue", "string", "Token of the answer before, to get the next ones."),
    _parameter("resourceVersion", "string", "The version to list at or to watch from."),
    _parameter("resourceVersionMatch", "string", "How resourceVersion applies to a list."),
    _parameter("timeoutSeconds", "integer", "Ends a watch after so many seconds."),
    _parameter("watch", "boolean", "Watch for changes instead of listing."),
    _parameter("allowWatchBookmarks", "boolean", "Ask for BOOKMARK events."),
    _parameter("sendInitialEvents", "boolean", "Begin a watch with the present objects and a bookmark after them."),
]
_PRETTY = _parameter("pretty", "string", "Accepted and of no effect.")


def _paths(served: Served, schema: str) -> dict[str, Any]:
    resource = served.resource
    collection = resource.path("{namespace}")
    kind = resource.kind
    scope = "Namespaced" if resource.namespaced else ""
    tag = f"{resource.group.partition('.')[0] or 'core'}_{resource.version}"
    one, many = {"$ref": REF_PREFIX + schema}, {"$ref": REF_PREFIX + schema + "List"}
    status = {"$ref": REF_PREFIX + _META + "Status"}

    def operation(
        action: str, id: str, answer: JsonSchema, parameters: list[Any], code: str = "200", body: bool = False
    ) -> dict[str, Any]:
        result: dict[str, Any] = {
            "tags": [tag],
            "operationId": f"{id}_{tag}_{scope}{kind}",
            "parameters": parameters,
            "responses": {code: {"description": "OK", "content": {JSON: {"schema": answer}}}},
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": served.gvk,
        }
        if body:
            result["requestBody"] = {"required": True, "content": {"*/*": {"schema": one}}}
        return result

    in_path = [_path_parameter("namespace")] if resource.namespaced else []
    item = {
        "parameters": [_path_parameter("name"), *in_path, _PRETTY],
        "get": operation("get", "read", one, []),
        "put": operation("put", "replace", one, _WRITE, body=True),
        "patch": operation("patch", "patch", one, [*_WRITE, _FORCE]),
        "delete": operation("delete", "delete", status, _DELETE),
    }
    result: dict[str, Any] = {
        collection: {
            "parameters": [*in_path, _PRETTY],
            "get": operation("list", "list", many, _LIST),
            "post": operation("post", "create", one, _WRITE, "201", body=True),
            "delete": operation("deletecollection", "deletecollection", status, [*_DELETE, *_SELECT]),
        },
        f"{collection}/{{name}}": item,
    }
    if resource.namespaced:
        result[resource.path()] = {
            "parameters": [_PRETTY],
            "get": operation("list", "listAll", many, _LIST),
        }
    if served.has_status:
        result[f"{collection}/{{name}}/status"] = {
            "parameters": item["parameters"],
            "get": operation("get", "readStatus", one, []),
            "put": operation("put", "replaceStatus", one, _WRITE, body=True),
            "patch": operation("patch", "patchStatus", one, [*_WRITE, _FORCE]),
        }
    return result


def _path_parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "uniqueItems": True}}
