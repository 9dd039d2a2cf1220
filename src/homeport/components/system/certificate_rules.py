"""What becomes of a certificate request, decided from the request alone: which signer takes it, who may have it without
being asked, how long its certificate holds, and when the request itself goes. Pure.

The rules are those of upstream's kube-controller-manager (``pkg/controller/certificates``: ``signer``, ``approver`` and
``cleaner``; ``pkg/apis/certificates/helpers.go``).
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Mapping, Set
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple, TypeAlias

from homeport.kube import der, meta
from homeport.kube.meta import Object, find_condition, holds

CLIENT: Final = "kubernetes.io/kube-apiserver-client"
NODE_CLIENT: Final = "kubernetes.io/kube-apiserver-client-kubelet"
NODE_SERVING: Final = "kubernetes.io/kubelet-serving"

_NODES, _NODE = "system:nodes", "system:node:"
_CLIENT_AUTH, _SERVER_AUTH = "client auth", "server auth"
_SIGNATURE, _ENCIPHERMENT = "digital signature", "key encipherment"

_LONGEST, _SHORTEST = timedelta(days=365), timedelta(minutes=10)
"""How long a certificate holds at most, which is as long as one that nobody asked a time for; and at least."""
_DECIDED_FOR, _UNDECIDED_FOR = timedelta(hours=1), timedelta(hours=24)
"""How long a request stays that has been answered, and one that waits for something."""

Check: TypeAlias = Callable[[der.Request, Set[str]], None]
"""Raises ValueError if what a request asks for, with these usages, is not what its signer gives."""


def _client(request: der.Request, usages: Set[str]) -> None:
    for usage in sorted(usages - {_CLIENT_AUTH, _SIGNATURE, _ENCIPHERMENT}):
        raise ValueError(f"invalid usage for client certificate: {usage}")
    if _CLIENT_AUTH not in usages:
        raise ValueError(f"missing required usage for client certificate: {_CLIENT_AUTH}")


def _node_client(request: der.Request, usages: Set[str]) -> None:
    _of_nodes(request)
    for names, kind in (
        (request.names, "DNS"),
        (request.emails, "Email"),
        (request.addresses, "IP"),
        (request.uris, "URI"),
    ):
        if names:
            raise ValueError(f"{kind} subjectAltNames are not allowed")
    _of_node(request)
    _exactly(usages, _CLIENT_AUTH)


def _node_serving(request: der.Request, usages: Set[str]) -> None:
    _of_nodes(request)
    if not request.names and not request.addresses:
        raise ValueError("DNS or IP subjectAltName is required")
    for names, kind in ((request.emails, "Email"), (request.uris, "URI")):
        if names:
            raise ValueError(f"{kind} subjectAltNames are not allowed")
    _exactly(usages, _SERVER_AUTH)
    _of_node(request)


def _of_nodes(request: der.Request) -> None:
    if request.organizations != (_NODES,):
        raise ValueError(f"subject organization is not {_NODES}")


def _of_node(request: der.Request) -> None:
    if not request.common_name.startswith(_NODE):
        raise ValueError(f"subject common name does not begin with {_NODE}")


def _exactly(usages: Set[str], purpose: str) -> None:
    """Key encipherment is for RSA keys, and not needed for others."""
    if usages - {_ENCIPHERMENT} != {purpose, _SIGNATURE}:
        raise ValueError(f"usages did not match [{' '.join(sorted((purpose, _SIGNATURE, _ENCIPHERMENT)))}]")


SIGNERS: Final[Mapping[str, Check]] = {CLIENT: _client, NODE_CLIENT: _node_client, NODE_SERVING: _node_serving}
"""Requests for other signers, those of ``kubernetes.io`` included, wait for somebody else."""


class Approval(NamedTuple):
    """A request that is approved by itself for whom the roles let create `subresource` of certificate requests."""

    subresource: str
    message: str


def approvals(request: Object) -> tuple[Approval, ...]:
    """Ways by which a node's client certificate may be approved without anybody being asked; none for other requests
    and for such as have been decided on."""
    status, spec = meta.status(request), meta.spec(request)
    conditions = status.get("conditions")
    decided = any(find_condition(conditions, decision) for decision in ("Approved", "Denied"))
    if spec.get("signerName") != NODE_CLIENT or status.get("certificate") or decided:
        return ()
    try:
        wanted = asked_for(request)
    except ValueError:
        return ()  # whoever approves it hears why
    found = [Approval("nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview.")]
    if spec.get("username") == wanted.common_name:
        words = "Auto approving self kubelet client certificate after SubjectAccessReview."
        found.insert(0, Approval("selfnodeclient", words))
    return tuple(found)


def is_to_be_signed(request: Object) -> bool:
    """Whether a request to one of the signers is approved and unanswered."""
    status = meta.status(request)
    conditions = status.get("conditions")
    approved = holds(conditions, "Approved") and not holds(conditions, "Denied") and not holds(conditions, "Failed")
    return approved and not status.get("certificate") and meta.spec(request).get("signerName") in SIGNERS


def asked_for(request: Object) -> der.Request:
    """What is asked of a signer, which gives such a thing. Raises ValueError saying why it does not."""
    wanted = der.parse_request(der.unwrap(pem(request), "CERTIFICATE REQUEST"))
    SIGNERS[meta.spec(request)["signerName"]](wanted, usages(request))
    return wanted


def pem(request: Object) -> bytes:
    return b64decode(meta.spec(request).get("request") or "")


def usages(request: Object) -> frozenset[str]:
    return frozenset(meta.spec(request).get("usages") or ())


def lifetime(spec: Mapping[str, Any]) -> timedelta:
    asked = spec.get("expirationSeconds")
    return _LONGEST if asked is None else max(_SHORTEST, min(timedelta(seconds=asked), _LONGEST))


def goes_at(request: Object) -> datetime | None:
    """When a request is to be deleted, so that those that machines make do not pile up; None: not as it is."""
    status = meta.status(request)
    conditions = status.get("conditions") or ()
    moments: list[datetime] = []
    if not conditions:
        moments.append(meta.parse_time(meta.metadata(request)["creationTimestamp"]) + _UNDECIDED_FOR)
    for condition in conditions:
        kind, decided = condition.get("type"), condition.get("lastUpdateTime")
        if not decided:
            continue
        answered = kind in ("Denied", "Failed") or (kind == "Approved" and bool(status.get("certificate")))
        if answered:
            moments.append(meta.parse_time(decided) + _DECIDED_FOR)
        elif kind == "Approved":
            moments.append(meta.parse_time(decided) + _UNDECIDED_FOR)
    if status.get("certificate") and find_condition(conditions, "Approved"):
        try:
            certificate = der.parse(der.unwrap(b64decode(status["certificate"]), "CERTIFICATE"))
        except ValueError:
            pass  # another signer's, which we can't read: the times above hold
        else:
            moments.append(datetime.fromtimestamp(certificate.not_after, UTC))
    return min(moments, default=None)
