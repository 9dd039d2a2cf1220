"""Functions by signature, and the choice among their overloads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from homeport.kube.cel.types import ObjectType, Signature, Type, is_dynamic, signature
from homeport.kube.cel.values import (
    NO_OVERLOAD,
    Budget,
    Duration,
    EvaluationError,
    LazyMap,
    Opaque,
    Optional,
    Timestamp,
    TypeValue,
    UInt,
)

Function = Callable[..., Any]
Run = Callable[[list[Any]], Any]
"""A compiled expression: takes the frame, whose first entry is the budget and whose others are the variables."""
Cost = Callable[..., int]
_F = TypeVar("_F", bound=Function)

_KINDS: dict[str, tuple[type, ...]] = {
    "null_type": (type(None),),
    "bool": (bool,),
    "int": (int,),
    "uint": (UInt,),
    "double": (float,),
    "string": (str,),
    "bytes": (bytes,),
    "list": (list,),
    "map": (dict, LazyMap),
    "google.protobuf.Timestamp": (Timestamp,),
    "google.protobuf.Duration": (Duration,),
    "type": (TypeValue,),
    "optional_type": (Optional,),
}


def _kinds(type_: Type) -> tuple[type, ...] | None:
    """The Python types that values of a static type have; None for any."""
    if is_dynamic(type_):
        return None
    if isinstance(type_, ObjectType):
        return (dict, LazyMap)
    found = _KINDS.get(type_.name)
    if found is None:
        found = tuple(kind for kind in Opaque.__subclasses__() if kind.type_name == type_.name)
    return found


class Overload:
    """One signature and what carries it out."""

    __slots__ = ("cost", "kinds", "run", "signature")

    def __init__(self, signature: Signature, run: Function, cost: Cost | None) -> None:
        self.signature = signature
        self.run = run
        self.cost = cost
        """What a call costs beyond one, from its arguments; None for nothing."""
        self.kinds = tuple(_kinds(arg) for arg in signature.args)

    def takes(self, kinds: Sequence[type]) -> bool:
        """Whether values of these Python types may be its arguments."""
        return len(kinds) == len(self.kinds) and all(
            wanted is None or kind in wanted for kind, wanted in zip(kinds, self.kinds, strict=True)
        )


class Library:
    """Functions that belong together."""

    def __init__(self) -> None:
        self.overloads: list[Overload] = []

    def function(self, *signatures: str, cost: Cost | None = None) -> Callable[[_F], _F]:
        """Declares a global function, as ``size(string): int``."""
        return self._declare(signatures, False, cost)

    def member(self, *signatures: str, cost: Cost | None = None) -> Callable[[_F], _F]:
        """Declares a function with a target, its first argument: ``charAt(string, int): string``."""
        return self._declare(signatures, True, cost)

    def _declare(self, signatures: Iterable[str], member: bool, cost: Cost | None) -> Callable[[_F], _F]:
        def declare(run: _F) -> _F:
            for text in signatures:
                self.overloads.append(Overload(signature(text, member=member), run, cost))
            return run

        return declare


class Functions:
    """All functions of an environment."""

    def __init__(self, libraries: Iterable[Library]) -> None:
        self._found: dict[tuple[str, bool], list[Overload]] = {}
        for library in libraries:
            for overload in library.overloads:
                self._found.setdefault((overload.signature.name, overload.signature.member), []).append(overload)

    def find(self, name: str, *, member: bool) -> Sequence[Overload]:
        return self._found.get((name, member), ())


def invoke(overloads: Sequence[Overload], args: Sequence[Run], *, certain: bool) -> Run:
    """A call. With `certain` the types leave no other choice than the one overload there is."""
    if certain and len(overloads) == 1 and overloads[0].cost is None:
        return _direct(overloads[0].run, args)
    chosen: dict[tuple[type, ...], Overload] = {}

    def choose(kinds: tuple[type, ...]) -> Overload:
        for overload in overloads:
            if certain or overload.takes(kinds):
                chosen[kinds] = overload
                return overload
        raise EvaluationError(NO_OVERLOAD)

    def run(frame: list[Any]) -> Any:
        values = [arg(frame) for arg in args]
        kinds = tuple(map(type, values))
        overload = chosen.get(kinds) or choose(kinds)
        if overload.cost is not None:
            budget: Budget = frame[0]
            budget.charge(overload.cost(*values))
        return overload.run(*values)

    return run


def _direct(function: Function, args: Sequence[Run]) -> Run:
    if len(args) == 1:
        (only,) = args
        return lambda frame: function(only(frame))
    if len(args) == 2:
        first, second = args
        return lambda frame: function(first(frame), second(frame))
    return lambda frame: function(*[arg(frame) for arg in args])


def result_of(types: Iterable[Type]) -> Type | None:
    """The one type among the results of several overloads; None where they differ."""
    found = list(types)
    return found[0] if all(type_ == found[0] for type_ in found) else None
