"""Closures for macros that go over lists and maps. Each turn is charged to the budget."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from homeport.kube.cel.access import decided
from homeport.kube.cel.functions import Run
from homeport.kube.cel.values import (
    NO_OVERLOAD,
    NONE,
    Budget,
    EvaluationError,
    Optional,
    from_key,
    to_key,
)


def _single(value: Any) -> Iterable[Any]:
    """The items of a list or the keys of a map."""
    if type(value) is list:
        return value
    if isinstance(value, dict):
        return [from_key(key) for key in value]
    raise EvaluationError(NO_OVERLOAD)


def _pairs(value: Any) -> Iterable[tuple[Any, Any]]:
    """Indices and items of a list, or keys and values of a map."""
    if type(value) is list:
        return enumerate(value)
    if isinstance(value, dict):
        return [(from_key(key), value[key]) for key in value]
    raise EvaluationError(NO_OVERLOAD)


Turns = Callable[[list[Any]], Iterable[Any]]
"""Goes over the turns of a loop with the variables set; gives the first variable's value."""


def _turns(source: Run, slots: list[int], cost: int) -> Turns:
    if len(slots) == 1:
        (slot,) = slots

        def single(frame: list[Any]) -> Iterable[Any]:
            budget: Budget = frame[0]
            for item in _single(source(frame)):
                budget.charge(cost)
                frame[slot] = item
                yield item

        return single
    first, second = slots

    def double(frame: list[Any]) -> Iterable[Any]:
        budget: Budget = frame[0]
        for key, value in _pairs(source(frame)):
            budget.charge(cost)
            frame[first], frame[second] = key, value
            yield key

    return double


def make(kind: str, source: Run, slots: list[int], condition: Run | None, body: Run | None, cost: int) -> Run:
    """The loop of a macro; each turn costs `cost`."""
    turns = _turns(source, slots, cost)
    if kind in ("all", "exists"):
        assert condition is not None
        return _quantified(turns, condition, decisive=kind == "exists")
    if kind == "exists_one":
        assert condition is not None
        return _exactly_one(turns, condition)
    if kind == "filter":
        return lambda frame: [item for item in turns(frame) if _holds(condition, frame)]
    assert body is not None
    made = body
    if kind in ("map", "transformList"):
        return lambda frame: [made(frame) for _ in turns(frame) if _holds(condition, frame)]
    if kind == "transformMap":
        return lambda frame: {to_key(key): made(frame) for key in turns(frame) if _holds(condition, frame)}
    return _entries(turns, condition, made)


def _holds(condition: Run | None, frame: list[Any]) -> bool:
    if condition is None:
        return True
    value = condition(frame)
    if value is True:
        return True
    if value is False:
        return False
    raise EvaluationError(NO_OVERLOAD)


def _quantified(turns: Turns, condition: Run, *, decisive: bool) -> Run:
    return lambda frame: decided((condition for _ in turns(frame)), frame, decisive)


def _exactly_one(turns: Turns, condition: Run) -> Run:
    def run(frame: list[Any]) -> bool:
        count = 0
        for _ in turns(frame):
            count += _holds(condition, frame)
        return count == 1

    return run


def _entries(turns: Turns, condition: Run | None, body: Run) -> Run:
    def run(frame: list[Any]) -> dict[Any, Any]:
        made: dict[Any, Any] = {}
        for _ in turns(frame):
            if not _holds(condition, frame):
                continue
            entry = body(frame)
            if not isinstance(entry, dict):
                raise EvaluationError(NO_OVERLOAD)
            for key in entry:
                if key in made:
                    raise EvaluationError(f"insert failed: key {from_key(key)} already exists")
                made[key] = entry[key]
        return made

    return run


def bind(kind: str, slot: int, value_of: Run, body: Run) -> Run:
    """``cel.bind``, ``optMap`` and ``optFlatMap``."""

    def plain(frame: list[Any]) -> Any:
        frame[slot] = value_of(frame)
        return body(frame)

    def mapped(frame: list[Any]) -> Any:
        value = value_of(frame)
        if type(value) is not Optional:
            raise EvaluationError(NO_OVERLOAD)
        if not value.present:
            return NONE
        frame[slot] = value.value
        made = body(frame)
        return Optional(made) if kind == "optMap" else made

    return plain if kind == "bind" else mapped
