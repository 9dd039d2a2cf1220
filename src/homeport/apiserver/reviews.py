"""Questions about what the asking user may do: SelfSubjectAccessReview and SelfSubjectRulesReview.

They look like objects that are created, and store nothing.
"""

from __future__ import annotations

from typing import Any

from homeport.apiserver.authz import MASTERS, Authorizer
from homeport.apiserver.discovery import Virtual
from homeport.apiserver.encoding import decode_body, encode, object_response
from homeport.apiserver.routes import RequestInfo, collapse
from homeport.kube.errors import BadRequest, MethodNotAllowed
from homeport.kube.meta import Object
from homeport.kube.wire import Request, Response, User

VIRTUAL = (
    Virtual(
        "authorization.k8s.io",
        "v1",
        "selfsubjectaccessreviews",
        "selfsubjectaccessreview",
        "SelfSubjectAccessReview",
        False,
    ),
    Virtual(
        "authorization.k8s.io",
        "v1",
        "selfsubjectrulesreviews",
        "selfsubjectrulesreview",
        "SelfSubjectRulesReview",
        False,
    ),
)
_BY_PATH = {(virtual.group, virtual.version, virtual.plural): virtual for virtual in VIRTUAL}


def find(info: RequestInfo) -> Virtual | None:
    return _BY_PATH.get((info.group, info.version, info.resource))


def answer(authorizer: Authorizer, virtual: Virtual, request: Request, info: RequestInfo, user: User) -> Response:
    """Raises MethodNotAllowed, BadRequest or UnsupportedMediaType."""
    if info.verb != "create":
        raise MethodNotAllowed(f"{virtual.plural} can only be created")
    body = decode_body(request.headers.get("content-type"), request.body).object
    if body.get("kind", virtual.kind) != virtual.kind:
        raise BadRequest(f"{body['kind']} cannot be handled as a {virtual.kind}")
    spec = body.get("spec") or {}
    if not isinstance(spec, dict):
        raise BadRequest("spec has to be an object")
    match virtual.kind:
        case "SelfSubjectAccessReview":
            status: dict[str, Any] = _access(authorizer, spec, user)
        case _:
            status = _rules(user)
    result: Object = {
        "kind": virtual.kind,
        "apiVersion": f"{virtual.group}/{virtual.version}",
        "metadata": {"creationTimestamp": None},
        "spec": spec,
        "status": status,
    }
    return object_response(encode(result), status=201)


def _access(authorizer: Authorizer, spec: dict[str, Any], user: User) -> dict[str, Any]:
    resource, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if isinstance(resource, dict):
        get = resource.get
        info = RequestInfo(
            str(get("verb") or ""),
            "",
            True,
            str(get("group") or ""),
            str(get("version") or ""),
            str(get("resource") or ""),
            str(get("namespace") or ""),
            str(get("name") or ""),
            str(get("subresource") or ""),
        )
    elif isinstance(path, dict):
        info = RequestInfo(str(path.get("verb") or ""), collapse(str(path.get("path") or "/")))
    else:
        raise BadRequest("exactly one of spec.resourceAttributes and spec.nonResourceAttributes has to be set")
    reason = authorizer.authorize(user, info)
    return {"allowed": reason is None} | ({"reason": reason} if reason else {})


def _rules(user: User) -> dict[str, Any]:
    everything = MASTERS in user.groups
    resources = [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}] if everything else []
    paths = [{"verbs": ["*"], "nonResourceURLs": ["*"]}] if everything else []
    return {"resourceRules": resources, "nonResourceRules": paths, "incomplete": False}
