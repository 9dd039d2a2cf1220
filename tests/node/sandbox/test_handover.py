"""Services by a process: what takes the place of the kernel's rules, and what the machine's own ports lead to."""

from __future__ import annotations

import errno
import ipaddress
import socket
import threading
from collections.abc import Callable

import namespaces
import pytest

from homeport.node.sandbox import network
from homeport.node.sandbox.frontends import ANY, Backend, Frontend, Target
from homeport.node.sandbox.handover import Chooser, StreamRelay
from homeport.node.sandbox.loop import Loop
from homeport.node.sandbox.services import _ListeningBalancer

PODS, SERVICES = ipaddress.IPv4Network("10.42.0.0/16"), ipaddress.IPv4Network("10.43.0.0/16")


def serve(stream: socket.socket, datagrams: socket.socket) -> Target:
    def streams() -> None:
        while True:
            client, _ = stream.accept()
            with client:
                while data := client.recv(65536):
                    client.sendall(data)

    def answers() -> None:
        while True:
            data, asker = datagrams.recvfrom(99)
            datagrams.sendto(data, asker)

    for each in (streams, answers):
        threading.Thread(target=each, daemon=True).start()
    return Target(*stream.getsockname())


def listeners_at_cluster_ips() -> None:
    network.set_up_node(PODS, SERVICES)
    stream = socket.create_server(("10.42.0.1", 8080))
    datagrams = socket.socket(type=socket.SOCK_DGRAM)
    datagrams.bind(("10.42.0.1", 8080))
    backend = Backend((serve(stream, datagrams),))
    loop = Loop()
    balancer = _ListeningBalancer(loop)
    both = Frontend("tcp", "10.43.0.7", 80), Frontend("udp", "10.43.0.7", 53)
    balancer.change({**dict.fromkeys(both, backend), Frontend("tcp", ANY, 30080): backend})
    threading.Thread(target=loop.run, daemon=True).start()
    for place in (("10.43.0.7", 80), ("10.42.0.1", 30080)):
        with socket.create_connection(place, 5) as client:
            sent = bytes(range(256)) * 20_000  # more than any buffer holds
            sender = threading.Thread(target=client.sendall, args=(sent,))
            sender.start()
            heard = bytearray()
            while len(heard) < len(sent):
                heard += client.recv(65536)
            sender.join()
            assert heard == sent
            client.shutdown(socket.SHUT_WR)
            assert client.recv(1) == b""  # ends are handed on
    with socket.socket(type=socket.SOCK_DGRAM) as asker:
        asker.settimeout(5)
        asker.connect(("10.43.0.7", 53))
        asker.send(b"one")
        assert asker.recv(9) == b"one"


def what_has_no_target_is_refused() -> None:
    network.set_up_node(PODS, SERVICES)
    balancer = _ListeningBalancer(Loop())
    frontend = Frontend("tcp", "10.43.0.7", 80)

    def outcome() -> int:
        with socket.socket() as client:
            client.settimeout(5)
            return client.connect_ex(("10.43.0.7", 80))

    assert outcome() == errno.EHOSTUNREACH
    balancer.change({frontend: Backend((Target("10.42.0.9", 80),))})
    assert outcome() == 0
    balancer.change({frontend: Backend(())})
    assert outcome() == errno.ECONNREFUSED
    balancer.change({frontend: None})
    assert outcome() == errno.EHOSTUNREACH


@pytest.mark.parametrize("as_user", [False, True], ids=["root", "user"])
@pytest.mark.parametrize("part", [listeners_at_cluster_ips, what_has_no_target_is_refused])
def test_without_rules(part: Callable[[], None], as_user: bool) -> None:
    namespaces.run(part, as_user=as_user)


def test_choosing() -> None:
    one, two = Target("10.42.0.2", 80), Target("10.42.0.3", 80)
    chooser = Chooser(Backend((one, two), sticky=60))
    first = chooser.choose("192.0.2.1")
    assert {chooser.choose("192.0.2.1") for _ in range(20)} == {first}
    assert {chooser.choose(f"192.0.2.{n}") for n in range(100)} == {one, two}
    other = two if first == one else one
    chooser.backend = Backend((other,), sticky=60)
    assert chooser.choose("192.0.2.1") == other
    chooser.backend = Backend((one,), sources=(ipaddress.IPv4Network("192.0.2.0/24"),))
    assert (chooser.choose("192.0.2.1"), chooser.choose("203.0.113.1")) == (one, None)
    chooser.backend = Backend(())
    assert chooser.choose("192.0.2.1") is None


def test_a_target_that_is_not_there_ends_the_connection() -> None:
    loop = Loop()
    stop, stopped = socket.socketpair()
    loop.watch(stopped.fileno(), lambda _events: setattr(loop, "is_running", False))
    with socket.socket() as closed, stop, stopped:
        closed.bind(("127.0.0.1", 0))
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        relay = StreamRelay(loop, listener, Backend((Target(*closed.getsockname()),)), _non_blocking)
        thread = threading.Thread(target=loop.run)
        thread.start()
        with pytest.raises(ConnectionResetError), socket.create_connection(listener.getsockname(), 5) as client:
            client.recv(1)
        stop.send(b".")
        thread.join()
    relay.close()
    loop.close()


def _non_blocking(kind: int) -> socket.socket:
    return socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK)
