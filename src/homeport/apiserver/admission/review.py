"""``AdmissionReview``: the question to a webhook, and what its answer says. Pure.

Upstream: ``apiserver/pkg/admission/plugin/webhook/request`` and ``webhook/errors``.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from typing import Any

import msgspec

from homeport.apiserver.admission.attributes import Attributes
from homeport.apiserver.authn import user_info
from homeport.apiserver.encoding import encode
from homeport.apiserver.resources import Served
from homeport.kube.errors import ApiError, BadRequest
from homeport.kube.meta import Object
from homeport.kube.wire import NOT_JSON

_GROUP = "admission.k8s.io"
VERSIONS = ("v1", "v1beta1")
"""Versions of AdmissionReview that this server speaks."""


class MalformedAnswer(Exception):
    """An answer that says nothing that can be used."""


class Verdict(msgspec.Struct, frozen=True):
    """What a webhook answered."""

    allowed: bool
    status: Object
    """Why not; as sent, perhaps empty."""
    patch: list[Any]
    """JSON patch operations."""
    warnings: tuple[str, ...]
    annotations: dict[str, str]


def question(
    attributes: Attributes, served: Served, uid: str, version: str, obj: Object | None, old: Object | None
) -> bytes:
    """The AdmissionReview with a request. `served` is the version that the webhook is asked in, in which `obj` and
    `old` are."""
    request = {"uid": uid, **request_facts(attributes, served), "object": obj, "oldObject": old}
    return encode({"kind": "AdmissionReview", "apiVersion": f"{_GROUP}/{version}", "request": request})


def request_facts(attributes: Attributes, served: Served) -> Object:
    """What an AdmissionReview, and the variable ``request`` of CEL, say about a request but for its objects. `served`
    is the version of the resource that is asked about."""
    asked = attributes.served.resource
    group, kind_version, kind = attributes.kind
    own_kind = (group, kind_version) != (asked.group, asked.version) or kind != asked.kind
    resource = served.resource
    request: Object = {
        # A subresource with a kind of its own (Scale, Binding) has it in every version of the resource.
        "kind": _gvk(group, kind_version, kind) if own_kind else _gvk(resource.group, resource.version, resource.kind),
        "resource": {"group": resource.group, "version": resource.version, "resource": resource.plural},
        "requestKind": _gvk(group, kind_version, kind),
        "requestResource": {"group": asked.group, "version": asked.version, "resource": asked.plural},
        "operation": attributes.operation,
        "userInfo": user_info(attributes.user),
        "dryRun": attributes.dry_run,
        "options": attributes.options,
    }
    if attributes.subresource:
        request["subResource"] = request["requestSubResource"] = attributes.subresource
    if attributes.name:
        request["name"] = attributes.name
    if attributes.namespace:
        request["namespace"] = attributes.namespace
    return request


def _gvk(group: str, version: str, kind: str) -> dict[str, str]:
    return {"group": group, "version": version, "kind": kind}


def verdict(body: bytes, uid: str, version: str, *, mutating: bool) -> Verdict:
    """What the answer in `body` says. Raises MalformedAnswer."""
    try:
        review = msgspec.json.decode(body)
    except NOT_JSON as error:
        raise MalformedAnswer(f"couldn't get version/kind; json parse error: {error}") from error
    response = review.get("response") if isinstance(review, dict) else None
    if not isinstance(review, dict) or not isinstance(response, dict):
        raise MalformedAnswer("webhook response was absent")
    if version == "v1":
        found = f"{review.get('apiVersion')}, Kind={review.get('kind')}"
        if found != f"{_GROUP}/v1, Kind=AdmissionReview":
            raise MalformedAnswer(f"expected webhook response of {_GROUP}/v1, Kind=AdmissionReview, got {found}")
        if response.get("uid") != uid:
            raise MalformedAnswer(f'expected response.uid="{uid}", got "{response.get("uid") or ""}"')
    allowed = response.get("allowed", False)
    if not isinstance(allowed, bool):
        raise MalformedAnswer("response.allowed has to be true or false")
    status = response.get("status") or {}
    if not isinstance(status, dict):
        raise MalformedAnswer("response.status has to be an object")
    warnings, annotations = response.get("warnings") or (), response.get("auditAnnotations") or {}
    if not isinstance(warnings, (list, tuple)) or not isinstance(annotations, dict):
        raise MalformedAnswer("response.warnings has to be a list, and response.auditAnnotations an object")
    return Verdict(
        allowed,
        status,
        _patch(response, version, mutating),
        tuple(str(text) for text in warnings),
        {str(key): str(value) for key, value in annotations.items()},
    )


def _patch(response: dict[str, Any], version: str, mutating: bool) -> list[Any]:
    text, kind = response.get("patch"), response.get("patchType")
    if version == "v1beta1" and text and kind is None:
        kind = "JSONPatch"
    if not mutating:
        if text or kind:
            raise MalformedAnswer("a validating webhook may not answer with response.patch or response.patchType")
        return []
    if not text:
        if kind:
            raise MalformedAnswer("webhook returned response.patchType but not response.patch")
        return []
    if not kind:
        raise MalformedAnswer("webhook returned response.patch but not response.patchType")
    if kind != "JSONPatch":
        raise MalformedAnswer(f'unsupported patch type "{kind}"')
    try:
        patch = msgspec.json.decode(b64decode(str(text), validate=True))
    except (binascii.Error, ValueError, RecursionError) as error:
        raise MalformedAnswer(f"received undecodable patch in webhook response: {error}") from error
    if not isinstance(patch, list):
        raise MalformedAnswer("received undecodable patch in webhook response: it is no list of operations")
    return patch


def denial(webhook: str, status: Object) -> ApiError:
    """The refusal that a webhook's ``status`` asks for."""
    denied = f'admission webhook "{webhook}" denied the request'
    reason, words = str(status.get("reason") or ""), str(status.get("message") or "")
    code = status.get("code")
    if not isinstance(code, int) or isinstance(code, bool) or not 400 <= code <= 599:
        code = BadRequest.code
    message = f"{denied}: {words or reason}" if words or reason else f"{denied} without explanation"
    body: Object = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message}
    if reason:
        body["reason"] = reason
    if isinstance(status.get("details"), dict):
        body["details"] = status["details"]
    body["code"] = code
    return ApiError.from_status(body, code)
