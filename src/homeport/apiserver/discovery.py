"""What the server has: aggregated discovery, and the older lists that some clients still walk through.

Made from the registry when first asked for, and again when it has changed.
"""

from __future__ import annotations

import base64
import hashlib
import platform
import re
import sys
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from homeport import __version__
from homeport.apiserver import subresources
from homeport.apiserver.aggregation.table import ApiServices, GroupVersion
from homeport.apiserver.answers import JSON, not_served
from homeport.apiserver.encoding import encode, negotiate, object_response
from homeport.apiserver.resources import Registry, Served
from homeport.apiserver.virtual import Virtual
from homeport.kube.wire import Request, Response

MAJOR, MINOR = "1", "35"
GIT_VERSION = "v1.35.0+homeport"
"""The version of the API that clients shall expect: the newest that all supported clients take without a warning."""


class _Cached(NamedTuple):
    generation: tuple[int, int]
    body: bytes
    etag: str


class Discovery:
    """The answers below ``/api`` and ``/apis``, and ``/version``."""

    def __init__(
        self, registry: Registry, virtual: Iterable[Virtual] = (), services: ApiServices | None = None
    ) -> None:
        self._registry = registry
        self._virtual = tuple(virtual)
        self._services = ApiServices() if services is None else services
        self._cache: dict[str, _Cached] = {}

    def answer(self, request: Request, path: str) -> Response:
        """Raises NotFound for a group or version that isn't served."""
        parts = path.strip("/").split("/")
        match parts:
            case ["version"]:
                return Response(200, {"content-type": JSON}, encode(version_info()))
            case ["api" | "apis"]:
                legacy = parts[0] == "api"
                version = _aggregated_version(request.headers.get("accept", ""))
                if version:
                    content_type = f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
                    return self._respond(
                        request, f"{parts[0]};{version}", lambda: self._aggregated(version, legacy), content_type
                    )
                return self._respond(request, parts[0], self._api_versions if legacy else self._group_list)
            case ["api", version]:
                return self._respond(request, path, lambda: self._resource_list("", version))
            case ["apis", group]:
                return self._respond(request, path, lambda: self._group(group))
            case ["apis", group, version]:
                return self._respond(request, path, lambda: self._resource_list(group, version))
        raise not_served()

    def _respond(
        self, request: Request, key: str, make: Callable[[], dict[str, Any]], content_type: str = JSON
    ) -> Response:
        cached = self._cache.get(key)
        generation = (self._registry.generation, self._services.generation)
        if cached is None or cached.generation != generation:
            body = encode(make())
            etag = '"' + hashlib.sha256(body).hexdigest().upper()[:64] + '"'
            cached = self._cache[key] = _Cached(generation, body, etag)
        headers = {"content-type": content_type, "etag": cached.etag, "cache-control": "public", "vary": "accept"}
        if request.headers.get("if-none-match") == cached.etag:
            return Response(304, headers)
        if content_type == JSON:
            form = negotiate(request.headers.get("accept"))
            if form.media != "json":
                plain = object_response(cached.body, form)
                return Response(200, {**headers, **plain.headers}, plain.body)
        return Response(200, headers, cached.body)

    # -- what there is

    def group_versions(self) -> set[GroupVersion]:
        """What this server answers for itself."""
        own = {(served.group, served.resource.version) for served in self._registry}
        return own | {(virtual.group, virtual.version) for virtual in self._virtual}

    def _versions(self) -> dict[str, list[str]]:
        """Versions by group, the groups in their order and the preferred version first."""
        services = self._services
        found: dict[str, list[str]] = {}
        everything = self.group_versions() | services.remote.keys()
        for group, version in everything:
            found.setdefault(group, []).append(version)

        def preference(group: str, version: str) -> tuple[int, tuple[int, int, int, str]]:
            return -services.rank((group, version)).version, version_priority(version)

        return {
            group: sorted(found[group], key=lambda version: preference(group, version))
            for group in services.groups(everything)
        }

    def _resources(self, group: str, version: str) -> list[Served]:
        served = [s for s in self._registry if s.group == group and s.resource.version == version]
        return sorted(served, key=lambda s: s.resource.plural)

    def _virtual_resources(self, group: str, version: str) -> list[Virtual]:
        return [virtual for virtual in self._virtual if virtual.group == group and virtual.version == version]

    # -- the older lists

    def _api_versions(self) -> dict[str, Any]:
        return {
            "kind": "APIVersions",
            "versions": self._versions().get("", ["v1"]),
            "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": "127.0.0.1"}],
        }

    def _group_list(self) -> dict[str, Any]:
        groups = [self._group_entry(group, versions) for group, versions in self._versions().items() if group]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}

    def _group(self, group: str) -> dict[str, Any]:
        versions = self._versions().get(group)
        if not versions or not group:
            raise not_served()
        return {"kind": "APIGroup", "apiVersion": "v1"} | self._group_entry(group, versions)

    @staticmethod
    def _group_entry(group: str, versions: list[str]) -> dict[str, Any]:
        entries = [{"groupVersion": f"{group}/{version}", "version": version} for version in versions]
        return {"name": group, "versions": entries, "preferredVersion": entries[0]}

    def _resource_list(self, group: str, version: str) -> dict[str, Any]:
        if version not in self._versions().get(group, ()):
            raise not_served()
        entries: list[dict[str, Any]] = []
        for served in self._resources(group, version):
            resource = served.resource
            entry: dict[str, Any] = {
                "name": resource.plural,
                "singularName": served.singular,
                "namespaced": resource.namespaced,
                "kind": resource.kind,
                "verbs": list(served.verbs),
                "storageVersionHash": _storage_hash(served),
            }
            if served.short_names:
                entry["shortNames"] = list(served.short_names)
            if served.categories:
                entry["categories"] = list(served.categories)
            entries.append(entry)
            for subresource in subresources.of(served.subresources):
                below: dict[str, Any] = {
                    "name": f"{resource.plural}/{subresource.name}",
                    "singularName": "",
                    "namespaced": resource.namespaced,
                    "kind": resource.kind,
                    "verbs": list(subresource.verbs),
                }
                gvk = subresource.gvk(resource.kind)
                if gvk is not None:
                    below["kind"] = gvk["kind"]
                    if gvk["group"]:
                        below |= {"group": gvk["group"], "version": gvk["version"]}
                entries.append(below)
        entries += [
            {
                "name": virtual.plural,
                "singularName": virtual.singular,
                "namespaced": virtual.namespaced,
                "kind": virtual.kind,
                "verbs": list(virtual.verbs),
                **({"shortNames": list(virtual.short_names)} if virtual.short_names else {}),
            }
            for virtual in self._virtual_resources(group, version)
        ]
        group_version = f"{group}/{version}" if group else version
        return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": entries}

    # -- aggregated

    def _aggregated(self, version: str, legacy: bool) -> dict[str, Any]:
        items = [
            {
                "metadata": {"creationTimestamp": None} | ({"name": group} if group else {}),
                "versions": [self._aggregated_version(group, name) for name in versions],
            }
            for group, versions in self._versions().items()
            if (group == "") is legacy
        ]
        return {
            "kind": "APIGroupDiscoveryList",
            "apiVersion": f"apidiscovery.k8s.io/{version}",
            "metadata": {},
            "items": items,
        }

    def _aggregated_version(self, group: str, version: str) -> dict[str, Any]:
        remote = self._services.aggregated((group, version))
        if remote is not None:
            return remote
        resources = [_aggregated_resource(served) for served in self._resources(group, version)]
        resources += [
            {
                "resource": virtual.plural,
                "responseKind": {"group": group, "version": version, "kind": virtual.kind},
                "scope": "Namespaced" if virtual.namespaced else "Cluster",
                "singularResource": virtual.singular,
                "verbs": list(virtual.verbs),
                **({"shortNames": list(virtual.short_names)} if virtual.short_names else {}),
            }
            for virtual in self._virtual_resources(group, version)
        ]
        return {"version": version, "resources": resources, "freshness": "Current"}


