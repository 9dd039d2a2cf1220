"""Which resources a server offers, read from its discovery documents.

The aggregated form (``apidiscovery.k8s.io``, Kubernetes 1.27 and later) needs two requests; older servers are asked
group by group.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence

import msgspec

from homeport.kube.errors import ApiError, NotFound
from homeport.kube.kind import Resource
from homeport.kube.meta import Object

_AGGREGATED = "application/json;g=apidiscovery.k8s.io;v={};as=APIGroupDiscoveryList"
_ACCEPT = ",".join([_AGGREGATED.format("v2"), _AGGREGATED.format("v2beta1"), "application/json"])


class ApiResource(msgspec.Struct, frozen=True):
    """A resource as the server describes it."""

    resource: Resource
    verbs: frozenset[str]
    subresources: frozenset[str] = frozenset()
    short_names: tuple[str, ...] = ()
    singular: str = ""
    categories: tuple[str, ...] = ()
    preferred: bool = True
    """False for a further version of a group whose preferred version also has this resource's kind."""

    def can(self, *verbs: str) -> bool:
        return self.verbs.issuperset(verbs)


class Discovery:
    """Reads and remembers. `fetch(path, accept)` gives a JSON document."""

    def __init__(self, fetch: Callable[[str, str], Awaitable[Object]]) -> None:
        self._fetch = fetch
        self._known: tuple[ApiResource, ...] | None = None
        self._lock = asyncio.Lock()

    async def resources(self, *, refresh: bool = False) -> Sequence[ApiResource]:
        known = self._known
        if known is not None and not refresh:
            return known
        async with self._lock:
            if self._known is known or self._known is None:  # nobody read while this call waited
                self._known = await self._read()
            return self._known

    async def find(self, api_version: str, kind: str) -> Resource:
        for refresh in (False, True):
            for entry in await self.resources(refresh=refresh):
                if entry.resource.kind == kind and entry.resource.api_version == api_version:
                    return entry.resource
        raise self._unknown(api_version, kind)

    def _unknown(self, api_version: str, kind: str) -> NotFound:
        import difflib  # only mistakes need it

        kinds = {entry.resource.kind: entry.resource.api_version for entry in self._known or ()}
        if kind in kinds:
            hint = f"; the server has {kind} in {kinds[kind]}"
        elif close := difflib.get_close_matches(kind, kinds, n=1):
            hint = f"; did you mean {close[0]} in {kinds[close[0]]}?"
        else:
            hint = "; is its CustomResourceDefinition installed?"
        return NotFound(f'no matches for kind "{kind}" in version "{api_version}"{hint}')

    async def _read(self) -> tuple[ApiResource, ...]:
        core, named = await asyncio.gather(self._fetch("/api", _ACCEPT), self._fetch("/apis", _ACCEPT))
        if core.get("kind") == "APIGroupDiscoveryList" and named.get("kind") == "APIGroupDiscoveryList":
            return _sorted(_mark([*_aggregated(core), *_aggregated(named)]))
        return await self._read_plain(core, named)

    async def _read_plain(self, core: Object, named: Object) -> tuple[ApiResource, ...]:
        addresses = [("", version) for version in core.get("versions") or ()]
        for group in named.get("groups") or ():
            preferred = (group.get("preferredVersion") or {}).get("version")
            versions = [entry["version"] for entry in group.get("versions") or ()]
            versions.sort(key=lambda version: version != preferred)
            addresses += [(group["name"], version) for version in versions]
        paths = [f"/apis/{group}/{version}" if group else f"/api/{version}" for group, version in addresses]
        documents = await asyncio.gather(
            *(self._fetch(path, "application/json") for path in paths), return_exceptions=True
        )
        found: list[ApiResource] = []
        for (group, version), document in zip(addresses, documents, strict=True):
            if isinstance(document, ApiError):
                continue  # an aggregated API whose backend is down must not hide the others
            if isinstance(document, BaseException):
                raise document
            found += _plain(group, version, document)
        return _sorted(_mark(found))


def _aggregated(document: Object) -> Iterator[ApiResource]:
    for group in document.get("items") or ():
        name = (group.get("metadata") or {}).get("name") or ""
        for version in group.get("versions") or ():
            for entry in version.get("resources") or ():
                kind = (entry.get("responseKind") or {}).get("kind")
                if not kind:
                    continue
                yield ApiResource(
                    Resource(name, version["version"], entry["resource"], kind, entry.get("scope") == "Namespaced"),
                    frozenset(entry.get("verbs") or ()),
                    frozenset(sub["subresource"] for sub in entry.get("subresources") or ()),
                    tuple(entry.get("shortNames") or ()),
                    entry.get("singularResource") or "",
                    tuple(entry.get("categories") or ()),
                )


def _plain(group: str, version: str, document: Object) -> Iterator[ApiResource]:
    entries = document.get("resources") or ()
    subresources: dict[str, set[str]] = {}
    for entry in entries:
        plural, _, sub = entry["name"].partition("/")
        if sub:
            subresources.setdefault(plural, set()).add(sub)
    for entry in entries:
        plural = entry["name"]
        if "/" in plural:
            continue
        yield ApiResource(
            Resource(group, version, plural, entry["kind"], bool(entry.get("namespaced"))),
            frozenset(entry.get("verbs") or ()),
            frozenset(subresources.get(plural, ())),
            tuple(entry.get("shortNames") or ()),
            entry.get("singularName") or "",
            tuple(entry.get("categories") or ()),
        )


def _mark(found: Sequence[ApiResource]) -> Iterator[ApiResource]:
    """Within a group, versions come with the preferred one first."""
    seen: set[tuple[str, str]] = set()
    for entry in found:
        key = (entry.resource.group, entry.resource.plural)
        if key not in seen:
            seen.add(key)
            yield entry
        else:
            yield ApiResource(
                entry.resource,
                entry.verbs,
                entry.subresources,
                entry.short_names,
                entry.singular,
                entry.categories,
                preferred=False,
            )


def _sorted(found: Iterator[ApiResource]) -> tuple[ApiResource, ...]:
    return tuple(sorted(found, key=lambda entry: (not entry.preferred, entry.resource.group, entry.resource.plural)))
