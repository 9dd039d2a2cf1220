"""Which requests share what."""

from __future__ import annotations

from typing import Any

import pytest

from homeport.apiserver.fairness import flowcontrol
from homeport.apiserver.fairness.classification import Classes, levels, schemas
from homeport.apiserver.routes import request_info
from homeport.kube.wire import Request, User

EVERYBODY = ("system:authenticated",)


def of_kind(kind: str) -> list[Any]:
    return [obj for _, obj in flowcontrol.objects() if obj["kind"] == kind]


LEVELS = levels(of_kind("PriorityLevelConfiguration"), 600, {})
CLASSES = Classes(schemas(of_kind("FlowSchema"), LEVELS, {}))


@pytest.mark.parametrize(
    ("user", "request_line", "schema", "flow"),
    [
        (User("admin", ("system:masters",)), "GET /api/v1/pods", "exempt", ""),
        (User("ann", EVERYBODY), "GET /readyz", "probes", ""),
        (User("ann", EVERYBODY), "GET /api/v1/namespaces/a/pods", "global-default", "ann"),
        (User("nobody"), "GET /api", "catch-all", "nobody"),
        (User("system:node:n", ("system:nodes",)), "PATCH /api/v1/nodes/n/status", "system-node-high", "system:node:n"),
        (User("system:node:n", ("system:nodes",)), "GET /api/v1/pods", "system-nodes", "system:node:n"),
        (
            User("system:serviceaccount:a:b", ("system:serviceaccounts", "system:serviceaccounts:a")),
            "GET /api/v1/pods",
            "service-accounts",
            "system:serviceaccount:a:b",
        ),
        (
            User("system:serviceaccount:kube-system:endpoint-controller", ("system:serviceaccounts:kube-system",)),
            "PUT /api/v1/namespaces/a/endpoints/x",
            "endpoint-controller",
            "system:serviceaccount:kube-system:endpoint-controller",
        ),
        (User("system:kube-scheduler"), "GET /api/v1/namespaces/a/pods", "kube-scheduler", "a"),
        (
            User("system:kube-scheduler"),
            "PUT /apis/coordination.k8s.io/v1/namespaces/kube-system/leases/x",
            "system-leader-election",
            "system:kube-scheduler",
        ),
    ],
)
def test_upstreams_schemas(user: User, request_line: str, schema: str, flow: str) -> None:
    method, path = request_line.split()
    for _ in range(2):  # the second time it is remembered
        place = CLASSES.of(user, request_info(Request(method, path)))
        assert (place.schema.name, place.flow) == (schema, (schema, flow))


def test_seats_go_by_shares() -> None:
    assert {name: level.nominal for name, level in LEVELS.items()} == {
        "exempt": 0,
        "catch-all": 13,
        "system": 74,
        "node-high": 98,
        "leader-election": 25,
        "workload-high": 98,
        "workload-low": 245,
        "global-default": 49,
    }
    assert LEVELS["workload-low"].reserved == 25
    assert (LEVELS["global-default"].per_flow, LEVELS["global-default"].waiting_most) == (300, 6400)
    assert not LEVELS["catch-all"].queues


def test_a_schema_without_its_level_has_no_effect() -> None:
    few = {name: level for name, level in LEVELS.items() if name != "global-default"}
    place = Classes(schemas(of_kind("FlowSchema"), few, {})).of(
        User("ann", EVERYBODY), request_info(Request("GET", "/api/v1/pods"))
    )
    assert place.schema.name == "catch-all"
