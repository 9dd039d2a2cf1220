"""Questions about what users may do, on the wire: they look like objects that are created, and store nothing. The
answers are in :mod:`homeport.apiserver.access`."""

from __future__ import annotations

from homeport.apiserver import access
from homeport.apiserver.context import Api
from homeport.apiserver.encoding import encode, negotiate_object, object_response
from homeport.apiserver.routes import RequestInfo
from homeport.apiserver.virtual import Virtual, check, sent
from homeport.apiserver.warnings import header
from homeport.kube.errors import BadRequest
from homeport.kube.meta import Object
from homeport.kube.wire import Request, Response, User

VIRTUAL = (
    Virtual(
        access.GROUP, "v1", "localsubjectaccessreviews", "localsubjectaccessreview", "LocalSubjectAccessReview", True
    ),
    Virtual(
        access.GROUP, "v1", "selfsubjectaccessreviews", "selfsubjectaccessreview", "SelfSubjectAccessReview", False
    ),
    Virtual(access.GROUP, "v1", "selfsubjectrulesreviews", "selfsubjectrulesreview", "SelfSubjectRulesReview", False),
    Virtual(access.GROUP, "v1", "subjectaccessreviews", "subjectaccessreview", "SubjectAccessReview", False),
)


async def answer(api: Api, virtual: Virtual, request: Request, info: RequestInfo, user: User) -> Response:
    """Raises NotFound, MethodNotAllowed, NotAcceptable, BadRequest, Invalid or UnsupportedMediaType."""
    check(virtual, info)
    form = negotiate_object(request.headers.get("accept"))
    body = sent(virtual, request)
    metadata = body.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise BadRequest(f"{virtual.kind}: metadata has to be an object")
    obj: Object = {**body, "metadata": metadata}
    warnings = _check_fields(virtual, request, obj)
    status = access.review(api.authorizer, virtual.kind, obj, user, info.namespace)
    if virtual.namespaced:
        metadata = {**metadata, "namespace": info.namespace}
    result: Object = {
        "kind": virtual.kind,
        "apiVersion": virtual.api_version,
        "metadata": {"creationTimestamp": None, **metadata},
        "spec": body.get("spec") or {},
        "status": status,
    }
    response = object_response(encode(result), form, 201)
    if warnings:
        response.headers["warning"] = header(warnings)
    return response


def _check_fields(virtual: Virtual, request: Request, obj: Object) -> list[str]:
    """Warnings of fields that the kind does not have; BadRequest where the client asks for that (``fieldValidation``).
    Who asks for access under a misspelt name would be told about something else."""
    mode = next((value for key, value in request.query if key == "fieldValidation"), "") or "Warn"
    texts = [f'unknown field "{path}"' for path in access.unknown_fields(virtual.kind, obj)]
    if texts and mode == "Strict":
        kind = virtual.kind
        raise BadRequest(
            f'{kind} in version "{virtual.version}" cannot be handled as a {kind}: strict decoding error: '
            + ", ".join(texts)
        )
    return [] if mode == "Ignore" else texts
