"""Resource quantities, exactly (upstream: apimachinery ``pkg/api/resource``)."""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Context, Decimal
from functools import lru_cache
from typing import Final, Literal, TypeAlias

PATTERN: Final = "^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$"
MESSAGE: Final = f"quantities must match the regular expression '{PATTERN}'"
SUFFIX_MESSAGE: Final = "unable to parse quantity's suffix"

Format: TypeAlias = Literal["binary", "decimal", "exponent"]

_SYNTAX: Final = re.compile(
    r"(?P<number>[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+))"
    r"(?:(?P<binary>[KMGTPE]i)|(?P<decimal>[numkMGTPE])|[eE](?P<exponent>[+-]?[0-9]+))?",
    re.ASCII,
)
_SHAPE: Final = re.compile(PATTERN, re.ASCII)
_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?![0-9.])", re.ASCII)
_BINARY: Final = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_DECIMAL: Final = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_DECIMAL_SUFFIX: Final = {power: suffix for suffix, power in _DECIMAL.items()}
_LIMIT: Final = Decimal(2**63 - 1)
"""The largest amount with a binary suffix; larger ones are capped to it, as upstream caps them."""
_NANO: Final = Decimal("1e-9")
_CONTEXT: Final = Context(prec=400)
_MAX_EXPONENT: Final = 99
_MAX_LENGTH: Final = 256


def parse(value: str | int | float | Decimal) -> Decimal:
    """The amount that a quantity stands for: ``"1.5Gi"`` is 1610612736, ``"100m"`` is 0.1.

    Numbers are what JSON clients send for ``cpu: 2``. More digits than nano are rounded away from zero, binary amounts
    beyond 2^63-1 are capped. Raises ValueError with Kubernetes' own message.
    """
    return _parse(_text(value))[0]


def canonical(value: str | int | float | Decimal) -> str:
    """The one way to write this amount, with the family of suffixes that was used: ``"1000m"`` is ``"1"``, ``0.5`` is
    ``"500m"``, ``"1.5Gi"`` is ``"1536Mi"``. Raises ValueError."""
    return _canonical(_text(value))


def to_text(amount: Decimal, format: Format = "decimal") -> str:
    """An amount in canonical form. Binary suffixes are used for whole amounts of 1024 and more only."""
    amount = _rounded(amount)
    if format == "binary" and (amount.copy_abs() < 1024 or amount != amount.to_integral_value()):
        format = "decimal"
    if format == "binary":
        return _binary_text(int(amount))
    if amount == 0:
        return "0"
    sign, digits, power = amount.as_tuple()
    assert isinstance(power, int)
    number = int("".join(map(str, digits)))
    # No fraction: the largest power of a thousand that divides the amount.
    while number % 10 == 0:
        number //= 10
        power += 1
    while power % 3 or power > 18:
        number *= 10
        power -= 1
    text = f"{'-' if sign else ''}{number}"
    if format == "exponent":
        return f"{text}e{power}" if power else text
    return text + _DECIMAL_SUFFIX[power]


def whole(value: str | int | float | Decimal) -> int:
    """The amount as an integer, rounded up (upstream's ``Value()``)."""
    return int(parse(value).to_integral_value(rounding=ROUND_CEILING))


def milli(value: str | int | float | Decimal) -> int:
    """Thousandths, rounded up (upstream's ``MilliValue()``): the unit in which CPU is compared."""
    return int(_CONTEXT.scaleb(parse(value), 3).to_integral_value(rounding=ROUND_CEILING))


def _text(value: str | int | float | Decimal) -> str:
    if isinstance(value, bool):
        raise ValueError(MESSAGE)
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        # repr is the shortest text that reads back as the same float: 0.1 and not 0.1000000000000000055.
        return format(Decimal(repr(value)), "f")
    return format(value, "f") if isinstance(value, Decimal) else str(value)


@lru_cache(maxsize=4096)
def _canonical(text: str) -> str:
    return to_text(*_parse(text))


@lru_cache(maxsize=4096)
def _parse(text: str) -> tuple[Decimal, Format]:
    if len(text) > _MAX_LENGTH:
        raise ValueError(MESSAGE)
    match = _SYNTAX.fullmatch(text)
    if match is None:
        raise ValueError(SUFFIX_MESSAGE if _NUMBER.match(text) and _SHAPE.fullmatch(text) else MESSAGE)
    number = Decimal(match["number"])
    format: Format = "decimal"
    if match["binary"]:
        format = "binary"
        number = _CONTEXT.multiply(number, Decimal(1 << _BINARY[match["binary"]]))
    elif match["exponent"] is not None:
        format = "exponent"
        power = int(match["exponent"])
        if abs(power) > _MAX_EXPONENT:
            raise ValueError(SUFFIX_MESSAGE)
        number = _CONTEXT.scaleb(number, power)
    elif match["decimal"]:
        number = _CONTEXT.scaleb(number, _DECIMAL[match["decimal"]])
    amount = _rounded(number)
    if format == "binary" and amount.copy_abs() > _LIMIT:
        amount = _LIMIT.copy_sign(amount)
    return amount, format


def _rounded(amount: Decimal) -> Decimal:
    """Away from zero to nano, under upstream's theory that who asks for some should get some."""
    rounded = amount.copy_abs().quantize(_NANO, rounding=ROUND_CEILING, context=_CONTEXT)
    return rounded.copy_sign(amount) if rounded else Decimal(0)


def _binary_text(amount: int) -> str:
    suffix = ""
    for suffix_, bits in reversed(_BINARY.items()):
        if amount % (1 << bits) == 0:
            amount >>= bits
            suffix = suffix_
            break
    return f"{amount}{suffix}"
