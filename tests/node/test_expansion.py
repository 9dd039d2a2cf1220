from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.node.expansion import expand

VALUES = {"A": "1", "B": "two words", "SELF": "$(A)", "": "nameless"}


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("plain", "plain"),
        ("$(A)", "1"),
        ("x$(A)y$(B)z", "x1ytwo wordsz"),
        ("$(NOPE)", "$(NOPE)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$$$$(A)", "$$(A)"),
        ("$A ${A}", "$A ${A}"),
        ("$(A", "$(A"),
        ("$(A$(A)", "$(A$(A)"),
        ("$", "$"),
        ("a$", "a$"),
        ("$(SELF)", "$(A)"),
        ("$()", "nameless"),
    ],
)
def test_expansion(text: str, result: str) -> None:
    assert expand(text, VALUES) == result


@given(st.text(alphabet="$()Ax", max_size=12))
def test_doubling_dollars_protects_any_text(text: str) -> None:
    assert expand(text.replace("$", "$$"), VALUES) == text


@given(st.text())
def test_text_without_dollars_is_untouched(text: str) -> None:
    assert expand(text.replace("$", ""), VALUES) == text.replace("$", "")
