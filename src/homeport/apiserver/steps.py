"""The steps that the two ways of a request have in common: the one that may wait (:mod:`homeport.apiserver.server`) and
the one that does not (:mod:`homeport.apiserver.at_once`)."""

from __future__ import annotations

import logging

from homeport.apiserver import warnings
from homeport.apiserver.answers import error_response
from homeport.apiserver.audit.trail import Trail
from homeport.apiserver.authn import Identified
from homeport.apiserver.authz import Authorizer, Decision, refusal
from homeport.apiserver.context import Call
from homeport.apiserver.resources import Served
from homeport.apiserver.routes import RequestInfo
from homeport.kube.errors import InternalError
from homeport.kube.wire import Request, Response, User

log = logging.getLogger(__name__)


def identify(trail: Trail | None, who: Identified) -> None:
    """Note who sent the request."""
    if trail is not None:
        trail.user = who.user
        trail.annotations.update(who.annotations)
        trail.identified()


def authorize(authorizer: Authorizer, user: User, info: RequestInfo, trail: Trail | None) -> None:
    """Raises Forbidden."""
    decision = authorizer.authorize(user, info)
    note_decision(trail, decision)
    if not decision.allowed:
        raise refusal(user, info, decision.reason)


def note_decision(trail: Trail | None, decision: Decision) -> None:
    if trail is not None:
        trail.annotations["authorization.k8s.io/decision"] = "allow" if decision.allowed else "forbid"
        trail.annotations["authorization.k8s.io/reason"] = decision.reason


def call_of(request: Request, info: RequestInfo, user: User, served: Served) -> Call:
    """What a verb gets."""
    query: dict[str, str] = {}
    for key, value in request.query:
        query.setdefault(key, value)
    call = Call(request, info, user, served, query, info.namespace if served.namespaced else "")
    if served.warning:
        call.warnings.append(served.warning)
    return call


def remark(call: Call, response: Response, trail: Trail | None) -> None:
    """Pass on what a verb had to say beside its answer."""
    if call.annotations and trail is not None:
        trail.annotations.update(call.annotations)
    if call.warnings:
        response.headers["warning"] = warnings.header(call.warnings)


def fault(request: Request) -> Response:
    """The answer where the exception that is being handled is a fault in the program."""
    # Headers and bodies hold secrets: the log names the method and the path only.
    log.exception("%s %s failed", request.method, request.path)
    return error_response(
        InternalError("an error in the server: its log has the details (please report it)", details={})
    )
