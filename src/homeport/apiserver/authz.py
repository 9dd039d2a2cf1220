"""What a user may do. Role-based access control takes the place of `MastersOnly` behind the same protocol."""

from __future__ import annotations

from typing import Protocol

from homeport.apiserver.routes import RequestInfo
from homeport.kube.errors import Forbidden
from homeport.kube.wire import User

MASTERS = "system:masters"


class Authorizer(Protocol):
    def authorize(self, user: User, info: RequestInfo) -> str | None:
        """None to allow; else why not, which may be empty."""


class MastersOnly:
    """Members of ``system:masters`` may do everything; everyone may ask about themselves and see discovery."""

    def authorize(self, user: User, info: RequestInfo) -> str | None:
        if MASTERS in user.groups:
            return None
        if not info.is_resource and info.verb == "get" and _is_discovery(info.path):
            return None
        if info.group in ("authentication.k8s.io", "authorization.k8s.io") and info.resource.startswith("self"):
            return None
        return ""


def _is_discovery(path: str) -> bool:
    """What Kubernetes' role ``system:discovery`` opens to every user."""
    return path in ("/api", "/apis", "/version") or path.startswith(("/api/", "/apis/", "/openapi/"))


def check(authorizer: Authorizer, user: User, info: RequestInfo) -> None:
    """Raises Forbidden in Kubernetes' words."""
    reason = authorizer.authorize(user, info)
    if reason is not None:
        raise Forbidden(message(user, info) + (f": {reason}" if reason else ""), details=_details(info))


def message(user: User, info: RequestInfo) -> str:
    if not info.is_resource:
        return f'forbidden: User "{user.name}" cannot {info.verb} path "{info.path}"'
    resource = f"{info.resource}.{info.group}" if info.group else info.resource
    what = f'{resource} "{info.name}"' if info.name else resource
    full = f"{info.resource}/{info.subresource}" if info.subresource else info.resource
    where = f'in the namespace "{info.namespace}"' if info.namespace else "at the cluster scope"
    return (
        f'{what} is forbidden: User "{user.name}" cannot {info.verb} resource "{full}" in API group '
        f'"{info.group}" {where}'
    )


def _details(info: RequestInfo) -> dict[str, str]:
    details = {"name": info.name, "group": info.group, "kind": info.resource}
    return {key: value for key, value in details.items() if value}
