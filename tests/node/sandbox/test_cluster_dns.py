"""Queries and answers as bytes, checked by reading them back independently of the code that wrote them."""

from __future__ import annotations

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.node.sandbox import dns

NETWORK = ipaddress.IPv4Network("10.42.0.0/16")


def question(name: str, kind: int = dns.A, *, number: int = 7, size: int | None = None, flags: int = 0x100) -> bytes:
    extra = b"" if size is None else b"\0" + struct.pack(">HHIH", dns.OPT, size, 0, 0)
    header = struct.pack(">6H", number, flags, 1, 0, 0, 1 if extra else 0)
    return header + dns.encode_name(name) + struct.pack(">HH", kind, 1) + extra


class Reply:
    """An answer read back: what a resolver makes of it."""

    def __init__(self, data: bytes | None) -> None:
        assert data is not None
        self.size = len(data)
        self.number, flags, questions, answers, authorities, self.additional = struct.unpack_from(">6H", data)
        self.code = flags & 15
        self.is_truncated = bool(flags & 0x200)
        assert flags & 0x8000
        assert questions == 1
        offset = 12
        while data[offset]:
            offset += 1 + data[offset]
        self.question = data[12 : offset + 5]
        offset += 5
        self.records = []
        for _ in range(answers + authorities + self.additional):
            if data[offset] >= 0xC0:
                offset += 2
            else:
                while data[offset]:
                    offset += 1 + data[offset]
                offset += 1
            kind, _class, ttl, length = struct.unpack_from(">HHIH", data, offset)
            offset += 10
            self.records.append((kind, ttl, data[offset : offset + length]))
            offset += length
        assert offset == len(data)

    @property
    def addresses(self) -> list[str]:
        return [str(ipaddress.ip_address(data)) for kind, _, data in self.records if kind in (dns.A, dns.AAAA)]

    @property
    def kinds(self) -> list[int]:
        return [kind for kind, _, _ in self.records]


def ask(zone: dns.Zone, name: str, kind: int = dns.A, **options: int) -> Reply:
    return Reply(zone.answer(dns.parse(question(name, kind, **options))))


@pytest.fixture
def zone() -> dns.Zone:
    made = dns.Zone("cluster.local", NETWORK)
    made.set("a.default.svc.cluster.local", ["10.42.0.5"])
    made.set("many.default.svc.cluster.local", [f"10.42.1.{number}" for number in range(1, 101)])
    return made


def test_known_name(zone: dns.Zone) -> None:
    reply = ask(zone, "A.Default.svc.CLUSTER.local")
    assert (reply.code, reply.number, reply.addresses) == (dns.NOERROR, 7, ["10.42.0.5"])
    assert b"Default" in reply.question


def test_aaaa_of_a_name_with_ipv4_only_is_empty_and_no_error(zone: dns.Zone) -> None:
    reply = ask(zone, "a.default.svc.cluster.local", dns.AAAA)
    assert (reply.code, reply.kinds) == (dns.NOERROR, [dns.SOA])


def test_both_families(zone: dns.Zone) -> None:
    zone.set("dual.cluster.local", ["10.42.0.6", "fd00::6"])
    assert ask(zone, "dual.cluster.local").addresses == ["10.42.0.6"]
    assert ask(zone, "dual.cluster.local", dns.AAAA).addresses == ["fd00::6"]


def test_unknown_name_of_the_domain(zone: dns.Zone) -> None:
    reply = ask(zone, "nobody.default.svc.cluster.local")
    assert (reply.code, reply.kinds) == (dns.NAME_ERROR, [dns.SOA])


def test_names_above_known_ones_exist(zone: dns.Zone) -> None:
    assert ask(zone, "default.svc.cluster.local").code == dns.NOERROR
    zone.clear()
    assert ask(zone, "default.svc.cluster.local").code == dns.NAME_ERROR
    assert ask(zone, "cluster.local").code == dns.NOERROR


def test_other_names_are_somebody_elses(zone: dns.Zone) -> None:
    assert zone.answer(dns.parse(question("example.org"))) is None
    assert zone.answer(dns.parse(question("notcluster.local"))) is None


