"""``int(x)``, ``string(x)`` and the like. Upstream: "Type conversion" in cel-spec's language definition."""

from __future__ import annotations

import math
import re
from typing import Any

from homeport.kube.cel.functions import Library
from homeport.kube.cel.library import temporal
from homeport.kube.cel.library.operators import in_range
from homeport.kube.cel.values import (
    MAX_INT,
    MAX_UINT,
    MIN_INT,
    Duration,
    EvaluationError,
    Timestamp,
    UInt,
    checked_int,
    checked_uint,
    format_double,
)

LIBRARY = Library()
_function = LIBRARY.function

_INT = re.compile(r"[+-]?[0-9]+")
_DOUBLE = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_DOUBLE_WORDS = {"nan": math.nan, "inf": math.inf, "infinity": math.inf}
_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})


@_function("dyn(A): dyn")
def _dyn(value: Any) -> Any:
    return value


@_function("bool(bool): bool")
def _bool(value: bool) -> bool:
    return value


@_function("bool(string): bool")
def _parse_bool(text: str) -> bool:
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise EvaluationError(f'strconv.ParseBool: parsing "{text}": invalid syntax')


@_function("int(int): int", "int(uint): int")
def _int(value: int) -> int:
    return checked_int(int(value))


@_function("int(double): int")
def _truncate(value: float) -> int:
    # As cel-go: the doubles next to the bounds can't be told from them, so they are out.
    if not math.isfinite(value) or not MIN_INT < value < MAX_INT:
        raise EvaluationError("integer overflow")
    return int(value)


@_function("int(string): int", cost=lambda text: len(text) // 10)
def _parse_int(text: str) -> int:
    if len(text) > 40 or _INT.fullmatch(text) is None:
        raise EvaluationError(f'strconv.ParseInt: parsing "{text[:40]}": invalid syntax')
    return checked_int(int(text))


@_function("int(timestamp): int")
def _seconds_of(moment: Timestamp) -> int:
    return moment.ns // 10**9


@_function("int(duration): int")
def _nanoseconds_of(length: Duration) -> int:
    return length.ns


@_function("uint(uint): uint", "uint(int): uint")
def _uint(value: int) -> UInt:
    return checked_uint(int(value))


@_function("uint(double): uint")
def _truncate_unsigned(value: float) -> UInt:
    if not math.isfinite(value) or not 0 <= value < MAX_UINT:
        raise EvaluationError("unsigned integer overflow")
    return UInt(int(value))


@_function("uint(string): uint", cost=lambda text: len(text) // 10)
def _parse_uint(text: str) -> UInt:
    if len(text) > 40 or not (text.isascii() and text.isdigit()):
        raise EvaluationError(f'strconv.ParseUint: parsing "{text[:40]}": invalid syntax')
    return checked_uint(int(text))


@_function("double(double): double", "double(int): double", "double(uint): double")
def _double(value: float) -> float:
    return float(value)


@_function("double(string): double", cost=lambda text: len(text) // 10)
def _parse_double(text: str) -> float:
    word = _DOUBLE_WORDS.get(text.lstrip("+-").lower()) if len(text) < 12 else None
    if word is not None:
        return -word if text[0] == "-" else word
    if len(text) > 400 or _DOUBLE.fullmatch(text) is None:
        raise EvaluationError(f'strconv.ParseFloat: parsing "{text[:40]}": invalid syntax')
    return float(text)


@_function("string(string): string")
def _string(text: str) -> str:
    return text


@_function("string(int): string", "string(uint): string")
def _format_int(value: int) -> str:
    return str(int(value))


@_function("string(double): string")
def _format_double(value: float) -> str:
    return format_double(value)


@_function("string(bool): string")
def _format_bool(value: bool) -> str:
    return "true" if value else "false"


@_function("string(bytes): string", cost=lambda value: len(value) // 10)
def _decode(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise EvaluationError("invalid UTF-8 in bytes, cannot convert to string") from error


@_function("string(timestamp): string")
def _format_timestamp(moment: Timestamp) -> str:
    return temporal.format_timestamp(moment)


@_function("string(duration): string")
def _format_duration(length: Duration) -> str:
    return temporal.format_duration(length)


@_function("bytes(bytes): bytes")
def _bytes(value: bytes) -> bytes:
    return value


@_function("bytes(string): bytes", cost=lambda text: len(text) // 10)
def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


@_function("timestamp(timestamp): timestamp")
def _timestamp(moment: Timestamp) -> Timestamp:
    return moment


@_function("timestamp(string): timestamp")
def _parse_timestamp(text: str) -> Timestamp:
    return temporal.parse_timestamp(text)


@_function("timestamp(int): timestamp")
def _timestamp_of(seconds: int) -> Timestamp:
    return in_range(seconds * 10**9)


@_function("duration(duration): duration")
def _duration(length: Duration) -> Duration:
    return length


@_function("duration(string): duration")
def _parse_duration(text: str) -> Duration:
    return temporal.parse_duration(text)


@_function("duration(int): duration")
def _duration_of(nanoseconds: int) -> Duration:
    return Duration(nanoseconds)
