import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.apiserver import base64url


@given(st.binary())
def test_round_trip(data: bytes):
    text = base64url.encode(data)
    assert "=" not in text
    assert base64url.decode(text) == data


@pytest.mark.parametrize("text", ["Zg==", "a+b_", "a/b_", "a b_", "ab\n_", "ä", "abcde"])
def test_what_is_none(text: str):
    with pytest.raises(ValueError):
        base64url.decode(text)
