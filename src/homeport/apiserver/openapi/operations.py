"""The paths of resources with their operations, as OpenAPI v3 has them. Names follow upstream's generated clients."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from homeport.apiserver.answers import JSON
from homeport.apiserver.encoding import PROTOBUF, YAML
from homeport.apiserver.openapi import parameters as given
from homeport.apiserver.openapi.naming import META
from homeport.apiserver.openapi.schemas import PATCH, Schemas
from homeport.apiserver.resources import Served
from homeport.apiserver.subresources import CONNECTIONS, Answers, Subresource, of
from homeport.apiserver.verbs.delete import RETURN_OBJECT
from homeport.apiserver.verbs.patch import accepted
from homeport.apiserver.virtual import Virtual
from homeport.kube.schema import REF_PREFIX, JsonSchema

_METHODS = {"create": "post", "get": "get", "update": "put", "patch": "patch", "delete": "delete"}
_VERBS = {"post": "create", "get": "read", "put": "replace", "patch": "patch", "delete": "delete"}
_CODES = {
    "get": (200,),
    "connect": (200,),
    "list": (200,),
    "post": (200, 201, 202),
    "put": (200, 201),
    "patch": (200, 201),
}
_TEXTS = {200: "OK", 201: "Created", 202: "Accepted", 401: "Unauthorized"}
_STREAMS = (f"{JSON};stream=watch", f"{PROTOBUF};stream=watch")


class Operations:
    """Writes the operations of one resource."""

    def __init__(self, resource: Served | Virtual, schemas: Schemas) -> None:
        self._media: tuple[str, ...] = (JSON, YAML, PROTOBUF)
        if isinstance(resource, Virtual):
            self._gvk = {"group": resource.group, "version": resource.version, "kind": resource.kind}
            self._patches: tuple[str, ...] = ()
        else:
            self._gvk = resource.gvk
            self._patches = accepted(resource)
            if not resource.builtin:
                self._media = (JSON, YAML)
        self._status = schemas.reference(META + "Status")
        self._options = schemas.reference(META + "DeleteOptions")
        self._tag, self._id = _names(self._gvk["group"], self._gvk["version"])
        self._scope = "Namespaced" if resource.namespaced else ""

    def operation(
        self,
        action: str,
        name: str,
        answer: JsonSchema,
        parameters: Iterable[Any] = (),
        *,
        body: JsonSchema | None = None,
        gvk: dict[str, str] | None = None,
        text: bool = False,
    ) -> dict[str, Any]:
        """One operation. `name` is its id but for the group: a ``*`` stands there."""
        media = ("text/plain",) if text else self._media
        if action == "list":
            media = (*media, *_STREAMS[: 2 if PROTOBUF in media else 1])
        content = {type: {"schema": answer} for type in media}
        responses: dict[str, Any] = {
            str(code): {"description": _TEXTS[code], "content": content} for code in _CODES.get(action, (200, 202))
        }
        responses["401"] = {"description": _TEXTS[401]}
        result: dict[str, Any] = {"tags": [self._tag], "operationId": name.replace("*", self._id)}
        parameters = list(parameters)
        if parameters:
            result["parameters"] = parameters
        if action == "patch":
            patch = {"schema": {"$ref": REF_PREFIX + PATCH}}
            result["requestBody"] = {"required": True, "content": dict.fromkeys(self._patches, patch)}
        elif body is not None:
            required = {"required": True} if action in ("post", "put") else {}
            result["requestBody"] = {**required, "content": {"*/*": {"schema": body}}}
        return {
            **result,
            "responses": responses,
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": gvk or self._gvk,
        }

    def collection(self, one: JsonSchema, many: JsonSchema) -> dict[str, Any]:
        kind = self._scope + self._gvk["kind"]
        return {
            "get": self.operation("list", f"list*{kind}", many, given.LIST),
            "post": self.operation("post", f"create*{kind}", one, given.WRITE, body=one),
            "delete": self.operation(
                "deletecollection",
                f"delete*Collection{kind}",
                self._status,
                (*given.DELETE, *given.LIST_BUT_WATCH),
                body=self._options,
            ),
        }

    def everywhere(self, many: JsonSchema) -> dict[str, Any]:
        """The list of all namespaces."""
        return {"get": self.operation("list", f"list*{self._gvk['kind']}ForAllNamespaces", many, ())}

    def item(self, one: JsonSchema, deleted: JsonSchema) -> dict[str, Any]:
        kind = self._scope + self._gvk["kind"]
        return {
            "get": self.operation("get", f"read*{kind}", one),
            "put": self.operation("put", f"replace*{kind}", one, given.WRITE, body=one),
            "delete": self.operation("delete", f"delete*{kind}", deleted, given.DELETE, body=self._options),
            "patch": self.operation("patch", f"patch*{kind}", one, (*given.WRITE, given.FORCE)),
        }

    def subresource(self, declared: Subresource, schemas: Schemas, one: JsonSchema) -> dict[str, Any]:
        name = declared.name
        gvk = declared.gvk(self._gvk["kind"])
        schema = one if gvk is None else schemas.of_kind(**gvk)
        if schema is None:
            schema = {"type": "object"}
        result: dict[str, Any] = {}
        suffix = self._scope + self._gvk["kind"] + name[:1].upper() + name[1:]
        for verb in declared.verbs:
            method = _METHODS.get(verb)
            if method is None:
                continue
            if name in CONNECTIONS:
                result[method] = self.operation(
                    "connect",
                    f"connect*{method.title()}{suffix}",
                    {"type": "string"},
                    given.CONNECT[name],
                    gvk=gvk,
                    text=True,
                )
                continue
            extra: tuple[Any, ...] = () if method == "get" else given.WRITE
            if method == "patch":
                extra = (*extra, given.FORCE)
            plain = declared.answers is Answers.TEXT
            result[method] = self.operation(
                method,
                f"{_VERBS[method]}*{suffix}",
                {"type": "string"} if plain else schema,
                given.LOG if plain else extra,
                body=None if method in ("get", "patch") else schema,
                gvk=gvk,
                text=plain,
            )
        return result


def paths(served: Served, schemas: Schemas) -> dict[str, Any]:
    """All paths of a resource."""
    name = schemas.add(served)
    resource = served.resource
    one, many = {"$ref": REF_PREFIX + name}, {"$ref": REF_PREFIX + name + "List"}
    operations = Operations(served, schemas)
    collection = resource.path("{namespace}")
    in_path = [given.NAMESPACE] if resource.namespaced else []
    item = [given.name(resource.kind), *in_path, given.PRETTY]
    deleted = one if served.key in RETURN_OBJECT else schemas.reference(META + "Status")
    on_collection = operations.collection(one, many)
    if "deletecollection" not in served.verbs:
        del on_collection["delete"]
    result: dict[str, Any] = {
        collection: {**on_collection, "parameters": [*in_path, given.PRETTY]},
        f"{collection}/{{name}}": {**operations.item(one, deleted), "parameters": item},
    }
    if resource.namespaced:
        result[resource.path()] = {**operations.everywhere(many), "parameters": [*given.LIST, given.PRETTY]}
    for subresource in of(served.subresources):
        found = operations.subresource(subresource, schemas, one)
        if found:
            result[f"{collection}/{{name}}/{subresource.name}"] = {**found, "parameters": item}
    return result


def virtual_paths(virtual: Virtual, schemas: Schemas) -> dict[str, Any]:
    """The paths of what is served and not stored: questions that are answered when they are created, and measurements
    that are taken when they are asked for."""
    schema = schemas.virtual(virtual)
    if schema is None:
        return {}
    base = f"/apis/{virtual.group}/{virtual.version}" if virtual.group else f"/api/{virtual.version}"
    collection = (
        f"{base}/namespaces/{{namespace}}/{virtual.plural}" if virtual.namespaced else f"{base}/{virtual.plural}"
    )
    in_path = [given.NAMESPACE] if virtual.namespaced else []
    operations = Operations(virtual, schemas)
    kind = ("Namespaced" if virtual.namespaced else "") + virtual.kind
    result: dict[str, Any] = {}
    if "create" in virtual.verbs:
        post = operations.operation("post", f"create*{kind}", schema, given.WRITE, body=schema)
        result[collection] = {"post": post, "parameters": [*in_path, given.PRETTY]}
    if "list" in virtual.verbs:
        many = schemas.virtual_list(virtual, schema)
        listed = operations.operation("list", f"list*{kind}", many, given.LIST)
        result[collection] = {"get": listed, "parameters": [*in_path, given.PRETTY]}
        if virtual.namespaced:
            result[f"{base}/{virtual.plural}"] = {
                **operations.everywhere(many),
                "parameters": [*given.LIST, given.PRETTY],
            }
    if "get" in virtual.verbs:
        item = {"get": operations.operation("get", f"read*{kind}", schema)}
        result[f"{collection}/{{name}}"] = {**item, "parameters": [given.name(virtual.kind), *in_path, given.PRETTY]}
    return result


def _names(group: str, version: str) -> tuple[str, str]:
    """The tag of a group and version, and how they stand in operation ids: ``apps_v1`` and ``AppsV1``."""
    parts = re.split(r"[.-]", group.removesuffix(".k8s.io") or "core")
    words = [parts[0], *(part.capitalize() for part in parts[1:])]
    camel = "".join(word[:1].upper() + word[1:] for word in words)
    return f"{''.join(words)}_{version}", f"{camel}{version[:1].upper()}{version[1:]}"
