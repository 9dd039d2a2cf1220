"""The one client: typed by address (`Resource`), objects as JSON dicts, errors as `ApiError`.

Every method awaits one exchange with the server, except `watch` and `stream`, which are async context managers around a
response that goes on.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal, NamedTuple, TypeAlias

import msgspec

from homeport.client import partial
from homeport.client.discovery import ApiResource, Discovery
from homeport.client.exchange import JSON, Exchanges, decode_object
from homeport.client.transport import Transport, discard
from homeport.client.watch import Watch
from homeport.kube.errors import Expired
from homeport.kube.kind import Resource
from homeport.kube.meta import Object, name, namespace

PatchType: TypeAlias = Literal["json", "merge", "strategic"]
Propagation: TypeAlias = Literal["Background", "Foreground", "Orphan"]

_PATCH_TYPES: Mapping[str, str] = {
    "json": "application/json-patch+json",
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
}
_APPLY_TYPE = "application/apply-patch+yaml"
_PAGE = 500
_LOCAL_PAGE = 2_000
"""In process a page costs no round trip, only memory: some megabytes."""
_Page: TypeAlias = tuple[list[Object], Mapping[str, str]]
"""The items of a part of a list, and the list's metadata."""


class _WireEvent(msgspec.Struct, gc=False):
    type: str
    object: dict[str, Any]


_decode_event = msgspec.json.Decoder(_WireEvent).decode


class ObjectList(NamedTuple):
    """The objects of a collection and the revision that they are of. Items carry their apiVersion and kind."""

    items: list[Object]
    resource_version: str


