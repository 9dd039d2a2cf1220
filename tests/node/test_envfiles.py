"""Environment files: upstream's examples of what is one, and what a reference to one means."""

from __future__ import annotations

import re

import pytest

from homeport.node import envfiles
from homeport.node.references import Unresolved

FILE = """
# a comment
  FIRST='one'
SECOND='two # not a comment' # one
THIRD='line 1
 line 2
'
EMPTY=''
CUT= 'never'
LIKE_SHELL='$HOME "x" \\n'
"""


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("FIRST", "one"),
        ("SECOND", "two # not a comment"),
        ("THIRD", "line 1\n line 2\n"),
        ("EMPTY", ""),
        ("CUT", ""),
        ("LIKE_SHELL", '$HOME "x" \\n'),
        ("MISSING", None),
    ],
)
def test_values(key: str, expected: str | None) -> None:
    assert envfiles.parse(FILE, key) == expected
    assert envfiles.parse(FILE.replace("\n", "\r\n"), key) == expected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("A\n", "at line 1: missing '='"),
        ("\nA=b", "at line 2: value must be enclosed in single quotes"),
        ('A="b"', "at line 1: value must be enclosed in single quotes"),
        ("A=", "at line 1: value must be enclosed in single quotes"),
        ("='b'", "at line 1: empty variable name"),
        ("A ='b'", "at line 1: whitespace before '=' is not allowed"),
        ("A='b' c", "at line 1: unexpected content after closing quote"),
        ("A='b\nc", "starting at line 1: unclosed single quote"),
    ],
)
def test_what_is_no_environment_file(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)):
        envfiles.parse(text, "KEY")


def test_what_comes_before_the_mistake_counts() -> None:
    assert envfiles.parse("A='1'\nrubbish", "A") == "1"


def test_references() -> None:
    files = {("v", "f"): "A='1'", ("v", "none"): None, ("v", "bad"): "x"}
    reference = {"volumeName": "v", "path": "f", "key": "A"}
    assert envfiles.value(reference, files) == "1"
    for change, why in (
        ({"key": "B"}, 'environment variable key "B" not found in file "f"'),
        ({"path": "none"}, 'couldn\'t open env file "none" of volume "v": it does not exist'),
        (
            {"path": "bad"},
            'couldn\'t parse env file "bad" of volume "v": invalid environment variable format at line 1',
        ),
        ({"key": "K" * 129}, "exceeds maximum length of 128 characters"),
    ):
        with pytest.raises(Unresolved, match=re.escape(why)):
            envfiles.value({**reference, **change}, files)
    for path in ("none", "f"):
        assert envfiles.value({**reference, "path": path, "key": "B", "optional": True}, files) is None
    with pytest.raises(Unresolved, match="exceeds maximum size"):
        envfiles.value(reference, {("v", "f"): f"A='{'x' * 40000}'"})
