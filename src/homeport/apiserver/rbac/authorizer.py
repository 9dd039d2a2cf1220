"""Decides by the roles in the store. A decision takes about a microsecond: what follows from the roles is worked out
once for each user and kind of request, and forgotten when a role or binding changes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from homeport.apiserver.authz import ALLOWED, MASTERS, Decision, Held
from homeport.apiserver.rbac.index import Index, RoleRef
from homeport.apiserver.rbac.rules import FULL_AUTHORITY, Rule, covers_request
from homeport.apiserver.routes import RequestInfo
from homeport.kube.wire import User
from homeport.store.protocol import Store

_REMEMBERED, _CHARACTERS = 16_384, 8 << 20
"""Answers to remember at most, and characters of the questions, for all users together. Then it starts over."""
_LONGEST, _LONGEST_USER = 512, 32 << 10
"""Characters of a question, and of a user's name and groups, whose answer is remembered: a path may have thousands, and
anybody may ask about health; a review may name a million groups."""


class _Answer(NamedTuple):
    """What a user may do by one kind of request, whatever the object's name."""

    granted: tuple[tuple[frozenset[str], Decision], ...]
    """For objects of these names (empty: of every name), the first that fits counts."""
    refused: Decision


class Rbac:
    """Authorizer by the Roles, ClusterRoles and bindings in `store`; members of ``system:masters`` may do everything.

    Reads nothing before the first question.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._index = Index(store)
        self._seen = -1
        self._answers: dict[tuple[str, tuple[str, ...]], dict[tuple[str, ...], _Answer]] = {}
        self._remembered = self._characters = 0

    def authorize(self, user: User, info: RequestInfo) -> Decision:
        if MASTERS in user.groups:
            return ALLOWED
        answer = self._answer(user, info)
        for names, decision in answer.granted:
            if not names or info.object_name in names:
                return decision
        return answer.refused

    def settled(self, user: User, info: RequestInfo) -> Decision | None:
        if MASTERS in user.groups:
            return ALLOWED
        answer = self._answer(user, info)
        if not answer.granted:
            return answer.refused
        names, decision = answer.granted[0]
        return None if names else decision

    def _answer(self, user: User, info: RequestInfo) -> _Answer:
        if self._store.revision != self._seen:
            self._catch_up()
        who = (user.name, user.groups)
        known = self._answers.get(who)
        what = _kind_of(info)
        answer = known.get(what) if known is not None else None
        if answer is None:
            answer = self._work_out(user, info)
            self._remember(who, what, answer)
        return answer

    def held(self, user: User, namespace: str) -> Held:
        self._catch_up()
        rules: list[Rule] = []
        errors: list[str] = []
        for grant in self._index.grants(user, namespace):
            if grant.rule is not None:
                rules.append(grant.rule)
            else:
                errors.append(grant.error)
        if MASTERS in user.groups:  # whatever the roles say
            rules = [*(rule for rule in FULL_AUTHORITY if rule not in rules), *rules]
        return Held(tuple(rules), joined(errors))

    def rules_of_role(self, role: RoleRef, namespace: str) -> tuple[Rule, ...]:
        self._catch_up()
        return self._index.rules_of_role(role, namespace)

    def close(self) -> None:
        """Hear of no more changes. A later question starts over."""
        self._index.close()
        self._seen = -1

    def _catch_up(self) -> None:
        revision = self._store.revision
        if self._index.catch_up():
            self._forget()
        self._seen = revision

    def _remember(self, who: tuple[str, tuple[str, ...]], what: tuple[str, ...], answer: _Answer) -> None:
        size = sum(map(len, what))
        if size > _LONGEST:
            return
        known = self._answers.get(who)
        if known is None:
            name, groups = who
            own = len(name) + sum(map(len, groups)) + len(groups)
            if own > _LONGEST_USER:
                return
            size += own
        if self._remembered >= _REMEMBERED or self._characters + size > _CHARACTERS:
            self._forget()
            known = None
        if known is None:
            known = self._answers[who] = {}
        known[what] = answer
        self._remembered += 1
        self._characters += size

    def _forget(self) -> None:
        self._answers.clear()
        self._remembered = self._characters = 0

    def _work_out(self, user: User, info: RequestInfo) -> _Answer:
        granted: list[tuple[frozenset[str], Decision]] = []
        errors: list[str] = []
        for grant in self._index.grants(user, info.namespace):
            if grant.rule is None:
                errors.append(grant.error)
            elif covers_request(grant.rule, info):
                names = frozenset(grant.rule.names) if info.is_resource else frozenset()
                granted.append((names, Decision(True, f"RBAC: allowed by {grant.source}")))
                if not names:
                    break
        return _Answer(tuple(granted), Decision(False, f"RBAC: {joined(errors)}" if errors else ""))


def _kind_of(info: RequestInfo) -> tuple[str, ...]:
    """What decides about a request, but the object's name."""
    if info.is_resource:
        return (info.verb, info.group, info.resource, info.subresource, info.namespace)
    return (info.verb, info.path)


def joined(errors: Iterable[str]) -> str:
    """Several errors as one, as apimachinery's ``Aggregate`` words it: each once, in brackets if there are several."""
    unique = list(dict.fromkeys(errors))
    return unique[0] if len(unique) == 1 else "[" + ", ".join(unique) + "]" if unique else ""
