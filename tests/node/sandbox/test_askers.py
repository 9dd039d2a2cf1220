"""Queries over TCP, and how many connections are kept for them."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator

import pytest

from homeport.node.sandbox import askers
from homeport.node.sandbox.loop import Loop


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Where queries are answered with themselves turned around."""
    monkeypatch.setattr(askers, "_MOST", 3)
    loop = Loop()

    def answer(data: bytes, reply: Callable[[bytes], None], *, stream: bool, asker: str = "") -> None:
        assert stream
        assert asker == "127.0.0.1"
        reply(data[::-1])

    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_server(("127.0.0.1", 0)) as end:
        askers.StreamAskers(loop, listener, answer)
        loop.watch(end.fileno(), lambda _events: setattr(loop, "is_running", False))
        thread = threading.Thread(target=loop.run)
        thread.start()
        yield listener.getsockname()[1]
        with socket.create_connection(end.getsockname()):
            thread.join()


def ask(connection: socket.socket, query: bytes) -> bytes:
    """The answer; empty if the connection ends."""
    connection.sendall(struct.pack(">H", len(query)) + query)
    with connection.makefile("rb") as file:
        return file.read(int.from_bytes(file.read(2), "big"))


def test_queries_one_after_another_and_in_pieces(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        assert ask(connection, b"abc") == b"cba"
        for piece in (b"\0", b"\3d", b"e", b"f\0\2gh"):
            connection.sendall(piece)
        with connection.makefile("rb") as file:
            assert file.read(9) == b"\0\3fed\0\2hg"


def test_one_connection_too_many_ends_the_oldest(port: int) -> None:
    connections = []
    for number in range(5):
        connections.append(socket.create_connection(("127.0.0.1", port), timeout=10))
        assert ask(connections[-1], b"%d!" % number) == b"!%d" % number
    for old in connections[:2]:
        assert old.recv(1) == b""
    for kept in connections[2:]:
        assert ask(kept, b"ab") == b"ba"
    for connection in connections:
        connection.close()
