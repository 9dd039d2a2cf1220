"""What a user may do: the question, the answer, and the refusal in Kubernetes' words."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from homeport.apiserver.routes import RequestInfo
from homeport.apiserver.subresources import SESSIONS
from homeport.kube.errors import Forbidden, object_details
from homeport.kube.field import quote
from homeport.kube.wire import User

if TYPE_CHECKING:
    from homeport.apiserver.rbac.index import RoleRef
    from homeport.apiserver.rbac.rules import Rule

MASTERS = "system:masters"
"""The group whose members may do everything, whatever the roles say."""


class Decision(NamedTuple):
    allowed: bool
    reason: str = ""
    """Why, in words for people; may be empty."""


ALLOWED = Decision(True)


class Held(NamedTuple):
    """Every rule that a user has."""

    rules: tuple[Rule, ...]
    errors: str
    """Why there may be more; empty if there are none."""


class Authorizer(Protocol):
    def authorize(self, user: User, info: RequestInfo) -> Decision:
        """Whether `user` may do what `info` says."""

    def settled(self, user: User, info: RequestInfo) -> Decision | None:
        """The decision about all requests that are like this one but for the object's name; None if it depends on that.
        It holds as long as nothing is written to the store."""

    def held(self, user: User, namespace: str) -> Held:
        """What `user` may do in `namespace` (empty: at the cluster scope)."""

    def rules_of_role(self, role: RoleRef, namespace: str) -> tuple[Rule, ...]:
        """The rules of the role that a binding in `namespace` names. Raises LookupError."""

    def close(self) -> None:
        """The server ends."""


def check_session(authorizer: Authorizer, user: User, info: RequestInfo) -> None:
    """A session in a pod is asked for with GET over a WebSocket and with POST over SPDY. Either way it takes the verb
    ``create``, so that who may read everything can run nothing (upstream:
    ``AuthorizePodWebsocketUpgradeCreatePermission``). Raises Forbidden."""
    if info.subresource in SESSIONS and info.resource == "pods" and info.verb == "get":
        check(authorizer, user, info._replace(verb="create"))


def check(authorizer: Authorizer, user: User, info: RequestInfo) -> None:
    """Raises Forbidden in Kubernetes' words."""
    decision = authorizer.authorize(user, info)
    if not decision.allowed:
        raise refusal(user, info, decision.reason)


def refusal(user: User, info: RequestInfo, reason: str = "") -> Forbidden:
    """The error for a request that is not allowed."""
    text = message(user, info) + (f": {reason}" if reason else "")
    return forbidden(info.group, info.resource, info.object_name, text)


def forbidden(group: str, plural: str, name: str, why: str) -> Forbidden:
    """A refusal about an object, a resource, or (without `plural`) a path (upstream: ``NewForbidden``)."""
    if not plural:
        return Forbidden(f"forbidden: {why}")
    resource = f"{plural}.{group}" if group else plural
    what = f"{resource} {quote(name)}" if name else resource
    return Forbidden(f"{what} is forbidden: {why}", details=object_details(group, plural, name))


def message(user: User, info: RequestInfo) -> str:
    """What `user` cannot do."""
    who = f"User {quote(user.name)} cannot {info.verb}"
    if not info.is_resource:
        return f"{who} path {quote(info.path)}"
    full = f"{info.resource}/{info.subresource}" if info.subresource else info.resource
    where = f"in the namespace {quote(info.namespace)}" if info.namespace else "at the cluster scope"
    return f"{who} resource {quote(full)} in API group {quote(info.group)} {where}"
