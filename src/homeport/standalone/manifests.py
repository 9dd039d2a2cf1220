"""What a cluster has to be given before controllers can run on it: kinds, an account, its rights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from homeport.components import progress, trainer
from homeport.control import definitions
from homeport.kube import core
from homeport.kube.meta import Object
from homeport.standalone import access, releases
from homeport.standalone.parts import Part, hooks, kinds, reporting, takes_reports

NAMESPACE = "homeport-system"
NAME = "homeport-controllers"
"""Of the account, its roles and bindings, the lease and the webhooks."""
CERTIFICATE = f"{NAME}-webhooks"
"""Of the Secret with the webhooks' certificate."""
_RBAC = "rbac.authorization.k8s.io"
_WEBHOOKS = "admissionregistration.k8s.io"


def manifests(
    parts: Sequence[Part], namespace: str = NAMESPACE, *, webhooks: bool = False, release: int | None = None
) -> Iterator[Object]:
    """Everything, in the order in which to apply it. `webhooks`: with the rights that serving them,
    and the reports that come by the same server, takes. `release`:
    the minor release of Kubernetes that it is for; None: the newest."""
    for definition in definitions.manifests(kinds(parts)):
        yield releases.suited(definition, release)
    yield from accounts(parts, namespace, webhooks=webhooks)


def accounts(parts: Sequence[Part], namespace: str = NAMESPACE, *, webhooks: bool = False) -> Iterator[Object]:
    """The account in its namespace, and its rights."""
    asked = hooks(parts) if webhooks else ()
    reports = webhooks and takes_reports(parts)
    if reports:
        parts = reporting(parts, trainer.Reporting("", bundle=str))
    yield core.NAMESPACE.new(namespace)
    yield core.SERVICE_ACCOUNT.new(NAME, namespace)
    others = [rule for part in parts for work in part.works for rule in work.grants]
    everywhere = access.rules([controller for part in parts for controller in part.controllers], asked, others)
    if any(part.trains for part in parts):
        everywhere.append(dict(progress.GRANT))
    if webhooks:
        kinds = ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"]
        everywhere += _named(_WEBHOOKS, kinds, NAME, ["patch"])
    if reports:
        tokens = {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]}
        everywhere.append(tokens)
    yield core.CLUSTER_ROLE.new(NAME, rules=everywhere)
    yield core.CLUSTER_ROLE_BINDING.new(NAME, roleRef=_role("ClusterRole"), subjects=[_subject(namespace)])
    here = _named("coordination.k8s.io", ["leases"], NAME, ["get", "update"])
    if webhooks:
        here += _named("", ["secrets"], CERTIFICATE, ["get", "update"])
    yield core.ROLE.new(NAME, namespace, rules=here)
    yield core.ROLE_BINDING.new(NAME, namespace, roleRef=_role("Role"), subjects=[_subject(namespace)])


def _named(group: str, resources: list[str], name: str, verbs: list[str]) -> list[Object]:
    """Rights to one object, and to make it: RBAC can't say of what name something new may be."""
    place = {"apiGroups": [group], "resources": resources}
    return [{**place, "verbs": ["create"]}, {**place, "resourceNames": [name], "verbs": verbs}]


def _role(kind: str) -> Object:
    return {"apiGroup": _RBAC, "kind": kind, "name": NAME}


def _subject(namespace: str) -> Object:
    return {"kind": "ServiceAccount", "name": NAME, "namespace": namespace}
