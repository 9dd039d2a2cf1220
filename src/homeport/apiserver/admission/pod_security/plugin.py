"""PodSecurity: namespaces say by labels how much their pods may do (``pod-security.kubernetes.io/enforce`` and
others). Pods that may do more are refused; for warnings and the audit log, workloads are looked at too.

Upstream: ``pod-security-admission/admission``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from homeport.apiserver.admission.attributes import CREATE, UPDATE, Attributes, Operation
from homeport.apiserver.admission.metrics import AdmissionMetrics
from homeport.apiserver.admission.plugin import Plugin, refusal
from homeport.apiserver.admission.pod_security.configuration import (
    MODES,
    PRIVILEGED,
    WRONG_LEVEL,
    WRONG_VERSION,
    PodSecurityConfiguration,
    Policies,
)
from homeport.apiserver.admission.pod_security.pod import Violation
from homeport.apiserver.admission.pod_security.standards import (
    LATEST,
    LEVELS,
    Policy,
    parse_level,
    parse_version,
    violations,
)
from homeport.apiserver.context import Api
from homeport.apiserver.discovery import MINOR
from homeport.kube import field, meta
from homeport.kube.errors import FieldError, Invalid
from homeport.kube.meta import Object
from homeport.metrics import Labels
from homeport.store.protocol import Key, Record

PREFIX = "pod-security.kubernetes.io/"
_PODS, _NAMESPACES = "/pods", "/namespaces"
_POD_SUBRESOURCES = frozenset({"", "ephemeralcontainers", "resize"})
_TEMPLATES: Mapping[str, tuple[str, ...]] = {
    "/podtemplates": ("template",),
    "/replicationcontrollers": ("spec", "template"),
    "apps/daemonsets": ("spec", "template"),
    "apps/deployments": ("spec", "template"),
    "apps/replicasets": ("spec", "template"),
    "apps/statefulsets": ("spec", "template"),
    "batch/cronjobs": ("spec", "jobTemplate", "spec", "template"),
    "batch/jobs": ("spec", "template"),
}
"""Where the pod template of a workload is."""
_MOST_KNOWN = 1024
"""Namespaces whose policies are remembered."""
_MOST_PODS, _MOST_SECONDS = 3000, 1.0
"""What looking through the pods of a namespace may take."""


class _Parsed(NamedTuple):
    policies: Policies
    errors: tuple[FieldError, ...]


def parse(labels: Mapping[str, str], defaults: Policies = PRIVILEGED) -> _Parsed:
    """The policies that a namespace's labels say, in place of the defaults. What is wrong counts as the strictest where
    it is enforced, and as nothing else."""
    own = tuple(sorted((key, value) for key, value in labels.items() if key.startswith(PREFIX)))
    return _parse(own, defaults)


@lru_cache(maxsize=256)
def _parse(labels: tuple[tuple[str, str], ...], defaults: Policies) -> _Parsed:
    given = dict(labels)
    found: dict[str, Policy] = {}
    errors = []
    for mode in MODES:
        policy: Policy = getattr(defaults, mode)
        key = f"{PREFIX}{mode}"
        if key in given:
            level = parse_level(given[key])
            if level is None:
                errors.append(field.invalid(f"metadata.labels[{key}]", given[key], WRONG_LEVEL))
                level = "restricted" if mode == "enforce" else "privileged"
            policy = policy._replace(level=level)
        key = f"{key}-version"
        if key in given:
            version = parse_version(given[key])
            if version is None:
                errors.append(field.invalid(f"metadata.labels[{key}]", given[key], WRONG_VERSION))
                version = LATEST
            policy = policy._replace(version=version)
        found[mode] = policy
    return _Parsed(_with_warnings(Policies(**found), given), tuple(errors))


def _with_warnings(policies: Policies, given: Mapping[str, str]) -> Policies:
    """What is enforced by a label is warned of too, unless a label says what is: workloads are only warned about."""
    enforce, warn = policies.enforce, policies.warn
    said = parse_level(given.get(f"{PREFIX}enforce", ""))
    if said is None or f"{PREFIX}warn" in given or LEVELS.index(enforce.level) <= LEVELS.index(warn.level):
        return policies
    version = warn.version if f"{PREFIX}warn-version" in given else enforce.version
    return policies._replace(warn=Policy(enforce.level, version))


class PodSecurity(Plugin):
    name = "PodSecurity"

    def __init__(self, api: Api, metrics: AdmissionMetrics, configuration: PodSecurityConfiguration) -> None:
        self._api = api
        self._metrics = metrics
        self._configuration = configuration
        self._known: dict[str, tuple[Mapping[str, str], _Parsed]] = {}
        """What the labels of a namespace say; they are another mapping once they change."""

    def handles(self, operation: Operation, key: str, subresource: str) -> bool:
        if operation not in (CREATE, UPDATE):
            return False
        if key == _PODS:
            return subresource in _POD_SUBRESOURCES
        return not subresource and (key == _NAMESPACES or key in _TEMPLATES)

    def validate(self, attributes: Attributes) -> None:
        """Raises Forbidden for a pod, Invalid for a namespace's labels."""
        obj = attributes.object
        if obj is None:
            return
        if attributes.served.key == _NAMESPACES:
            self._namespace(attributes, obj)
        elif exempt := self._exempt(attributes):
            self._exempted(attributes, exempt)
        elif attributes.served.key == _PODS:
            self._pod(attributes, obj)
        else:
            self._workload(attributes, obj)

    def _exempt(self, attributes: Attributes) -> str:
        """Why a request does not have to keep to anything; empty if it has to."""
        if attributes.namespace in self._configuration.namespaces:
            return "namespace"
        return "user" if attributes.user.name in self._configuration.usernames else ""

    def _exempted(self, attributes: Attributes, why: str) -> None:
        self._metrics.pod_exemptions.add(_labels(attributes))
        attributes.annotations[f"{PREFIX}exempt"] = why

    def _policies(self, namespace: str) -> _Parsed:
        record = self._api.store.head(Key(_NAMESPACES, "", namespace))
        if record is None:
            return parse({}, self._configuration.defaults)
        known = self._known.get(namespace)
        if known is None or known[0] is not record.labels:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            known = self._known[namespace] = record.labels, parse(record.labels, self._configuration.defaults)
        return known[1]

    def _pod(self, attributes: Attributes, pod: Object) -> None:
        parsed = self._policies(attributes.namespace)
        if not parsed.errors and parsed.policies == PRIVILEGED:
            self._count(attributes, "allow", parsed.policies.enforce, "enforce")
            attributes.annotations[f"{PREFIX}enforce-policy"] = str(parsed.policies.enforce)
        elif attributes.old is None or _is_significant(pod, attributes.old):
            self._evaluate(attributes, parsed, meta.metadata(pod), meta.spec(pod), enforce=True)

    def _workload(self, attributes: Attributes, obj: Object) -> None:
        parsed = self._policies(attributes.namespace)
        if not parsed.errors and parsed.policies.audit.level == parsed.policies.warn.level == "privileged":
            return
        template = obj
        for step in _TEMPLATES[attributes.served.key]:
            template = template.get(step) or {}
        if template:
            self._evaluate(attributes, parsed, meta.metadata(template), meta.spec(template), enforce=False)

    def _evaluate(
        self, attributes: Attributes, parsed: _Parsed, metadata: Mapping[str, Any], spec: Object, *, enforce: bool
    ) -> None:
        """Raises Forbidden."""
        if spec.get("runtimeClassName") in self._configuration.runtime_classes:
            self._exempted(attributes, "runtimeClass")
            return
        known: dict[Policy, list[Violation]] = {}

        def found(policy: Policy) -> str:
            if policy not in known:
                known[policy] = violations(policy, metadata, spec)
            return ", ".join(map(str, known[policy]))

        policies, annotations = parsed.policies, attributes.annotations
        if parsed.errors:
            annotations[f"{PREFIX}error"] = "Failed to parse policy: " + "; ".join(map(str, parsed.errors))
            self._metrics.pod_errors.add(("false", *_labels(attributes)))
        refused = found(policies.enforce) if enforce else ""
        if enforce:
            annotations[f"{PREFIX}enforce-policy"] = str(policies.enforce)
            self._count(attributes, "deny" if refused else "allow", policies.enforce, "enforce")
        if why := found(policies.audit):
            annotations[f"{PREFIX}audit-violations"] = f'would violate PodSecurity "{policies.audit}": {why}'
            self._count(attributes, "deny", policies.audit, "audit")
        if refused:
            raise refusal(attributes, f'violates PodSecurity "{policies.enforce}": {refused}')
        if why := found(policies.warn):
            attributes.warnings.append(f'would violate PodSecurity "{policies.warn}": {why}')
            self._count(attributes, "deny", policies.warn, "warn")

    def _count(self, attributes: Attributes, decision: str, policy: Policy, mode: str) -> None:
        if policy.version == LATEST or policy.level == "privileged":
            version = "latest"
        else:
            version = f"v1.{policy.version}" if policy.version <= int(MINOR) else "future"
        self._metrics.pod_evaluations.add((decision, policy.level, version, mode, *_labels(attributes)))

    # -- namespaces

    def _namespace(self, attributes: Attributes, obj: Object) -> None:
        defaults = self._configuration.defaults
        new = parse(meta.labels(obj), defaults)
        old = parse({} if attributes.old is None else meta.labels(attributes.old), defaults)
        if new.errors and (attributes.old is None or new.errors != old.errors):
            raise Invalid.of("", "Namespace", attributes.name, list(new.errors))
        now, before = new.policies.enforce, old.policies.enforce
        if attributes.old is not None:
            same_version = now.version == before.version
            relaxed = same_version and LEVELS.index(now.level) <= LEVELS.index(before.level)
            if now == before or now.level == "privileged" or relaxed:
                return
        if attributes.name in self._configuration.namespaces:
            attributes.warnings += _ignored(attributes.name, new.policies, meta.labels(obj), defaults)
        elif attributes.old is not None:
            attributes.warnings += self._present(attributes.name, now)

    def _present(self, namespace: str, policy: Policy) -> list[str]:
        """Which of a namespace's pods `policy` would not have let in."""
        records, _ = self._api.store.scan(_PODS, namespace)
        deadline = time.monotonic() + _MOST_SECONDS
        by_reason: dict[str, list[str]] = {}
        checked = 0
        for pod in self._in_order(records):
            checked += 1
            if pod is not None and (found := violations(policy, meta.metadata(pod), meta.spec(pod))):
                reasons = ", ".join(violation.reason for violation in found)
                by_reason.setdefault(reasons, []).append(meta.name(pod))
            if checked == _MOST_PODS or time.monotonic() > deadline:
                break
        warnings = []
        if checked < len(records):
            few = f"the first {checked} of {len(records)} existing pods"
            warnings.append(f"new PodSecurity enforce level only checked against {few}")
        if by_reason:
            warnings.append(
                f'existing pods in namespace "{namespace}" violate the new PodSecurity enforce level "{policy}"'
            )
        return warnings + sorted(f"{_named(pods)}: {reasons}" for reasons, pods in by_reason.items())

    def _in_order(self, records: Sequence[Record]) -> Iterator[Object | None]:
        """Pods, of each owner's one first: its others are most likely the same. None in the place of an exempt one."""
        owners: set[str] = set()
        alike = []
        for record in records:
            pod: Object = msgspec.json.decode(record.value)
            owner = str((meta.controller_of(pod) or {}).get("uid") or "")
            if meta.spec(pod).get("runtimeClassName") in self._configuration.runtime_classes:
                yield None
            elif owner in owners:
                alike.append(pod)
            else:
                owners |= {owner} if owner else set()
                yield pod
        yield from alike


