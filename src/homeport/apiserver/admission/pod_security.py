"""PodSecurity: namespaces say by labels how much their pods may do (``pod-security.kubernetes.io/enforce`` and
others). Pods that may do more are refused; for warnings and the audit log, workloads are looked at too.

Upstream: ``pod-security-admission/admission``; without exemptions, and ``privileged`` is the default.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from homeport.apiserver.admission.attributes import CREATE, UPDATE, Attributes, Operation
from homeport.apiserver.admission.plugin import Plugin, refusal
from homeport.apiserver.admission.pod_security_checks import (
    LATEST,
    LEVELS,
    Policy,
    Violation,
    parse_level,
    parse_version,
    violations,
)
from homeport.apiserver.context import Api
from homeport.kube import field, meta
from homeport.kube.errors import FieldError, Invalid
from homeport.kube.meta import Object
from homeport.store.protocol import Key

PREFIX = "pod-security.kubernetes.io/"
_MODES = ("enforce", "audit", "warn")
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
_MOST_PODS, _MOST_SECONDS = 3000, 1.0
"""What looking through the pods of a namespace may take."""


class Policies(NamedTuple):
    """Those of a namespace."""

    enforce: Policy = Policy()
    audit: Policy = Policy()
    warn: Policy = Policy()


class _Parsed(NamedTuple):
    policies: Policies
    errors: tuple[FieldError, ...]


_OPEN = _Parsed(Policies(), ())


def parse(labels: Mapping[str, str]) -> _Parsed:
    """The policies that a namespace's labels say. What is wrong counts as the strictest where it is enforced, and as
    nothing else."""
    own = tuple(sorted((key, value) for key, value in labels.items() if key.startswith(PREFIX)))
    return _parse(own) if own else _OPEN


@lru_cache(maxsize=256)
def _parse(labels: tuple[tuple[str, str], ...]) -> _Parsed:
    given = dict(labels)
    found: dict[str, Policy] = {}
    errors = []
    for mode in _MODES:
        policy = Policy()
        key = f"{PREFIX}{mode}"
        if key in given:
            level = parse_level(given[key])
            if level is None:
                words = f"must be one of {', '.join(LEVELS)}"
                errors.append(field.invalid(f"metadata.labels[{key}]", given[key], words))
                level = "restricted" if mode == "enforce" else "privileged"
            policy = policy._replace(level=level)
        key = f"{key}-version"
        if key in given:
            version = parse_version(given[key])
            if version is None:
                errors.append(field.invalid(f"metadata.labels[{key}]", given[key], 'must be "latest" or "v1.x"'))
                version = LATEST
            policy = policy._replace(version=version)
        found[mode] = policy
    return _Parsed(Policies(**found), tuple(errors))


class PodSecurity(Plugin):
    name = "PodSecurity"

    def __init__(self, api: Api) -> None:
        self._api = api

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
            return
        record = self._api.store.head(Key(_NAMESPACES, "", attributes.namespace))
        parsed = _OPEN if record is None else parse(record.labels)
        if parsed is _OPEN:
            return
        if attributes.served.key == _PODS:
            if attributes.old is None or _is_significant(obj, attributes.old):
                _evaluate(attributes, parsed, meta.metadata(obj), meta.spec(obj), enforce=True)
            return
        template = obj
        for step in _TEMPLATES[attributes.served.key]:
            template = template.get(step) or {}
        if template:
            _evaluate(attributes, parsed, meta.metadata(template), meta.spec(template), enforce=False)

    def _namespace(self, attributes: Attributes, obj: Object) -> None:
        new = parse(meta.labels(obj))
        old = _OPEN if attributes.old is None else parse(meta.labels(attributes.old))
        if new.errors and new.errors != old.errors:
            raise Invalid.of("", "Namespace", attributes.name, list(new.errors))
        if attributes.old is None:
            return
        now, before = new.policies.enforce, old.policies.enforce
        same_version = now.version == before.version
        relaxed = same_version and LEVELS.index(now.level) <= LEVELS.index(before.level)
        if now == before or now.level == "privileged" or relaxed:
            return
        attributes.warnings += self._present(attributes.name, now)

    def _present(self, namespace: str, policy: Policy) -> list[str]:
        """Which of a namespace's pods `policy` would not have let in."""
        records, _ = self._api.store.scan(_PODS, namespace)
        deadline = time.monotonic() + _MOST_SECONDS
        by_reason: dict[str, list[str]] = {}
        checked = 0
        for record in records[:_MOST_PODS]:
            pod: Object = msgspec.json.decode(record.value)
            checked += 1
            found = violations(policy, meta.metadata(pod), meta.spec(pod))
            if found:
                reasons = ", ".join(violation.reason for violation in found)
                by_reason.setdefault(reasons, []).append(meta.name(pod))
            if time.monotonic() > deadline:
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


def _named(pods: list[str]) -> str:
    others = len(pods) - 1
    if not others:
        return pods[0]
    return f"{min(pods)} (and {others} other {'pod' if others == 1 else 'pods'})"


def _evaluate(
    attributes: Attributes, parsed: _Parsed, metadata: Mapping[str, Any], spec: Object, *, enforce: bool
) -> None:
    """Raises Forbidden."""
    known: dict[Policy, list[Violation]] = {}

    def found(policy: Policy) -> str:
        if policy not in known:
            known[policy] = violations(policy, metadata, spec)
        return ", ".join(map(str, known[policy]))

    policies, annotations = parsed.policies, attributes.annotations
    if parsed.errors:
        annotations[f"{PREFIX}error"] = "Failed to parse policy: " + "; ".join(map(str, parsed.errors))
    if why := found(policies.audit):
        annotations[f"{PREFIX}audit-violations"] = f'would violate PodSecurity "{policies.audit}": {why}'
    if enforce:
        annotations[f"{PREFIX}enforce-policy"] = str(policies.enforce)
        if why := found(policies.enforce):
            raise refusal(attributes, f'violates PodSecurity "{policies.enforce}": {why}')
    if why := found(policies.warn):
        attributes.warnings.append(f'would violate PodSecurity "{policies.warn}": {why}')


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
