"""Questions to the name server, and others' answers that it passes on."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from dnsmessages import Reply, question
from hypothesis import given
from hypothesis import strategies as st

from homeport.node.sandbox import dns, forward, hostnames, nameserver
from homeport.node.sandbox.dnscache import Cache
from homeport.node.sandbox.loop import Loop
from homeport.node.sandbox.zone import Zone

OUTSIDE = "www.example.com"


def upstream_answer(
    asked: bytes, records: list[tuple[bytes, int, int, bytes]], *, code: int = 0, flags: int = 0x8180
) -> bytes:
    """What another server says: its own header, the question, and those records (owner as bytes)."""
    query = dns.parse(asked)
    body = b"".join(owner + struct.pack(">HHIH", kind, 1, ttl, len(data)) + data for owner, kind, ttl, data in records)
    return struct.pack(">6H", query.number, flags | code, 1, len(records), 0, 0) + query.question + body


class Upstream:
    """In place of the machine's resolvers."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int, bool]] = []
        self.waiting: list[Callable[[bytes], None]] = []
        self.answer: Callable[[bytes], bytes] | None = lambda asked: upstream_answer(
            asked, [(b"\xc0\x0c", dns.A, 60, bytes([192, 0, 2, 9]))]
        )

    def ask(self, data: bytes, reply: Callable[[bytes], None], *, stream: bool) -> bool:
        query = dns.parse(data)
        self.asked.append((query.name, query.kind, stream))
        if self.answer is None:
            self.waiting.append(reply)
        else:
            reply(self.answer(data))
        return True


class Server:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, hosts: Path) -> None:
        self.loop = Loop()
        self.zone = Zone("cluster.local", [ipaddress.IPv4Network("10.42.0.0/16")], "10.42.0.1")
        self.upstream = Upstream()
        monkeypatch.setattr(forward, "Forwarder", lambda *_: self.upstream)
        monkeypatch.setattr(nameserver, "HostNames", lambda: hostnames.HostNames(str(hosts)))
        self._server = nameserver.NameServer(self.loop, self.zone, None)  # type: ignore[arg-type]

    def raw(self, data: bytes, *, stream: bool = False, asker: str = "10.42.0.2") -> list[bytes]:
        answers: list[bytes] = []
        self._server.answer(data, answers.append, stream=stream, asker=asker)
        return answers

    def ask(self, name: str, kind: int = dns.A, *, stream: bool = False, size: int | None = None) -> Reply:
        (answer,) = self.raw(question(name, kind, size=size), stream=stream)
        return Reply(answer)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    made = Server(monkeypatch, tmp_path / "hosts")
    yield made
    made.loop.close()


def test_what_is_no_question_for_us(server: Server) -> None:
    (answer,) = server.raw(question("a.cluster.local", flags=0x2900))
    assert Reply(answer).code == dns.NOT_IMPLEMENTED
    chaos = question("version.bind", dns.TXT)
    (answer,) = server.raw(chaos[:-1] + b"\x03")
    assert Reply(answer).code == dns.REFUSED
    (answer,) = server.raw(b"\x00\x07" + bytes(10))
    assert answer[3] & 15 == dns.FORMAT_ERROR
    assert server.raw(b"\x00") == []


def test_unknown_version_of_edns(server: Server) -> None:
    data = question("a.cluster.local", size=4096)
    later = data[:-5] + b"\x01" + data[-4:]
    (answer,) = server.raw(later)
    reply = Reply(answer)
    (option,) = reply.additional
    assert (reply.code, option[2] >> 24) == (0, 1)


def test_others_names_are_passed_on_with_their_question_and_number(server: Server) -> None:
    reply = server.ask("WWW.example.com")
    assert (reply.number, reply.addresses, reply.is_authoritative) == (7, ["192.0.2.9"], False)
    assert b"WWW" in reply.question
    assert server.upstream.asked == [(OUTSIDE, dns.A, False)]


