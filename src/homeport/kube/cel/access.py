"""Closures for what is no function call: selection, presence, literals, logic."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from homeport.kube.cel.functions import Run
from homeport.kube.cel.values import (
    NO_OVERLOAD,
    NONE,
    BudgetExceeded,
    EvaluationError,
    Optional,
    TypeValue,
    no_such_key,
    to_key,
    type_name,
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
