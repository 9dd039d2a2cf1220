"""Nobody gives away more than they have: who writes a role or a binding needs its rules, or a verb that says so.

Upstream: ``pkg/registry/rbac/escalation_check.go`` and the ``policybased`` storages.
"""

from __future__ import annotations

from collections.abc import Iterable

from homeport.apiserver.admission.attributes import CREATE, UPDATE, Attributes, Operation
from homeport.apiserver.admission.plugin import Plugin
from homeport.apiserver.authz import MASTERS, Authorizer, forbidden
from homeport.apiserver.rbac.index import binding_of
from homeport.apiserver.rbac.rules import FULL_AUTHORITY, Rule, compacted, quoted, rules_of, uncovered
from homeport.apiserver.routes import RequestInfo
from homeport.kube.core.rbac import GROUP
from homeport.kube.errors import NotFound
from homeport.kube.field import quote
from homeport.kube.meta import Object
from homeport.kube.wire import User

_COLLECTED = ("ownerReferences", "finalizers", "managedFields", "resourceVersion")
"""Metadata that the garbage collector has to be able to change without holding the rules."""


_ROLES = frozenset({f"{GROUP}/roles", f"{GROUP}/clusterroles"})
_BINDINGS = frozenset({f"{GROUP}/rolebindings", f"{GROUP}/clusterrolebindings"})


class Escalation(Plugin):
    """Refuses roles and bindings that give more than their author has. Upstream does so in the storage of the four
    kinds; here it is the last word of admission."""

    name = "RBACEscalation"

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    def handles(self, operation: Operation, key: str, subresource: str) -> bool:
        return operation in (CREATE, UPDATE) and (key in _ROLES or key in _BINDINGS)

    def validate(self, attributes: Attributes) -> None:
        """Raises Forbidden, or NotFound for a binding of a role that is not there."""
        new, old = attributes.object, attributes.old
        if new is None or MASTERS in attributes.user.groups or (old is not None and _same_but_collected(new, old)):
            return
        if attributes.served.key in _ROLES:
            self._check_role(attributes, new, old)
        else:
            self._check_binding(attributes, new)

    def _check_role(self, attributes: Attributes, new: Object, old: Object | None) -> None:
        user, place, plural = attributes.user, attributes.namespace, attributes.served.resource.plural
        # A request that creates names no object, so `escalate` for certain names does not open that.
        known = attributes.name if attributes.operation == UPDATE else ""
        if self._authorizer.authorize(
            user, RequestInfo("escalate", "", True, GROUP, "*", plural, place, known)
        ).allowed:
            return
        self._check_rules(attributes, rules_of(new))
        # An aggregated role gathers whatever roles come, and what its author wrote into it is overwritten.
        aggregated = _is_aggregated(new) or (old is not None and _is_aggregated(old))
        if aggregated and uncovered(self._authorizer.held(user, place).rules, FULL_AUTHORITY):
            words = "must have cluster-admin privileges to use the aggregationRule"
            raise forbidden(GROUP, plural, attributes.name, words)

    def _check_binding(self, attributes: Attributes, new: Object) -> None:
        role, place = binding_of(new).role, attributes.namespace
        plural = "roles" if role.kind == "Role" else "clusterroles"  # validation lets no other kind pass
        asked = RequestInfo("bind", "", True, GROUP, "", plural, place, role.name)
        if self._authorizer.authorize(attributes.user, asked).allowed:
            return
        try:
            rules = self._authorizer.rules_of_role(role, place)
        except LookupError as error:
            raise NotFound.of(GROUP, plural, role.name) from error
        self._check_rules(attributes, rules)

    def _check_rules(self, attributes: Attributes, rules: Iterable[Rule]) -> None:
        held = self._authorizer.held(attributes.user, attributes.namespace)
        missing = uncovered(held.rules, rules)
        if missing:
            words = _grants_too_much(attributes.user, missing, held.errors)
            raise forbidden(GROUP, attributes.served.resource.plural, attributes.name, words)


def _grants_too_much(user: User, missing: Iterable[Rule], errors: str) -> str:
    listed = "\n".join(sorted({str(rule) for rule in compacted(missing)}))
    text = (
        f"user {quote(user.name)} (groups={quoted(user.groups)}) is attempting to grant RBAC permissions not currently "
        f"held:\n{listed}"
    )
    return f"{text}; resolution errors: [{errors}]" if errors else text


def _is_aggregated(role: Object) -> bool:
    return bool((role.get("aggregationRule") or {}).get("clusterRoleSelectors"))


def _same_but_collected(new: Object, old: Object) -> bool:
    def rest(obj: Object) -> Object:
        metadata = {key: value for key, value in obj["metadata"].items() if key not in _COLLECTED}
        return {**obj, "metadata": metadata}

    return rest(new) == rest(old)
