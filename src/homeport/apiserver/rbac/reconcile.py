"""A default role or binding against the stored one: what has to be written so that nothing is missing. Pure.

What an administrator added stays; an object with the annotation ``autoupdate: "false"`` stays as it is. Upstream:
``component-helpers/auth/rbac/reconciliation``.
"""

from __future__ import annotations

from typing import Any

from homeport.apiserver.rbac.rules import rules_of, uncovered
from homeport.kube import meta
from homeport.kube.core.rbac import AUTO_UPDATE
from homeport.kube.meta import Object

_META = ("labels", "annotations")


def is_protected(existing: Object) -> bool:
    """Whether an administrator wants it left alone."""
    return meta.annotations(existing).get(AUTO_UPDATE) == "false"


def reconciled_role(existing: Object, expected: Object) -> Object | None:
    """`existing` with what it lacks of `expected`; None if there is nothing to write."""
    if is_protected(existing):
        return None
    new = _with_metadata(existing, expected)
    if existing.get("rules") != expected.get("rules"):
        missing = uncovered(rules_of(existing), rules_of(expected))
        if missing:
            new["rules"] = [*(existing.get("rules") or ()), *(rule.to_object() for rule in missing)]
    wanted, found = expected.get("aggregationRule"), existing.get("aggregationRule")
    if wanted is None:
        new.pop("aggregationRule", None)
    else:
        selectors = (found or {}).get("clusterRoleSelectors") or []
        lacking = [one for one in wanted.get("clusterRoleSelectors") or () if one not in selectors]
        if lacking:
            new["aggregationRule"] = {**(found or {}), "clusterRoleSelectors": [*selectors, *lacking]}
    return new if new != existing else None


def reconciled_binding(existing: Object, expected: Object) -> Object | None:
    """`existing` with the subjects of `expected` that it lacks; None if there is nothing to write. `expected` itself if
    it is of another role, which no change could make of it: the stored one has to be replaced."""
    if is_protected(existing):
        return None
    if existing.get("roleRef") != expected["roleRef"]:
        return expected
    new = _with_metadata(existing, expected)
    subjects = existing.get("subjects") or []
    known = [_identity(subject) for subject in subjects]
    missing = [subject for subject in expected.get("subjects") or () if _identity(subject) not in known]
    if missing:
        new["subjects"] = [*subjects, *missing]
    return new if new != existing else None


def _identity(subject: Object) -> tuple[str, ...]:
    return tuple(subject.get(key) or "" for key in ("kind", "apiGroup", "namespace", "name"))


def _with_metadata(existing: Object, expected: Object) -> Object:
    """`existing` with the labels and annotations of `expected` that it lacks. Its own values stay."""
    metadata: dict[str, Any] = dict(existing["metadata"])
    for key in _META:
        merged = {**(expected["metadata"].get(key) or {}), **(metadata.get(key) or {})}
        if merged != (metadata.get(key) or {}):
            metadata[key] = merged
    return {**existing, "metadata": metadata}
