"""The relay's bookkeeping, without a network of pods: packets in, packets out."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

import pytest
from ports import free_port

from homeport.node.sandbox import packets, relaytcp, relayudp
from homeport.node.sandbox.loop import Loop
from homeport.node.sandbox.packets import Packet

POD = bytes([10, 42, 0, 5])
LOOPBACK = bytes([127, 0, 0, 1])


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()


def packet(protocol: int, ports: tuple[int, int], rest: bytes, source: bytes = POD) -> Packet:
    body = struct.pack(">HH", *ports) + rest
    header = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0, 64, protocol, 0) + source + LOOPBACK
    made = packets.parse(header + body)
    assert made is not None
    return made


def first(port: int, target: int, source: bytes = POD) -> Packet:
    return packet(packets.TCP, (port, target), struct.pack(">IIBBHHH", 9, 0, 5 << 4, packets.SYN, 99, 0, 0), source)


def datagram(port: int, target: int, payload: bytes = b"x") -> Packet:
    return packet(packets.UDP, (port, target), struct.pack(">HH", 8 + len(payload), 0) + payload)


def turn(loop: Loop, seconds: float = 0.2) -> None:
    """Let what is ready happen."""
    loop.is_running = True
    loop.after(seconds, lambda: setattr(loop, "is_running", False))
    loop.run()


def kinds(sent: list[bytes]) -> list[str]:
    found = []
    for data in sent:
        made = packets.parse(data)
        assert made is not None
        if made.protocol == packets.TCP:
            found.append("reset" if packets.tcp_flags(made) & packets.RST else "first")
        else:
            found.append("icmp" if made.protocol == packets.ICMP else "answer")
    return found


def test_connections(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relaytcp, "_MOST_OF_ONE", 2)
    sent: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_server(("127.0.0.1", 0)) as outer:
        listener.setblocking(False)
        target = outer.getsockname()[1]
        made = relaytcp.Connections(loop, listener, sent.append, 3)
        made.take(first(1, target))
        assert sent == []  # the pod hears nothing before the outer connection is there
        turn(loop)
        assert kinds(sent) == ["first"]
        made.take(first(1, target))
        assert kinds(sent) == ["first", "first"]
        made.take(first(2, target))
        made.take(first(3, target))
        assert kinds(sent)[2:] == ["reset"]  # too many of one pod
        made.take(first(1, target, bytes([10, 42, 0, 6])))
        made.take(first(1, target, bytes([10, 42, 0, 7])))
        assert kinds(sent)[3:] == ["reset"]  # too many of all
        later = struct.pack(">IIBBHHH", 9, 7, 5 << 4, packets.ACK, 99, 0, 0)
        made.take(packet(packets.TCP, (9, target), later))
        assert kinds(sent)[4:] == ["reset"]  # of no connection
    for dial in list(made._dials.values()):
        loop.forget(dial._outer.fileno())
        dial._give_up()
    assert (made._count, made._of_pod, made._dials) == (0, {}, {})


def test_refused_connection(loop: Loop) -> None:
    sent: list[bytes] = []
    port = free_port()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        made = relaytcp.Connections(loop, listener, sent.append, 9)
        made.take(first(1, port))
        turn(loop)
        assert kinds(sent) == ["reset"]
        assert (made._count, made._dials) == (0, {})


def test_flows(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relayudp, "_MOST_OF_ONE", 2)
    sent: list[bytes] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)
        target = server.getsockname()[1]
        made = relayudp.Datagrams(loop, sent.append, 9)
        for port in (1, 2, 1, 3):
            made.take(datagram(port, target))
        askers = [server.recvfrom(9)[1] for _ in range(4)]
        assert askers[0] == askers[2]
        assert len(set(askers)) == 3
        assert sorted(flow._first.ports[0] for flow in made._flows.values()) == [1, 3]  # that of 2 was idle longest
        server.sendto(b"answer", askers[0])
        turn(loop)
        (answer,) = (packets.parse(data) for data in sent)
        assert answer is not None
        assert (answer.ports, answer.body[8:]) == ((target, 1), b"answer")
    for flow in list(made._flows.values()):
        flow.close()
    assert (made._flows, made._of_pod) == ({}, {})


def test_closed_port(loop: Loop) -> None:
    sent: list[bytes] = []
    port = free_port(socket.SOCK_DGRAM)
    made = relayudp.Datagrams(loop, sent.append, 9)
    made.take(datagram(1, port))
    turn(loop)
    assert kinds(sent) == ["icmp"]
    for flow in list(made._flows.values()):
        flow.close()
