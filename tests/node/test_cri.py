from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.node.cri import Decoder, in_utc, is_line_end, key_of, moment_key

T = b"2026-01-01T00:00:0%d.%09dZ"


def entry(second: int, stream: bytes, tag: bytes, text: bytes) -> bytes:
    return b"%s %s %s %s" % (T % (second, 5), stream, tag, text)


def text_of(*entries: bytes, **options: object) -> bytes:
    decoder = Decoder(**options)  # type: ignore[arg-type]
    return b"".join(decoder.feed(entries)) + decoder.end()


def test_lines_parts_and_empty_lines() -> None:
    entries = [
        entry(1, b"stdout", b"F", b"one"),
        entry(2, b"stdout", b"P", b"tw"),
        entry(2, b"stdout", b"P", b"o "),
        entry(3, b"stdout", b"F", b"parts"),
        b"2026-01-01T00:00:04Z stderr F",
        entry(5, b"stdout", b"F", b"a b  c"),
    ]
    assert text_of(*entries) == b"one\ntwo parts\n\na b  c\n"


def test_streams_do_not_mix() -> None:
    entries = [
        entry(1, b"stdout", b"P", b"out"),
        entry(2, b"stderr", b"F", b"err"),
        entry(3, b"stdout", b"F", b"put"),
    ]
    assert text_of(*entries) == b"err\noutput\n"
    assert text_of(*entries, stream=b"stderr") == b"err\n"
    assert text_of(*entries, stream=b"stdout") == b"output\n"


def test_timestamps_are_those_of_the_first_part() -> None:
    entries = [entry(1, b"stdout", b"P", b"a"), entry(2, b"stdout", b"F", b"b")]
    assert text_of(*entries, timestamps=True) == b"2026-01-01T00:00:01.000000005Z ab\n"


def test_what_is_left_unfinished_comes_without_a_newline() -> None:
    assert text_of(entry(1, b"stdout", b"P", b"prompt> ")) == b"prompt> "


def test_since() -> None:
    entries = [entry(second, b"stdout", b"F", b"%d" % second) for second in range(5)]
    assert text_of(*entries, since=datetime(2026, 1, 1, 0, 0, 3, tzinfo=UTC)) == b"3\n4\n"


def test_what_is_no_entry_is_shown_as_it_is() -> None:
    assert text_of(b"disk full") == b"disk full\n"


def test_moments_compare_whatever_their_decimals() -> None:
    assert moment_key(b"2026-01-01T00:00:01.5Z") > moment_key(b"2026-01-01T00:00:01.123456789Z")
    assert moment_key(b"2026-01-01T00:00:01Z") == key_of(datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC))


def test_line_ends() -> None:
    assert is_line_end(entry(1, b"stdout", b"F", b"P"))
    assert not is_line_end(entry(1, b"stdout", b"P", b"F"))


LINE = st.binary(max_size=5).filter(lambda text: b"\n" not in text)


@given(st.lists(st.tuples(st.sampled_from([b"stdout", b"stderr"]), LINE)))
def test_each_stream_keeps_its_text(parts: list[tuple[bytes, bytes]]) -> None:
    entries = [entry(1, stream, b"F", text) for stream, text in parts]
    assert text_of(*entries) == b"".join(text + b"\n" for _, text in parts)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"2026-11-22T13:16:25.550335062Z", b"2026-11-22T13:16:25.550335062Z"),
        (b"2026-11-22T13:16:25.550335062+00:00", b"2026-11-22T13:16:25.550335062Z"),
        (b"2026-11-22T00:16:25.5+02:30", b"2026-11-21T21:46:25.5Z"),
        (b"2026-11-22T13:16:25-01:00", b"2026-11-22T14:16:25Z"),
    ],
)
def test_times_of_other_runtimes_are_those_of_utc(text: bytes, expected: bytes) -> None:
    assert in_utc(text) == expected


def test_entries_with_another_time_zone_are_read_as_all_others() -> None:
    entry = b"2026-11-22T00:16:25.5+02:30 stdout F hello"
    assert list(Decoder(timestamps=True).feed([entry])) == [b"2026-11-21T21:46:25.5Z hello\n"]
