"""The priority levels and flow schemas that every cluster has (upstream: ``apiserver/pkg/apis/flowcontrol/bootstrap``).

:mod:`homeport.apiserver.fairness.priority` reads them, and whatever users add, from the store.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from homeport.apiserver.uids import new_uid
from homeport.kube.core import FLOW_SCHEMA, PRIORITY_LEVEL
from homeport.kube.kind import Kind
from homeport.kube.meta import Object, name, timestamp
from homeport.store.protocol import Key, Put, Store

LEVELS = f"{PRIORITY_LEVEL.resource.group}/{PRIORITY_LEVEL.resource.plural}"
SCHEMAS = f"{FLOW_SCHEMA.resource.group}/{FLOW_SCHEMA.resource.plural}"
"""The store's names of both."""
MANDATORY = frozenset({"exempt", "catch-all"})
"""Levels and schemas that are in force whether or not they are stored."""
_AUTO_UPDATE = {"apf.kubernetes.io/autoupdate-spec": "true"}
_USER, _NAMESPACE = "ByUser", "ByNamespace"
_AUTHENTICATED, _UNAUTHENTICATED = "system:authenticated", "system:unauthenticated"
_ELECTION = {"verbs": ["get", "create", "update"], "resources": ["leases"], "apiGroups": ["coordination.k8s.io"]}
_EVERYTHING = (
    {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": True, "namespaces": ["*"]},
    {"verbs": ["*"], "nonResourceURLs": ["*"]},
)


def _limited(shares: int, lendable: int, queues: tuple[int, int, int] | None) -> Object:
    """`queues` are their number, the hand size and the length of each; without them requests are rejected."""
    response: Object = {"type": "Reject"}
    if queues is not None:
        number, hand, length = queues
        response = {"type": "Queue", "queuing": {"queues": number, "handSize": hand, "queueLengthLimit": length}}
    limited = {"nominalConcurrencyShares": shares, "lendablePercent": lendable, "limitResponse": response}
    return {"type": "Limited", "limited": limited}


_LEVELS: dict[str, Object] = {
    "exempt": {"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}},
    "catch-all": _limited(5, 0, None),
    "system": _limited(30, 33, (64, 6, 50)),
    "node-high": _limited(40, 25, (64, 6, 50)),
    "leader-election": _limited(10, 0, (16, 4, 50)),
    "workload-high": _limited(40, 50, (128, 6, 50)),
    "workload-low": _limited(100, 90, (128, 6, 50)),
    "global-default": _limited(20, 50, (128, 6, 50)),
}


def _group(group: str) -> Object:
    return {"kind": "Group", "group": {"name": group}}


def _user(user: str) -> Object:
    return {"kind": "User", "user": {"name": user}}


def _account(account: str) -> Object:
    return {"kind": "ServiceAccount", "serviceAccount": {"name": account, "namespace": "kube-system"}}


def _rule(subjects: list[Object], resource: Object | None = None, path: Object | None = None) -> Object:
    """A rule of `subjects` for one sort of request; for all requests if none is named."""
    if resource is None and path is None:
        resource, path = _EVERYTHING
    rule: Object = {"subjects": subjects}
    if resource is not None:
        rule["resourceRules"] = [resource]
    if path is not None:
        rule["nonResourceRules"] = [path]
    return rule


_CONTROLLERS = [_user("system:kube-controller-manager"), _user("system:kube-scheduler")]
_NODES = [_group("system:nodes")]
_PROBES = {"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]}
_SYSTEM_ELECTION = {**_ELECTION, "namespaces": ["kube-system"]}
_SCHEMAS: tuple[tuple[str, int, str, str, list[Object]], ...] = (
    ("exempt", 1, "exempt", "", [_rule([_group("system:masters")])]),
    ("probes", 2, "exempt", "", [_rule([_group(_UNAUTHENTICATED), _group(_AUTHENTICATED)], path=_PROBES)]),
    (
        "system-leader-election",
        100,
        "leader-election",
        _USER,
        [_rule([*_CONTROLLERS, _group("system:serviceaccounts:kube-system")], _SYSTEM_ELECTION)],
    ),
    (
        "endpoint-controller",
        150,
        "workload-high",
        _USER,
        [
            _rule(
                [_user("system:kube-controller-manager"), _account("endpoint-controller")],
                {
                    "verbs": ["get", "create", "update"],
                    "apiGroups": [""],
                    "resources": ["endpoints"],
                    "namespaces": ["*"],
                },
            )
        ],
    ),
    (
        "workload-leader-election",
        200,
        "leader-election",
        _USER,
        [_rule([_group("system:serviceaccounts:kube-system")], {**_ELECTION, "namespaces": ["*"]})],
    ),
    (
        "system-node-high",
        400,
        "node-high",
        _USER,
        [
            _rule(
                _NODES,
                {
                    "verbs": ["*"],
                    "apiGroups": [""],
                    "resources": ["nodes", "nodes/status"],
                    "clusterScope": True,
                    "namespaces": ["*"],
                },
            ),
            _rule(
                _NODES,
                {
                    "verbs": ["*"],
                    "apiGroups": ["coordination.k8s.io"],
                    "resources": ["leases"],
                    "namespaces": ["*"],
                },
            ),
        ],
    ),
    ("system-nodes", 500, "system", _USER, [_rule(_NODES)]),
    ("kube-controller-manager", 800, "workload-high", _NAMESPACE, [_rule(_CONTROLLERS[:1])]),
    ("kube-scheduler", 800, "workload-high", _NAMESPACE, [_rule(_CONTROLLERS[1:])]),
    (
        "kube-system-service-accounts",
        900,
        "workload-high",
        _NAMESPACE,
        [_rule([_group("system:serviceaccounts:kube-system")])],
    ),
    ("service-accounts", 9000, "workload-low", _USER, [_rule([_group("system:serviceaccounts")])]),
    ("global-default", 9900, "global-default", _USER, [_rule([_group(_UNAUTHENTICATED), _group(_AUTHENTICATED)])]),
    ("catch-all", 10000, "catch-all", _USER, [_rule([_group(_UNAUTHENTICATED), _group(_AUTHENTICATED)])]),
)
"""Name, precedence, level, what tells the flows apart, rules."""


def objects() -> Iterator[tuple[Kind, Object]]:
    """All of them, complete but for what only the server sets."""
    metadata = {"annotations": dict(_AUTO_UPDATE)}
    for own, level in _LEVELS.items():
        yield PRIORITY_LEVEL, PRIORITY_LEVEL.new(own, metadata=metadata, spec=level, status={})
    for own, precedence, level_name, method, rules in _SCHEMAS:
        spec: dict[str, Any] = {
            "matchingPrecedence": precedence,
            "priorityLevelConfiguration": {"name": level_name},
            "rules": rules,
        }
        if method:
            spec["distinguisherMethod"] = {"type": method}
        yield FLOW_SCHEMA, FLOW_SCHEMA.new(own, metadata=metadata, spec=spec, status={})


def dangling(level: str, *, exists: bool) -> Object:
    """A FlowSchema's condition, in upstream's words; without its time."""
    subject = f'This FlowSchema references the PriorityLevelConfiguration object named "{level}"'
    if exists:
        return {"type": "Dangling", "status": "False", "reason": "Found", "message": f"{subject} and it exists"}
    message = f"{subject} but there is no such object"
    return {"type": "Dangling", "status": "True", "reason": "NotFound", "message": message}


async def bootstrap(store: Store, now: datetime) -> None:
    """Make `store` hold those that it lacks. Raises StoreError."""
    puts = []
    for kind, wanted in objects():
        key = Key(f"{kind.resource.group}/{kind.resource.plural}", "", name(wanted))
        if store.head(key) is None:
            stamps = {"uid": new_uid(), "creationTimestamp": timestamp(now), "generation": 1}
            status: Object = {}
            if kind is FLOW_SCHEMA:
                level = wanted["spec"]["priorityLevelConfiguration"]["name"]
                status = {"conditions": [{**dangling(level, exists=True), "lastTransitionTime": timestamp(now)}]}
            made = {**wanted, "metadata": {**wanted["metadata"], **stamps}, "status": status}
            puts.append(Put(key, made, 0))
    if puts:
        await store.write(*puts)
