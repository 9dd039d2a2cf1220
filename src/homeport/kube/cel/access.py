"""Closures for what is no function call: selection, presence, literals, logic, equality of lists without order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from typing import Any

from homeport.kube.cel.functions import Run
from homeport.kube.cel.types import KeyedList, ObjectType, Type
from homeport.kube.cel.values import (
    CHARACTERS,
    NO_OVERLOAD,
    NONE,
    Budget,
    BudgetExceeded,
    EvaluationError,
    Optional,
    TypeValue,
    equals,
    equals_within,
    fingerprint,
    no_such_key,
    to_key,
    type_name,
    weight,
)

Convert = Callable[[Any], Any]


def select(operand: Run, key: str, convert: Convert | None) -> Run:
    """A field of a value that is known to be an object or a map."""

    def run(frame: list[Any]) -> Any:
        try:
            return operand(frame)[key]
        except (KeyError, TypeError):  # TypeError: a nullable object that is null
            raise no_such_key(key) from None

    if convert is None:
        return run

    def converted(frame: list[Any]) -> Any:
        value = run(frame)
        return None if value is None else convert(value)

    return converted


def select_dynamic(operand: Run, key: str) -> Run:
    """A field of a value of which nothing is known."""

    def run(frame: list[Any]) -> Any:
        value = operand(frame)
        if isinstance(value, dict):
            if key in value:
                return value[key]
            raise no_such_key(key)
        if type(value) is Optional:
            return _within(value, key, None)
        raise EvaluationError(NO_OVERLOAD if value is not None else f"no such key: {key}")

    return run


def select_optional(operand: Run, key: str, convert: Convert | None) -> Run:
    """``operand.?key``, and ``operand.key`` of an optional."""
    return lambda frame: _within(operand(frame), key, convert)


def _within(value: Any, key: str, convert: Convert | None) -> Optional:
    if type(value) is Optional:
        if not value.present:
            return NONE
        value = value.value
    if isinstance(value, dict):
        if key not in value:
            return NONE
        found = value[key]
        return Optional(found if convert is None or found is None else convert(found))
    raise no_such_key(key) if value is None else EvaluationError(NO_OVERLOAD)


def has(operand: Run, key: str) -> Run:
    def run(frame: list[Any]) -> bool:
        value = operand(frame)
        if isinstance(value, dict):
            return key in value
        if type(value) is Optional:
            return _within(value, key, None).present
        if value is None:
            return False
        raise EvaluationError(NO_OVERLOAD)

    return run


def type_value(arg: Run) -> Run:
    return lambda frame: TypeValue(type_name(arg(frame)))


def either(parts: Sequence[Run], *, decisive: bool) -> Run:
    """``||`` (what decides is true) and ``&&`` (false) of any number of parts."""
    return lambda frame: decided(parts, frame, decisive)


def decided(parts: Iterable[Run], frame: list[Any], decisive: bool) -> bool:
    """`decisive` as soon as one of the parts is, whatever others before it came to. An error counts only if none is."""
    other = not decisive
    error: EvaluationError | None = None
    for part in parts:
        try:
            value = part(frame)
        except BudgetExceeded:
            raise
        except EvaluationError as raised:
            error = error or raised
            continue
        if value is decisive:
            return bool(value)
        if value is not other:
            error = error or EvaluationError(NO_OVERLOAD)
    if error is not None:
        raise error
    return other


def make_list(items: Sequence[Run], optional: frozenset[int]) -> Run:
    if not optional:
        return lambda frame: [item(frame) for item in items]

    def run(frame: list[Any]) -> list[Any]:
        made = []
        for index, item in enumerate(items):
            value = item(frame)
            if index not in optional:
                made.append(value)
            elif type(value) is not Optional:
                raise EvaluationError(NO_OVERLOAD)
            elif value.present:
                made.append(value.value)
        return made

    return run


def make_map(entries: Sequence[tuple[Run, Run, bool]]) -> Run:
    def run(frame: list[Any]) -> dict[Any, Any]:
        made: dict[Any, Any] = {}
        for key_of, value_of, optional in entries:
            key, value = key_of(frame), value_of(frame)
            place = to_key(key)
            if type(key) is float:
                raise EvaluationError("unsupported key type: double")
            if optional:
                if type(value) is not Optional:
                    raise EvaluationError(NO_OVERLOAD)
                if not value.present:
                    continue
                value = value.value
            if place in made:
                raise EvaluationError(f"Failed with repeated key: {key}")
            made[place] = value
        return made

    return run


def plain_equality(left: Run, right: Run, *, wanted: bool) -> Run:
    """Whether two values, which Python compares as CEL does, are equal, or not (`wanted`)."""
    if wanted:
        return lambda frame: left(frame) == right(frame)
    return lambda frame: left(frame) != right(frame)


def text_equality(left: Run, right: Run, *, wanted: bool) -> Run:
    """The same for strings or bytes, which may be long."""

    def run(frame: list[Any]) -> bool:
        a, b = left(frame), right(frame)
        if isinstance(a, (str, bytes)) and len(a) >= CHARACTERS:
            frame[0].charge(len(a) // CHARACTERS)
        return bool((a == b) is wanted)

    return run


# -- lists whose order says nothing

Equality = Callable[[Budget, Any, Any], bool]


def keyed_equality(types: Sequence[Type]) -> Equality | None:
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


def keyed_union(type_: KeyedList) -> Callable[[Run, Run], Run]:
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