def _ignored(namespace: str, policies: Policies, labels: Mapping[str, str], defaults: Policies) -> list[str]:
    """The warning about labels of a namespace for which they do not count."""
    if policies in (PRIVILEGED, defaults):
        return []
    said = ", ".join(
        f"{mode}={policy}"
        for mode, policy in zip(MODES, policies, strict=True)
        if policy.level != "privileged" and not labels.keys().isdisjoint((f"{PREFIX}{mode}", f"{PREFIX}{mode}-version"))
    )
    return [f'namespace "{namespace}" is exempt from Pod Security, and the policy ({said}) will be ignored']


_COUNTED = {_PODS: "pod", _NAMESPACES: "namespace"}


def _labels(attributes: Attributes) -> Labels:
    """What metrics say about a request."""
    kind = _COUNTED.get(attributes.served.key, "controller")
    return attributes.operation.lower(), kind, attributes.subresource


def _named(pods: list[str]) -> str:
    others = len(pods) - 1
    if not others:
        return pods[0]
    return f"{min(pods)} (and {others} other {'pod' if others == 1 else 'pods'})"


def _is_significant(new: Object, old: Object) -> bool:
    """Whether an update changes what the standards are about: of a pod, little can be changed."""
    for group in ("containers", "initContainers", "ephemeralContainers"):
        containers, before = meta.spec(new).get(group) or (), meta.spec(old).get(group) or ()
        if [(one.get("name"), one.get("image")) for one in containers] != [
            (one.get("name"), one.get("image")) for one in before
        ]:
            return True

    def seccomp(pod: Object) -> dict[str, str]:
        annotations = meta.metadata(pod).get("annotations") or {}
        return {key: value for key, value in annotations.items() if "seccomp.security.alpha.kubernetes.io/" in key}

    return seccomp(new) != seccomp(old)
