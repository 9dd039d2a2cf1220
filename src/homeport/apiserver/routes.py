"""A path to what it asks for: verb, resource, namespace, name, subresource. Pure.

The shape is Kubernetes' own (``apiserver/pkg/endpoints/request``): what authorization decides on and audit records is
read off the path alone, before it is known whether the resource exists.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from homeport.kube import names
from homeport.kube.errors import BadRequest
from homeport.kube.selector import parse_fields
from homeport.kube.wire import Request

_VERBS = {"POST": "create", "GET": "get", "HEAD": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_NAMESPACE_SUBRESOURCES = frozenset({"status", "finalize"})


class RequestInfo(NamedTuple):
    """What a request asks for."""

    verb: str
    """Of a resource: ``get``, ``list``, ``watch``, ``create``, ``update``, ``patch``, ``delete``,
    ``deletecollection``. Of any other path: the HTTP method in lower case."""
    path: str
    """Without duplicate and trailing slashes."""
    is_resource: bool = False
    group: str = ""
    version: str = ""
    resource: str = ""
    """The plural; empty when the path names only a group or a version, as discovery does."""
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    rest: str = ""
    """What follows the subresource, for proxies; without a leading slash."""
    selected: str = ""
    """Of a collection: the one name that a field selector leaves (``metadata.name=x``)."""

    @property
    def object_name(self) -> str:
        """The name of the only object that the request is about, empty if there may be others."""
        return self.name or self.selected


def collapse(path: str) -> str:
    """`path` without duplicate and trailing slashes; ``/`` for an empty one."""
    if "//" in path:
        path = "/" + "/".join(part for part in path.split("/") if part)
    elif len(path) > 1 and path.endswith("/"):
        path = path[:-1]
    return path or "/"


def parse_bool(text: str | None, default: bool = False) -> bool:
    """A query's boolean: Go's ``strconv.ParseBool``; an empty value counts as true, as in ``?watch``, anything else as
    false (how Kubernetes converts query parameters)."""
    if text is None:
        return default
    return text.lower() not in ("0", "false", "f")


def request_info(request: Request) -> RequestInfo:
    """What `request` asks for; never fails: paths outside the API are not resources."""
    if request.query or len(request.path) > _REMEMBERED:
        return _read(request.method, request.path, request.query)
    return _remembered(request.method, request.path)


_REMEMBERED = 256
"""The length of paths that are remembered: clients ask for the same ones again and again."""


@lru_cache(maxsize=4096)
def _remembered(method: str, path: str) -> RequestInfo:
    return _read(method, path, ())


def _read(method: str, path: str, query: tuple[tuple[str, str], ...]) -> RequestInfo:
    path = collapse(path)
    parts = path.split("/")[1:]
    if parts[0] == "api" and len(parts) >= 3:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) >= 4:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return RequestInfo(method.lower(), path)
    verb = _VERBS.get(method, method.lower())
    watching = False
    if rest[0] == "watch" and len(rest) > 1 and verb == "get":  # the old form of ?watch=true
        watching = True
        rest = rest[1:]
    namespace = ""
    if rest[0] == "namespaces" and len(rest) >= 3 and not (len(rest) == 3 and rest[2] in _NAMESPACE_SUBRESOURCES):
        namespace = rest[1]
        rest = rest[2:]
    elif rest[0] == "namespaces" and len(rest) >= 2:
        namespace = rest[1]
    resource = rest[0]
    name = rest[1] if len(rest) > 1 else ""
    subresource = rest[2] if len(rest) > 2 else ""
    remainder = "/".join(rest[3:])
    selected = ""
    if not name:
        if verb == "get":
            verb = "list"
            selected = _selected_name(query)
        elif verb == "delete":
            verb = "deletecollection"
    if not subresource and verb in ("get", "list") and (watching or _wants_watch(query)):
        verb = "watch"
    return RequestInfo(verb, path, True, group, version, resource, namespace, name, subresource, remainder, selected)


def _selected_name(query: tuple[tuple[str, str], ...]) -> str:
    """The name that a field selector asks for, if it can only be that one."""
    for key, value in query:
        if key == "fieldSelector":
            if "metadata.name" not in value:
                return ""
            try:
                name = parse_fields(value).equality("metadata.name")
            except BadRequest:
                return ""  # whoever lists by the selector says what is wrong with it
            return name if name and not any(names.path_segment(name)) else ""
    return ""


def _wants_watch(query: tuple[tuple[str, str], ...]) -> bool:
    for key, value in query:
        if key == "watch":
            return parse_bool(value)
    return False
