"""Lists and sets: Kubernetes' ``lists`` library, cel-go's ``ext.Lists`` (version 3) and ``ext.Sets``."""

from __future__ import annotations

from functools import cmp_to_key
from itertools import pairwise
from typing import Any

from homeport.kube.cel.functions import Library
from homeport.kube.cel.values import (
    ELEMENTS,
    Duration,
    EvaluationError,
    UInt,
    checked_int,
    checked_uint,
    equals,
    less,
    less_or_equal,
    weight,
)

LIBRARY = Library()
_function, _member = LIBRARY.function, LIBRARY.member

_MAX_RANGE = 1_000_000


def _length(items: list[Any], *rest: Any) -> int:
    return len(items)


def _square(a: list[Any], b: list[Any] | None = None) -> int:
    """Each item of one with each of the other, where the smaller of the two says when it is done."""
    b = a if b is None else b
    return len(a) * len(b) + min(len(a) * _nested(b), len(b) * _nested(a)) + 1


def _nested(items: list[Any]) -> int:
    """What comparing the items costs beyond that of as many numbers."""
    return weight(items) - len(items) // ELEMENTS


@_member("isSorted(list<A>): bool", cost=_length)
def _is_sorted(items: list[Any]) -> bool:
    return all(less_or_equal(a, b) for a, b in pairwise(items))


@_member("sum(list<A>): A", cost=_length)
def _sum(items: list[Any]) -> Any:
    if not items:
        return 0
    kind = type(items[0])
    if any(type(item) is not kind for item in items):
        raise EvaluationError("no such overload")
    if kind is int:
        return checked_int(sum(items))
    if kind is UInt:
        return checked_uint(sum(map(int, items)))
    if kind is float:
        return sum(items)
    if kind is Duration:
        return Duration(sum(item.ns for item in items))
    raise EvaluationError("no such overload")


@_member("min(list<A>): A", cost=_length)
def _min(items: list[Any]) -> Any:
    if not items:
        raise EvaluationError("min called on empty list")
    best = items[0]
    for item in items[1:]:
        if less(item, best):
            best = item
    return best


@_member("max(list<A>): A", cost=_length)
def _max(items: list[Any]) -> Any:
    if not items:
        raise EvaluationError("max called on empty list")
    best = items[0]
    for item in items[1:]:
        if less(best, item):
            best = item
    return best


def _each(items: Any, wanted: Any) -> int:
    return (len(items) if isinstance(items, list) else 1) * (1 + weight(wanted))


@_member("indexOf(list<A>, A): int", cost=_each)
def _index(items: list[Any], wanted: Any) -> int:
    return next((index for index, item in enumerate(items) if equals(item, wanted)), -1)


@_member("lastIndexOf(list<A>, A): int", cost=_each)
def _last_index(items: list[Any], wanted: Any) -> int:
    return next((index for index in range(len(items) - 1, -1, -1) if equals(items[index], wanted)), -1)


@_member("includes(dyn, dyn): bool", cost=_each)
def _includes(target: Any, wanted: Any) -> bool:
    if isinstance(target, list):
        return any(equals(item, wanted) for item in target)
    return equals(target, wanted)


# -- ext.Lists


@_member("distinct(list<A>): list<A>", cost=_square)
def _distinct(items: list[Any]) -> list[Any]:
    kept: list[Any] = []
    for item in items:
        if not any(equals(item, other) for other in kept):
            kept.append(item)
    return kept


@_member("reverse(list<A>): list<A>", cost=_length)
def _reverse(items: list[Any]) -> list[Any]:
    return items[::-1]


@_member("slice(list<A>, int, int): list<A>", cost=_length)
def _slice(items: list[Any], start: int, end: int) -> list[Any]:
    if start < 0 or end < 0:
        raise EvaluationError(f"cannot slice({start}, {end}), negative indexes not supported")
    if start > end:
        raise EvaluationError(f"cannot slice({start}, {end}), start index must be less than or equal to end index")
    if end > len(items):
        raise EvaluationError(f"cannot slice({start}, {end}), list is length {len(items)}")
    return items[start:end]


def _flattened(items: list[Any], *depth: int) -> int:
    return len(items) + ELEMENTS * weight(items)


@_member(
    "flatten(list<dyn>): list<dyn>",
    "flatten(list<dyn>, int): list<dyn>",
    cost=_flattened,
)
def _flatten(items: list[Any], depth: int = 1) -> list[Any]:
    if depth < 0:
        raise EvaluationError("level must be non-negative")
    while depth and any(isinstance(item, list) for item in items):
        items = [inner for item in items for inner in (item if isinstance(item, list) else [item])]
        depth -= 1
    return items


def order(a: Any, b: Any) -> int:
    """-1, 0 or 1 for values of one ordered type. Raises EvaluationError."""
    if less(a, b):
        return -1
    return 1 if less(b, a) else 0


@_member("sort(list<A>): list<A>", cost=lambda items: len(items) * len(items).bit_length())
def _sort(items: list[Any]) -> list[Any]:
    if items and any(type(item) is not type(items[0]) for item in items):
        raise EvaluationError("list elements must have the same type")
    return sorted(items, key=cmp_to_key(order))


@_function("lists.range(int): list<int>", cost=lambda count: max(0, count))
def _range(count: int) -> list[int]:
    if count > _MAX_RANGE:
        raise EvaluationError(f"lists.range({count}) is too long")
    return list(range(count))


# -- sets


@_function("sets.contains(list<A>, list<A>): bool", cost=_square)
def _contains(items: list[Any], part: list[Any]) -> bool:
    return all(any(equals(item, other) for other in items) for item in part)


@_function("sets.equivalent(list<A>, list<A>): bool", cost=lambda a, b: 2 * _square(a, b))
def _equivalent(a: list[Any], b: list[Any]) -> bool:
    return _contains(a, b) and _contains(b, a)


@_function("sets.intersects(list<A>, list<A>): bool", cost=_square)
def _intersects(a: list[Any], b: list[Any]) -> bool:
    return any(any(equals(item, other) for other in b) for item in a)
