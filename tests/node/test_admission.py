"""What a node takes of the pods that are bound to it."""

from __future__ import annotations

from typing import Any

import pytest

from homeport.node import admission

NODE = {"cpu": "2", "memory": "4Gi", "pods": "3", "nvidia.com/gpu": "1"}
THE_NODE: Any = {"metadata": {"labels": {"zone": "a", "cores": "2"}}}


def pod(cpu: str = "", memory: str = "", **spec: Any) -> Any:
    asked = {name: value for name, value in (("cpu", cpu), ("memory", memory)) if value}
    return {"spec": {"containers": [{"name": "main", "resources": {"requests": asked}}], **spec}}


def refused(made: Any, *others: Any, **more: Any) -> tuple[str, str] | None:
    more = {"allocatable": NODE, "node": THE_NODE, "node_name": "n1"} | more
    verdict = admission.refusal(made, others, **more)
    assert verdict is None or verdict.refuses
    return None if verdict is None else (verdict.reason, verdict.message)


def test_room() -> None:
    assert refused(pod("1500m", "1Gi"), pod("500m")) is None
    words = "Node didn't have enough resource: cpu, requested: 1501, used: 500, capacity: 2000"
    assert refused(pod("1501m"), pod("500m")) == ("OutOfcpu", words)
    words = "Node didn't have enough resource: memory, requested: 1, used: 4294967296, capacity: 4294967296"
    assert refused(pod(memory="1"), pod(memory="4Gi")) == ("OutOfmemory", words)
    words = "Node didn't have enough resource: pods, requested: 1, used: 3, capacity: 3"
    assert refused(pod(), pod(), pod(), pod()) == ("OutOfpods", words)
    gpus = pod()
    gpus["spec"]["containers"][0]["resources"] = {"limits": {"nvidia.com/gpu": "1", "example.com/unknown": "5"}}
    assert refused(gpus) is None
    found = refused(gpus, gpus)
    assert found is not None
    assert found[0] == "OutOfnvidia.com/gpu"


def affinity(operator: str, *values: str, field: bool = False) -> Any:
    kind, key = ("matchFields", "metadata.name") if field else ("matchExpressions", "zone")
    term = {kind: [{"key": key, "operator": operator, "values": list(values)}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    return {"affinity": {"nodeAffinity": required}}


@pytest.mark.parametrize(
    ("spec", "fits"),
    [
        ({"nodeSelector": {"zone": "a"}}, True),
        ({"nodeSelector": {"zone": "b"}}, False),
        (affinity("In", "a", "b"), True),
        (affinity("NotIn", "a"), False),
        (affinity("DoesNotExist"), False),
        (affinity("In", "n1", field=True), True),
        (affinity("In", "n2", field=True), False),
        ({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {}}}}, False),
    ],
)
def test_place(spec: Any, fits: bool) -> None:
    found = refused(pod(**spec))
    assert (found is None) == fits
    if found is not None:
        assert found[0] == "NodeAffinity"


def test_pressure() -> None:
    memory = {"pressures": {"MemoryPressure"}}
    assert refused(pod(), **memory) == ("Evicted", "The node had condition: [MemoryPressure]. ")
    assert refused(pod("1"), **memory) is None
    toleration = {"key": "node.kubernetes.io/memory-pressure", "operator": "Exists", "effect": "NoSchedule"}
    assert refused(pod(tolerations=[toleration]), **memory) is None
    assert refused(pod("1"), pressures={"DiskPressure"}) is not None
    assert refused(pod(priority=2_000_000_000), pressures={"DiskPressure"}) is None


def test_what_is_kept_is_not_for_pods() -> None:
    assert admission.allocatable({"memory": "4Gi", "cpu": "2"}, {"memory": 100 << 20, "gone": 5}) == {
        "memory": "4091904Ki",
        "cpu": "2",
    }


@pytest.mark.parametrize(
    ("effect", "tolerations", "fits"),
    [
        ("NoExecute", (), False),
        ("NoExecute", ({"key": "k", "operator": "Equal", "value": "v", "effect": "NoExecute"},), True),
        ("NoExecute", ({"key": "k", "operator": "Exists", "effect": "NoSchedule"},), False),
        ("NoExecute", ({"operator": "Exists", "tolerationSeconds": 5},), True),
        ("NoSchedule", (), True),
    ],
)
def test_taints_that_end_pods_keep_them_out(effect: str, tolerations: tuple[Any, ...], *, fits: bool) -> None:
    node = {**THE_NODE, "spec": {"taints": [{"key": "k", "value": "v", "effect": effect}]}}
    message = "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate"
    expected = None if fits else ("TaintToleration", message)
    assert refused(pod(tolerations=list(tolerations)), node=node) == expected


def test_huge_pages_are_nobody_elses_to_provide() -> None:
    asking = pod()
    asking["spec"]["containers"][0]["resources"] = {"limits": {"hugepages-2Mi": "4Mi"}}
    words = "Node didn't have enough resource: hugepages-2Mi, requested: 4194304, used: 0, capacity: 0"
    assert refused(asking) == ("OutOfhugepages-2Mi", words)


def ports(number: int, protocol: str = "TCP", address: str = "") -> Any:
    made = pod()
    port = {"containerPort": 80, "hostPort": number, "protocol": protocol, "hostIP": address}
    made["spec"]["containers"][0]["ports"] = [{"containerPort": 81}, port]
    return made


@pytest.mark.parametrize(
    ("asked", "held", "fits"),
    [
        (ports(80), ports(80), False),
        (ports(80), ports(81), True),
        (ports(80), ports(80, "UDP"), True),
        (ports(80, address="127.0.0.1"), ports(80), False),
        (ports(80, address="127.0.0.1"), ports(80, address="127.0.0.2"), True),
        (pod(), ports(80), True),
    ],
)
def test_ports_of_the_machine_are_had_by_one_pod(asked: Any, held: Any, fits: bool) -> None:
    words = "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"
    assert refused(asked, held) == (None if fits else ("NodePorts", words))
