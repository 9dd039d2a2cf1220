"""Arithmetic, comparison, membership, indexing and sizes. Numbers have 64 bits and overflow is an error."""

from __future__ import annotations

import math
from typing import Any

from homeport.kube.cel.functions import Library
from homeport.kube.cel.values import (
    CHARACTERS,
    NONE,
    Duration,
    EvaluationError,
    Optional,
    Timestamp,
    UInt,
    checked_int,
    checked_uint,
    equals,
    less,
    less_or_equal,
    no_such_key,
    to_key,
    weight,
)

LIBRARY = Library()
_function, _member = LIBRARY.function, LIBRARY.member


# -- arithmetic


@_function("_+_(int, int): int")
def _add_int(a: int, b: int) -> int:
    return checked_int(a + b)


@_function("_+_(uint, uint): uint")
def _add_uint(a: int, b: int) -> UInt:
    return checked_uint(int(a) + int(b))


@_function("_+_(double, double): double")
def _add_double(a: float, b: float) -> float:
    return a + b


@_function(
    "_+_(string, string): string",
    "_+_(bytes, bytes): bytes",
    "_+_(list<A>, list<A>): list<A>",
    cost=lambda a, b: (len(a) + len(b)) // 10,
)
def _join(a: Any, b: Any) -> Any:
    return a + b


@_function("_+_(timestamp, duration): timestamp")
def _later(a: Timestamp, b: Duration) -> Timestamp:
    return in_range(a.ns + b.ns)


@_function("_+_(duration, timestamp): timestamp")
def _after(a: Duration, b: Timestamp) -> Timestamp:
    return in_range(a.ns + b.ns)


@_function("_+_(duration, duration): duration")
def _longer(a: Duration, b: Duration) -> Duration:
    return Duration(a.ns + b.ns)


FIRST_NS, LAST_NS = -62135596800 * 10**9, 253402300800 * 10**9 - 1


def in_range(ns: int) -> Timestamp:
    """A moment of the years 1 to 9999. Raises EvaluationError."""
    if FIRST_NS <= ns <= LAST_NS:
        return Timestamp(ns)
    raise EvaluationError("range error: timestamp overflow")


@_function("_-_(int, int): int")
def _subtract_int(a: int, b: int) -> int:
    return checked_int(a - b)


@_function("_-_(uint, uint): uint")
def _subtract_uint(a: int, b: int) -> UInt:
    return checked_uint(int(a) - int(b))


@_function("_-_(double, double): double")
def _subtract_double(a: float, b: float) -> float:
    return a - b


@_function("_-_(timestamp, timestamp): duration")
def _between(a: Timestamp, b: Timestamp) -> Duration:
    return Duration(a.ns - b.ns)


@_function("_-_(timestamp, duration): timestamp")
def _earlier(a: Timestamp, b: Duration) -> Timestamp:
    return in_range(a.ns - b.ns)


@_function("_-_(duration, duration): duration")
def _shorter(a: Duration, b: Duration) -> Duration:
    return Duration(a.ns - b.ns)


@_function("_*_(int, int): int")
def _multiply_int(a: int, b: int) -> int:
    return checked_int(a * b)


@_function("_*_(uint, uint): uint")
def _multiply_uint(a: int, b: int) -> UInt:
    return checked_uint(int(a) * int(b))


@_function("_*_(double, double): double")
def _multiply_double(a: float, b: float) -> float:
    return a * b


@_function("_/_(int, int): int")
def _divide_int(a: int, b: int) -> int:
    if b == 0:
        raise EvaluationError("division by zero")
    quotient = abs(a) // abs(b)
    return checked_int(quotient if (a < 0) == (b < 0) else -quotient)


