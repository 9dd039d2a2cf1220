"""OpenAPI: version 3 as an index and a document for each group and version, version 2 as one document; in JSON and in
protobuf.

Clients read off it that PATCH takes ``fieldValidation`` (then validation is the server's business), which kind a path
is of, how lists are merged (``kubectl apply``), and the schemas (``kubectl explain``, generators).

Everything is made when it is first asked for, and kept by group and version: a new CustomResourceDefinition costs the
document of its own group, and version 2 is joined from pieces.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from homeport.apiserver.aggregation.table import ApiServices
from homeport.apiserver.answers import JSON, not_served
from homeport.apiserver.discovery import GIT_VERSION
from homeport.apiserver.encoding import encode, not_acceptable
from homeport.apiserver.offload import at
from homeport.apiserver.openapi import gnostic, operations, version2
from homeport.apiserver.openapi.schemas import Schemas
from homeport.apiserver.resources import Registry, Served
from homeport.apiserver.virtual import Virtual
from homeport.kube.wire import Request, Response

VERSION_2 = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
VERSION_3 = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf"
"""With a dot: Go's clients refuse to parse the ``@`` that they ask with."""


class _Body(NamedTuple):
    content: bytes
    hash: str


def _body(content: bytes) -> _Body:
    return _Body(content, hashlib.sha512(content).hexdigest().upper())


class _Group:
    """What is made of one group and version, each part on first use."""

    def __init__(self, registry: Registry, served: tuple[Served, ...], virtual: tuple[Virtual, ...]) -> None:
        self._registry = registry
        self.served = served
        self._virtual = virtual
        self.document: bytes | None = None
        self._made: dict[str, Any] = {}

    @classmethod
    def of(cls, registry: Registry, document: bytes) -> _Group:
        """What an extra server says of its group and version."""
        group = cls(registry, (), ())
        group.document = document
        return group

    async def part(self, name: str, make: Callable[[dict[str, Any]], Any]) -> Any:
        """What `make` makes of the group's document. Each group that is worked on gives way to others: what large
        definitions need is done off the loop, and a group of built-in kinds takes no longer than others can wait."""
        if name not in self._made:
            custom = bool(self.served) and all(served.definition.digest for served in self.served)
            self._made[name] = await at(custom, lambda: make(self._document()))
            await asyncio.sleep(0)
        return self._made[name]

    def _document(self) -> dict[str, Any]:
        if self.document is not None:
            said: dict[str, Any] = msgspec.json.decode(self.document)
            return said
        schemas = Schemas(self._registry.components)
        paths: dict[str, Any] = {}
        for one in self.served:
            paths |= operations.paths(one, schemas)
        for virtual in self._virtual:
            paths |= operations.virtual_paths(virtual, schemas)
        return {
            "openapi": "3.0.0",
            "info": {"title": "Kubernetes", "version": GIT_VERSION},
            "paths": dict(sorted(paths.items())),
            "components": {"schemas": dict(sorted(schemas.items()))},
        }


