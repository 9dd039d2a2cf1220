"""Questions about identity: who am I (SelfSubjectReview), and whose token is this (TokenReview)."""

from __future__ import annotations

from typing import Any

from homeport.apiserver.authn import BearerTokens, user_info
from homeport.apiserver.context import Api
from homeport.apiserver.encoding import encode, negotiate_object, object_response
from homeport.apiserver.routes import RequestInfo
from homeport.apiserver.virtual import Virtual, check, sent
from homeport.kube.errors import BadRequest, Unauthorized
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


async def answer(api: Api, virtual: Virtual, request: Request, info: RequestInfo, user: User) -> Response:
    """Raises NotFound, MethodNotAllowed, NotAcceptable, BadRequest or UnsupportedMediaType."""
    check(virtual, info)
    form = negotiate_object(request.headers.get("accept"))
    body = sent(virtual, request)
    spec = body.get("spec") or {}
    if not isinstance(spec, dict):
        raise BadRequest("spec has to be an object")
    result: Object = {
        "kind": virtual.kind,
        "apiVersion": virtual.api_version,
        "metadata": {"creationTimestamp": timestamp(api.now())},
    }
    if virtual.kind == "SelfSubjectReview":
        result["status"] = {"userInfo": user_info(user)}
    else:
        result["spec"] = spec
        result["status"] = await _review(spec, api.tokens)
    return object_response(encode(result), form, 201)


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