def test_kept_answers_grow_old(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    server._server._cache = Cache(lambda: now)
    server.ask(OUTSIDE)
    now += 10.5
    assert [ttl for _, _, ttl, _ in server.ask("Www.Example.com").answers] == [50]
    assert len(server.upstream.asked) == 1
    now += 20
    server.ask(OUTSIDE)
    assert len(server.upstream.asked) == 2
    server.ask(OUTSIDE, dns.AAAA)
    assert server.upstream.asked[-1] == (OUTSIDE, dns.AAAA, False)


def test_failures_are_not_kept(server: Server) -> None:
    server.upstream.answer = lambda asked: upstream_answer(asked, [], code=2)
    assert server.ask(OUTSIDE).code == dns.SERVER_FAILURE
    server.upstream.answer = lambda _asked: b""
    assert server.ask(OUTSIDE).code == dns.SERVER_FAILURE
    assert len(server.upstream.asked) == 2


def test_no_such_name_is_kept_as_long_as_its_zone_says(server: Server) -> None:
    now = 0.0
    server._server._cache = Cache(lambda: now)
    soa = b"\0\0" + struct.pack(">5I", 1, 1, 1, 1, 3)

    def answer(asked: bytes) -> bytes:
        query = dns.parse(asked)
        body = b"\0" + struct.pack(">HHIH", dns.SOA, 1, 900, len(soa)) + soa
        return struct.pack(">6H", query.number, 0x8183, 1, 0, 1, 0) + query.question + body

    server.upstream.answer = answer
    assert server.ask(OUTSIDE).code == dns.NAME_ERROR
    now = 2.0
    assert server.ask(OUTSIDE).code == dns.NAME_ERROR
    assert len(server.upstream.asked) == 1
    now = 3.0
    server.ask(OUTSIDE)
    assert len(server.upstream.asked) == 2


def test_alias_is_answered_with_what_others_say_of_its_target(server: Server) -> None:
    server.zone.set("out.ns.svc.cluster.local", [f"CNAME {OUTSIDE}"])

    def answer(asked: bytes) -> bytes:
        # www is an alias too, whose target's name ends in a pointer to the question's.
        target = b"\x03cdn\xc0\x10"
        return upstream_answer(asked, [(b"\xc0\x0c", dns.CNAME, 9, target), (target, dns.A, 9, bytes([192, 0, 2, 1]))])

    server.upstream.answer = answer
    reply = server.ask("out.ns.svc.cluster.local")
    assert [(owner, kind) for owner, kind, _, _ in reply.answers] == [
        ("out.ns.svc.cluster.local", dns.CNAME),
        (OUTSIDE, dns.CNAME),
        ("cdn.example.com", dns.A),
    ]
    assert reply.answers[1][3] == dns.encode_name("cdn.example.com")
    assert reply.addresses == ["192.0.2.1"]


def test_alias_whose_target_nobody_can_tell(server: Server) -> None:
    server.zone.set("out.ns.svc.cluster.local", [f"CNAME {OUTSIDE}"])
    server.upstream.answer = lambda _asked: b""
    assert server.ask("out.ns.svc.cluster.local").code == dns.SERVER_FAILURE
    server.upstream.answer = lambda asked: upstream_answer(asked, [], code=3)
    reply = server.ask("out.ns.svc.cluster.local")
    assert (reply.code, [kind for _, kind, _, _ in reply.answers]) == (dns.NAME_ERROR, [dns.CNAME])


def test_alias_with_a_long_answer_is_asked_for_again_by_tcp(server: Server) -> None:
    server.zone.set("out.ns.svc.cluster.local", [f"CNAME {OUTSIDE}"])

    def answer(asked: bytes) -> bytes:
        is_first = len(server.upstream.asked) == 1
        return upstream_answer(
            asked,
            [] if is_first else [(b"\xc0\x0c", dns.A, 9, bytes([192, 0, 2, 1]))],
            flags=0x8380 if is_first else 0x8180,
        )

    server.upstream.answer = answer
    assert server.ask("out.ns.svc.cluster.local").addresses == ["192.0.2.1"]
    assert [stream for _, _, stream in server.upstream.asked] == [False, True]


def test_one_asker_can_not_use_up_everything(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nameserver, "_MOST_OF_ONE", 2)
    server.upstream.answer = None
    assert server.raw(question("a.example.com")) == server.raw(question("b.example.com")) == []
    (refused,) = server.raw(question("c.example.com"))
    assert Reply(refused).code == dns.SERVER_FAILURE
    assert server.raw(question("d.example.com"), asker="10.42.0.3") == []
    for reply in server.upstream.waiting:
        reply(b"")
    assert server.raw(question("c.example.com")) == []


def test_names_of_the_machine(server: Server, tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost me\n192.0.2.7 Build.corp build # ours\n2001:db8::7 build\nnonsense x\n")
    assert server.ask("build").addresses == ["192.0.2.7"]
    assert server.ask("build", dns.AAAA).addresses == ["2001:db8::7"]
    assert server.ask("build.corp", dns.AAAA).addresses == []
    assert server.upstream.asked == []
    server.ask("me")
    assert server.upstream.asked == [("me", dns.A, False)]
    hosts.write_text("192.0.2.8 build\n")
    assert server.ask("build").addresses == ["192.0.2.8"]
    hosts.unlink()
    server.ask("build")
    assert len(server.upstream.asked) == 2


def test_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("homeport.node.sandbox.dnscache._MOST_BYTES", 10_000)
    cache = Cache()
    for number in range(100):
        data = question(f"n{number}.example.com")
        cache.put(dns.parse(data), upstream_answer(data, [(b"\xc0\x0c", dns.A, 60, bytes(4))]))
    assert 10 < len(cache) < 30
    assert cache.get(dns.parse(question("n99.example.com")), 512)
    assert cache.get(dns.parse(question("n99.example.com")), 20) is None
    assert cache.get(dns.parse(question("n0.example.com")), 512) is None


def test_an_answer_to_another_question_is_not_kept() -> None:
    cache = Cache()
    other = upstream_answer(question("other.example.com"), [(b"\xc0\x0c", dns.A, 60, bytes(4))])
    cache.put(dns.parse(question(OUTSIDE)), other)
    assert len(cache) == 0


@given(st.binary(max_size=200))
def test_no_answer_of_others_does_harm(data: bytes) -> None:
    asked = question(OUTSIDE)
    for answer in (data, asked[:2] + b"\x81\x80" + data, upstream_answer(asked, [(b"\xc0\x0c", 1, 9, data)]) + data):
        Cache().put(dns.parse(asked), answer)
        try:
            dns.read(answer)
        except dns.Malformed:
            continue


def test_pointers_that_go_round() -> None:
    header = struct.pack(">6H", 7, 0x8180, 0, 1, 0, 0)
    with pytest.raises(dns.Malformed, match="go round"):
        dns.read(header + b"\xc0\x0c" + struct.pack(">HHIH", dns.A, 1, 9, 4) + bytes(4))