class Client:
    """`field_manager` names this client in managedFields. `timeout` is seconds for one whole exchange (streams: until
    the answer starts)."""

    def __init__(self, transport: Transport, *, field_manager: str = "homeport", timeout: float = 60.0) -> None:
        self.transport = transport
        self.field_manager = field_manager
        self._exchanges = Exchanges(transport, timeout)
        self._discovery = Discovery(self._get_json)

    async def close(self) -> None:
        await self.transport.close()

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # Reading

    async def get(self, resource: Resource, name: str, namespace: str = "", *, subresource: str = "") -> Object:
        """Raises NotFound."""
        return await self._exchanges.object("GET", resource.path(namespace, _required(resource, name), subresource))

    async def list(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        labels: str = "",
        fields: str = "",
        limit: int | None = None,
        resource_version: str | None = None,
        metadata_only: bool = False,
    ) -> ObjectList:
        """All objects (of a namespace) that match, in pages of `limit` (None: no pages in process, else 500).

        Should the continuation of a long list expire, the list starts anew without pages, so that the result is one
        consistent revision. With `metadata_only` objects have no more than their metadata, without managedFields.
        """
        page = limit if limit is not None else (_PAGE if self.transport.remote else 0)
        query = _pairs(labelSelector=labels, fieldSelector=fields, resourceVersion=resource_version)
        decode = partial.decode_list if metadata_only else _decode_list
        try:
            pages = [part async for part in self._pages(resource, namespace, query, page, decode, metadata_only)]
        except Expired:
            if not page:
                raise
            pages = [part async for part in self._pages(resource, namespace, query, 0, decode, metadata_only)]
        return ObjectList([item for part in pages for item in part.items], pages[-1].resource_version)

    async def pages(
        self, resource: Resource, namespace: str = "", *, wanted: Callable[[partial.Meta], bool]
    ) -> AsyncIterator[ObjectList]:
        """The metadata of all objects (of a namespace) that are `wanted`, a page at a time and never all at once.

        All pages are of one revision. Raises Expired if the server no longer knows that: whoever asks begins anew.
        """

        def decode(body: bytes) -> _Page:
            return partial.decode_list(body, wanted)

        page = _PAGE if self.transport.remote else _LOCAL_PAGE
        async for part in self._pages(resource, namespace, (), page, decode, True):
            yield part

    async def _pages(
        self,
        resource: Resource,
        namespace: str,
        query: tuple[tuple[str, str], ...],
        page: int,
        decode: Callable[[bytes], _Page],
        metadata_only: bool,
    ) -> AsyncIterator[ObjectList]:
        path = resource.path(namespace)
        headers = partial.LIST_HEADERS if metadata_only and self.transport.remote else {}
        token = ""
        while True:
            paged = _pairs(limit=str(page) if page else None, **{"continue": token})
            items, meta = decode(await self._exchanges.body("GET", path, (*query, *paged), headers=headers))
            for item in items:  # a list's items leave out what all have in common
                item.setdefault("apiVersion", resource.api_version)
                item.setdefault("kind", resource.kind)
            yield ObjectList(items, meta.get("resourceVersion") or "")
            token = meta.get("continue") or ""
            if not token:
                return
            # The first page fixes the revision; servers refuse a resourceVersion next to a continuation.
            query = tuple(pair for pair in query if pair[0] != "resourceVersion")

    def watch(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        resource_version: str | None = None,
        labels: str = "",
        fields: str = "",
        bookmarks: bool = True,
        timeout: float | None = None,
        metadata_only: bool = False,
    ) -> Watch:
        """The changes after `resource_version` (None: first the present objects as ADDED). Server ends it after
        `timeout` seconds. See `Watch`."""
        query = (
            ("watch", "true"),
            *_pairs(
                labelSelector=labels,
                fieldSelector=fields,
                resourceVersion=resource_version,
                allowWatchBookmarks="true" if bookmarks else None,
                timeoutSeconds=str(max(1, round(timeout))) if timeout is not None else None,
            ),
        )
        headers = partial.WATCH_HEADERS if metadata_only and self.transport.remote else {}
        request = self._exchanges.request("GET", resource.path(namespace), query, headers=headers)
        return Watch(lambda: self._exchanges.open(request), partial.decode_event if metadata_only else _event)

    # Writing

    async def create(
        self, resource: Resource, obj: Object, *, subresource: str = "", field_manager: str = "", dry_run: bool = False
    ) -> Object:
        """Create `obj` in its own namespace; with `subresource`, post `obj` there (``binding``, ``eviction``, ...)."""
        path = resource.path(namespace(obj), name(obj) if subresource else "", subresource)
        return await self._exchanges.object("POST", path, self._write(field_manager, dry_run), obj)

    async def replace(
        self, resource: Resource, obj: Object, *, subresource: str = "", field_manager: str = "", dry_run: bool = False
    ) -> Object:
        """Replace the whole object. With a resourceVersion in it, raises Conflict if somebody else wrote first."""
        path = resource.path(namespace(obj), _required(resource, name(obj)), subresource)
        return await self._exchanges.object("PUT", path, self._write(field_manager, dry_run), obj)

    async def patch(
        self,
        resource: Resource,
        name: str,
        namespace: str,
        body: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        *,
        type: PatchType = "merge",
        subresource: str = "",
        field_manager: str = "",
        dry_run: bool = False,
    ) -> Object:
        """Change a part. ``strategic`` works on built-in kinds only."""
        path = resource.path(namespace, _required(resource, name), subresource)
        query = self._write(field_manager, dry_run)
        return await self._exchanges.object("PATCH", path, query, body, _PATCH_TYPES[type])

    async def apply(
        self,
        resource: Resource,
        obj: Object,
        *,
        field_manager: str = "",
        force: bool = True,
        subresource: str = "",
        dry_run: bool = False,
        strict: bool = False,
    ) -> Object:
        """Server-side apply: `obj` is all that this manager wants. Creates the object if there is none, unless `obj`
        carries a uid. Without `force`, raises Conflict where another manager owns a field. With `strict`, a field that
        the server does not know is an error and not a warning."""
        path = resource.path(namespace(obj), _required(resource, name(obj)), subresource)
        query = (*self._write(field_manager, dry_run), ("force", "true" if force else "false"))
        if strict:
            query += (("fieldValidation", "Strict"),)
        return await self._exchanges.object("PATCH", path, query, obj, _APPLY_TYPE)

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str = "",
        *,
        propagation: Propagation | None = None,
        grace_period: int | None = None,
        uid: str = "",
        resource_version: str = "",
    ) -> Object:
        """Ask for deletion; `uid` and `resource_version` are preconditions (Conflict). Returns the object as far as it
        still exists (finalizers, grace period) or a Status."""
        options = _delete_options(propagation, grace_period, uid, resource_version)
        return await self._exchanges.object("DELETE", resource.path(namespace, _required(resource, name)), (), options)

    async def delete_collection(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        labels: str = "",
        fields: str = "",
        propagation: Propagation | None = None,
        grace_period: int | None = None,
    ) -> Object:
        query = _pairs(labelSelector=labels, fieldSelector=fields)
        options = _delete_options(propagation, grace_period, "", "")
        return await self._exchanges.object("DELETE", resource.path(namespace), query, options)

    # Anything else

    async def raw(
        self,
        method: str,
        path: str,
        *,
        query: Sequence[tuple[str, str]] = (),
        body: bytes | Mapping[str, Any] | None = None,
        content_type: str = JSON,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """One exchange with any path; the answer's body. Raises ApiError for an error status."""
        return await self._exchanges.body(method, path, tuple(query), body, content_type, headers or {})

    @asynccontextmanager
    async def stream(self, path: str, query: Sequence[tuple[str, str]] = ()) -> AsyncIterator[AsyncIterator[bytes]]:
        """``async with client.stream(path) as chunks: async for chunk in chunks``: a body without end, such as logs."""
        body = await self._exchanges.open(self._exchanges.request("GET", path, tuple(query), headers={"accept": "*/*"}))
        try:
            yield body
        finally:
            await discard(body)

    # Discovery

    async def discover(self, *, refresh: bool = False) -> Sequence[ApiResource]:
        """Every resource that the server offers, with verbs. Read once; `refresh` reads anew."""
        return await self._discovery.resources(refresh=refresh)

    async def resource_for(self, api_version: str, kind: str) -> Resource:
        """The address of a kind, as a manifest names it. Reads discovery anew on a miss; raises NotFound with the kinds
        that come close."""
        return await self._discovery.find(api_version, kind)

    # Below

    def _write(self, field_manager: str, dry_run: bool) -> tuple[tuple[str, str], ...]:
        return _pairs(fieldManager=field_manager or self.field_manager, dryRun="All" if dry_run else None)

    async def _get_json(self, path: str, accept: str) -> Object:
        return await self._exchanges.object("GET", path, headers={"accept": accept})


def _decode_list(body: bytes) -> _Page:
    document = decode_object(body)
    return document.get("items") or [], document.get("metadata") or {}


def _event(line: bytes) -> tuple[str, Object]:
    event = _decode_event(line)
    return event.type, event.object


def _required(resource: Resource, name: str) -> str:
    if not name:  # the path would address the whole collection
        raise ValueError(f"{resource.qualified}: the object's name is missing")
    return name


def _pairs(**values: str | None) -> tuple[tuple[str, str], ...]:
    return tuple((key, value) for key, value in values.items() if value is not None and value != "")


def _delete_options(
    propagation: Propagation | None, grace_period: int | None, uid: str, resource_version: str
) -> Object | None:
    options: Object = {}
    if propagation is not None:
        options["propagationPolicy"] = propagation
    if grace_period is not None:
        options["gracePeriodSeconds"] = grace_period
    preconditions = dict(_pairs(uid=uid, resourceVersion=resource_version))
    if preconditions:
        options["preconditions"] = preconditions
    return {"apiVersion": "v1", "kind": "DeleteOptions", **options} if options else None