class OpenApi:
    """The answers below ``/openapi``."""

    def __init__(
        self, registry: Registry, virtual: tuple[Virtual, ...] = (), services: ApiServices | None = None
    ) -> None:
        self._registry = registry
        self._virtual = virtual
        self._services = ApiServices() if services is None else services
        self._groups: dict[str, _Group] = {}
        self._generation = (-1, -1)
        self._whole: dict[str, _Body] = {}

    async def answer(self, request: Request, path: str) -> Response:
        """Raises NotFound for a group and version that isn't served, NotAcceptable for a form that there isn't."""
        self._refresh()
        accept = request.headers.get("accept", "")
        if path == "/openapi/v2":
            if _takes(accept, "v2"):
                return _respond(request, await self._joined("protobuf", gnostic.version_2, gnostic.join_2), VERSION_2)
            _check(accept, VERSION_2)
            return _respond(request, await self._joined("json", version2.pieces, version2.join), JSON)
        if path == "/openapi/v3":
            return _respond(request, await self._index(), JSON)
        group = self._groups.get(path.removeprefix("/openapi/v3/"))
        if group is None:
            raise not_served()
        json: _Body = await group.part("json", lambda document: _body(encode(document)))
        if not _takes(accept, "v3"):
            _check(accept, VERSION_3)
            return _respond(request, json, JSON, json.hash)
        return _respond(request, await group.part("protobuf", _version_3), VERSION_3, json.hash)

    def _refresh(self) -> None:
        """Take note of groups whose resources have changed."""
        generation = (self._registry.generation, self._services.generation)
        if self._generation == generation:
            return
        found: dict[str, list[Served]] = {}
        for served in self._registry:
            found.setdefault(_name(served.group, served.resource.version), []).append(served)
        virtual: dict[str, list[Virtual]] = {}
        for one in self._virtual:
            virtual.setdefault(_name(one.group, one.version), []).append(one)
        groups: dict[str, _Group] = {}
        for name in sorted(found.keys() | virtual.keys()):
            served_here, known = tuple(found.get(name, ())), self._groups.get(name)
            if known is None or known.document is not None or known.served != served_here:
                known = _Group(self._registry, served_here, tuple(virtual.get(name, ())))
            groups[name] = known
        for key in self._services.remote:
            name, offer = _name(*key), self._services.offer(key)
            groups.pop(name, None)
            if offer is None or offer.document is None:
                continue
            known = self._groups.get(name)
            if known is None or known.document != offer.document:
                known = _Group.of(self._registry, offer.document)
            groups[name] = known
        self._groups, self._whole, self._generation = dict(sorted(groups.items())), {}, generation

    async def _index(self) -> _Body:
        whole = self._whole
        if "index" not in whole:
            paths = {}
            for name, group in self._groups.items():
                json: _Body = await group.part("json", lambda document: _body(encode(document)))
                paths[name] = {"serverRelativeURL": f"/openapi/v3/{name}?hash={json.hash}"}
            whole["index"] = _body(encode({"paths": paths}))
        return whole["index"]

    async def _joined(self, form: str, cut: Callable[[dict[str, Any]], Any], join: Callable[..., bytes]) -> _Body:
        whole = self._whole  # another one takes its place when what is served changes meanwhile
        if form not in whole:
            # What several define is as this server has it: the later piece counts.
            ordered = sorted(self._groups.values(), key=lambda group: group.document is None)
            pieces = [await group.part(f"v2 {form}", cut) for group in ordered]
            whole[form] = _body(join(pieces, GIT_VERSION))
        return whole[form]


def _version_3(document: dict[str, Any]) -> _Body:
    return _body(gnostic.version_3(document))


def _name(group: str, version: str) -> str:
    return f"apis/{group}/{version}" if group else f"api/{version}"


def _takes(accept: str, version: str) -> bool:
    """Whether a client likes protobuf best; those that do list it first."""
    return f"proto-openapi.spec.{version}" in accept.partition(",")[0]


def _check(accept: str, protobuf: str) -> None:
    """Raises NotAcceptable for a client that takes neither of the two forms."""
    media = {part.partition(";")[0].strip().lower() for part in accept.split(",")}
    if not media & {"", JSON, "*/*", "application/*"}:
        raise not_acceptable(JSON, protobuf)


def _respond(request: Request, body: _Body, content_type: str, digest: str = "") -> Response:
    etag = f'"{body.hash}"'
    headers = {"content-type": content_type, "etag": etag, "vary": "Accept", "cache-control": "no-cache, private"}
    asked = dict(request.query).get("hash") if digest else None
    if asked == digest and asked:
        headers["cache-control"] = "public, immutable"
        headers["expires"] = "Fri, 31 Dec 9999 23:59:59 GMT"
    elif asked:
        # The document has changed since the index was read: the client goes on with what is true now.
        location = f"{request.path}?hash={digest}"
        return Response(301, {"location": location, "cache-control": "no-cache, private"})
    if etag in [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]:
        return Response(304, headers)
    return Response(200, headers, body.content)
