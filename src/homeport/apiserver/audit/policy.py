"""The audit policy: what is recorded of which requests (``audit.k8s.io/v1`` Policy). Pure.

The first rule that matches a request counts; a request that none matches is not recorded. How rules match is upstream's
(``apiserver/pkg/audit/policy``). One thing is stricter here: what secrets and tokens say is recorded only by a rule
that names their resource, not by one that happens to cover it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

from homeport.apiserver.routes import RequestInfo
from homeport.kube import field
from homeport.kube.errors import FieldError
from homeport.kube.wire import User

API_VERSION = "audit.k8s.io/v1"
RECEIVED, STARTED, COMPLETE, PANIC = "RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"
STAGES = (RECEIVED, STARTED, COMPLETE, PANIC)

_CONFIDENTIAL = frozenset(
    {
        ("", "secrets", ""),
        ("", "serviceaccounts", "token"),
        ("authentication.k8s.io", "tokenreviews", ""),
        ("certificates.k8s.io", "certificatesigningrequests", ""),
    }
)
"""Group, resource and subresource of requests whose bodies are credentials or made of them."""


class Level(IntEnum):
    """How much of a request is recorded."""

    NONE = 0
    METADATA = 1
    REQUEST = 2
    REQUEST_RESPONSE = 3


LEVELS = {
    "None": Level.NONE,
    "Metadata": Level.METADATA,
    "Request": Level.REQUEST,
    "RequestResponse": Level.REQUEST_RESPONSE,
}
LEVEL_NAMES = {level: name for name, level in LEVELS.items()}


class Decision(NamedTuple):
    """What to record of one request."""

    level: Level
    omitted: frozenset[str]
    """Stages without an event."""
    omit_managed_fields: bool


NOTHING = Decision(Level.NONE, frozenset(STAGES), False)


@dataclass(frozen=True, slots=True)
class _Resources:
    group: str
    resources: tuple[str, ...]
    names: tuple[str, ...]

    def matches(self, info: RequestInfo) -> bool:
        if self.group != info.group:
            return False
        if not self.resources:
            return True
        whole = f"{info.resource}/{info.subresource}" if info.subresource else info.resource
        wild = {"*", whole, f"*/{info.subresource}", f"{info.resource}/*"} if info.subresource else {"*", whole}
        if not wild.intersection(self.resources):
            return False
        return not self.names or info.name in self.names

    def names_it(self, info: RequestInfo) -> bool:
        """Whether the resource itself is listed, and not only covered."""
        whole = f"{info.resource}/{info.subresource}" if info.subresource else info.resource
        return whole in self.resources


@dataclass(frozen=True, slots=True)
class _Rule:
    decision: Decision
    users: frozenset[str]
    groups: frozenset[str]
    verbs: frozenset[str]
    namespaces: frozenset[str]
    resources: tuple[_Resources, ...]
    paths: tuple[str, ...]

    def matches(self, user: User | None, info: RequestInfo) -> bool:
        if self.users and (user is None or user.name not in self.users):
            return False
        if self.groups and (user is None or self.groups.isdisjoint(user.groups)):
            return False
        if self.verbs and info.verb not in self.verbs:
            return False
        if self.namespaces or self.resources:
            if not info.is_resource or (self.namespaces and info.namespace not in self.namespaces):
                return False
            return not self.resources or any(each.matches(info) for each in self.resources)
        if self.paths:
            return not info.is_resource and any(_covers(path, info.path) for path in self.paths)
        return True

    def decide(self, info: RequestInfo) -> Decision:
        confidential = (info.group, info.resource, info.subresource) in _CONFIDENTIAL
        if not confidential or self.decision.level <= Level.METADATA:
            return self.decision
        if any(each.matches(info) and each.names_it(info) for each in self.resources):
            return self.decision
        return self.decision._replace(level=Level.METADATA)


def _covers(pattern: str, path: str) -> bool:
    return pattern in ("*", path) or (pattern.endswith("*") and path.startswith(pattern[:-1]))


@dataclass(frozen=True, slots=True)
class Policy:
    rules: tuple[_Rule, ...]

    def decide(self, user: User | None, info: RequestInfo) -> Decision:
        """What to record of a request of `user`, the one who sent it; None: nobody that is known."""
        for rule in self.rules:
            if rule.matches(user, info):
                return rule.decide(info)
        return NOTHING


def everything() -> Policy:
    """Without a policy file: who asked for what and what came of it, once per request, but for health checks."""
    health = ["/healthz*", "/livez*", "/readyz*", "/version"]
    rules = [{"level": "None", "nonResourceURLs": health}, {"level": "Metadata", "omitStages": [RECEIVED]}]
    policy, errors = read({"rules": rules})
    assert policy is not None, errors
    return policy


def read(document: Mapping[str, Any]) -> tuple[Policy | None, list[FieldError]]:
    """The policy that a document describes, or what is wrong with it."""
    errors = list(_check(document))
    if errors:
        return None, errors
    omitted = frozenset(document.get("omitStages") or ())
    bare = bool(document.get("omitManagedFields"))
    return Policy(tuple(_rule(rule, omitted, bare) for rule in document.get("rules") or ())), []


def _rule(rule: Mapping[str, Any], omitted: frozenset[str], bare: bool) -> _Rule:
    own = rule.get("omitManagedFields")
    return _Rule(
        Decision(
            LEVELS[rule["level"]],
            omitted | frozenset(rule.get("omitStages") or ()),
            bare if own is None else bool(own),
        ),
        frozenset(rule.get("users") or ()),
        frozenset(rule.get("userGroups") or ()),
        frozenset(rule.get("verbs") or ()),
        frozenset(rule.get("namespaces") or ()),
        tuple(
            _Resources(
                str(each.get("group") or ""),
                tuple(each.get("resources") or ()),
                tuple(each.get("resourceNames") or ()),
            )
            for each in rule.get("resources") or ()
        ),
        tuple(rule.get("nonResourceURLs") or ()),
    )


_LISTS = ("users", "userGroups", "verbs", "namespaces", "nonResourceURLs", "omitStages")


def _check(document: Mapping[str, Any]) -> Iterator[FieldError]:
    if document.get("apiVersion") not in (None, API_VERSION):
        yield field.not_supported("apiVersion", document["apiVersion"], (API_VERSION,))
    if document.get("kind") not in (None, "Policy"):
        yield field.not_supported("kind", document["kind"], ("Policy",))
    yield from _check_stages(document.get("omitStages"), "omitStages")
    rules = document.get("rules")
    if not isinstance(rules, list) or not rules:
        yield field.required("rules")
        return
    for index, rule in enumerate(rules):
        at = f"rules[{index}]"
        if isinstance(rule, dict):
            yield from _check_rule(rule, at)
        else:
            yield field.invalid(at, rule, "must be an object")


def _check_rule(rule: Mapping[str, Any], at: str) -> Iterator[FieldError]:
    level = rule.get("level")
    if not isinstance(level, str) or level not in LEVELS:
        yield field.not_supported(f"{at}.level", level or "", tuple(LEVELS))
    for key in _LISTS:
        found = rule.get(key)
        if found is not None and not _is_texts(found):
            yield field.invalid(f"{at}.{key}", found, "must be a list of strings")
            return
    yield from _check_stages(rule.get("omitStages"), f"{at}.omitStages")
    paths, resources = rule.get("nonResourceURLs"), rule.get("resources")
    if paths and (resources or rule.get("namespaces")):
        detail = "rules cannot apply to both regular resources and non-resource URLs"
        yield field.invalid(f"{at}.nonResourceURLs", paths, detail)
    for number, path in enumerate(paths or ()):
        if path != "*" and not path.startswith("/"):
            detail = "non-resource URL rules must begin with a '/' character"
            yield field.invalid(f"{at}.nonResourceURLs[{number}]", path, detail)
        elif "*" in path[:-1]:
            detail = "non-resource URL wildcards '*' must be the final character of the rule"
            yield field.invalid(f"{at}.nonResourceURLs[{number}]", path, detail)
    if resources is None:
        return
    if not isinstance(resources, list) or not all(isinstance(each, dict) for each in resources):
        yield field.invalid(f"{at}.resources", resources, "must be a list of objects")
        return
    for number, each in enumerate(resources):
        where = f"{at}.resources[{number}]"
        for key in ("resources", "resourceNames"):
            if each.get(key) is not None and not _is_texts(each[key]):
                yield field.invalid(f"{where}.{key}", each[key], "must be a list of strings")
        group = each.get("group") or ""
        if not isinstance(group, str) or "/" in group:
            yield field.invalid(f"{where}.group", group, "must be a group, without a version")
        if each.get("resourceNames") and not each.get("resources"):
            detail = "using resourceNames requires at least one resource"
            yield field.invalid(f"{where}.resourceNames", each["resourceNames"], detail)


def _check_stages(stages: Any, at: str) -> Iterator[FieldError]:
    if stages is None:
        return
    if not _is_texts(stages):
        yield field.invalid(at, stages, "must be a list of strings")
        return
    for index, stage in enumerate(stages):
        if stage not in STAGES:
            yield field.not_supported(f"{at}[{index}]", stage, STAGES)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
