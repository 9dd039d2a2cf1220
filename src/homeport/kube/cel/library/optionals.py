"""Values that may be absent. ``optMap`` and ``optFlatMap`` are macros."""

from __future__ import annotations

from typing import Any

from homeport.kube.cel.functions import Library
from homeport.kube.cel.values import NONE, Duration, Optional

LIBRARY = Library()
_function, _member = LIBRARY.function, LIBRARY.member


@_function("optional.of(A): optional<A>")
def _of(value: Any) -> Optional:
    return Optional(value)


@_function("optional.none(): optional<A>")
def _none() -> Optional:
    return NONE


@_function("optional.ofNonZeroValue(A): optional<A>")
def _of_non_zero(value: Any) -> Optional:
    empty = value is None or (not value if isinstance(value, (bool, int, float, str, bytes, list, dict)) else False)
    return NONE if empty or value == Duration(0) else Optional(value)


@_member("hasValue(optional<A>): bool")
def _has_value(value: Optional) -> bool:
    return value.present


@_member("value(optional<A>): A")
def _value(value: Optional) -> Any:
    return value.value


@_member("or(optional<A>, optional<A>): optional<A>")
def _or(value: Optional, other: Optional) -> Optional:
    return value if value.present else other


@_member("orValue(optional<A>, A): A")
def _or_value(value: Optional, other: Any) -> Any:
    return value.value if value.present else other


@_function("optional.unwrap(list<optional<A>>): list<A>", cost=len)
@_member("unwrapOpt(list<optional<A>>): list<A>", cost=len)
def _unwrap(values: list[Optional]) -> list[Any]:
    return [value.value for value in values if value.present]


@_member("first(list<A>): optional<A>")
def _first(items: list[Any]) -> Optional:
    return Optional(items[0]) if items else NONE


@_member("last(list<A>): optional<A>")
def _last(items: list[Any]) -> Optional:
    return Optional(items[-1]) if items else NONE
