from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from homeport.node import dns

WEB = "web.ns.svc.cluster.local"


def service(name: str = "web", **spec: Any) -> dns.ServiceFacts:
    return dns.service_facts({"metadata": {"name": name, "namespace": "ns"}, "spec": spec})


def endpoint(*addresses: str, ready: bool | None = None, hostname: str | None = None) -> dict[str, Any]:
    made: dict[str, Any] = {"addresses": list(addresses), "conditions": {} if ready is None else {"ready": ready}}
    return made if hostname is None else {**made, "hostname": hostname}


def slice_of(name: str, *endpoints: dict[str, Any], ports: list[dict[str, Any]] | None = None) -> dns.SliceFacts:
    labels = {"kubernetes.io/service-name": name}
    obj = {"metadata": {"name": f"{name}-1", "namespace": "ns", "labels": labels}, "addressType": "IPv4"}
    facts = dns.slice_facts({**obj, "endpoints": list(endpoints), "ports": ports or []})
    assert facts is not None
    return facts


def test_service_with_an_address() -> None:
    records = dns.Records()
    ports = [{"name": "http", "port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"}]
    assert records.set_service("ns", "web", service(clusterIP="10.43.0.9", clusterIPs=["10.43.0.9"], ports=ports))
    assert records.snapshot() == {
        WEB: ("10.43.0.9", f"SRV 53 {WEB}", f"SRV 80 {WEB}"),
        f"_http._tcp.{WEB}": ("10.43.0.9", f"SRV 80 {WEB}"),
        f"_dns._udp.{WEB}": ("10.43.0.9", f"SRV 53 {WEB}"),
        "9.0.43.10.in-addr.arpa": (f"PTR {WEB}",),
    }
    assert records.set_slice("ns", "web-1", slice_of("web", endpoint("10.42.0.3"), endpoint("10.42.0.4", hostname="a")))
    new = records.snapshot()
    assert (new[f"10-42-0-3.{WEB}"], new[f"a.{WEB}"]) == (("10.42.0.3",), ("10.42.0.4",))
    assert new[WEB] == ("10.43.0.9", f"SRV 53 {WEB}", f"SRV 80 {WEB}")
    assert "3.0.42.10.in-addr.arpa" not in new
    assert records.set_service("ns", "web", None)
    assert records.snapshot() == {}


def test_headless_service() -> None:
    records = dns.Records()
    records.set_service("ns", "web", service(clusterIP="None", ports=[{"name": "http", "port": 80}]))
    assert records.snapshot() == {}
    facts = slice_of(
        "web",
        endpoint("10.42.0.3", ready=True, hostname="web-0"),
        endpoint("10.42.0.4", ready=False),
        endpoint("10.42.0.5"),
        ports=[{"name": "http", "port": 8080, "protocol": "TCP"}],
    )
    assert records.set_slice("ns", "web-1", facts)
    first, second = f"web-0.{WEB}", f"10-42-0-5.{WEB}"
    assert records.snapshot() == {
        WEB: ("10.42.0.3", "10.42.0.5", f"SRV 8080 {second}", f"SRV 8080 {first}"),
        first: ("10.42.0.3",),
        second: ("10.42.0.5",),
        f"_http._tcp.{WEB}": ("10.42.0.3", "10.42.0.5", f"SRV 8080 {second}", f"SRV 8080 {first}"),
        "3.0.42.10.in-addr.arpa": (f"PTR {first}",),
        "5.0.42.10.in-addr.arpa": (f"PTR {second}",),
    }
    assert records.set_slice("ns", "web-1", facts) is False
    assert records.set_slice("ns", "web-1", slice_of("web"))
    assert records.snapshot() == {}


def test_several_slices_and_both_families() -> None:
    records = dns.Records()
    records.set_slice("ns", "web-1", slice_of("web", endpoint("10.42.0.3")))
    records.set_slice("ns", "web-2", slice_of("web", endpoint("fd00::3")))
    records.set_service("ns", "web", service(clusterIP="None"))
    assert records.snapshot()[WEB] == ("10.42.0.3", "fd00::3")
    assert records.snapshot()[f"fd00--3.{WEB}"] == ("fd00::3",)
    assert records.set_slice("ns", "web-1", None)
    assert records.snapshot()[WEB] == ("fd00::3",)


