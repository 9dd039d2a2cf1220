"""One audit event as a line of JSON (``audit.k8s.io/v1`` Event). Pure, and run by the thread that writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from homeport.apiserver.audit.policy import API_VERSION, LEVEL_NAMES, Decision, Level
from homeport.apiserver.authn import user_info
from homeport.apiserver.encoding import decode_body, media_type
from homeport.apiserver.routes import RequestInfo
from homeport.kube.errors import ApiError
from homeport.kube.meta import micro_timestamp
from homeport.kube.wire import NOT_JSON, Request, User

DECISION, ALLOWED = "authorization.k8s.io/decision", "allow"
"""The annotation that says what the authorizer decided."""
_REFUSED = 400
_encoder = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that an event is made of."""

    id: str
    stage: str
    decision: Decision
    request: Request
    info: RequestInfo
    user: User | None
    impersonated: User | None
    received: datetime
    at: datetime
    annotations: Mapping[str, str]
    code: int = 0
    """The answer's status; 0 before there is one."""
    body: bytes = b""
    """The answer's JSON; empty if it is of another form, or a stream."""


def line(facts: Facts) -> bytes:
    """The event, with a line feed."""
    request, decision = facts.request, facts.decision
    event: dict[str, Any] = {
        "kind": "Event",
        "apiVersion": API_VERSION,
        "level": LEVEL_NAMES[decision.level],
        "auditID": facts.id,
        "stage": facts.stage,
        "requestURI": uri(request),
        "verb": facts.info.verb,
        "user": user_info(facts.user) if facts.user is not None else {},
    }
    if facts.impersonated is not None:
        event["impersonatedUser"] = user_info(facts.impersonated)
    if request.source:
        event["sourceIPs"] = [request.source]
    if "user-agent" in request.headers:
        event["userAgent"] = request.headers["user-agent"]
    answer = _decoded(facts.body) if facts.body else None
    if facts.info.is_resource and facts.info.resource:
        event["objectRef"] = _reference(facts, answer)
    if facts.code:
        event["responseStatus"] = _status(facts.code, answer)
    if decision.level >= Level.REQUEST and request.body:
        sent = _sent(request)
        if sent is not None:
            event["requestObject"] = _bare(sent) if decision.omit_managed_fields else sent
    if decision.level >= Level.REQUEST_RESPONSE and answer is not None:
        event["responseObject"] = _bare(answer) if decision.omit_managed_fields else msgspec.Raw(facts.body)
    event["requestReceivedTimestamp"] = micro_timestamp(facts.received)
    event["stageTimestamp"] = micro_timestamp(facts.at)
    if facts.annotations:
        event["annotations"] = dict(facts.annotations)
    return _encoder.encode(event) + b"\n"


def uri(request: Request) -> str:
    """The request's path and query, escaped again."""
    path = quote(request.path, safe="/:@!$&'()*+,;=~-._")
    return f"{path}?{urlencode(request.query)}" if request.query else path


def _decoded(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except NOT_JSON:
        return None


def _sent(request: Request) -> Any:
    """The request's body as JSON; None for what is none, which the answer will have said."""
    content_type = request.headers.get("content-type")
    if media_type(content_type).endswith("json"):
        return _decoded(request.body)
    try:
        if media_type(content_type) == "application/apply-patch+yaml":
            content_type = "application/yaml"
        return decode_body(content_type, request.body).object
    except ApiError:
        return None


def _reference(facts: Facts, answer: Any) -> dict[str, str]:
    info = facts.info
    metadata = _metadata(answer) if isinstance(answer, dict) and answer.get("kind") != "Status" else {}
    name = info.name
    if not name and info.verb == "create":
        name = str(metadata.get("name") or "")
        # What was refused was still looked at, if the user may create such things.
        if not name and facts.code >= _REFUSED and facts.annotations.get(DECISION) == ALLOWED:
            name = str(_metadata(_sent(facts.request)).get("name") or "")
    reference = {
        "resource": info.resource,
        "namespace": info.namespace,
        "name": name,
        "uid": str(metadata.get("uid") or "") if name else "",
        "apiGroup": info.group,
        "apiVersion": info.version,
        "resourceVersion": str(metadata.get("resourceVersion") or "") if name and info.verb != "create" else "",
        "subresource": info.subresource,
    }
    return {key: value for key, value in reference.items() if value}


def _metadata(obj: Any) -> dict[str, Any]:
    metadata = obj.get("metadata") if isinstance(obj, dict) else None
    return metadata if isinstance(metadata, dict) else {}


def _status(code: int, answer: Any) -> dict[str, Any]:
    if isinstance(answer, dict) and answer.get("kind") == "Status":
        known = {key: answer[key] for key in ("status", "message", "reason", "details") if key in answer}
        return {"metadata": {}, **known, "code": code}
    return {"metadata": {}, "code": code}


def _bare(obj: Any) -> Any:
    """`obj`, and the items of a list, without ``managedFields``."""
    if not isinstance(obj, dict):
        return obj
    changed = dict(obj)
    if isinstance(obj.get("metadata"), dict):
        changed["metadata"] = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    if isinstance(obj.get("items"), list):
        changed["items"] = [_bare(item) for item in obj["items"]]
    return changed
