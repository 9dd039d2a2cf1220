from __future__ import annotations

import ipaddress
import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.node import policies
from homeport.node.policies import Allowed, PodFacts, Port, Rule

NAMESPACES = {"x": {"ns": "x"}, "y": {"ns": "y"}}
ANY = (Rule(),)


def pod(address: str, namespace: str = "x", *, ports: tuple[tuple[str, str, int], ...] = (), **labels: str) -> PodFacts:
    return PodFacts(namespace, labels, address, ports)


A = pod("10.42.0.2", pod="a", ports=(("web", "TCP", 80), ("name", "UDP", 53)))
B = pod("10.42.0.3", pod="b", ports=(("web", "TCP", 8080),))
C = pod("10.42.0.4", "y", pod="a", ports=(("web", "TCP", 9090),))
PODS = (A, B, C)


def policy(namespace: str = "x", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p", "namespace": namespace}, "spec": {"podSelector": {}, **spec}}


def ingress(*entries: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return policy(policyTypes=["Ingress"], ingress=list(entries), **spec)


def of(pod: PodFacts, *found: dict[str, Any]) -> Allowed:
    return policies.allowed(found, PODS, NAMESPACES).get(pod.address, Allowed())


def at(*pods: PodFacts) -> tuple[tuple[int, int], ...]:
    numbers = [int(ipaddress.IPv4Address(pod.address)) for pod in pods]
    return policies.merged((number, number) for number in numbers)


def test_default_denies() -> None:
    assert of(A, policy(policyTypes=["Ingress"])) == Allowed(ingress=())
    assert of(A, policy(policyTypes=["Egress"])) == Allowed(egress=())
    assert of(A, policy(policyTypes=["Ingress", "Egress"])) == Allowed((), ())
    assert of(C, policy(policyTypes=["Ingress", "Egress"])) == Allowed()
    assert of(A, policy()) == Allowed(ingress=())
    assert of(A, policy(egress=[{}])) == Allowed((), ANY)


def test_only_selected_pods_are_isolated() -> None:
    found = ingress(podSelector={"matchLabels": {"pod": "b"}})
    assert (of(A, found), of(B, found)) == (Allowed(), Allowed(ingress=()))


def test_policies_add_up() -> None:
    first, second = ingress({"from": [{"podSelector": {"matchLabels": {"pod": "b"}}}]}), ingress({})
    assert of(A, first, ingress()) == Allowed(ingress=(Rule(at(B)),))
    assert of(A, first, second) == Allowed(ingress=ANY)


@pytest.mark.parametrize(
    ("peer", "meant"),
    [
        ({"podSelector": {}}, (A, B)),
        ({"podSelector": {"matchLabels": {"pod": "b"}}}, (B,)),
        ({"namespaceSelector": {}}, (A, B, C)),
        ({"namespaceSelector": {"matchLabels": {"ns": "y"}}}, (C,)),
        ({"namespaceSelector": {}, "podSelector": {"matchLabels": {"pod": "a"}}}, (A, C)),
        ({"namespaceSelector": {"matchExpressions": [{"key": "ns", "operator": "NotIn", "values": ["x"]}]}}, (C,)),
        ({"podSelector": {"matchLabels": {"pod": "none"}}}, ()),
    ],
)
def test_peers(peer: dict[str, Any], meant: tuple[PodFacts, ...]) -> None:
    assert of(A, ingress({"from": [peer]})) == Allowed(ingress=(Rule(at(*meant)),))


def test_ports() -> None:
    ports = [{"port": 80}, {"protocol": "UDP", "port": 53}, {"port": 8000, "endPort": 8010}, {"protocol": "SCTP"}]
    assert of(A, ingress({"ports": ports})) == Allowed(
        ingress=(
            Rule(None, (Port("SCTP", 0, 65535), Port("TCP", 80, 80), Port("TCP", 8000, 8010), Port("UDP", 53, 53))),
        )
    )


def test_named_ports_of_ingress_are_the_pods_own() -> None:
    found = ingress({"ports": [{"port": "web"}]})
    assert of(A, found) == Allowed(ingress=(Rule(None, (Port("TCP", 80, 80),)),))
    assert of(B, found) == Allowed(ingress=(Rule(None, (Port("TCP", 8080, 8080),)),))
    assert of(B, ingress({"ports": [{"port": "name", "protocol": "UDP"}]})) == Allowed(ingress=())


def test_named_ports_of_egress_are_the_others() -> None:
    found = policy(policyTypes=["Egress"], egress=[{"to": [{"namespaceSelector": {}}], "ports": [{"port": "web"}]}])
    rules = of(A, found).egress
    assert rules is not None
    assert set(rules) == {
        Rule(at(A), (Port("TCP", 80, 80),)),
        Rule(at(B), (Port("TCP", 8080, 8080),)),
        Rule(at(C), (Port("TCP", 9090, 9090),)),
    }
    everywhere = policy(policyTypes=["Egress"], egress=[{"ports": [{"port": "web"}, {"port": 443}]}])
    assert set(of(A, everywhere).egress or ()) == {*rules, Rule(None, (Port("TCP", 443, 443),))}


def test_blocks() -> None:
    block = {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16", "10.255.0.0/16"]}
    (rule,) = of(A, ingress({"from": [{"ipBlock": block}]})).ingress or ()
    ends = [tuple(str(ipaddress.IPv4Address(n)) for n in part) for part in rule.peers or ()]
    assert ends == [("10.0.0.0", "10.0.255.255"), ("10.2.0.0", "10.254.255.255")]
    assert policies.ranges("fd00::/8", []) == []
    assert policies.ranges("0.0.0.0/0", ["fd00::/8"]) == [(0, (1 << 32) - 1)]
    assert policies.ranges("10.0.0.0/24", ["10.0.0.0/16"]) == []


def test_pods_that_matter() -> None:
    spec = {"containers": [{"name": "c", "ports": [{"name": "web", "containerPort": 80}, {"containerPort": 81}]}]}
    made = {"metadata": {"name": "p", "namespace": "x", "labels": {"a": "b"}}, "spec": spec}
    assert policies.pod_facts(made, "10.42.0.9") == PodFacts("x", {"a": "b"}, "10.42.0.9", (("web", "TCP", 80),))
    assert policies.pod_facts(made, "") is None
    assert policies.pod_facts({**made, "spec": {**spec, "hostNetwork": True}}, "10.42.0.1") is None


def test_message_has_each_list_once() -> None:
    found = policies.allowed([ingress({"ports": [{"port": 80}]})], PODS, NAMESPACES)
    assert policies.message(found) == {
        "pods": {"10.42.0.2": [0, None], "10.42.0.3": [0, None]},
        "lists": [[[None, [["TCP", 80, 80]]]]],
    }
    assert policies.message({}) == {"pods": {}, "lists": []}


NUMBER = st.integers(0, 255)
BLOCK = st.tuples(NUMBER, st.integers(24, 32)).map(
    lambda pair: str(ipaddress.ip_network((0x0A000000 + pair[0], pair[1]), strict=False))
)


@given(BLOCK, st.lists(BLOCK, max_size=4))
def test_blocks_hold_what_is_in_them_and_in_no_exception(cidr: str, excluded: list[str]) -> None:
    found = policies.ranges(cidr, excluded)
    for number in range(0x0A000000, 0x0A000100):
        address = ipaddress.IPv4Address(number)
        inside = address in ipaddress.ip_network(cidr) and not any(address in ipaddress.ip_network(e) for e in excluded)
        assert inside == any(first <= number <= last for first, last in found)


@given(st.lists(st.tuples(NUMBER, NUMBER).map(lambda ends: (min(ends), max(ends))), max_size=6))
def test_merged_ranges_are_the_same_numbers_in_order(parts: list[tuple[int, int]]) -> None:
    found = policies.merged(parts)
    assert all(earlier[1] + 1 < later[0] for earlier, later in itertools.pairwise(found))
    for number in range(256):
        assert any(a <= number <= b for a, b in parts) == any(a <= number <= b for a, b in found)
