"""Which requests a webhook or a policy is about: rules and selectors. Pure.

Upstream: ``apiserver/pkg/admission/plugin/webhook/predicates``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from homeport.apiserver.admission.attributes import CREATE, UPDATE, Attributes
from homeport.apiserver.resources import Registry, Served
from homeport.kube.meta import Object, labels
from homeport.kube.selector import EVERYTHING, Selector, from_label_selector

GROUP = "admissionregistration.k8s.io"
"""What no webhook and no policy is asked about: a mistake in one could not be mended otherwise."""
_NAMESPACES = "/namespaces"


class Rule(msgspec.Struct, frozen=True):
    """One ``RuleWithOperations``."""

    operations: frozenset[str]
    groups: frozenset[str]
    versions: frozenset[str]
    resources: tuple[tuple[str, str], ...]
    """Resource and subresource; each may be ``*``."""
    scope: str
    names: frozenset[str]
    """Of policies only: names that are meant; empty for all."""

    @classmethod
    def of(cls, rule: Mapping[str, Any]) -> Rule:
        pairs = (str(text).partition("/") for text in rule.get("resources") or ())
        return cls(
            frozenset(rule.get("operations") or ()),
            frozenset(rule.get("apiGroups") or ()),
            frozenset(rule.get("apiVersions") or ()),
            tuple((resource, subresource) for resource, _, subresource in pairs),
            str(rule.get("scope") or "*"),
            frozenset(rule.get("resourceNames") or ()),
        )

    def matches(self, attributes: Attributes, served: Served) -> bool:
        """Whether the rule is about the request, were it made to the version `served`."""
        resource = served.resource
        return (
            _has(self.operations, attributes.operation)
            and _has(self.groups, resource.group)
            and _has(self.versions, resource.version)
            and self._in_scope(attributes)
            and any(
                name in ("*", resource.plural) and subresource in ("*", attributes.subresource)
                for name, subresource in self.resources
            )
            and (not self.names or attributes.name in self.names)
        )

    def _in_scope(self, attributes: Attributes) -> bool:
        # A namespace's own requests carry its name as namespace, and are of cluster scope.
        namespaced = bool(attributes.namespace) and attributes.served.key != _NAMESPACES
        return self.scope == "*" or (self.scope == "Namespaced") == namespaced


def _has(allowed: frozenset[str], value: str) -> bool:
    return "*" in allowed or value in allowed


class Matcher(msgspec.Struct, frozen=True):
    """The rules and selectors of one webhook or policy."""

    rules: tuple[Rule, ...]
    exact: bool
    namespaces: Selector
    objects: Selector
    excluded: tuple[Rule, ...] = ()

    @classmethod
    def of(cls, config: Mapping[str, Any], rules: str = "rules") -> Matcher:
        """From a webhook, or from the ``matchConstraints`` of a policy. Raises BadRequest for a malformed selector."""
        return cls(
            tuple(map(Rule.of, config.get(rules) or ())),
            config.get("matchPolicy") == "Exact",
            _selector(config.get("namespaceSelector")),
            _selector(config.get("objectSelector")),
            tuple(map(Rule.of, config.get("excludeResourceRules") or ())),
        )

    @property
    def by_name(self) -> bool:
        """Whether it matters which name the object has."""
        return any(rule.names for rule in (*self.rules, *self.excluded))

    def version(self, attributes: Attributes, registry: Registry) -> Served | None:
        """The version of the resource that the rules are about: the request's own if they are about that, else, unless
        only exact matches count, another one that the same objects are served in. None if there is none."""
        if _any(self.excluded, attributes, attributes.served):
            return None
        if _any(self.rules, attributes, attributes.served):
            return attributes.served
        if self.exact:
            return None
        others = equivalents(registry, attributes.served)
        if any(_any(self.excluded, attributes, other) for other in others):
            return None
        return next((other for other in others if _any(self.rules, attributes, other)), None)

    def selects(self, attributes: Attributes, namespace: Object | None) -> bool:
        """Whether the selectors choose the request; `namespace` is the object's, None for what is in none."""
        return self._selects_namespace(attributes, namespace) and self._selects_object(attributes)

    def _selects_namespace(self, attributes: Attributes, namespace: Object | None) -> bool:
        if self.namespaces.everything:
            return True
        if attributes.served.key == _NAMESPACES:
            fresh = attributes.operation in (CREATE, UPDATE) and not attributes.subresource
            own = attributes.object if fresh else attributes.old
            return self.namespaces.matches(_labels(own if own is not None else namespace))
        return not attributes.namespace or self.namespaces.matches(_labels(namespace))

    def _selects_object(self, attributes: Attributes) -> bool:
        if self.objects.everything:
            return True
        states = (state for state in (attributes.object, attributes.old) if state is not None)
        return any("metadata" in state and self.objects.matches(_labels(state)) for state in states)


def _any(rules: Iterable[Rule], attributes: Attributes, served: Served) -> bool:
    return any(rule.matches(attributes, served) for rule in rules)


def _selector(value: Mapping[str, Any] | None) -> Selector:
    return EVERYTHING if value is None else from_label_selector(value)


def _labels(obj: Object | None) -> dict[str, str]:
    found = labels(obj) if obj is not None else {}
    return found if isinstance(found, dict) else {}


def equivalents(registry: Registry, served: Served) -> Sequence[Served]:
    """The other versions of a resource, whose objects are the same ones."""
    return [other for other in registry if other.key == served.key and other is not served]


def is_exempt(attributes: Attributes) -> bool:
    """Whether no webhook and no policy is asked about the request."""
    return attributes.served.group == GROUP
