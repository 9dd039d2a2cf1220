"""SPDY's wire format and its streams."""

from __future__ import annotations

import asyncio
import socket
import struct
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.apiserver.streaming import spdy
from homeport.apiserver.streaming.portforward import SpdyForwarder
from homeport.apiserver.streaming.session import SpdySession, Stream

TEXT = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("syn"), st.dictionaries(TEXT.map(str.lower), TEXT, max_size=4)),
            st.tuples(st.just("data"), st.binary(max_size=300)),
            st.tuples(st.just("ping"), st.integers(0, 2**32 - 1)),
        )
    ),
    st.integers(1, 70),
)
def test_frames_arrive_however_they_are_cut(sent: list[tuple[str, object]], size: int) -> None:
    writer, parser = spdy.HeaderWriter(), spdy.Parser()
    data = b""
    for kind, value in sent:
        match kind, value:
            case "syn", dict():
                data += writer.syn_stream(1, value)
            case "data", bytes():
                data += spdy.data_frame(1, value, fin=True)
            case _, int():
                data += spdy.ping(value)
    found: list[tuple[str, object]] = []
    part = b""
    for at in range(0, len(data), size):
        for frame in parser.feed(data[at : at + size]):
            if isinstance(frame, spdy.Data):
                part += frame.data
                if frame.fin:
                    found.append(("data", part))
                    part = b""
            elif frame.kind == spdy.PING:
                found.append(("ping", frame.stream))
            else:
                found.append(("syn", dict(frame.headers)))
    assert found == sent


@given(st.lists(st.binary(max_size=200), max_size=10), st.sampled_from([b"", b"\x80\x03\x00\x01", b"\x80\x03\x00\x04"]))
def test_any_bytes_are_understood_or_refused(chunks: list[bytes], begin: bytes) -> None:
    parser = spdy.Parser()
    try:
        for chunk in (begin, *chunks):
            list(parser.feed(chunk))
    except spdy.ProtocolError:
        return


def syn(block: bytes) -> bytes:
    payload = struct.pack("!IIBB", 1, 0, 0, 0) + block
    return struct.pack("!HHI", 0x8003, spdy.SYN_STREAM, len(payload)) + payload


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x02\x00\x06\x00\x00\x00\x04\x00\x00\x00\x01",  # another version
        b"\x80\x03\x00\x06\x00\x02\x00\x00",  # a control frame of 128 KiB
        b"\x80\x03\x00\x06\x00\x00\x00\x00",  # a ping without a number
        b"\x00\x00\x00\x00\x00\x00\x00\x01x",  # data of no stream
        syn(b"not compressed"),
        syn(zlib.compress(b"\0\0\0\0")),  # another dictionary
    ],
)
def test_what_breaks_the_protocol(data: bytes) -> None:
    with pytest.raises(spdy.ProtocolError):
        list(spdy.Parser().feed(data))


def test_headers_that_grow_without_bound_are_refused() -> None:
    packer = zlib.compressobj(zdict=spdy._dictionary())
    value = bytes(1 << 22)
    plain = struct.pack("!II1sI", 1, 1, b"x", len(value)) + value
    block = packer.compress(plain) + packer.flush(zlib.Z_SYNC_FLUSH)
    assert len(block) < 1 << 16
    with pytest.raises(spdy.ProtocolError):
        list(spdy.Parser().feed(syn(block)))


class Line:
    """One end of a connection in memory."""

    def __init__(self) -> None:
        self.incoming: asyncio.Queue[bytes] = asyncio.Queue()
        self.sent = b""

    async def read(self, limit: int = 65536) -> bytes:
        return await self.incoming.get()

    async def write(self, data: bytes) -> None:
        self.sent += data

    def write_eof(self) -> None:
        raise NotImplementedError

    def frames(self) -> list[spdy.Data | spdy.Control]:
        """What was sent so far."""
        return list(spdy.Parser().feed(self.sent))


class Peers:
    def __init__(self) -> None:
        self.line = Line()
        self.opened: list[Stream] = []
        self.session = SpdySession(self.line, self.opened.append)
        self.task = asyncio.create_task(self.session.run())
        self.headers = spdy.HeaderWriter()

    async def say(self, *frames: bytes) -> None:
        for frame in frames:
            self.line.incoming.put_nowait(frame)
        while not self.line.incoming.empty():
            await asyncio.sleep(0)
        await asyncio.sleep(0)


