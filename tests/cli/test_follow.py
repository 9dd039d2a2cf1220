from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from homeport.cli.follow import Cursor, LineSplitter, stamped

T0 = "2026-01-02T03:04:05"


def test_a_cursor_gives_texts_without_stamps() -> None:
    cursor = Cursor()
    assert cursor.since == ""
    assert cursor.take(f"{T0}.1Z hello world") == "hello world"
    assert cursor.take(f"{T0}.25Z ") == ""
    assert cursor.since == f"{T0}Z"


def test_lines_without_a_stamp_are_shown_as_they_are() -> None:
    assert Cursor().take("rpc error: log file is gone") == "rpc error: log file is gone"


def test_a_fraction_sorts_by_value_and_not_as_text() -> None:
    cursor = Cursor()
    cursor.take(f"{T0}.1Z first")
    cursor.resume()
    assert cursor.take(f"{T0}.1Z first") is None
    assert cursor.take(f"{T0}.12Z second") == "second"


def test_equal_stamps_are_counted() -> None:
    cursor = Cursor()
    for text in ("same", "same"):
        cursor.take(f"{T0}.5Z {text}")
    cursor.resume()
    again = [cursor.take(f"{T0}.5Z same") for _ in range(3)]
    assert again == [None, None, "same"]


def test_a_clock_that_steps_back_loses_nothing_while_the_stream_goes_on() -> None:
    cursor = Cursor()
    cursor.take(f"{T0}.5Z one")
    assert cursor.take("2026-01-02T03:04:01Z two") == "two"


@given(
    stamps=st.lists(st.integers(0, 3_000), min_size=1, max_size=60).map(sorted),
    breaks=st.lists(st.integers(0, 60), max_size=6).map(sorted),
)
def test_however_often_it_breaks_every_line_comes_once(stamps: list[int], breaks: list[int]) -> None:
    """The server keeps a growing log and serves it from a whole second on; the connection breaks after any line."""
    log = [f"2026-01-02T03:04:{stamp // 1000:02d}.{stamp % 1000:03d}Z line {n}" for n, stamp in enumerate(stamps)]
    cursor, seen = Cursor(), []
    for end in [min(at, len(log)) for at in breaks] + [len(log)]:
        cursor.resume()
        for line in log[:end]:
            if line[:19] + "Z" >= cursor.since:
                text = cursor.take(line)
                if text is not None:
                    seen.append(text)
    assert seen == [f"line {n}" for n in range(len(log))]


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=8).map(sorted))
def test_lines_do_not_depend_on_the_chunks(body: bytes, cuts: list[int]) -> None:
    splitter, lines, begin = LineSplitter(), [], 0
    for end in [*(min(cut, len(body)) for cut in cuts), len(body)]:
        lines += splitter.feed(body[begin:end])
        begin = end
    lines += splitter.end()
    whole = body.decode(errors="replace").split("\n") if b"\n" not in body else None
    expected = [part.decode(errors="replace") for part in body.split(b"\n")]
    if expected[-1] == "":
        expected.pop()
    assert lines == (whole if whole is not None and whole != [""] else expected)


def test_stamps_of_other_zones_sort_with_the_others() -> None:
    assert stamped(f"{T0}.5+02:00 text") == (("2026-01-02T01:04:05", "500000000"), "text")
    assert stamped(f"{T0}Z a b") == ((T0, "000000000"), "a b")
    assert stamped("no stamp here") == (None, "no stamp here")
