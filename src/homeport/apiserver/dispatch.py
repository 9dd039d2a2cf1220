"""What carries a request out: a verb for what is stored, an answer for what is not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from homeport.apiserver import component_statuses, ended_pods, event_files, resource_metrics, reviews
from homeport.apiserver.answers import not_allowed, not_served
from homeport.apiserver.context import Api, Call
from homeport.apiserver.identity import reviews as identity_reviews
from homeport.apiserver.identity import token_request
from homeport.apiserver.resources import Served
from homeport.apiserver.routes import RequestInfo
from homeport.apiserver.verbs import (
    connect,
    create,
    delete,
    eviction,
    get,
    list,
    parts,
    patch,
    pods,
    proxy,
    scale,
    status,
    update,
    watch,
)
from homeport.apiserver.virtual import Virtual
from homeport.kube.wire import Request, Response, User

Verb: TypeAlias = Callable[[Api, Call], Awaitable[Response]]
VerbAtOnce: TypeAlias = Callable[[Api, Call], Response]
Answer: TypeAlias = Callable[[Api, Virtual, Request, RequestInfo, User], Awaitable[Response]]

_ON_COLLECTION: Mapping[str, Verb] = {
    "list": list.list_objects,
    "watch": watch.watch,
    "create": create.create,
    "deletecollection": delete.delete_collection,
}
_ON_OBJECT: Mapping[str, Verb] = {
    "get": get.get,
    "watch": watch.watch,
    "update": update.update,
    "patch": patch.patch,
    "delete": delete.delete,
}
ON_SUBRESOURCE: Mapping[str, Verb] = {
    "status": status.status,
    "scale": scale.scale,
    "finalize": status.finalize,
    "binding": pods.binding,
    "eviction": eviction.eviction,
    "ephemeralcontainers": parts.ephemeral_containers,
    "resize": parts.resize,
    "approval": parts.approval,
    "log": pods.log,
    "exec": connect.execute,
    "attach": connect.attach,
    "portforward": connect.port_forward,
    "proxy": proxy.forward,
    "token": token_request.token_request,
}
"""By the names in :data:`homeport.apiserver.subresources.TABLE`."""
READING = frozenset({"get", "list", "watch"})
"""Verbs that need no schema where there is nothing to read."""

ANSWERS: Mapping[Virtual, Answer] = {
    **dict.fromkeys(reviews.VIRTUAL, reviews.answer),
    **dict.fromkeys(identity_reviews.VIRTUAL, identity_reviews.answer),
    **dict.fromkeys(resource_metrics.VIRTUAL, resource_metrics.answer),
    **dict.fromkeys(ended_pods.VIRTUAL, ended_pods.answer),
    **dict.fromkeys(event_files.VIRTUAL, event_files.answer),
    **dict.fromkeys(component_statuses.VIRTUAL, component_statuses.answer),
}
BINDINGS = pods.BINDINGS
"""Has no answer of its own: it is a request to the pod that its body names."""
VIRTUAL = (*ANSWERS, BINDINGS)
"""All that is served and not stored."""
_BY_PATH = {(each.group, each.version, each.plural): each for each in VIRTUAL}


def virtual(info: RequestInfo) -> Virtual:
    """The resource without stored objects that a request is about. Raises NotFound."""
    found = _BY_PATH.get((info.group, info.version, info.resource))
    if found is None:
        raise not_served()
    return found


def verb(info: RequestInfo, served: Served) -> Verb:
    """What carries the request out. Raises NotFound or MethodNotAllowed."""
    resource = served.resource
    namespaced = bool(info.namespace) and info.resource != "namespaces"
    if namespaced and not resource.namespaced:
        raise not_served()
    if info.name and resource.namespaced and not info.namespace:
        raise not_served()
    if info.subresource:
        if info.subresource not in served.subresources or (info.rest and info.subresource != "proxy"):
            raise not_served()
        return ON_SUBRESOURCE[info.subresource]
    found = (_ON_OBJECT if info.name else _ON_COLLECTION).get(info.verb)
    if found is None or (info.verb == "create" and resource.namespaced and not info.namespace):
        raise not_allowed()
    if info.verb == "deletecollection" and info.verb not in served.verbs:
        raise not_allowed()
    return found


def at_once(request: Request, info: RequestInfo, served: Served) -> VerbAtOnce | None:
    """What carries the request out without waiting for anything; None if it is not sure that there is nothing to wait
    for, or if the request makes no sense."""
    namespaced = bool(info.namespace) and info.resource != "namespaces"
    if info.verb != "get" or info.subresource or not info.name or namespaced is not served.namespaced:
        return None
    return get.get_at_once if get.waits_for_nothing(served, request) else None
