"""Names of others, asked of servers that the test runs."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from homeport.node.sandbox import forward
from homeport.node.sandbox.loop import Loop

QUESTION = b"\x12\x34" + b"question"


class Upstream:
    """A server for one datagram and one connection, that answers with the question turned around."""

    def __init__(self) -> None:
        while True:
            self.datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.datagrams.bind(("127.0.0.1", 0))
            self.port = self.datagrams.getsockname()[1]
            try:
                self.streams = socket.create_server(("127.0.0.1", self.port))
                break
            except OSError:  # free for the one, somebody else's for the other
                self.datagrams.close()

    def answer_datagram(self) -> None:
        data, asker = self.datagrams.recvfrom(1000)
        self.datagrams.sendto(b"\0\0nonsense", asker)
        self.datagrams.sendto(data[:2] + data[:1:-1], asker)

    def answer_stream(self) -> None:
        connection, _ = self.streams.accept()
        with connection:
            data = connection.recv(1000)
            answer = data[2:4] + data[:3:-1]
            connection.sendall(struct.pack(">H", len(answer)))
            connection.sendall(answer)

    def close(self) -> None:
        self.datagrams.close()
        self.streams.close()


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    made = Upstream()
    yield made
    made.close()


def ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, port: int, servers: str, serve: Callable[[], None], *, stream: bool
) -> bytes | None:
    monkeypatch.setattr(forward, "_PORT", port)
    monkeypatch.setattr(forward, "_TRY_SECONDS", 0.2)
    resolv = tmp_path / "resolv.conf"
    resolv.write_text(servers)
    loop = Loop()
    answers: list[bytes] = []

    def reply(answer: bytes) -> None:
        answers.append(answer)
        loop.is_running = False

    thread = threading.Thread(target=serve)
    thread.start()
    if forward.Forwarder(loop, forward.HostSockets(), str(resolv)).ask(QUESTION, reply, stream=stream):
        loop.run()
    thread.join()
    loop.close()
    return answers[0] if answers else None


def test_datagram(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, upstream: Upstream) -> None:
    found = ask(tmp_path, monkeypatch, upstream.port, "nameserver 127.0.0.1\n", upstream.answer_datagram, stream=False)
    assert found == b"\x12\x34noitseuq"


def test_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, upstream: Upstream) -> None:
    found = ask(tmp_path, monkeypatch, upstream.port, "nameserver 127.0.0.1\n", upstream.answer_stream, stream=True)
    assert found == b"\x12\x34noitseuq"


def test_next_server_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, upstream: Upstream) -> None:
    text = "nameserver 127.0.0.9\nnameserver 127.0.0.1\n"
    found = ask(tmp_path, monkeypatch, upstream.port, text, upstream.answer_datagram, stream=False)
    assert found == b"\x12\x34noitseuq"


def test_nobody_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, upstream: Upstream) -> None:
    text = "nameserver 127.0.0.1\n"
    assert ask(tmp_path, monkeypatch, upstream.port, text, lambda: None, stream=False) == b""


def test_nobody_to_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, upstream: Upstream) -> None:
    assert ask(tmp_path, monkeypatch, upstream.port, "search x\n", lambda: None, stream=False) is None