def test_reverse(zone: dns.Zone) -> None:
    reply = ask(zone, "5.0.42.10.in-addr.arpa", dns.PTR)
    assert reply.records == [(dns.PTR, dns.TTL, dns.encode_name("a.default.svc.cluster.local"))]
    assert ask(zone, "9.9.42.10.in-addr.arpa", dns.PTR).code == dns.NAME_ERROR
    assert zone.answer(dns.parse(question("1.1.1.1.in-addr.arpa", dns.PTR))) is None


def test_long_answers_are_cut_for_datagrams_only(zone: dns.Zone) -> None:
    reply = ask(zone, "many.default.svc.cluster.local")
    assert (reply.is_truncated, reply.addresses, reply.size <= 512) == (True, [], True)
    query = dns.parse(question("many.default.svc.cluster.local", size=4096))
    assert len(zone.answer(query) or b"") <= 1232
    whole = Reply(zone.answer(query, size=65535))
    assert (whole.is_truncated, len(whole.addresses), whole.additional) == (False, 100, 1)


def test_first_address_varies(zone: dns.Zone) -> None:
    zone.set("two.cluster.local", ["10.42.0.1", "10.42.0.2"])
    firsts = {ask(zone, "two.cluster.local", number=number).addresses[0] for number in range(10)}
    assert firsts == {"10.42.0.1", "10.42.0.2"}


def test_changed_and_removed_names(zone: dns.Zone) -> None:
    zone.set("a.default.svc.cluster.local.", ["10.42.0.7"])
    assert ask(zone, "a.default.svc.cluster.local").addresses == ["10.42.0.7"]
    assert ask(zone, "5.0.42.10.in-addr.arpa", dns.PTR).code == dns.NAME_ERROR
    zone.remove("a.default.svc.cluster.local")
    zone.remove("a.default.svc.cluster.local")
    assert ask(zone, "a.default.svc.cluster.local").code == dns.NAME_ERROR


def test_name_without_addresses_exists(zone: dns.Zone) -> None:
    zone.set("none.cluster.local", [])
    assert (ask(zone, "none.cluster.local").code, ask(zone, "none.cluster.local").addresses) == (dns.NOERROR, [])


def test_bad_address_is_refused_and_changes_nothing(zone: dns.Zone) -> None:
    with pytest.raises(ValueError, match="not-an-address"):
        zone.set("a.default.svc.cluster.local", ["not-an-address"])
    assert ask(zone, "a.default.svc.cluster.local").addresses == ["10.42.0.5"]


def test_other_operations_are_not_implemented(zone: dns.Zone) -> None:
    reply = Reply(zone.answer(dns.parse(question("a.default.svc.cluster.local", flags=0x2800))))
    assert reply.code == dns.NOT_IMPLEMENTED


def test_nameservers() -> None:
    text = "# comment\nnameserver 192.0.2.1\nnameserver fe80::1%eth0\nnameserver nonsense\nsearch x\nnameserver\n"
    assert dns.nameservers(text) == ["192.0.2.1", "fe80::1%eth0"]


@given(st.binary(max_size=100))
def test_no_bytes_are_more_than_malformed(data: bytes) -> None:
    try:
        query = dns.parse(data)
    except dns.Malformed:
        refusal = dns.refuse(data, dns.FORMAT_ERROR)
        assert refusal is None or refusal[:2] == data[:2]
    else:
        made = dns.Zone("cluster.local", NETWORK)
        made.answer(query)


_LABEL = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=20)


@given(st.dictionaries(st.lists(_LABEL, min_size=1, max_size=4).map(".".join), st.integers(2, 60000), max_size=8))
def test_zone_forgets_everything_that_is_removed(names: dict[str, int]) -> None:
    made = dns.Zone("cluster.local", NETWORK)
    for name, number in names.items():
        made.set(f"{name}.cluster.local", [str(NETWORK.network_address + number)])
    for name, number in names.items():
        assert ask(made, f"{name}.cluster.local").addresses == [str(NETWORK.network_address + number)]
    made.clear()
    assert not made.records
    for name in names:
        assert ask(made, f"{name}.cluster.local").code == dns.NAME_ERROR
