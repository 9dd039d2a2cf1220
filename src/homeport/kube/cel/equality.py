"""Equality, by what is known of the types: as Python has it where that is the same, and of lists whose order says
nothing (``x-kubernetes-list-type``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import repeat
from typing import Any

from homeport.kube.cel.functions import Overload, Run
from homeport.kube.cel.types import KeyedList, ObjectType, Type
from homeport.kube.cel.values import CHARACTERS, Budget, equals, equals_within, fingerprint, weight

_PLAIN = frozenset({"bool", "int", "uint", "string", "bytes", "google.protobuf.Timestamp", "google.protobuf.Duration"})
"""Types whose equal values are equal in Python, too."""
_HASHED = _PLAIN - {"bool", "int", "uint"}
"""Those that no other type's values are equal to."""


def is_plain_in(name: str, types: Sequence[Type]) -> bool:
    """Whether this is ``x in list`` of values that Python compares as CEL does."""
    return name == "@in" and types[1].name == "list" and types[0].name in _HASHED


def plain_in(overload: Overload) -> Overload:
    """``x in list`` for values that Python compares as CEL does."""
    return Overload(overload.signature, lambda item, items: item in items, overload.cost)


def equality(name: str, types: Sequence[Type], runs: Sequence[Run]) -> Run:
    """``==`` and ``!=`` of two values whose types are known as far as `types` says."""
    left, right = runs
    plain = types[0] == types[1] and types[0].name in _PLAIN
    if plain:
        same = _text_equality if types[0].name in ("string", "bytes") else _plain_equality
        return same(left, right, wanted=name == "_==_")
    compare = _keyed_equality(types) or equals_within
    if name == "_==_":
        return lambda frame: compare(frame[0], left(frame), right(frame))
    return lambda frame: not compare(frame[0], left(frame), right(frame))


def keyed_operator(name: str, types: Sequence[Type]) -> Callable[..., Run] | None:
    """What carries out an operator that means another thing for lists whose order says nothing; None for others."""
    if name == "_+_" and isinstance(types[0], KeyedList):
        return _keyed_union(types[0])
    return None


def _plain_equality(left: Run, right: Run, *, wanted: bool) -> Run:
    """Whether two values, which Python compares as CEL does, are equal, or not (`wanted`)."""
    if wanted:
        return lambda frame: left(frame) == right(frame)
    return lambda frame: left(frame) != right(frame)


def _text_equality(left: Run, right: Run, *, wanted: bool) -> Run:
    """The same for strings or bytes, which may be long."""

    def run(frame: list[Any]) -> bool:
        a, b = left(frame), right(frame)
        if isinstance(a, (str, bytes)) and len(a) >= CHARACTERS:
            frame[0].charge(len(a) // CHARACTERS)
        return bool((a == b) is wanted)

    return run


# -- lists whose order says nothing

Equality = Callable[[Budget, Any, Any], bool]


def _keyed_equality(types: Sequence[Type]) -> Equality | None:
    """Equality of two values of which at least one has a type with keyed lists in it; None where there are none."""
    return _equality_of(types[0]) or _equality_of(types[1])


def _equality_of(type_: Type) -> Equality | None:
    if isinstance(type_, KeyedList):
        inner = _equality_of(type_.args[0])
        return _map_equality(type_.keys, inner or equals_within) if type_.keys else _set_equality(inner)
    if isinstance(type_, ObjectType):
        parts = {field.key: found for field in type_.fields.values() if (found := _equality_of(field.type)) is not None}
        return _object_equality(parts) if parts else None
    if type_.name == "list" and type_.args:
        inner = _equality_of(type_.args[0])
        return None if inner is None else _list_equality(inner)
    return None


def _list_equality(inner: Equality) -> Equality:
    def compare(budget: Budget, a: Any, b: Any) -> bool:
        if not isinstance(a, list) or not isinstance(b, list):
            return equals(a, b)
        return len(a) == len(b) and all(map(inner, repeat(budget), a, b))

    return compare


def _object_equality(parts: dict[str, Equality]) -> Equality:
    def compare(budget: Budget, a: Any, b: Any) -> bool:
        if not isinstance(a, dict) or not isinstance(b, dict):
            return equals(a, b)
        return len(a) == len(b) and all(
            key in b and parts.get(key, equals_within)(budget, value, b[key]) for key, value in a.items()
        )

    return compare


def _set_equality(inner: Equality | None) -> Equality:
    """`inner` compares items in which the order of lists says nothing either; None for all others."""

    def compare(budget: Budget, a: Any, b: Any) -> bool:
        if not isinstance(a, list) or not isinstance(b, list):
            return equals(a, b)
        if len(a) != len(b):
            return False
        budget.charge(weight(a) + weight(b))
        if inner is None:
            return set(map(fingerprint, a)) <= set(map(fingerprint, b))
        budget.charge(len(a) * len(b))
        return all(any(inner(budget, item, other) for other in b) for item in a)

    return compare


def _identity(keys: tuple[str, ...], item: Any) -> Any:
    return tuple(item.get(key) for key in keys) if isinstance(item, dict) else None


def _map_equality(keys: tuple[str, ...], inner: Equality) -> Equality:
    def compare(budget: Budget, a: Any, b: Any) -> bool:
        if not isinstance(a, list) or not isinstance(b, list):
            return equals(a, b)
        budget.charge(len(b))
        others = {_identity(keys, item): item for item in b}
        return len(a) == len(b) and all(
            (place := _identity(keys, item)) in others and inner(budget, item, others[place]) for item in a
        )

    return compare


def _keyed_union(type_: KeyedList) -> Callable[[Run, Run], Run]:
    """``+`` of sets: what is in either. Of maps: the left order, with the right one's items where both have the key."""
    keys = type_.keys

    def join(left: Run, right: Run) -> Run:
        def run(frame: list[Any]) -> list[Any]:
            a, b = left(frame), right(frame)
            frame[0].charge((len(a) + len(b)) // 10)
            joined: list[Any]
            if not keys:
                frame[0].charge(weight(a) + weight(b))
                known = set(map(fingerprint, a))
                joined = [*a, *(item for item in b if fingerprint(item) not in known)]
                return joined
            newer = {_identity(keys, item): item for item in b}
            joined = [newer.pop(_identity(keys, item), item) for item in a]
            return joined + list(newer.values())

        return run

    return join
