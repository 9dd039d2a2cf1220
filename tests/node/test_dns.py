from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from homeport.node import dns


def pod(name: str, labels: dict[str, str], **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "ns", "labels": labels}, "spec": spec}


def service(name: str, selector: dict[str, str], **spec: Any) -> dns.ServiceFacts | None:
    obj = {"metadata": {"name": name, "namespace": "ns"}, "spec": {"selector": selector, **spec}}
    return dns.service_facts(obj)


def test_service_and_pod_names() -> None:
    records = dns.Records()
    assert records.set_service("ns", "web", service("web", {"app": "w"})) is False
    assert records.set_pod("1", dns.pod_facts(pod("a", {"app": "w", "x": "y"}), "10.42.0.3", True))
    assert records.set_pod("2", dns.pod_facts(pod("b", {"app": "w"}), "10.42.0.2", True))
    assert records.set_pod("3", dns.pod_facts(pod("c", {"app": "other"}), "10.42.0.4", True))
    assert records.snapshot() == {
        "web.ns.svc.cluster.local": ("10.42.0.2", "10.42.0.3"),
        "10-42-0-3.ns.pod.cluster.local": ("10.42.0.3",),
        "10-42-0-2.ns.pod.cluster.local": ("10.42.0.2",),
        "10-42-0-4.ns.pod.cluster.local": ("10.42.0.4",),
    }
    assert records.set_pod("1", None)
    assert records.snapshot()["web.ns.svc.cluster.local"] == ("10.42.0.2",)
    assert records.set_pod("2", None)
    assert "web.ns.svc.cluster.local" not in records.snapshot()
    assert records.set_pod("2", None) is False


def test_only_ready_pods_unless_the_service_says_otherwise() -> None:
    records = dns.Records()
    records.set_service("ns", "a", service("a", {"app": "w"}))
    records.set_service("ns", "b", service("b", {"app": "w"}, publishNotReadyAddresses=True))
    records.set_pod("1", dns.pod_facts(pod("p", {"app": "w"}), "10.42.0.3", False))
    assert "a.ns.svc.cluster.local" not in records.snapshot()
    assert records.snapshot()["b.ns.svc.cluster.local"] == ("10.42.0.3",)
    records.set_pod("1", dns.pod_facts(pod("p", {"app": "w"}), "10.42.0.3", True))
    assert records.snapshot()["a.ns.svc.cluster.local"] == ("10.42.0.3",)
    deleting = pod("p", {"app": "w"})
    deleting["metadata"]["deletionTimestamp"] = "x"
    records.set_pod("1", dns.pod_facts(deleting, "10.42.0.3", True))
    assert "a.ns.svc.cluster.local" not in records.snapshot()


def test_host_names_below_a_service() -> None:
    records = dns.Records()
    records.set_service("ns", "db", service("db", {"app": "d"}, clusterIP="None"))
    facts = dns.pod_facts(pod("db-0", {"app": "d"}, hostname="db-0", subdomain="db"), "10.42.0.3", True)
    records.set_pod("1", facts)
    assert records.snapshot()["db-0.db.ns.svc.cluster.local"] == ("10.42.0.3",)
    records.set_service("ns", "db", None)
    assert list(records.snapshot()) == ["10-42-0-3.ns.pod.cluster.local"]


def test_services_that_follow_no_pods() -> None:
    assert service("x", {}) is None
    assert service("x", {"a": "b"}, type="ExternalName", externalName="example.com") is None


LABELS = st.dictionaries(st.sampled_from("abc"), st.sampled_from("12"), max_size=3)
STEP = st.one_of(
    st.tuples(st.just("pod"), st.integers(0, 4), st.none() | st.tuples(LABELS, st.booleans())),
    st.tuples(st.just("service"), st.integers(0, 4), st.none() | st.tuples(LABELS, st.booleans())),
)


@settings(max_examples=100)
@given(st.lists(STEP, max_size=30))
def test_piecewise_is_the_same_as_from_scratch(steps: list[Any]) -> None:
    records = dns.Records()
    pods: dict[str, Any] = {}
    services: dict[str, Any] = {}
    for kind, number, value in steps:
        before = records.snapshot()
        if kind == "pod":
            facts = None
            if value is not None:
                facts = dns.pod_facts(pod(f"p{number}", value[0]), f"10.42.0.{number + 2}", value[1])
            changed = records.set_pod(str(number), facts)
            pods[str(number)] = facts
        else:
            facts = service(f"s{number}", value[0], publishNotReadyAddresses=value[1]) if value is not None else None
            changed = records.set_service("ns", f"s{number}", facts)
            services[f"s{number}"] = facts
        assert changed == (records.snapshot() != before)
    fresh = dns.Records()
    for name, facts in services.items():
        fresh.set_service("ns", name, facts)
    for uid, facts in pods.items():
        fresh.set_pod(uid, facts)
    assert records.snapshot() == fresh.snapshot()


def test_a_service_without_selector_has_its_own_address() -> None:
    records = dns.Records()
    service = {"metadata": {"name": "kubernetes", "namespace": "default"}, "spec": {"clusterIP": "10.42.0.1"}}
    facts = dns.service_facts(service)
    assert records.set_service("default", "kubernetes", facts)
    assert records.snapshot() == {"kubernetes.default.svc.cluster.local": ("10.42.0.1",)}
    assert not records.set_service("default", "kubernetes", facts)
    headless = {"metadata": service["metadata"], "spec": {"clusterIP": "None"}}
    assert records.set_service("default", "kubernetes", dns.service_facts(headless))
    assert records.snapshot() == {}
