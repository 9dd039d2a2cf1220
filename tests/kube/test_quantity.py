"""Quantities: upstream's table of texts, canonical forms, exactness."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from homeport.kube.quantity import MESSAGE, canonical, milli, parse, to_text, whole


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("0", "0"), ("0Ki", "0"), ("1", "1"), ("1Ki", "1024"), ("7Mi", str(7 << 20)), ("3Ei", str(3 << 60)),
        ("5n", "5e-9"), ("4u", "4e-6"), ("3m", "0.003"), ("8k", "8000"), ("7M", "7e6"), ("6G", "6e9"), ("5T", "5e12"),
        ("2P", "2e15"), ("1E", "1e18"), ("1E-3", "0.001"), ("1e3", "1000"), ("1E18", "1e18"), ("1.3E+6", "1.3e6"),
        ("100.035k", "100035"), ("0.0005k", "0.5"), ("0.5e-2", "0.005"), ("9.01", "9.01"), ("1.01E", "1.01e18"),
        ("12E", "12e18"), ("9Ei", str(2**63 - 1)), ("9223372036854775807Ki", str(2**63 - 1)),
        ("3.001n", "4e-9"), ("1.1E-9", "2e-9"), ("0.0000000001", "1e-9"), ("0.00000012345", "124e-9"),
        ("100.035Ki", "102435.84"), ("0.05Gi", "53687091.2"), ("0.000000000001Ki", "2e-9"), (".001", "0.001"),
        ("1.", "1"), ("1.G", "1e9"), ("-1.5Gi", "-1610612736"), ("+5", "5"), ("-3.001n", "-4e-9"),
    ],
)  # fmt: skip
def test_parse(text: str, amount: str) -> None:
    assert parse(text) == Decimal(amount)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("1000m", "1"), ("0.5", "500m"), (0.5, "500m"), ("1.5Gi", "1536Mi"), (1, "1"), (2.0, "2"), ("1024Mi", "1Gi"),
        ("1024", "1024"), ("512Ki", "512Ki"), ("1023Ki", "1023Ki"), ("0.5Ki", "512"), ("0.05Gi", "53687091200m"),
        ("1500", "1500"), ("1500000", "1500k"), ("1e3", "1e3"), ("1e14", "100e12"), ("1E-3", "1e-3"), ("0Ki", "0"),
        ("-0", "0"), ("12E", "12E"), ("2.5P", "2500T"), ("3.001n", "4n"), ("-1.5Gi", "-1536Mi"), (0.1, "100m"),
        ("100.035k", "100035"), ("+1", "1"), ("1000Ki", "1000Ki"), ("1e19", "10e18"), (Decimal("0.25"), "250m"),
        (1e22, "10000E"),
    ],
)  # fmt: skip
def test_canonical(value: Any, text: str) -> None:
    assert canonical(value) == text
    assert canonical(text) == text


@pytest.mark.parametrize("text", ["", "aoeu", "1.1.M", "1+1.0M", " 1", "1 ", "1_0", "--1", "٣", ".", "1KI", True])
def test_malformed(text: Any) -> None:
    with pytest.raises(ValueError) as caught:
        parse(text)
    assert str(caught.value) == MESSAGE


@pytest.mark.parametrize("text", ["1i", ".5i", "-3.01e-", "1mm", "1e100000"])
def test_unknown_suffix(text: str) -> None:
    with pytest.raises(ValueError, match="unable to parse quantity's suffix"):
        parse(text)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_none(value: float) -> None:
    with pytest.raises(ValueError):
        parse(value)


def test_rounding_up_to_units() -> None:
    assert whole("1500m") == 2
    assert whole("1Gi") == 1 << 30
    assert milli("0.0001") == 1
    assert milli("1.5") == 1500


def test_more_digits_than_the_default_context_has() -> None:
    assert canonical("10000000000000000000.000000001") == "10000000000000000000000000001n"


amounts = st.decimals(min_value=-(10**20), max_value=10**20, places=9, allow_nan=False, allow_infinity=False)


@example(Decimal("10000000000000000000.000000001"), "decimal")  # more digits than Python rounds to by default
@given(amounts, st.sampled_from(["binary", "decimal", "exponent"]))
def test_text_is_exact_and_canonical(amount: Decimal, form: Any) -> None:
    text = to_text(amount, form)
    if abs(amount) < 2**63 - 1 or form != "binary":
        assert parse(text) == amount
        # A binary amount without a suffix says nothing of its family any more.
        assert canonical(text) == text or (form == "binary" and text.lstrip("-").isdigit())


@given(
    st.from_regex(r"\A[+-]?[0-9]{1,12}(\.[0-9]{0,10})?\Z"),
    st.sampled_from(["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei", "e3", "E-2"]),
)
def test_canonical_keeps_the_amount(number: str, suffix: str) -> None:
    assert parse(canonical(number + suffix)) == parse(number + suffix)
