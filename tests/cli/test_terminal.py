from __future__ import annotations

import asyncio
import io

import pytest

from homeport.cli import terminal
from homeport.cli.terminal import Terminal


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (3, "3 s"), (9.94, "9.9 s"), (12.4, "12 s"), (185, "3 min 5 s"), (7800, "2 h 10 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert terminal.duration(seconds) == text


def test_neighbours_have_different_colours_in_every_run() -> None:
    colors = [terminal.prefix_color("worker", index) for index in range(5)]
    assert len(set(colors)) == 5
    assert terminal.prefix_color("ps", 0) not in colors[:3]


def test_a_table_aligns_wide_characters() -> None:
    lines = terminal.table([["NAME", "X"], ["日本", "1"], ["abc", "2"]])
    assert [terminal.width(line) for line in lines] == [7, 7, 7]


def test_text_is_clipped_to_columns() -> None:
    assert terminal.clip("abcdef", 4) == "abc…"
    assert terminal.clip("日本語", 4) == "日…"
    assert terminal.clip("abc", 4) == "abc"


def test_no_colour_where_nobody_sees_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert Terminal(io.StringIO(), io.StringIO()).paint("x", terminal.RED) == "x"
    assert Terminal(Screen(), io.StringIO()).paint("x", terminal.RED) == "\x1b[31mx\x1b[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert Terminal(Screen(), io.StringIO()).paint("x", terminal.RED) == "x"


def test_without_a_terminal_each_text_is_written_once() -> None:
    err = io.StringIO()
    one = Terminal(io.StringIO(), err)
    for text, echo in [("building", "building"), ("1 of 4 running", ""), ("building", "building"), ("", "")]:
        one.live(text, echo=echo)
    assert err.getvalue() == "building\n"


async def test_the_live_line_stays_below_the_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    screen = Screen()
    one = Terminal(screen, screen)
    one.live("building")
    one.print("a log line")
    await asyncio.sleep(0.3)
    one.close()
    text = screen.getvalue()
    assert "building" in text.partition("a log line")[0]
    assert "building" in text.partition("a log line")[2]
    assert text.endswith("\r\x1b[2K")
    assert "a log line\n" in text.replace("\r\x1b[2K", "")
