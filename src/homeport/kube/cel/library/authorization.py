"""``authorizer.group('apps').resource('deployments').check('create').allowed()``: the variable ``authorizer`` of
admission policies and match conditions (Kubernetes 1.27).

The variable's value is an :class:`Authorizer`, which the caller makes of a function that decides; its type is
:data:`AUTHORIZER`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from homeport.kube import names
from homeport.kube.cel.functions import Library
from homeport.kube.cel.types import Type
from homeport.kube.cel.values import EvaluationError, Opaque

_AUTHORIZER = "kubernetes.authorization.Authorizer"
_PATH = "kubernetes.authorization.PathCheck"
_GROUP = "kubernetes.authorization.GroupCheck"
_RESOURCE = "kubernetes.authorization.ResourceCheck"
_DECISION = "kubernetes.authorization.Decision"

AUTHORIZER = Type(_AUTHORIZER)
RESOURCE_CHECK = Type(_RESOURCE)
"""The type of ``authorizer.requestResource``."""


@dataclass(frozen=True, slots=True)
class Attributes:
    """What is asked of the authorizer."""

    service_account: tuple[str, str] | None = None
    """Namespace and name of who would do it; None for the user of the request."""
    path: str = ""
    """Of what is no resource."""
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    field_selector: str = ""
    label_selector: str = ""
    verb: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the authorizer says."""

    allowed: bool
    reason: str = ""
    error: str = ""


Decide = Callable[[Attributes], Verdict]


class _Asking:
    """A question to the authorizer, as far as it is asked."""

    __slots__ = ("attributes", "decide")

    def __init__(self, decide: Decide, attributes: Attributes | None = None) -> None:
        self.decide = decide
        self.attributes = attributes or Attributes()


class Authorizer(_Asking, Opaque):
    """The variable ``authorizer``."""

    __slots__ = ()
    type_name = _AUTHORIZER


class PathCheck(_Asking, Opaque):
    __slots__ = ()
    type_name = _PATH


class GroupCheck(_Asking, Opaque):
    __slots__ = ()
    type_name = _GROUP


class ResourceCheck(_Asking, Opaque):
    __slots__ = ()
    type_name = _RESOURCE


class Decision(Opaque):
    __slots__ = ("verdict",)
    type_name = _DECISION

    def __init__(self, verdict: Verdict) -> None:
        self.verdict = verdict


LIBRARY = Library()
_member = LIBRARY.member


@_member(f"path({_AUTHORIZER}, string): {_PATH}")
def _path(authorizer: Authorizer, path: str) -> PathCheck:
    if not path.strip():
        raise EvaluationError("path must not be empty")
    return PathCheck(authorizer.decide, replace(authorizer.attributes, path=path))


@_member(f"group({_AUTHORIZER}, string): {_GROUP}")
def _group(authorizer: Authorizer, group: str) -> GroupCheck:
    return GroupCheck(authorizer.decide, replace(authorizer.attributes, group=group))


@_member(f"serviceAccount({_AUTHORIZER}, string, string): {_AUTHORIZER}")
def _service_account(authorizer: Authorizer, namespace: str, name: str) -> Authorizer:
    wrong = names.dns1123_subdomain(name)
    if wrong:
        raise EvaluationError(f"Invalid service account name: {', '.join(wrong)}")
    wrong = names.dns1123_label(namespace)
    if wrong:
        raise EvaluationError(f"Invalid service account namespace: {', '.join(wrong)}")
    return Authorizer(authorizer.decide, replace(authorizer.attributes, service_account=(namespace, name)))


@_member(f"resource({_GROUP}, string): {_RESOURCE}")
def _resource(check: GroupCheck, resource: str) -> ResourceCheck:
    if not resource.strip():
        raise EvaluationError("resource must not be empty")
    return ResourceCheck(check.decide, replace(check.attributes, resource=resource))


def _narrow(function: str, attribute: str) -> None:
    @_member(f"{function}({_RESOURCE}, string): {_RESOURCE}")
    def narrow(check: ResourceCheck, value: str) -> ResourceCheck:
        narrower: dict[str, Any] = {attribute: value}
        return ResourceCheck(check.decide, replace(check.attributes, **narrower))


for _function, _attribute in (
    ("subresource", "subresource"),
    ("namespace", "namespace"),
    ("name", "name"),
    ("fieldSelector", "field_selector"),
    ("labelSelector", "label_selector"),
):
    _narrow(_function, _attribute)


@_member(f"check({_PATH}, string): {_DECISION}", f"check({_RESOURCE}, string): {_DECISION}", cost=lambda *args: 350_000)
def _check(check: PathCheck | ResourceCheck, verb: str) -> Decision:
    return Decision(check.decide(replace(check.attributes, verb=verb)))


@_member(f"allowed({_DECISION}): bool")
def _allowed(decision: Decision) -> bool:
    return decision.verdict.allowed


@_member(f"reason({_DECISION}): string")
def _reason(decision: Decision) -> str:
    return decision.verdict.reason


@_member(f"errored({_DECISION}): bool")
def _errored(decision: Decision) -> bool:
    return bool(decision.verdict.error)


@_member(f"error({_DECISION}): string")
def _error(decision: Decision) -> str:
    return decision.verdict.error
