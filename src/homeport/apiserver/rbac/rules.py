"""One rule of a role: what it allows, what it covers, how messages show it. Pure.

Upstream: ``pkg/apis/rbac/v1/evaluation_helpers.go``, ``pkg/registry/rbac/validation/policy_compact.go`` and
``policy_comparator.go`` of component-helpers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from homeport.apiserver.routes import RequestInfo
from homeport.kube.field import quote
from homeport.kube.meta import Object

ALL = "*"


class Rule(NamedTuple):
    """A ``PolicyRule``: every combination of its lists is allowed."""

    verbs: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    """Empty for objects of any name."""
    urls: tuple[str, ...] = ()

    def to_object(self) -> Object:
        """The rule as it stands in a role, without empty lists."""
        fields = {
            "verbs": self.verbs,
            "apiGroups": self.groups,
            "resources": self.resources,
            "resourceNames": self.names,
            "nonResourceURLs": self.urls,
        }
        return {key: list(values) for key, values in fields.items() if values}

    def __str__(self) -> str:
        """As messages show it (upstream: ``CompactString``)."""
        fields = {
            "APIGroups": self.groups,
            "Resources": self.resources,
            "NonResourceURLs": self.urls,
            "ResourceNames": self.names,
            "Verbs": self.verbs,
        }
        return "{" + ", ".join(f"{key}:{quoted(values)}" for key, values in fields.items() if values) + "}"


FULL_AUTHORITY = (Rule((ALL,), (ALL,), (ALL,)), Rule((ALL,), urls=(ALL,)))


def quoted(values: Iterable[str]) -> str:
    """A list of strings as Go's ``%q`` shows it."""
    return "[" + " ".join(quote(value) for value in values) + "]"


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(value or ())


def rule_of(obj: Object) -> Rule:
    """The rule of a role's JSON."""
    get = obj.get
    return Rule(
        _texts(get("verbs")),
        _texts(get("apiGroups")),
        _texts(get("resources")),
        _texts(get("resourceNames")),
        _texts(get("nonResourceURLs")),
    )


def rules_of(role: Object) -> tuple[Rule, ...]:
    return tuple(rule_of(rule) for rule in role.get("rules") or ())


# -- what a rule allows


def covers_request(rule: Rule, info: RequestInfo) -> bool:
    """Whether `rule` allows the request for objects of the right name."""
    if ALL not in rule.verbs and info.verb not in rule.verbs:
        return False
    if not info.is_resource:
        return any(_url_matches(url, info.path) for url in rule.urls)
    if ALL not in rule.groups and info.group not in rule.groups:
        return False
    resources = rule.resources
    if ALL in resources:
        return True
    if not info.subresource:
        return info.resource in resources
    return f"{info.resource}/{info.subresource}" in resources or f"*/{info.subresource}" in resources


def _url_matches(url: str, path: str) -> bool:
    return url == path or (url.endswith(ALL) and path.startswith(url.rstrip(ALL)))


# -- what rules cover

_COMPARISONS: Final = 200_000
"""Of parts with rules, at most, for one question: some tenths of a second."""


def uncovered(owned: Iterable[Rule], wanted: Iterable[Rule]) -> list[Rule]:
    """What of `wanted` no rule in `owned` allows, broken down to single verbs, resources and names (upstream:
    ``Covers``). A part that is covered is covered by one rule alone.

    A rule of very many parts that none of `owned` covers as a whole counts as missing as a whole: a small body can name
    billions of parts.
    """
    owned = tuple(dict.fromkeys(owned))
    left = _COMPARISONS // (len(owned) or 1)
    missing: list[Rule] = []
    for rule in wanted:
        if any(_covers(own, rule) for own in owned):
            continue
        parts = len(rule.verbs) * (len(rule.groups) * len(rule.resources) * (len(rule.names) or 1) + len(rule.urls))
        if parts > left:
            missing.append(rule)
            continue
        left -= parts
        missing += [part for part in _broken_down(rule) if not any(_covers(own, part) for own in owned)]
    return missing


def _broken_down(rule: Rule) -> Iterator[Rule]:
    for group in rule.groups:
        for resource in rule.resources:
            for verb in rule.verbs:
                if rule.names:
                    for name in rule.names:
                        yield Rule((verb,), (group,), (resource,), (name,))
                else:
                    yield Rule((verb,), (group,), (resource,))
    for url in rule.urls:
        for verb in rule.verbs:
            yield Rule((verb,), urls=(url,))


def _covers(own: Rule, part: Rule) -> bool:
    """Whether `own` alone allows everything that `part` does."""
    return (
        _has_all(own.verbs, part.verbs)
        and _has_all(own.groups, part.groups)
        and all(_covers_resource(own.resources, resource) for resource in part.resources)
        and (not own.names or (bool(part.names) and set(part.names) <= set(own.names)))
        and all(any(_covers_url(url, wanted) for url in own.urls) for wanted in part.urls)
    )


def _has_all(own: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
    if len(wanted) == 1:
        return ALL in own or wanted[0] in own
    return ALL in own or set(wanted) <= set(own)


def _covers_resource(own: tuple[str, ...], resource: str) -> bool:
    if ALL in own or resource in own:
        return True
    _, slash, subresource = resource.partition("/")
    return bool(slash) and f"*/{subresource}" in own


def _covers_url(own: str, url: str) -> bool:
    return own == url or (own.endswith(ALL) and url.startswith(own.rstrip(ALL)))


def compacted(rules: Iterable[Rule]) -> list[Rule]:
    """`rules` with those put together that differ in their verbs only (of single resources without names)."""
    others: list[Rule] = []
    simple: dict[tuple[str, str], Rule] = {}
    for rule in rules:
        if rule.names or rule.urls or len(rule.groups) != 1 or len(rule.resources) != 1:
            others.append(rule)
            continue
        key = (rule.groups[0], rule.resources[0])
        known = simple.get(key)
        simple[key] = rule if known is None else known._replace(verbs=known.verbs + rule.verbs)
    return [*others, *simple.values()]
