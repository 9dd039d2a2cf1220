"""Users' regular expressions: RE2's syntax, Go's words, bounded time."""

from __future__ import annotations

import resource
import time
from pathlib import Path

import pytest

from homeport.kube import regex


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("^[a-z]+$", "abc", True),
        ("^[a-z]+$", "abc\n", False),  # $ is the very end
        ("b", "abc", True),
        (r"^[[:upper:]]\z", "A", True),
        (r"\p{Greek}", "λ", True),
        (r"\p{Greek}", "l", False),
        (r"^\Qa.b\E$", "a.b", True),
        (r"\s", "\v", False),
        ("(?i)^ABC$", "abc", True),
        ("é", "é", True),
        ("^.$", "é", True),
    ],
)
def test_expressions_are_go_s(pattern: str, text: str, found: bool) -> None:
    assert regex.compile(pattern).search(text) is found


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("(a", "error parsing regexp: missing closing ): `(a`"),
        ("a**", "error parsing regexp: invalid nested repetition operator: `**`"),
        ("(?=a)", "error parsing regexp: invalid or unsupported Perl syntax: `(?=`"),
        ("a{1001}", "error parsing regexp: invalid repeat count: `{1001}`"),
        (r"(a)\1", r"error parsing regexp: invalid escape sequence: `\1`"),
    ],
)
def test_what_is_wrong_is_said_in_go_s_words(pattern: str, words: str) -> None:
    with pytest.raises(regex.PatternError) as caught:
        regex.compile(pattern)
    assert str(caught.value) == words


def test_no_text_takes_long() -> None:
    pattern = regex.compile("^(a+)+$")
    start = time.process_time()
    assert not pattern.search("a" * 100_000 + "!")
    assert time.process_time() - start < 1


def test_matches_are_found_in_order() -> None:
    pattern = regex.compile("[0-9]+")
    assert pattern.find("a12é345") == "12"
    assert list(pattern.find_all("a12é345")) == ["12", "345"]
    assert pattern.find("none") is None


def test_expressions_in_objects_leave_little_behind() -> None:
    written = regex.compile("^[a-z]{1,63}$")
    assert regex.compile_data("^[a-z]{1,63}$") is written
    before = resident()
    for number in range(300):
        assert not regex.compile_data(f".{{900}}.{{900}}{number}").search("x" * 100)
    assert resident() - before < 64 << 20  # all of them kept: 200 MB
    assert regex.compile_data("a|" * 100_000 + "a").search("a")
    with pytest.raises(regex.PatternError):
        regex.compile_data("(")


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
