from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from homeport.node.cri import Decoder
from homeport.node.engine.frames import Entries, Frames, written

_TEXTS = st.lists(st.tuples(st.integers(0, 3), st.binary(max_size=30).map(lambda text: text.replace(b"\n", b""))))


def frame(stream: int, content: bytes) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(content).to_bytes(4, "big") + content


def stamp(second: int) -> bytes:
    return b"2026-01-01T00:00:%02dZ" % second


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """`data` in pieces."""
    ends = sorted({place % (len(data) + 1) for place in places} | {len(data)})
    return [data[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]


@given(st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=40))), st.lists(st.integers(0, 1000)))
def test_frames_come_whole_however_they_are_cut(sent: list[tuple[int, bytes]], places: list[int]) -> None:
    frames = Frames()
    data = b"".join(frame(stream, content) for stream, content in sent)
    found = [one for piece in cut(data, places) for one in frames.feed(piece)]
    assert found == [({1: "stdout", 2: "stderr"}[stream], content) for stream, content in sent]


@given(_TEXTS, st.integers(0, 30), st.booleans())
def test_a_log_that_is_taken_up_again_has_everything_once(
    sent: list[tuple[int, bytes]], upto: int, cut_off: bool
) -> None:
    lines = sorted(sent, key=lambda one: one[0])
    data = [frame(1, stamp(second) + b" " + text + b"\n") for second, text in lines]
    first = Entries(framed=True)
    log = b"".join(first.feed(piece) for piece in data[:upto])
    if cut_off:
        log = log[: log.rfind(b"\n", 0, -1) + 1]
    second = Entries(framed=True, after=written(log))
    log += b"".join(second.feed(piece) for piece in data)
    assert list(Decoder().feed(log.split(b"\n")[:-1])) == [text + b"\n" for _, text in lines]


def test_long_lines_and_lines_without_an_end_are_parts() -> None:
    entries = Entries(framed=True)
    text = b"x" * 40_000
    log = entries.feed(frame(2, stamp(1) + b" " + text)) + entries.feed(frame(2, stamp(2) + b" end\n"))
    assert max(map(len, log.split(b"\n"))) < 17_000
    assert list(Decoder(stream=b"stderr").feed(log.split(b"\n")[:-1])) == [text + b"end\n"]


def test_a_terminals_output_has_no_frames() -> None:
    entries = Entries(framed=False)
    log = entries.feed(stamp(1) + b" one\r\n" + stamp(2) + b" tw") + entries.feed(b"o") + entries.end()
    assert log == stamp(1) + b" stdout F one\r\n" + stamp(2) + b" stdout P two\n"
