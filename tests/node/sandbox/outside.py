"""Servers on the machine's own network, and what a pod finds of them: for the tests of both kinds of user."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

from homeport.node.sandbox import network

CLIENT = """
import socket, struct, sys

host, tcp, udp, loopback = sys.argv[1], *map(int, sys.argv[2:])


def said(call):
    try:
        return call()
    except OSError as error:
        return type(error).__name__


def stream():
    with socket.create_connection((host, tcp), 10) as connection:
        connection.sendall(b"x" * 1_000_000)
        connection.shutdown(socket.SHUT_WR)
        return sum(map(len, iter(lambda: connection.recv(65536), b"")))


def datagram(port, size):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(10)
        asking.connect((host, port))
        asking.send(b"a" * (size - 1) + b"z")
        answer = asking.recv(65535)
        return len(answer), answer[:1].decode()


print("stream", said(stream))
print("datagrams", said(lambda: datagram(udp, 5)), said(lambda: datagram(udp, 60_000)))
print("refused", said(lambda: socket.create_connection((host, udp), 10)))
print("closed", said(lambda: datagram(tcp, 5)))
print("loopback", said(lambda: socket.create_connection(("127.0.0.1", loopback), 10)))
print("nowhere", said(lambda: socket.create_connection(("0.0.0.0", loopback), 10)))
"""
FOUND = [
    "stream 1000000",
    "datagrams (5, 'z') (60000, 'z')",
    "refused ConnectionRefusedError",
    "closed ConnectionRefusedError",
    "loopback ConnectionRefusedError",
    "nowhere ConnectionRefusedError",
]


class Outside:
    """An echo of connections, one of datagrams (turned around), and a server on the loopback."""

    def __init__(self, address: str, ports: tuple[int, int, int]) -> None:
        self.address = address
        self.arguments = (address, *map(str, ports))


def _echo(listener: socket.socket) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            data = b""
            while part := connection.recv(65536):
                data += part
            connection.sendall(data)


def _turn(datagrams: socket.socket) -> None:
    while True:
        data, asker = datagrams.recvfrom(65535)
        if not data:
            return
        datagrams.sendto(data[::-1], asker)


@contextlib.contextmanager
def servers() -> Iterator[Outside | None]:
    """None where the machine has no address but its loopback's."""
    address = network.host_address()
    if address.startswith("127."):
        yield None
        return
    with (
        socket.create_server((address, 0)) as streams,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
        socket.create_server(("127.0.0.1", 0)) as private,
    ):
        datagrams.bind((address, 0))
        threads = [threading.Thread(target=_echo, args=(streams,)), threading.Thread(target=_turn, args=(datagrams,))]
        for thread in threads:
            thread.start()
        ports = (streams.getsockname()[1], datagrams.getsockname()[1], private.getsockname()[1])
        try:
            yield Outside(address, ports)
        finally:
            streams.shutdown(socket.SHUT_RDWR)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
                last.sendto(b"", (address, ports[1]))
            for thread in threads:
                thread.join()