@_function("_/_(uint, uint): uint")
def _divide_uint(a: int, b: int) -> UInt:
    if b == 0:
        raise EvaluationError("division by zero")
    return UInt(int(a) // int(b))


@_function("_/_(double, double): double")
def _divide_double(a: float, b: float) -> float:
    if b == 0:
        if a == 0 or math.isnan(a):
            return math.nan
        return math.copysign(math.inf, a) * math.copysign(1, b)
    return a / b


@_function("_%_(int, int): int")
def _modulo_int(a: int, b: int) -> int:
    if b == 0:
        raise EvaluationError("modulus by zero")
    if b == -1:
        checked_int(-a)  # as the division would, it overflows
    rest = abs(a) % abs(b)
    return -rest if a < 0 else rest


@_function("_%_(uint, uint): uint")
def _modulo_uint(a: int, b: int) -> UInt:
    if b == 0:
        raise EvaluationError("modulus by zero")
    return UInt(int(a) % int(b))


@_function("-_(int): int")
def _negate_int(a: int) -> int:
    return checked_int(-a)


@_function("-_(double): double")
def _negate_double(a: float) -> float:
    return -a


@_function("!_(bool): bool")
def _not(a: bool) -> bool:
    return not a


# -- comparison


@_function("_==_(A, A): bool")
def _equal(a: Any, b: Any) -> bool:
    return equals(a, b)


@_function("_!=_(A, A): bool")
def _differ(a: Any, b: Any) -> bool:
    return not equals(a, b)


_ORDERED = ("bool", "int", "uint", "double", "timestamp", "duration")
_TEXTS = ("string", "bytes")
_NUMBERS = ("int", "uint", "double")
_ORDERED_PAIRS = [(kind, kind) for kind in _ORDERED] + [(a, b) for a in _NUMBERS for b in _NUMBERS if a != b]


def _greater(a: Any, b: Any) -> bool:
    return less(b, a)


def _greater_or_equal(a: Any, b: Any) -> bool:
    return less_or_equal(b, a)


def _shorter_text(a: Any, b: Any) -> int:
    return min(len(a), len(b)) // CHARACTERS


for _operator, _compare in (("_<_", less), ("_<=_", less_or_equal), ("_>_", _greater), ("_>=_", _greater_or_equal)):
    _function(*(f"{_operator}({a}, {b}): bool" for a, b in _ORDERED_PAIRS))(_compare)
    _function(*(f"{_operator}({kind}, {kind}): bool" for kind in _TEXTS), cost=_shorter_text)(_compare)


# -- lists and maps


@_function("@in(A, list<A>): bool", cost=lambda item, items: len(items) * (1 + weight(item)))
def _in_list(item: Any, items: list[Any]) -> bool:
    return any(equals(item, other) for other in items)


@_function("@in(A, map<A, B>): bool")
def _in_map(key: Any, entries: dict[Any, Any]) -> bool:
    try:
        return to_key(key) in entries
    except EvaluationError:
        return False


@_function("_[_](list<A>, int): A", "_[_](list<A>, uint): A", "_[_](list<A>, double): A")
def _index(items: list[Any], index: Any) -> Any:
    at = _whole(index)
    if at is None or not 0 <= at < len(items):
        raise EvaluationError(f"index out of bounds: {index}")
    return items[at]


def _whole(index: Any) -> int | None:
    if type(index) is float and not index.is_integer():
        return None
    return int(index)


@_function("_[_](map<A, B>, A): B")
def _value_of(entries: dict[Any, Any], key: Any) -> Any:
    place = to_key(key)
    if place not in entries:
        raise no_such_key(key)
    return entries[place]


@_function("_[?_](list<A>, int): optional<A>")
def _optional_index(items: list[Any], index: Any) -> Optional:
    at = _whole(index)
    return Optional(items[at]) if at is not None and 0 <= at < len(items) else NONE


@_function("_[?_](map<A, B>, A): optional<B>")
def _optional_value(entries: dict[Any, Any], key: Any) -> Optional:
    place = to_key(key)
    return Optional(entries[place]) if place in entries else NONE


@_function("_[_](optional<list<A>>, int): optional<A>", "_[?_](optional<list<A>>, int): optional<A>")
def _index_within(items: Optional, index: Any) -> Optional:
    if not items.present:
        return NONE
    value = items.value
    return _optional_value(value, index) if isinstance(value, dict) else _optional_index(value, index)


@_function("_[_](optional<map<A, B>>, A): optional<B>", "_[?_](optional<map<A, B>>, A): optional<B>")
def _value_within(entries: Optional, key: Any) -> Optional:
    return _index_within(entries, key)


_SIZED = ("string", "bytes", "list<A>", "map<A, B>")


@_function(*(f"size({kind}): int" for kind in _SIZED))
@_member(*(f"size({kind}): int" for kind in _SIZED))
def _size(value: Any) -> int:
    return len(value)