async def test_streams_are_answered_and_close_in_each_direction() -> None:
    peers = Peers()
    await peers.say(peers.headers.syn_stream(1, {"streamtype": "data"}), spdy.data_frame(1, b"hello"))
    (stream,) = peers.opened
    assert stream.headers == {"streamtype": "data"}
    assert await stream.read() == b"hello"
    await stream.write(b"back")
    await stream.close()
    await peers.say(spdy.data_frame(1, b"more", fin=True))
    assert await stream.read() == b"more"
    assert await stream.read() == b""
    with pytest.raises(ConnectionError):
        await stream.write(b"late")
    reply, back, end = peers.line.frames()
    assert isinstance(reply, spdy.Control)
    assert (reply.kind, reply.stream) == (spdy.SYN_REPLY, 1)
    assert (back, end) == (spdy.Data(1, b"back", False), spdy.Data(1, b"", True))
    await peers.say(b"")
    await peers.task


async def test_pings_resets_and_unknown_streams() -> None:
    peers = Peers()
    await peers.say(spdy.ping(7), spdy.ping(8), spdy.data_frame(9, b"x"), peers.headers.syn_stream(1, {}))
    await peers.say(spdy.rst_stream(1, spdy.CANCEL))
    with pytest.raises(ConnectionResetError):
        await peers.opened[0].read()
    ping, reset, _reply = peers.line.frames()
    assert (ping.stream, getattr(reset, "kind", 0), reset.stream) == (7, spdy.RST_STREAM, 9)
    await peers.session.leave()
    await peers.say(peers.headers.syn_stream(3, {}))
    refused = peers.line.frames()[-1]
    assert isinstance(refused, spdy.Control)
    assert (refused.kind, refused.value) == (spdy.RST_STREAM, spdy.REFUSED_STREAM)
    # A number that has been is no number for a new stream.
    await peers.say(peers.headers.syn_stream(1, {}))
    with pytest.raises(ConnectionError):
        await peers.task
    last = peers.line.frames()[-1]
    assert isinstance(last, spdy.Control)
    assert (last.kind, last.value) == (spdy.GOAWAY, spdy.PROTOCOL_ERROR)


async def test_a_stream_that_nobody_reads_holds_the_peer_up() -> None:
    peers = Peers()
    await peers.say(peers.headers.syn_stream(1, {}))
    for _ in range(64):
        peers.line.incoming.put_nowait(spdy.data_frame(1, bytes(1 << 16)))
    for _ in range(200):
        await asyncio.sleep(0)
    assert peers.line.incoming.qsize() >= 58
    total = 0
    while total < 64 << 16:
        total += len(await peers.opened[0].read())
    peers.task.cancel()


async def test_windows_are_kept_with_peers_that_know_them() -> None:
    peers = Peers()
    settings = struct.pack("!HHI", 0x8003, spdy.SETTINGS, 12) + struct.pack("!III", 1, 7, 100)
    await peers.say(settings, peers.headers.syn_stream(1, {}))
    writing = asyncio.create_task(peers.opened[0].write(bytes(250)))
    await asyncio.sleep(0.01)
    assert sum(len(frame.data) for frame in peers.line.frames() if isinstance(frame, spdy.Data)) == 100
    await peers.say(spdy.window_update(1, 200))
    await writing
    await peers.say(spdy.data_frame(1, bytes(40000)))
    await peers.opened[0].read()
    last = peers.line.frames()[-1]
    assert isinstance(last, spdy.Control)
    assert (last.kind, last.value) == (spdy.WINDOW_UPDATE, 40000)
    peers.task.cancel()


async def test_many_streams_that_nobody_reads_share_what_one_may_keep() -> None:
    peers = Peers()
    tracemalloc.start()
    piece = bytes(1 << 14)
    for number in range(1, 4000, 2):
        await peers.say(peers.headers.syn_stream(number, {"streamtype": "data", "port": "80"}))
        room = peers.session.room
        for _ in range(min(15, room // len(piece))):  # just not as much as would hold the others up
            await peers.say(spdy.data_frame(number, piece))
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(peers.opened) == 2000
    assert used < 32 << 20  # where each stream has as much room as one alone: half a gigabyte
    peers.task.cancel()


async def test_halves_that_nobody_completes_are_bounded() -> None:
    line = Line()

    async def connect(port: int) -> socket.socket:
        raise AssertionError("there is nothing to connect")

    forwarder = SpdyForwarder(line, "pod", connect)
    running = asyncio.create_task(forwarder.run())
    headers = spdy.HeaderWriter()
    for number in range(1, 1001, 2):
        line.incoming.put_nowait(headers.syn_stream(number, {"streamtype": "error", "port": "80"}))
        line.incoming.put_nowait(spdy.rst_stream(number, spdy.CANCEL))
    while not line.incoming.empty() or len(forwarder._tasks) > len(forwarder._waiting):
        await asyncio.sleep(0)
    assert len(forwarder._waiting) == 200  # each of them for half a minute
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
