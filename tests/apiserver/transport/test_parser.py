"""Bytes to requests: what is recognised without a parser is what the parser would make of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.apiserver.transport import target
from homeport.apiserver.transport.parser import Limits, Message, Parser
from homeport.kube.wire import Response

LIMITS = Limits(header_bytes=300, body_bytes=100)


def parser() -> Parser:
    return Parser(LIMITS, b"certificate", "10.0.0.1")


def said(messages: Sequence[Message]) -> list[Any]:
    """The messages, but for what they share."""

    def answer(response: Response | None) -> Any:
        return None if response is None else (response.status, response.body)

    return [
        (each.request and msgspec.structs.asdict(each.request), answer(each.response), each.keep_alive, each.rest)
        for each in messages
    ]


# Any byte that may stand in a request line, and some that may not.
targets = st.lists(st.integers(0x20, 0x7F).map(lambda code: bytes([code])) | st.just(b"%41"), max_size=12).map(b"".join)
heads = st.sampled_from(
    (
        b"Host: a\r\n\r\n",
        b"Host: a\r\nAuthorization: Bearer t\r\nAccept: x\r\nAccept: y\r\n\r\n",
        b"Host: a\r\nContent-Length: 0\r\n\r\n",
        b"Host: a\r\nContent-Length: 2\r\n\r\nab",
        b"Host: a\r\nContent-Length: 3\r\n\r\nabc",
        b"Host: a\r\nContent-Length: 3\r\n\r\nabcd",
        b"Host: a\r\nContent-Length: 03\r\n\r\nabc",
        b"Host: a\r\nContent-Length: 3\r\n\r\nab",
        b"Host: a\r\nContent-Length: +3\r\n\r\nabc",
        b"Host: a\r\nContent-Length: 3, 3\r\n\r\nabc",
        b"Host: a\r\nContent-Length: 101\r\n\r\n" + b"x" * 101,
        b"Host: a\r\ncontent-length: 12\r\nX: y\r\n\r\nX: y\r\n\r\nabcd",
        b"Host: a\r\ncontent-length: 1\r\nX: y\r\n\r\n\r",
        b"Host: a\r\nX: content-length:\r\n\tcontent-length: 5\r\nContent-Length: 2\r\n\r\nab",
        b"Host: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nab",
        b"Host: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\nab",
        b"Host: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Host: a\r\nExpect: 100-continue\r\n\r\n",
        b"Host: a\r\nConnection: close\r\n\r\n",
        b"Host: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
        b"Host: a\r\nX: " + b"y" * 270 + b"\r\n\r\n",
        b"Host: a\r\n\r\nGET / HTTP/1.1\r\nHost: b\r\n\r\n",
        b"Host: a\r\n\r\n\r\n",
        b"Host: a\r\n\r\nG",
        b"Host: a\r\n",
        b"\r\n",
        b" folded\r\n\r\n",
    )
)
lines = st.tuples(
    st.sampled_from((b"GET", b"GET", b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"get")),
    targets,
    st.sampled_from((b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/1.1 ")),
).map(lambda parts: b"%b /%b %b\r\n" % parts)


@given(st.lists(st.tuples(lines, heads), min_size=2, max_size=6), heads)
def test_a_connection_reads_each_request_as_if_it_were_its_first(
    requests: list[tuple[bytes, bytes]], usual: bytes
) -> None:
    """As long as the ones before it were whole: the headers are often `usual` ones."""
    used = parser()
    for number, (line, head) in enumerate(requests):
        data = line + (usual if number % 2 == 0 else head)
        fresh = parser()
        messages = used.feed(data)
        assert said(messages) == said(fresh.feed(data))
        assert (used.in_message, used.in_body, used.ended, used.continue_wanted) == (
            fresh.in_message,
            fresh.in_body,
            fresh.ended,
            fresh.continue_wanted,
        )
        if used.in_message or used.ended or not all(each.keep_alive for each in messages):
            break


def test_requests_with_the_same_headers_share_what_is_remembered() -> None:
    used = parser()
    head = b"Host: a\r\nAuthorization: Bearer t\r\n\r\n"
    (first,) = used.feed(b"GET /one HTTP/1.1\r\n" + head)
    (second,) = used.feed(b"GET /two?x=y HTTP/1.1\r\n" + head)
    assert second.memory is first.memory
    assert second.request is not None
    assert (second.request.path, second.request.query) == ("/two", (("x", "y"),))
    (other,) = used.feed(b"GET /two HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer u\r\n\r\n")
    assert other.memory is not first.memory
    (post,) = used.feed(b"POST /one HTTP/1.1\r\n" + head)
    assert post.memory is not other.memory
    (longer,) = used.feed(b"GET /one HTTP/1.1\r\nX: y\r\nHost: a\r\nAuthorization: Bearer u\r\n\r\n")
    assert longer.memory is not other.memory


@pytest.mark.parametrize("cut", range(1, 40))
def test_a_request_in_two_pieces_is_read_as_it_is_in_one(cut: int) -> None:
    data = b"GET /two HTTP/1.1\r\nHost: a\r\nAccept: x\r\n\r\n"
    used = parser()
    (whole,) = used.feed(data)
    messages = [*used.feed(data[:cut]), *used.feed(data[cut:])]
    assert said(messages) == said([whole])


def test_plain_targets_are_read_like_all_others() -> None:
    def read(parse: Any, raw: bytes) -> Any:
        try:
            return parse(raw)
        except target.BadTarget as error:
            return str(error)

    for raw in (before + bytes([code]) + b"b" for code in range(256) for before in (b"", b"/", b"/a", b"/a?")):
        assert read(target.parse_target, raw) == read(target._parse, raw)


bodies = st.integers(1, 101).map(lambda size: b"Host: a\r\nContent-Length: %d\r\nX: y\r\n\r\n%b" % (size, b"x" * size))


@given(st.lists(st.tuples(st.sampled_from((b"POST", b"PUT", b"PATCH", b"GET")), targets, bodies), min_size=2))
def test_requests_that_differ_in_their_bodies_are_read_as_if_each_were_the_first(
    requests: list[tuple[bytes, bytes, bytes]],
) -> None:
    used = parser()
    for method, path, rest in requests:
        data = b"%b /%b HTTP/1.1\r\n%b" % (method, path, rest)
        messages = used.feed(data)
        assert said(messages) == said(parser().feed(data))
        if used.in_message or used.ended:
            break


def test_headers_that_differ_in_the_length_of_the_body_only_are_known_again() -> None:
    used = parser()
    data = b"POST /one HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\nX: y\r\n\r\n%b"
    (first,) = used.feed(data % (2, b"ab"))
    (second,) = used.feed(data % (2, b"cd"))
    (third,) = used.feed(data % (3, b"abc"))
    assert first.request is not None
    assert second.request is not None
    assert third.request is not None
    assert second.request.headers is first.request.headers
    assert third.request.headers == {**first.request.headers, "content-length": "3"}
    assert (first.request.headers["content-length"], third.request.body) == ("2", b"abc")
