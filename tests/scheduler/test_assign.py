from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.kube.meta import Object
from homeport.scheduler.assign import Assigner, Load, Placement
from homeport.scheduler.model import Node, Pod, parse_node, parse_pod, requests


def pod(name: str = "p", *, cpu: str = "", memory: str = "", **spec: Any) -> Pod:
    asked = {key: value for key, value in (("cpu", cpu), ("memory", memory)) if value}
    containers = [{"name": "main", "resources": {"requests": asked}}]
    metadata = {"name": name, "namespace": "ns", "uid": name, "creationTimestamp": "2026-01-01T00:00:00Z"}
    return parse_pod({"metadata": metadata, "spec": {"containers": containers, **spec}})


def node(name: str = "n", *, cpu: str = "4", memory: str = "8Gi", pods: str = "110", **changes: Any) -> Node:
    obj: Object = {
        "metadata": {"name": name, "labels": changes.pop("labels", {})},
        "spec": changes,
        "status": {
            "allocatable": {"cpu": cpu, "memory": memory, "pods": pods},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }
    return parse_node(obj)


def assign(pods: Iterable[Pod], nodes: Iterable[Node], loads: Mapping[str, Load] | None = None) -> list[Placement]:
    """Place all pods in the order of their priority and age."""
    assigner = Assigner(nodes, loads or {})
    return [assigner.place(pod) for pod in sorted(pods, key=lambda pod: pod.order)]


def one(pod: Pod, *nodes: Node, loads: dict[str, Load] | None = None) -> str:
    (placement,) = assign([pod], nodes, loads)
    return placement.node or placement.message


def test_a_pod_goes_where_it_fits() -> None:
    assert one(pod(cpu="2"), node("small", cpu="1"), node("big")) == "big"


def test_the_emptiest_node_wins_and_pods_spread() -> None:
    placed = assign([pod(f"p{index}", cpu="1") for index in range(4)], [node("a"), node("b")])
    assert sorted(placement.node for placement in placed) == ["a", "a", "b", "b"]


def test_pods_without_requests_spread_too() -> None:
    placed = assign([pod(f"p{index}") for index in range(4)], [node("a"), node("b")])
    assert sorted(placement.node for placement in placed) == ["a", "a", "b", "b"]


def test_higher_priority_first_then_older() -> None:
    late = pod("late", cpu="3")
    urgent = pod("urgent", cpu="3", priority=10)
    placed = {placement.pod.name: placement.node for placement in assign([late, urgent], [node()])}
    assert placed == {"urgent": "n", "late": ""}


@pytest.mark.parametrize(
    ("asked", "nodes", "said"),
    [
        (pod(cpu="8"), [node()], "0/1 nodes are available: 1 Insufficient cpu."),
        (pod(cpu="8", memory="9Gi"), [node()], "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory."),
        (pod(), [node(pods="0")], "0/1 nodes are available: 1 Too many pods."),
        (pod(), [], "no nodes available to schedule pods"),
        (pod(), [node(unschedulable=True)], "0/1 nodes are available: 1 node(s) were unschedulable."),
        (
            pod(nodeSelector={"disk": "ssd"}),
            [node(), node("m", labels={"disk": "hdd"})],
            "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector.",
        ),
        (
            pod(cpu="8"),
            [node(), node("m", taints=[{"key": "gpu", "value": "yes", "effect": "NoSchedule"}])],
            "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint {gpu: yes}.",
        ),
    ],
)
def test_the_words_of_a_refusal_are_those_of_kubernetes(asked: Pod, nodes: list[Node], said: str) -> None:
    assert one(asked, *nodes) == said


def test_a_node_that_is_not_ready_counts_as_tainted() -> None:
    unready = Node("n", ready=False, allocatable={"cpu": 4000, "memory": 1 << 33, "pods": 10})
    assert one(pod(), unready) == (
        "0/1 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/not-ready: }."
    )
    assert one(pod(tolerations=[{"operator": "Exists"}]), unready) == "n"


@pytest.mark.parametrize(
    ("toleration", "fits"),
    [
        ({"key": "gpu", "value": "yes"}, True),
        ({"key": "gpu", "operator": "Equal", "value": "no"}, False),
        ({"key": "gpu", "operator": "Exists"}, True),
        ({"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}, True),
        ({"key": "gpu", "operator": "Exists", "effect": "NoExecute"}, False),
        ({"operator": "Exists"}, True),
        ({"key": "other", "operator": "Exists"}, False),
    ],
)
def test_tolerations(toleration: Object, fits: bool) -> None:
    tainted = node(taints=[{"key": "gpu", "value": "yes", "effect": "NoSchedule"}])
    assert (one(pod(tolerations=[toleration]), tainted) == "n") is fits


def required(*terms: Object) -> Object:
    selector = {"nodeSelectorTerms": list(terms)}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": selector}}


@pytest.mark.parametrize(
    ("term", "fits"),
    [
        ({"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a", "b"]}]}, True),
        ({"matchExpressions": [{"key": "zone", "operator": "NotIn", "values": ["a"]}]}, False),
        ({"matchExpressions": [{"key": "zone", "operator": "Exists"}]}, True),
        ({"matchExpressions": [{"key": "gpu", "operator": "DoesNotExist"}]}, True),
        ({"matchExpressions": [{"key": "cores", "operator": "Gt", "values": ["4"]}]}, True),
        ({"matchExpressions": [{"key": "cores", "operator": "Lt", "values": ["4"]}]}, False),
        ({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]}, True),
        ({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["m"]}]}, False),
        ({}, False),
    ],
)
def test_required_node_affinity(term: Object, fits: bool) -> None:
    labelled = node(labels={"zone": "a", "cores": "8"})
    assert (one(pod(affinity=required(term)), labelled) == "n") is fits
    never = {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["nowhere"]}]}
    assert (one(pod(affinity=required(never, term)), labelled) == "n") is fits  # terms are alternatives


