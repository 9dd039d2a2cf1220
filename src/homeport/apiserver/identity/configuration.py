"""An AuthenticationConfiguration (``apiserver.config.k8s.io``): whose tokens are believed, how they name users, and
what needs no credentials. Pure: a document to what it says, or to what is wrong with it.

Upstream: ``apiserver/pkg/apis/apiserver`` and its ``validation``. Imported only where there is such a file.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

from homeport.apiserver.identity.claims import Claim, ClaimMapping, Rule, Source
from homeport.apiserver.identity.provider import Issuer, trust
from homeport.kube import field
from homeport.kube.cel import DYN, STRING, CelError, Environment, Program
from homeport.kube.cel.syntax import Ident, Node, Select, parts
from homeport.kube.cel.types import Field, ObjectType, list_of, map_of
from homeport.kube.core import rules
from homeport.kube.errors import FieldError

_MOST_ISSUERS = 64
_RESERVED = ("k8s.io", "kubernetes.io")
_BOTH = "claim and expression can't both be set"
_VERIFIED = (
    "claims.email_verified must be used in claimMappings.username.expression or claimMappings.extra[*].valueExpression "
    "or claimValidationRules[*].expression when claims.email is used in claimMappings.username.expression"
)

_TEXTS = list_of(STRING)
_USER: Final = ObjectType(
    "kubernetes.UserInfo",
    fields={
        "username": Field(STRING, "username"),
        "uid": Field(STRING, "uid"),
        "groups": Field(_TEXTS, "groups"),
        "extra": Field(map_of(STRING, _TEXTS), "extra"),
    },
)


# The document, as it is written.


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    pass


class _Issuer(_Part, frozen=True):
    url: str = ""
    discovery_url: str = msgspec.field(name="discoveryURL", default="")
    certificate_authority: str = ""
    audiences: list[str] = []
    audience_match_policy: str = ""
    egress_selector_type: str = ""


class _ClaimRule(_Part, frozen=True):
    claim: str = ""
    required_value: str = ""
    expression: str = ""
    message: str = ""


class _UserRule(_Part, frozen=True):
    expression: str = ""
    message: str = ""


class _Mapping(_Part, frozen=True):
    claim: str = ""
    prefix: str | None = None
    expression: str = ""


class _PlainMapping(_Part, frozen=True):
    claim: str = ""
    expression: str = ""


class _Extra(_Part, frozen=True):
    key: str = ""
    value_expression: str = ""


class _Mappings(_Part, frozen=True):
    username: _Mapping = _Mapping()
    groups: _Mapping = _Mapping()
    uid: _PlainMapping = _PlainMapping()
    extra: list[_Extra] = []


class _Jwt(_Part, frozen=True):
    issuer: _Issuer = _Issuer()
    claim_validation_rules: list[_ClaimRule] = []
    claim_mappings: _Mappings = _Mappings()
    user_validation_rules: list[_UserRule] = []


class _Condition(_Part, frozen=True):
    path: str


class _Anonymous(_Part, frozen=True):
    enabled: bool
    conditions: list[_Condition] = []


_KIND = "AuthenticationConfiguration"
_VERSIONS = tuple(f"apiserver.config.k8s.io/{version}" for version in ("v1", "v1beta1", "v1alpha1"))


class _Document(_Part, frozen=True):
    api_version: str
    kind: str
    jwt: list[_Jwt] = []
    anonymous: _Anonymous | None = None


# What it says.


class Believed(NamedTuple):
    """One provider, and what its tokens say."""

    issuer: Issuer
    mapping: ClaimMapping


class Anonymous(NamedTuple):
    """What needs no credentials."""

    everything: bool
    paths: frozenset[str]

    def covers(self, path: str) -> bool:
        return self.everything or path in self.paths


class Configuration(NamedTuple):
    providers: tuple[Believed, ...]
    anonymous: Anonymous | None
    """None: as without a configuration."""


def read(document: Any, disallowed: Collection[str] = ()) -> Configuration:
    """What the document says. `disallowed` are issuers that others speak for: the server itself. Raises ValueError,
    which has everything that is wrong with it."""
    said = document if isinstance(document, dict) else {}
    if said.get("kind") != _KIND or said.get("apiVersion") not in _VERSIONS:
        raise ValueError(f"it has to be an {_KIND} of {', '.join(_VERSIONS)}")
    found = msgspec.convert(document, _Document)
    reader = _Reader(frozenset(disallowed))
    providers = reader.providers(found.jwt)
    anonymous = found.anonymous
    if anonymous is not None and not anonymous.enabled and anonymous.conditions:
        words = "enabled should be set to true when conditions are defined"
        reader.errors.append(field.invalid("anonymous.conditions", [each.path for each in anonymous.conditions], words))
    if reader.errors:
        raise ValueError("; ".join(map(str, reader.errors)))
    open_to_all = None
    if anonymous is not None:
        paths = frozenset(condition.path for condition in anonymous.conditions)
        open_to_all = Anonymous(anonymous.enabled and not paths, paths)
    return Configuration(tuple(providers), open_to_all)


class _Reader:
    """Reads providers, and collects what is wrong with them."""

    def __init__(self, disallowed: frozenset[str]) -> None:
        self.errors: list[FieldError] = []
        self._disallowed = disallowed
        self._claims = Environment({"claims": map_of(STRING, DYN)})
        self._user = Environment({"user": _USER})

    def providers(self, found: list[_Jwt]) -> list[Believed]:
        if len(found) > _MOST_ISSUERS:
            self.errors.append(field.too_many("jwt", len(found), _MOST_ISSUERS))
            return []
        providers = [self._provider(f"jwt[{index}]", each) for index, each in enumerate(found)]
        self._unique("jwt[{}].issuer.url", [each.issuer.url for each in found])
        self._unique("jwt[{}].issuer.discoveryURL", [each.issuer.discovery_url for each in found])
        return providers

    def _unique(self, path: str, values: list[str]) -> None:
        """What is there at all is there once."""
        for index, value in enumerate(values):
            if value and value in values[:index]:
                self.errors.append(field.duplicate(path.format(index), value))

    def _provider(self, at: str, jwt: _Jwt) -> Believed:
        issuer = self._issuer(f"{at}.issuer", jwt.issuer)
        required, claim_rules = self._claim_rules(f"{at}.claimValidationRules", jwt.claim_validation_rules)
        place, mappings = f"{at}.claimMappings", jwt.claim_mappings
        username = self._source(f"{place}.username", mappings.username, needed=True)
        extra = self._extra(f"{place}.extra", mappings.extra)
        if isinstance(username, Program) and _selects(username.tree, "email"):
            looked_at = [username, *(program for _, program in extra), *(rule.program for rule in claim_rules)]
            if not any(_selects(program.tree, "email_verified") for program in looked_at):
                self.errors.append(field.invalid(f"{place}.username.expression", username.text, _VERIFIED))
        mapping = ClaimMapping(
            username or Claim(""),
            self._source(f"{place}.groups", mappings.groups),
            self._plain(f"{place}.uid", mappings.uid),
            extra,
            required,
            claim_rules,
            self._user_rules(f"{at}.userValidationRules", jwt.user_validation_rules),
        )
        return Believed(issuer, mapping)

    def _issuer(self, at: str, issuer: _Issuer) -> Issuer:
        self.errors += _issuer_errors(at, issuer, self._disallowed)
        return Issuer(
            issuer.url,
            tuple(issuer.audiences),
            discovery_url=issuer.discovery_url,
            authorities=issuer.certificate_authority,
        )

    def _claim_rules(self, at: str, found: list[_ClaimRule]) -> tuple[Mapping[str, str], tuple[Rule, ...]]:
        required: dict[str, str] = {}
        kept: list[Rule] = []
        self._unique(f"{at}[{{}}].claim", [rule.claim for rule in found])
        self._unique(f"{at}[{{}}].expression", [rule.expression for rule in found])
        for index, rule in enumerate(found):
            place = f"{at}[{index}]"
            if rule.claim and rule.expression:
                self.errors.append(field.invalid(place, rule.claim, _BOTH))
            elif rule.claim:
                required[rule.claim] = rule.required_value
                if rule.message:
                    words = "may not be specified when claim is set"
                    self.errors.append(field.invalid(f"{place}.message", rule.message, words))
            elif rule.expression:
                if rule.required_value:
                    words = "may not be specified when expression is set"
                    self.errors.append(field.invalid(f"{place}.requiredValue", rule.required_value, words))
                program = self._program(self._claims, f"{place}.expression", rule.expression, holds=True)
                if program is not None:
                    kept.append(Rule(program, rule.message))
            else:
                self.errors.append(field.required(place, "claim or expression is required"))
        return required, tuple(kept)

    def _user_rules(self, at: str, found: list[_UserRule]) -> tuple[Rule, ...]:
        kept: list[Rule] = []
        self._unique(f"{at}[{{}}].expression", [rule.expression for rule in found])
        for index, rule in enumerate(found):
            place = f"{at}[{index}].expression"
            if not rule.expression:
                self.errors.append(field.required(place))
                continue
            program = self._program(self._user, place, rule.expression, holds=True)
            if program is not None:
                kept.append(Rule(program, rule.message))
        return tuple(kept)

    def _source(self, at: str, mapping: _Mapping, *, needed: bool = False) -> Source | None:
        if mapping.claim and mapping.expression:
            self.errors.append(field.invalid(at, "", _BOTH))
        elif mapping.expression:
            if mapping.prefix is not None:
                words = "may not be specified when expression is set"
                self.errors.append(field.invalid(f"{at}.prefix", mapping.prefix, words))
            return self._program(self._claims, f"{at}.expression", mapping.expression)
        elif mapping.claim:
            if mapping.prefix is None:
                words = "prefix is required when claim is set. It can be set to an empty string to disable prefixing"
                self.errors.append(field.required(f"{at}.prefix", words))
            return Claim(mapping.claim, mapping.prefix or "")
        elif needed:
            self.errors.append(field.required(at, "claim or expression is required"))
        return None

    def _plain(self, at: str, mapping: _PlainMapping) -> Source | None:
        if mapping.claim and mapping.expression:
            self.errors.append(field.invalid(at, "", _BOTH))
        elif mapping.expression:
            return self._program(self._claims, f"{at}.expression", mapping.expression)
        return Claim(mapping.claim) if mapping.claim else None

    def _extra(self, at: str, found: list[_Extra]) -> tuple[tuple[str, Program], ...]:
        kept: list[tuple[str, Program]] = []
        self._unique(f"{at}[{{}}].key", [each.key for each in found])
        for index, each in enumerate(found):
            place, key = f"{at}[{index}]", each.key
            self.errors += rules.domain_path(f"{place}.key", key)
            if key != key.lower():
                self.errors.append(field.invalid(f"{place}.key", key, "must be lowercase"))
            domain = key.partition("/")[0]
            if any(domain == name or domain.endswith(f".{name}") for name in _RESERVED):
                words = "k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use"
                self.errors.append(field.invalid(f"{place}.key", key, words))
            if not each.value_expression:
                self.errors.append(field.required(f"{place}.valueExpression"))
                continue
            program = self._program(self._claims, f"{place}.valueExpression", each.value_expression)
            if program is not None:
                kept.append((key, program))
        return tuple(kept)

    def _program(self, environment: Environment, at: str, text: str, *, holds: bool = False) -> Program | None:
        """The compiled expression; with `holds` its type has to be known to be that of a condition."""
        try:
            program = environment.compile(text)
        except CelError as error:
            self.errors.append(field.invalid(at, text, f"compilation failed: {error}"))
            return None
        if holds and program.result.name != "bool":
            self.errors.append(field.invalid(at, text, "must evaluate to bool"))
            return None
        return program


def _issuer_errors(at: str, issuer: _Issuer, disallowed: frozenset[str]) -> Iterator[FieldError]:
    if not issuer.url:
        yield field.required(f"{at}.url")
    else:
        if issuer.url in disallowed:
            words = f"URL must not overlap with disallowed issuers: [{' '.join(sorted(disallowed))}]"
            yield field.invalid(f"{at}.url", issuer.url, words)
        yield from _url_errors(f"{at}.url", issuer.url)
    if issuer.discovery_url:
        if issuer.discovery_url.rstrip("/") == issuer.url.rstrip("/"):
            yield field.invalid(f"{at}.discoveryURL", issuer.discovery_url, "discoveryURL must be different from URL")
        yield from _url_errors(f"{at}.discoveryURL", issuer.discovery_url)
    if not issuer.audiences:
        yield field.required(f"{at}.audiences", f"at least one {at}.audiences is required")
    for index, audience in enumerate(issuer.audiences):
        if not audience:
            yield field.required(f"{at}.audiences[{index}]")
        if audience in issuer.audiences[:index]:
            yield field.duplicate(f"{at}.audiences[{index}]", audience)
    policy = issuer.audience_match_policy
    if len(issuer.audiences) > 1 and policy != "MatchAny":
        words = "audienceMatchPolicy must be MatchAny for multiple audiences"
        yield field.invalid(f"{at}.audienceMatchPolicy", policy, words)
    elif policy not in ("", "MatchAny"):
        words = "audienceMatchPolicy must be empty or MatchAny for single audience"
        yield field.invalid(f"{at}.audienceMatchPolicy", policy, words)
    if issuer.certificate_authority:
        try:
            trust(issuer.certificate_authority)
        except ValueError as error:
            yield field.invalid(f"{at}.certificateAuthority", "<omitted>", str(error))
    if issuer.egress_selector_type:
        words = "this server has no egress selectors: it reaches providers directly"
        yield field.invalid(f"{at}.egressSelectorType", issuer.egress_selector_type, words)


def _url_errors(at: str, text: str) -> Iterator[FieldError]:
    try:
        url = urlsplit(text)
    except ValueError as error:
        yield field.invalid(at, text, str(error))
        return
    if url.scheme != "https" or not url.netloc:
        yield field.invalid(at, text, "URL scheme must be https")
    if "@" in url.netloc:
        yield field.invalid(at, text, "URL must not contain a username or password")
    if url.query:
        yield field.invalid(at, text, "URL must not contain a query")
    if url.fragment:
        yield field.invalid(at, text, "URL must not contain a fragment")


def _selects(node: Node, name: str) -> bool:
    """Whether an expression looks at the claim."""
    if isinstance(node, Select) and node.field == name:
        operand = node.operand
        if isinstance(operand, Ident) and operand.name == "claims":
            return True
    return any(_selects(part, name) for part in parts(node))
