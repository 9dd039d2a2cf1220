from __future__ import annotations

from pathlib import Path
from typing import Any

from homeport.node import environment, machinefacts
from homeport.node.resolver import Resolver, aliases, parse, resolver

MACHINE = Resolver(("192.0.2.53", "127.0.0.53"), ("corp.example",), ("edns0",))
SEARCHES = ("ns.svc.cluster.local", "svc.cluster.local", "cluster.local", "corp.example")


def of(machine: Resolver = MACHINE, **spec: Any) -> tuple[Resolver, list[str]]:
    pod = {"metadata": {"name": "p", "namespace": "ns"}, "spec": spec}
    return resolver(pod, machine, server="10.42.0.1", domain="cluster.local")


def test_parse(tmp_path: Path) -> None:
    text = "# x\nsearch old\nnameserver 192.0.2.53\nnameserver\nsearch a.b. c .\noptions edns0 timeout:1\n"
    assert parse(text) == Resolver(("192.0.2.53",), ("a.b", "c", "."), ("edns0", "timeout:1"))
    (tmp_path / "resolv.conf").write_text(text)
    assert machinefacts.read_resolver(tmp_path / "resolv.conf").nameservers == ("192.0.2.53",)
    assert machinefacts.read_resolver(tmp_path / "none") == Resolver()


def test_cluster_first() -> None:
    assert of() == (Resolver(("10.42.0.1",), SEARCHES, ("ndots:5",)), [])
    assert of(dnsPolicy="ClusterFirstWithHostNet", hostNetwork=True)[0].nameservers == ("10.42.0.1",)


def test_default() -> None:
    assert of(dnsPolicy="Default")[0] == Resolver(("192.0.2.53", "10.42.0.1"), ("corp.example",), ("edns0",))
    assert of(Resolver(), dnsPolicy="Default")[0] == Resolver(("10.42.0.1",))
    assert of(dnsPolicy="ClusterFirst", hostNetwork=True)[0] == MACHINE
    assert of(dnsPolicy="Default", hostNetwork=True)[0] == MACHINE


def test_cluster_that_can_not_be_reached() -> None:
    pod = {"metadata": {"namespace": "ns"}, "spec": {"dnsPolicy": "ClusterFirstWithHostNet", "hostNetwork": True}}
    assert resolver(pod, MACHINE, server="", domain="cluster.local") == (MACHINE, [])


def test_config_is_added_or_all_there_is() -> None:
    config = {
        "nameservers": ["192.0.2.1", "10.42.0.1"],
        "searches": ["own.example", "cluster.local"],
        "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}],
    }
    found, _ = of(dnsConfig=config)
    assert found == Resolver(("10.42.0.1", "192.0.2.1"), (*SEARCHES, "own.example"), ("ndots:2", "edns0"))
    found, _ = of(dnsPolicy="None", dnsConfig=config)
    assert found == Resolver(("192.0.2.1", "10.42.0.1"), ("own.example", "cluster.local"), ("ndots:2", "edns0"))


def test_limits() -> None:
    config = {"nameservers": [f"192.0.2.{n}" for n in range(1, 5)], "searches": [f"s{n}" for n in range(40)]}
    found, warnings = of(dnsPolicy="None", dnsConfig=config)
    assert (len(found.nameservers), len(found.searches)) == (3, 32)
    assert [warning.split(",")[0] for warning in warnings] == [
        "Search Line limits were exceeded",
        "Nameserver limits were exceeded",
    ]
    long = {"nameservers": ["192.0.2.1"], "searches": [f"{n:03}." + "x" * 200 for n in range(20)]}
    found, warnings = of(dnsPolicy="None", dnsConfig=long)
    assert len(" ".join(found.searches)) <= 2048
    assert len(found.searches) == 9
    assert warnings[0].endswith(found.searches[-1])


def test_aliases() -> None:
    entries = [
        {"ip": "192.0.2.1", "hostnames": ["a", "b"]},
        {"ip": "::1"},
        {"ip": "192.0.2.1", "hostnames": ["b", "c"]},
    ]
    assert aliases(entries) == {"192.0.2.1": ("a", "b", "c"), "::1": ()}


def test_host_names() -> None:
    def name(**spec: Any) -> str:
        return environment.hostname({"metadata": {"name": "p", "namespace": "ns"}, "spec": spec}, "machine")

    assert name() == "p"
    assert name(hostname="h") == "h"
    assert name(subdomain="s") == "p"
    assert name(subdomain="s", setHostnameAsFQDN=True) == "p.s.ns.svc.cluster.local"
    assert name(setHostnameAsFQDN=True) == "p"
    assert name(hostNetwork=True) == "machine"
    assert name(hostnameOverride="other", hostNetwork=False) == "other"
