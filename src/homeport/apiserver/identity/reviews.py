"""Questions about identity: who am I (SelfSubjectReview), and whose token is this (TokenReview)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from homeport.apiserver.authn import BearerTokens
from homeport.apiserver.discovery import Virtual
from homeport.apiserver.encoding import decode_body, encode, negotiate_object, object_response
from homeport.apiserver.routes import RequestInfo
from homeport.kube.errors import BadRequest, MethodNotAllowed, Unauthorized
from homeport.kube.meta import Object, timestamp
from homeport.kube.wire import Request, Response, User

GROUP = "authentication.k8s.io"


def _virtual(version: str, kind: str) -> Virtual:
    return Virtual(GROUP, version, f"{kind.lower()}s", kind.lower(), kind, False)


VIRTUAL = (
    _virtual("v1", "SelfSubjectReview"),
    _virtual("v1beta1", "SelfSubjectReview"),
    _virtual("v1alpha1", "SelfSubjectReview"),
    _virtual("v1", "TokenReview"),
)
"""``kubectl auth whoami`` before 1.28 knows only the older versions."""
_BY_PATH = {(virtual.version, virtual.plural): virtual for virtual in VIRTUAL}


def find(info: RequestInfo) -> Virtual | None:
    return _BY_PATH.get((info.version, info.resource)) if info.group == GROUP else None


async def answer(
    virtual: Virtual,
    request: Request,
    info: RequestInfo,
    user: User,
    tokens: BearerTokens | None,
    now: Callable[[], datetime],
) -> Response:
    """Raises MethodNotAllowed, BadRequest or UnsupportedMediaType."""
    if info.verb != "create" or info.name or info.subresource:
        raise MethodNotAllowed(f"{virtual.plural} can only be created")
    body: Object = {}
    if request.body.strip():
        body = decode_body(request.headers.get("content-type"), request.body).object
    if body.get("kind") not in (None, "", virtual.kind):
        raise BadRequest(f"{body['kind']} cannot be handled as a {virtual.kind}")
    spec = body.get("spec") or {}
    if not isinstance(spec, dict):
        raise BadRequest("spec has to be an object")
    result: Object = {
        "kind": virtual.kind,
        "apiVersion": f"{GROUP}/{virtual.version}",
        "metadata": {"creationTimestamp": timestamp(now())},
    }
    if virtual.kind == "SelfSubjectReview":
        result["status"] = {"userInfo": user_info(user)}
    else:
        result["spec"] = spec
        result["status"] = await _review(spec, tokens)
    return object_response(encode(result), negotiate_object(request.headers.get("accept")), 201)


def user_info(user: User) -> dict[str, Any]:
    """``authentication.k8s.io`` UserInfo."""
    info: dict[str, Any] = {"username": user.name, "groups": list(user.groups)}
    if user.uid:
        info["uid"] = user.uid
    if user.extra:
        info["extra"] = {key: list(values) for key, values in user.extra.items()}
    return info


async def _review(spec: dict[str, Any], tokens: BearerTokens | None) -> dict[str, Any]:
    token, audiences = spec.get("token"), spec.get("audiences") or []
    if not isinstance(token, str) or not token:
        raise BadRequest("token is required for TokenReview in authentication")
    if not isinstance(audiences, list) or not all(isinstance(item, str) for item in audiences):
        raise BadRequest("spec.audiences has to be a list of strings")
    if tokens is None:
        return {"user": {}, "error": "this server knows no tokens"}
    try:
        found = await tokens.authenticate_token(token, audiences or tokens.audiences)
    except Unauthorized as error:
        return {"user": {}, "error": error.message}
    assert found is not None
    return {"authenticated": True, "user": user_info(found.user), "audiences": list(found.audiences)}
