"""Resources without stored objects: questions that are answered when they are created or asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from homeport.apiserver.answers import not_allowed, not_served
from homeport.apiserver.encoding import decode_body
from homeport.apiserver.routes import RequestInfo
from homeport.kube import meta
from homeport.kube.errors import BadRequest
from homeport.kube.meta import Object
from homeport.kube.selector import parse_fields, parse_labels
from homeport.kube.wire import Request


class Virtual(NamedTuple):
    """A resource that is served and never stored."""

    group: str
    version: str
    plural: str
    singular: str
    kind: str
    namespaced: bool
    verbs: tuple[str, ...] = ("create",)
    short_names: tuple[str, ...] = ()
    struct: str = ""
    """Where the struct of its objects is (``package.module:Struct``); empty for what built-in kinds are made of."""

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


def check(virtual: Virtual, info: RequestInfo) -> None:
    """Whether `virtual` can be asked for what `info` says. Raises NotFound or MethodNotAllowed."""
    about_one = bool(info.name)
    misplaced = bool(info.namespace) and not virtual.namespaced
    homeless = virtual.namespaced and not info.namespace and (about_one or "list" not in virtual.verbs)
    if info.subresource or misplaced or homeless:
        raise not_served()
    if info.verb not in virtual.verbs or (about_one and info.verb == "create"):
        raise not_allowed()


def sent(virtual: Virtual, request: Request) -> Object:
    """The body of a request that creates a `virtual`. Raises BadRequest or UnsupportedMediaType."""
    body = decode_body(request.headers.get("content-type"), request.body).object
    if body.get("kind") not in (None, "", virtual.kind):
        raise BadRequest(f"{body['kind']} cannot be handled as a {virtual.kind}")
    return body


def selected(found: Sequence[Object], query: dict[str, str]) -> list[Object]:
    """Those that the selectors of a query choose. Raises BadRequest."""
    labels = parse_labels(query.get("labelSelector", ""))
    fields = parse_fields(query.get("fieldSelector", ""))
    for path in fields.paths():
        if path not in ("metadata.name", "metadata.namespace"):
            raise BadRequest(f'field label "{path}" not supported')

    def matches(obj: Object) -> bool:
        metadata = meta.metadata(obj)
        return labels.matches(meta.labels(obj)) and fields.matches(
            lambda path: str(metadata.get(path.removeprefix("metadata."), ""))
        )

    return [obj for obj in found if matches(obj)]