def _aggregated_version(accept: str) -> str:
    """The first version of aggregated discovery that a client accepts; empty if it wants the older lists."""
    for part in accept.split(","):
        parameters = {piece.strip() for piece in part.split(";")}
        if {"application/json", "g=apidiscovery.k8s.io", "as=APIGroupDiscoveryList"} <= parameters:
            for version in ("v2", "v2beta1"):
                if f"v={version}" in parameters:
                    return version
    return ""


def _aggregated_resource(served: Served) -> dict[str, Any]:
    resource = served.resource
    entry: dict[str, Any] = {
        "resource": resource.plural,
        "responseKind": served.gvk,
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": served.singular,
        "verbs": list(served.verbs),
    }
    if served.short_names:
        entry["shortNames"] = list(served.short_names)
    if served.categories:
        entry["categories"] = list(served.categories)
    if served.subresources:
        entry["subresources"] = [
            {
                "subresource": each.name,
                "responseKind": each.gvk(served.kind) or served.gvk,
                "verbs": list(each.verbs),
            }
            for each in subresources.of(served.subresources)
        ]
    return entry


def _storage_hash(served: Served) -> str:
    """Changes with the version that objects are stored in. Made as upstream does (``endpoints/discovery``): its
    conformance suite computes it too."""
    text = f"{served.group}/{served.storage_version}/{served.kind}"
    return base64.b64encode(hashlib.sha256(text.encode()).digest()[:8]).decode()


_VERSION = re.compile(r"v(\d+)(?:(alpha|beta)(\d+))?")


def version_priority(version: str) -> tuple[int, int, int, str]:
    """Sorts versions as Kubernetes prefers them: v2, v1, v1beta2, v1beta1, v1alpha1, others by name."""
    match = _VERSION.fullmatch(version)
    if match is None:
        return (3, 0, 0, version)
    stage = {None: 0, "beta": 1, "alpha": 2}[match[2]]
    return (stage, -int(match[1]), -int(match[3] or 0), version)


_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
"""Go's names of machines."""


def version_info() -> dict[str, str]:
    """``/version``. Clients expect a commit in hexadecimal: a digest of the version stands for it."""
    return {
        "major": MAJOR,
        "minor": MINOR,
        "gitVersion": GIT_VERSION,
        "gitCommit": hashlib.sha1(__version__.encode(), usedforsecurity=False).hexdigest(),
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": f"python{platform.python_version()}",
        "compiler": "cpython",
        "platform": f"{sys.platform}/{_ARCHITECTURES.get(platform.machine(), platform.machine())}",
    }
