"""The claims of a token that is believed, made into a user. Pure.

What is taken as it stands is named by its claim, all else is worked out in CEL. The rules are upstream's
(``apiserver/plugin/pkg/authenticator/token/oidc``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from homeport.apiserver.authn import CREDENTIAL_ID, authenticated, user_info
from homeport.apiserver.identity.jose import BadToken
from homeport.kube.wire import User

if TYPE_CHECKING:
    from homeport.kube.cel import Program


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim's value."""

    name: str
    prefix: str = ""
    """Before each value."""


Source: TypeAlias = "Claim | Program"


@dataclass(frozen=True, slots=True)
class Rule:
    """What has to hold."""

    program: Program
    message: str = ""
    """What to say if it doesn't."""


@dataclass(frozen=True, slots=True)
class ClaimMapping:
    """Which claims make which parts of a user, and what has to hold of both."""

    username: Source
    groups: Source | None = None
    uid: Source | None = None
    extra: tuple[tuple[str, Program], ...] = ()
    required: Mapping[str, str] = field(default_factory=dict)
    """Claims and the values that they must have."""
    claim_rules: tuple[Rule, ...] = ()
    """About the variable ``claims``."""
    user_rules: tuple[Rule, ...] = ()
    """About the variable ``user``."""

    def user(self, claims: Mapping[str, Any]) -> User:
        """The user of a token with these claims. Raises BadToken if they do not make one."""
        bindings = {"claims": claims}
        name = _text("username", self.username, claims)
        if not name:
            raise BadToken("the username is empty")
        groups = () if self.groups is None else _texts("groups", self.groups, claims)
        uid = "" if self.uid is None else _text("uid", self.uid, claims)
        extra = {}
        for key, program in self.extra:
            if values := _strings(f"extra {key}", _evaluated(f"extra {key}", program, bindings)):
                extra[key] = values
        if isinstance(claims.get("jti"), str):
            extra[CREDENTIAL_ID] = (f"JTI={claims['jti']}",)
        for required, value in self.required.items():
            if claims.get(required) != value:
                raise BadToken(f"the required claim {required} is missing or has another value")
        _hold(self.claim_rules, bindings)
        user = User(name, groups, uid, extra)
        _hold(self.user_rules, {"user": user_info(user)})
        return authenticated(user)


def _text(what: str, source: Source, claims: Mapping[str, Any]) -> str:
    if not isinstance(source, Claim):
        value = _evaluated(what, source, {"claims": claims})
        if not isinstance(value, str):
            raise BadToken(f"the {what} expression must return a string")
        return value
    value = claims.get(source.name)
    if not isinstance(value, str) or not value:
        raise BadToken(f"the claim {source.name} is missing or no text")
    if what == "username" and source.name == "email" and claims.get("email_verified", True) is not True:
        raise BadToken("the email address is not verified")
    return source.prefix + value


def _texts(what: str, source: Source, claims: Mapping[str, Any]) -> tuple[str, ...]:
    if not isinstance(source, Claim):
        return _strings(what, _evaluated(what, source, {"claims": claims}))
    found = claims.get(source.name)
    if found is None:
        return ()
    if isinstance(found, str):
        found = [found]
    if not isinstance(found, list) or not all(isinstance(value, str) for value in found):
        raise BadToken(f"the claim {source.name} is neither a text nor a list of texts")
    return tuple(f"{source.prefix}{value}" for value in found)


def _strings(what: str, value: Any) -> tuple[str, ...]:
    """Of an expression; what is empty counts as not there."""
    if value is None:
        return ()
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise BadToken(f"the {what} expression must return a string or a list of strings")
    return tuple(item for item in value if item)


def _hold(rules: tuple[Rule, ...], bindings: Mapping[str, Any]) -> None:
    for rule in rules:
        if _evaluated("validation", rule.program, bindings) is not True:
            raise BadToken(f"validation expression '{rule.program.text}' failed: {rule.message}")


def _evaluated(what: str, program: Program, bindings: Mapping[str, Any]) -> Any:
    from homeport.kube.cel import EvaluationError  # loaded with the first expression

    try:
        return program.evaluate(bindings)
    except EvaluationError as error:
        raise BadToken(f"error evaluating the {what} expression: {error}") from error