def test_one_pod_behind_two_services_has_two_names() -> None:
    records = dns.Records()
    for name in ("web", "db"):
        records.set_service("ns", name, service(name, clusterIP="None"))
        records.set_slice("ns", f"{name}-1", slice_of(name, endpoint("10.42.0.3")))
    pointer = "3.0.42.10.in-addr.arpa"
    both = (f"PTR 10-42-0-3.{WEB.replace('web', 'db')}", f"PTR 10-42-0-3.{WEB}")
    assert records.snapshot()[pointer] == both
    records.set_service("ns", "db", None)
    assert records.snapshot()[pointer] == both[1:]


def test_alias() -> None:
    records = dns.Records()
    records.set_service("ns", "web", service(type="ExternalName", externalName="Example.com."))
    assert records.snapshot() == {WEB: ("CNAME Example.com",)}
    assert service(type="ExternalName", externalName="192.0.2.1").alias_of == ""


def test_pods() -> None:
    records = dns.Records()
    assert records.set_pod("1", "ns", "10.42.0.3")
    assert records.set_pod("2", "ns", "10.42.0.1")
    assert records.set_pod("3", "ns", "10.42.0.1") is False
    assert records.snapshot()["10-42-0-3.ns.pod.cluster.local"] == ("10.42.0.3",)
    assert records.set_pod("2", "ns", "") is False
    assert records.set_pod("3", "ns", "")
    assert records.set_pod("1", "ns", "10.42.0.4")
    assert list(records.snapshot()) == ["10-42-0-4.ns.pod.cluster.local"]


def test_slices_that_matter_to_nobody() -> None:
    assert dns.slice_facts({"metadata": {"name": "x", "namespace": "ns"}}) is None
    labels = {"kubernetes.io/service-name": "web"}
    assert dns.slice_facts({"metadata": {"name": "x", "labels": labels}, "addressType": "FQDN"}) is None


SERVICES = st.none() | st.sampled_from(["None", "10.43.0.9", "alias"])
SLICES = st.none() | st.tuples(st.integers(0, 2), st.lists(st.integers(2, 5), max_size=3))
STEP = st.one_of(
    st.tuples(st.just("pod"), st.integers(0, 3), st.integers(0, 3)),
    st.tuples(st.just("service"), st.integers(0, 2), SERVICES),
    st.tuples(st.just("slice"), st.integers(0, 3), SLICES),
)


def facts_of(kind: str, number: int, value: Any) -> Any:
    if value is None:
        return None
    if kind == "service":
        name = f"s{number}"
        return (
            service(name, type="ExternalName", externalName="x.y")
            if value == "alias"
            else service(name, clusterIP=value, ports=[{"name": "p", "port": 1}])
        )
    return slice_of(f"s{value[0]}", *(endpoint(f"10.42.0.{n}") for n in value[1]), ports=[{"name": "p", "port": 1}])


@settings(max_examples=100)
@given(st.lists(STEP, max_size=30))
def test_piecewise_is_the_same_as_from_scratch(steps: list[Any]) -> None:
    records = dns.Records()
    final: dict[tuple[str, int], Any] = {}
    for kind, number, value in steps:
        before = records.snapshot()
        changed = put(records, kind, number, value)
        assert changed == (records.snapshot() != before)
        final[kind, number] = value
    fresh = dns.Records()
    for (kind, number), value in final.items():
        put(fresh, kind, number, value)
    assert records.snapshot() == fresh.snapshot()


def put(records: dns.Records, kind: str, number: int, value: Any) -> bool:
    if kind == "pod":
        return records.set_pod(str(number), "ns", f"10.42.0.{value}" if value else "")
    if kind == "service":
        return records.set_service("ns", f"s{number}", facts_of(kind, number, value))
    return records.set_slice("ns", f"e{number}", facts_of(kind, number, value))
