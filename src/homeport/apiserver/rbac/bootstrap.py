"""Writes the default roles and bindings that are missing, and what is missing of them, in one commit.

Runs before the server answers anybody. Where nothing is missing nothing is written.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

import msgspec

from homeport.apiserver.rbac import policy
from homeport.apiserver.rbac.controllers import CONTROLLER_ROLES, PREFIX
from homeport.apiserver.rbac.index import Subject
from homeport.apiserver.rbac.reconcile import reconciled_binding, reconciled_role
from homeport.apiserver.rbac.rules import Rule
from homeport.apiserver.uids import new_uid
from homeport.kube.core import CLUSTER_ROLE, CLUSTER_ROLE_BINDING, NAMESPACE, ROLE, ROLE_BINDING
from homeport.kube.core.rbac import AUTO_UPDATE, GROUP, aggregated_rules
from homeport.kube.kind import Kind
from homeport.kube.meta import Object, name, namespace, timestamp
from homeport.store.protocol import Delete, Key, Put, Record, Store

log = logging.getLogger(__name__)

_LABELS = {"kubernetes.io/bootstrapping": "rbac-defaults"}
_AGGREGATE_TO = "rbac.authorization.k8s.io/aggregate-to-"
_PART = "system:aggregate-to-"
_MANAGER = "kube-apiserver"
_AGGREGATOR = "clusterrole-aggregation-controller"
"""Field manager of the rules of aggregated roles."""


async def bootstrap(store: Store, now: datetime, kinds: Iterable[Kind] = ()) -> int:
    """Make `store` hold the default policy, which opens to editors and viewers of a namespace also those of `kinds`
    that Kubernetes does not have. How many objects were written. Raises `homeport.store.protocol.Full` or
    `Unavailable`."""
    operations = list(plan(store, now, kinds))
    if operations:
        await store.write(*operations)
        log.info("wrote %d default roles, bindings and namespaces", len(operations))
    return len(operations)


def plan(store: Store, now: datetime, kinds: Iterable[Kind] = ()) -> Iterator[Put | Delete]:
    """What has to be written."""
    stamp = timestamp(now)
    roles = [*cluster_roles(), *roles_of_kinds(kinds)]
    for place in sorted({place for place, _ in policy.ROLES}):
        if store.head(Key(_store_name(NAMESPACE), "", place)) is None:
            yield _creation(NAMESPACE, NAMESPACE.prepare(NAMESPACE.new(place), None), stamp)
    for kind, expected in (
        *((CLUSTER_ROLE, role) for role in roles),
        *((CLUSTER_ROLE_BINDING, binding) for binding in cluster_role_bindings()),
        *((ROLE, role) for role in namespaced_roles()),
        *((ROLE_BINDING, binding) for binding in namespaced_bindings()),
    ):
        record = store.head(Key(_store_name(kind), namespace(expected), name(expected)))
        if record is not None:
            yield from _update(kind, record, expected, stamp)
            continue
        rules = _aggregated(name(expected), roles) if "aggregationRule" in expected else None
        yield _creation(kind, expected, stamp, rules)


def _aggregated(own: str, roles: Iterable[Object]) -> list[Object]:
    """The rules of the aggregated role `own`: there at once, since the controller takes a moment."""
    complete = {name(role): role for role in roles}
    for part in reversed(tuple(policy.AGGREGATED)):  # the smallest first: they are parts of each other in turn
        complete[part] = {**complete[part], "rules": aggregated_rules(complete[part], complete.values())}
        if part == own:
            break
    rules: list[Object] = complete[own]["rules"]
    return rules


def _update(kind: Kind, record: Record, expected: Object, stamp: str) -> Iterator[Put | Delete]:
    existing: Object = msgspec.json.decode(record.value)
    if kind in (CLUSTER_ROLE, ROLE):
        new = reconciled_role(existing, expected)
    else:
        new = reconciled_binding(existing, expected)
        if new is expected:  # of another role, and no binding changes its role
            yield Delete(record.key, record.revision)
            yield _creation(kind, expected, stamp)
            return
    if new is not None:
        yield Put(record.key, new, record.revision)


# -- the objects


def cluster_roles() -> Iterator[Object]:
    """All default ClusterRoles; the aggregated ones without rules."""
    for own, part_of in policy.AGGREGATED.items():
        selectors = [{"matchLabels": {f"{_AGGREGATE_TO}{own}": "true"}}]
        labels = {f"{_AGGREGATE_TO}{part_of}": "true"} if part_of else {}
        role = _object(CLUSTER_ROLE, own, labels=labels, rules=[])
        yield {**role, "aggregationRule": {"clusterRoleSelectors": selectors}}
    for own, rules in policy.CLUSTER_ROLES.items():
        labels = {f"{_AGGREGATE_TO}{own.removeprefix(_PART)}": "true"} if own.startswith(_PART) else {}
        yield _object(CLUSTER_ROLE, own, labels=labels, rules=_rules(rules))
    for own, rules in CONTROLLER_ROLES.items():
        yield _object(CLUSTER_ROLE, PREFIX + own, rules=_rules(rules))

    labels = {f"{_AGGREGATE_TO}{own}": "true" for own in policy.AGGREGATED}
    yield _object(CLUSTER_ROLE, policy.METRICS_READER, labels=labels, rules=_rules(policy.METRICS))
    yield _object(CLUSTER_ROLE, policy.ENDED_READER, labels=labels, rules=_rules(policy.ENDED))


def roles_of_kinds(kinds: Iterable[Kind]) -> Iterator[Object]:
    """What add-ons of a cluster bring along: who edits or views a namespace edits or views their kinds too."""
    groups: dict[str, list[Kind]] = {}
    for kind in kinds:
        if not kind.builtin and kind.resource.namespaced:
            groups.setdefault(kind.resource.group, []).append(kind)
    for part, verbs, wanted in (("edit", policy.WRITE, ("scale",)), ("view", policy.READ, ("scale", "status"))):
        rules = []
        for group, members in sorted(groups.items()):
            resources = {kind.resource.plural for kind in members}
            resources |= {
                f"{kind.resource.plural}/{subresource}"
                for kind in members
                for subresource in wanted
                if subresource in kind.subresources
            }
            rules.append(policy.rule(verbs, " ".join(sorted(resources)), group))
        if rules:
            labels = {f"{_AGGREGATE_TO}{part}": "true"}
            yield _object(CLUSTER_ROLE, f"homeport:aggregate-to-{part}", labels=labels, rules=_rules(rules))


def cluster_role_bindings() -> Iterator[Object]:
    for own, subjects in policy.CLUSTER_ROLE_BINDINGS.items():
        yield _binding(CLUSTER_ROLE_BINDING, own, "ClusterRole", own, subjects)
    for own in CONTROLLER_ROLES:
        yield _binding(CLUSTER_ROLE_BINDING, PREFIX + own, "ClusterRole", PREFIX + own, (policy.account(own),))


def namespaced_roles() -> Iterator[Object]:
    for (place, own), rules in policy.ROLES.items():
        yield _object(ROLE, own, place, rules=_rules(rules))


def namespaced_bindings() -> Iterator[Object]:
    for (place, own), (role, subjects) in policy.ROLE_BINDINGS.items():
        yield _binding(ROLE_BINDING, own, "Role", role, subjects, place)


def _object(kind: Kind, own: str, place: str = "", *, labels: dict[str, str] | None = None, **fields: Any) -> Object:
    metadata = {"labels": {**_LABELS, **(labels or {})}, "annotations": {AUTO_UPDATE: "true"}}
    return kind.new(own, place, metadata=metadata, **fields)


def _binding(kind: Kind, own: str, role_kind: str, role: str, subjects: Iterable[Subject], place: str = "") -> Object:
    ref = {"apiGroup": GROUP, "kind": role_kind, "name": role}
    binding = _object(kind, own, place, roleRef=ref)
    listed = [_subject(subject) for subject in subjects]
    return {**binding, "subjects": listed} if listed else binding


def _subject(subject: Subject) -> Object:
    if subject.kind == "ServiceAccount":
        return {"kind": subject.kind, "name": subject.name, "namespace": subject.namespace}
    return {"apiGroup": GROUP, "kind": subject.kind, "name": subject.name}


def _rules(rules: Iterable[Rule]) -> list[Object]:
    return [rule.to_object() for rule in rules]


# -- new objects


def _store_name(kind: Kind) -> str:
    return f"{kind.resource.group}/{kind.resource.plural}"


def _creation(kind: Kind, obj: Object, stamp: str, aggregated: list[Object] | None = None) -> Put:
    """The write of a new object, as the server stamps one; `aggregated` are its rules if they are not its own."""
    metadata = {
        **obj["metadata"],
        "uid": new_uid(),
        "creationTimestamp": stamp,
        "managedFields": [_managed(kind, _MANAGER, "Update", stamp, _fields(obj, aggregated is None))],
    }
    if aggregated is not None:
        obj = {**obj, "rules": aggregated}
        applied = _managed(kind, _AGGREGATOR, "Apply", stamp, {"f:rules": {}})
        metadata["managedFields"] = [applied, *metadata["managedFields"]]
    key = Key(_store_name(kind), metadata.get("namespace", ""), metadata["name"])
    return Put(key, {**obj, "metadata": metadata}, 0)


def _managed(kind: Kind, manager: str, operation: str, stamp: str, fields: Object) -> Object:
    return {
        "manager": manager,
        "operation": operation,
        "apiVersion": kind.resource.api_version,
        "time": stamp,
        "fieldsType": "FieldsV1",
        "fieldsV1": fields,
    }


def _fields(obj: Object, with_rules: bool) -> Object:
    """Who wrote the object manages labels, annotations and, each as a whole, everything else."""
    found: Object = {}
    for key in ("annotations", "labels"):
        entries = obj["metadata"].get(key)
        if entries:
            inner: Object = {".": {}} | {f"f:{entry}": {} for entry in sorted(entries)}
            found.setdefault("f:metadata", {})[f"f:{key}"] = inner
    if "aggregationRule" in obj:
        found["f:aggregationRule"] = {".": {}, "f:clusterRoleSelectors": {}}
    whole = ("roleRef", "rules", "subjects") if with_rules else ("roleRef", "subjects")
    return found | {f"f:{key}": {} for key in whole if key in obj}
