"""Queries and answers as bytes, checked by reading them back independently of the code that wrote them."""

from __future__ import annotations

import ipaddress
import struct

import pytest
from dnsmessages import Reply, question
from hypothesis import given
from hypothesis import strategies as st

from homeport.node.sandbox import dns, forward
from homeport.node.sandbox.zone import Zone

NETWORK = ipaddress.IPv4Network("10.42.0.0/16")


SERVER = "10.42.0.1"
SVC = "default.svc.cluster.local"


def ask(zone: Zone, name: str, kind: int = dns.A, **options: int) -> Reply:
    return Reply(answer(zone, question(name, kind, **options)))


def answer(zone: Zone, data: bytes, size: int | None = None) -> bytes | None:
    query = dns.parse(data)
    found = zone.find(query)
    if found is None:
        return None
    return dns.respond(query, found.code, found.answers, found.authority, found.additional, size=size)


@pytest.fixture
def zone() -> Zone:
    made = Zone("cluster.local", [NETWORK], SERVER)
    made.set("a.default.svc.cluster.local", ["10.42.0.5"])
    made.set("many.default.svc.cluster.local", [f"10.42.1.{number}" for number in range(1, 101)])
    return made


def test_known_name(zone: Zone) -> None:
    reply = ask(zone, "A.Default.svc.CLUSTER.local")
    assert (reply.code, reply.number, reply.addresses) == (dns.NOERROR, 7, ["10.42.0.5"])
    assert b"Default" in reply.question


def test_aaaa_of_a_name_with_ipv4_only_is_empty_and_no_error(zone: Zone) -> None:
    reply = ask(zone, "a.default.svc.cluster.local", dns.AAAA)
    assert (reply.code, reply.kinds) == (dns.NOERROR, [dns.SOA])


def test_both_families(zone: Zone) -> None:
    zone.set("dual.cluster.local", ["10.42.0.6", "fd00::6"])
    assert ask(zone, "dual.cluster.local").addresses == ["10.42.0.6"]
    assert ask(zone, "dual.cluster.local", dns.AAAA).addresses == ["fd00::6"]


def test_unknown_name_of_the_domain(zone: Zone) -> None:
    reply = ask(zone, "nobody.default.svc.cluster.local")
    assert (reply.code, reply.kinds) == (dns.NAME_ERROR, [dns.SOA])


def test_names_above_known_ones_exist(zone: Zone) -> None:
    assert ask(zone, "default.svc.cluster.local").code == dns.NOERROR
    zone.clear()
    assert ask(zone, "default.svc.cluster.local").code == dns.NAME_ERROR
    assert ask(zone, "cluster.local").code == dns.NOERROR


def test_other_names_are_somebody_elses(zone: Zone) -> None:
    assert answer(zone, question("example.org")) is None
    assert answer(zone, question("notcluster.local")) is None


def test_reverse(zone: Zone) -> None:
    zone.set("5.0.42.10.in-addr.arpa", [f"PTR a.{SVC}"])
    reply = ask(zone, "5.0.42.10.in-addr.arpa", dns.PTR)
    assert reply.answers == [("5.0.42.10.in-addr.arpa", dns.PTR, dns.TTL, dns.encode_name(f"a.{SVC}"))]
    assert ask(zone, "9.9.42.10.in-addr.arpa", dns.PTR).code == dns.NAME_ERROR
    assert answer(zone, question("1.1.1.1.in-addr.arpa", dns.PTR)) is None
    zone.close_networks([ipaddress.IPv4Network("1.1.0.0/16"), ipaddress.IPv6Network("fd42::/64")])
    assert ask(zone, "1.1.1.1.in-addr.arpa", dns.PTR).code == dns.NAME_ERROR
    inside = ipaddress.ip_address("fd42::9").reverse_pointer
    assert ask(zone, inside, dns.PTR).code == dns.NAME_ERROR


def test_long_answers_are_cut_for_datagrams_only(zone: Zone) -> None:
    reply = ask(zone, f"many.{SVC}")
    assert (reply.is_truncated, 20 < len(reply.addresses) < 40, reply.size <= 512) == (True, True, True)
    larger = ask(zone, f"many.{SVC}", size=4096)
    assert larger.size <= 1232
    assert len(larger.addresses) > len(reply.addresses)
    whole = Reply(answer(zone, question(f"many.{SVC}", size=4096), size=65535))
    assert (whole.is_truncated, len(whole.addresses), len(whole.additional)) == (False, 100, 1)


def test_alias_of_a_name_outside(zone: Zone) -> None:
    zone.set(f"out.{SVC}", ["CNAME Foo.example.com."])
    found = zone.find(dns.parse(question(f"out.{SVC}")))
    assert found is not None
    assert found.target == "foo.example.com"
    reply = ask(zone, f"out.{SVC}", dns.CNAME)
    assert reply.answers == [(f"out.{SVC}", dns.CNAME, dns.TTL, dns.encode_name("foo.example.com"))]


def test_alias_of_a_name_inside(zone: Zone) -> None:
    zone.set(f"alias.{SVC}", [f"CNAME a.{SVC}"])
    zone.set(f"lost.{SVC}", [f"CNAME nobody.{SVC}"])
    reply = ask(zone, f"alias.{SVC}")
    assert [(owner, kind) for owner, kind, _, _ in reply.answers] == [(f"alias.{SVC}", dns.CNAME), (f"a.{SVC}", dns.A)]
    assert reply.addresses == ["10.42.0.5"]
    assert ask(zone, f"alias.{SVC}", dns.AAAA).addresses == []
    lost = ask(zone, f"lost.{SVC}")
    assert (lost.code, [kind for _, kind, _, _ in lost.answers]) == (dns.NAME_ERROR, [dns.CNAME])