def test_preferred_affinity_and_soft_taints_decide_between_equals() -> None:
    preference = {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}
    weighted = {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": preference}]}
    affinity = {"nodeAffinity": weighted}
    assert one(pod(affinity=affinity), node("a"), node("b", labels={"disk": "ssd"})) == "b"
    soft = node("a", taints=[{"key": "x", "effect": "PreferNoSchedule"}])
    assert one(pod(), soft, node("b")) == "b"
    assert one(pod(), soft) == "a"


def test_host_ports_clash_by_address() -> None:
    def listening(name: str, **port: Any) -> Pod:
        return parse_pod(
            {
                "metadata": {"name": name, "namespace": "ns", "uid": name},
                "spec": {"containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": 80, **port}]}]},
            }
        )

    pods = [
        listening("a"),
        listening("b", hostIP="10.0.0.1"),
        listening("c", protocol="UDP"),
        listening("d", hostPort=81),
    ]
    placed = {placement.pod.name: placement.node for placement in assign(pods, [node()])}
    assert placed == {"a": "n", "b": "", "c": "n", "d": "n"}


def test_extended_resources_are_counted() -> None:
    gpus = parse_node(
        {
            "metadata": {"name": "n"},
            "status": {
                "allocatable": {"cpu": "4", "memory": "1Gi", "nvidia.com/gpu": "1"},
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        }
    )
    asked = [{"name": "c", "resources": {"limits": {"nvidia.com/gpu": 1}}}]
    pods = [parse_pod({"metadata": {"name": name, "uid": name}, "spec": {"containers": asked}}) for name in "ab"]
    assert [placement.node for placement in assign(pods, [gpus])] == ["n", ""]


def test_requests_at_the_hungriest_moment() -> None:
    def container(cpu: str, **more: Any) -> Object:
        return {"resources": {"requests": {"cpu": cpu}}, **more}

    spec: Object = {
        "containers": [container("100m"), container("200m")],
        "initContainers": [
            container("50m", restartPolicy="Always"),
            container("900m"),
            container("60m", restartPolicy="Always"),
        ],
        "overhead": {"cpu": "10m"},
    }
    assert requests(spec) == {"cpu": 960}  # the second init container next to the first sidecar, and the overhead
    spec["initContainers"].pop(1)
    assert requests(spec) == {"cpu": 420}
    spec["resources"] = {"requests": {"cpu": "1"}}
    assert requests(spec) == {"cpu": 1010}


AMOUNTS = st.integers(0, 5)


@given(
    st.lists(st.tuples(AMOUNTS, AMOUNTS), max_size=12),
    st.lists(st.tuples(AMOUNTS, AMOUNTS, st.integers(0, 4)), max_size=4),
)
def test_no_node_is_ever_overcommitted_and_nobody_waits_without_reason(
    asked: list[tuple[int, int]], given_nodes: list[tuple[int, int, int]]
) -> None:
    nodes = [
        node(f"n{index}", cpu=str(cpu), memory=f"{memory}Gi", pods=str(pods))
        for index, (cpu, memory, pods) in enumerate(given_nodes)
    ]
    pods = [pod(f"p{index:02}", cpu=str(cpu), memory=f"{memory}Gi") for index, (cpu, memory) in enumerate(asked)]
    placements = assign(pods, nodes)
    assert [placement.pod for placement in placements] == sorted(pods, key=lambda item: item.order)
    left = {item.name: dict(item.allocatable) for item in nodes}
    for placement in placements:
        if placement.node:
            left[placement.node]["pods"] -= 1
            for resource, amount in placement.pod.demand.requests:
                left[placement.node][resource] -= amount
    assert all(amount >= 0 for amounts in left.values() for amount in amounts.values())
    for placement in placements:
        if not placement.node:
            assert not any(
                amounts["pods"] >= 1
                and all(amounts[resource] >= amount for resource, amount in placement.pod.demand.requests)
                for amounts in left.values()
            )