def test_aliases_in_a_circle(zone: Zone) -> None:
    zone.set(f"x.{SVC}", [f"CNAME y.{SVC}"])
    zone.set(f"y.{SVC}", [f"CNAME x.{SVC}"])
    assert ask(zone, f"x.{SVC}").code == dns.SERVER_FAILURE
    for number in range(12):
        zone.set(f"n{number}.{SVC}", [f"CNAME n{number + 1}.{SVC}"])
    assert ask(zone, f"n0.{SVC}").code == dns.SERVER_FAILURE


def test_services_hosts(zone: Zone) -> None:
    zone.set(f"_http._tcp.db.{SVC}", [f"SRV 80 one.db.{SVC}", f"SRV 81 two.db.{SVC}", "10.42.0.7"])
    zone.set(f"one.db.{SVC}", ["10.42.0.7"])
    reply = ask(zone, f"_HTTP._tcp.db.{SVC}", dns.SRV, size=1232)
    assert sorted(data for _, _, _, data in reply.answers) == [
        struct.pack(">3H", 0, 50, 80) + dns.encode_name(f"one.db.{SVC}"),
        struct.pack(">3H", 0, 50, 81) + dns.encode_name(f"two.db.{SVC}"),
    ]
    assert [(owner, kind) for owner, kind, _, _ in reply.additional] == [(f"one.db.{SVC}", dns.A), ("", dns.OPT)]
    assert ask(zone, f"_tcp.db.{SVC}", dns.SRV).code == dns.NOERROR
    assert ask(zone, f"_http._udp.db.{SVC}", dns.SRV).code == dns.NAME_ERROR
    assert ask(zone, f"_http._tcp.db.{SVC}").addresses == ["10.42.0.7"]


def test_the_zone_itself(zone: Zone) -> None:
    assert ask(zone, "cluster.local", dns.SOA).kinds == [dns.SOA]
    assert ask(zone, "cluster.local", dns.NS).answers[0][3] == dns.encode_name("ns.dns.cluster.local")
    assert ask(zone, "ns.dns.cluster.local").addresses == [SERVER]
    assert ask(zone, "dns-version.cluster.local", dns.TXT).answers[0][3] == b"\x051.1.0"


def test_long_text(zone: Zone) -> None:
    zone.set("text.cluster.local", ["TXT " + "x" * 300])
    assert ask(zone, "text.cluster.local", dns.TXT).answers[0][3] == b"\xff" + b"x" * 255 + b"\x2d" + b"x" * 45


def test_first_address_varies(zone: Zone) -> None:
    zone.set("two.cluster.local", ["10.42.0.1", "10.42.0.2"])
    firsts = {ask(zone, "two.cluster.local", number=number).addresses[0] for number in range(10)}
    assert firsts == {"10.42.0.1", "10.42.0.2"}


def test_changed_and_removed_names(zone: Zone) -> None:
    zone.set("a.default.svc.cluster.local.", ["10.42.0.7"])
    assert ask(zone, "a.default.svc.cluster.local").addresses == ["10.42.0.7"]
    zone.remove("a.default.svc.cluster.local")
    zone.remove("a.default.svc.cluster.local")
    assert ask(zone, "a.default.svc.cluster.local").code == dns.NAME_ERROR


def test_name_without_addresses_exists(zone: Zone) -> None:
    zone.set("none.cluster.local", [])
    assert (ask(zone, "none.cluster.local").code, ask(zone, "none.cluster.local").addresses) == (dns.NOERROR, [])


def test_bad_address_is_refused_and_changes_nothing(zone: Zone) -> None:
    with pytest.raises(ValueError, match="not-an-address"):
        zone.set("a.default.svc.cluster.local", ["not-an-address"])
    assert ask(zone, "a.default.svc.cluster.local").addresses == ["10.42.0.5"]


def test_nameservers() -> None:
    text = "# comment\nnameserver 192.0.2.1\nnameserver fe80::1%eth0\nnameserver nonsense\nsearch x\nnameserver\n"
    assert forward.nameservers(text) == ["192.0.2.1", "fe80::1%eth0"]


@given(st.binary(max_size=100))
def test_no_bytes_are_more_than_malformed(data: bytes) -> None:
    try:
        query = dns.parse(data)
    except dns.Malformed:
        refusal = dns.refuse(data, dns.FORMAT_ERROR)
        assert refusal is None or refusal[:2] == data[:2]
    else:
        made = Zone("cluster.local", [NETWORK], SERVER)
        made.find(query)


_LABEL = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=20)


@given(st.dictionaries(st.lists(_LABEL, min_size=1, max_size=4).map(".".join), st.integers(2, 60000), max_size=8))
def test_zone_forgets_everything_that_is_removed(names: dict[str, int]) -> None:
    made = Zone("cluster.local", [NETWORK], SERVER)
    for name, number in names.items():
        made.set(f"{name}.cluster.local", [str(NETWORK.network_address + number)])
    for name, number in names.items():
        assert ask(made, f"{name}.cluster.local").addresses == [str(NETWORK.network_address + number)]
    made.clear()
    assert not made.records
    for name in names:
        assert ask(made, f"{name}.cluster.local").code == dns.NAME_ERROR
