"""Values of the Common Expression Language that Python has no type for, and equality and order of all values.

null, bool, int, double, string, bytes, list and map are Python's ``None``, ``bool``, ``int``, ``float``, ``str``,
``bytes``, ``list`` and ``dict``: an object's JSON is used as it is, never copied.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import repeat
from typing import Any

MIN_INT, MAX_INT, MAX_UINT = -(2**63), 2**63 - 1, 2**64 - 1
NANOSECONDS = 1_000_000_000


class EvaluationError(Exception):
    """An expression can't be evaluated for these values."""


class BudgetExceeded(EvaluationError):
    """An expression costs more than it may."""


def no_such_key(key: Any) -> EvaluationError:
    return EvaluationError(f"no such key: {key}")


NO_OVERLOAD = "no such overload"


class Budget:
    """What evaluating may still cost; about one unit for a step."""

    __slots__ = ("left",)

    def __init__(self, left: int) -> None:
        self.left = left

    def charge(self, cost: int) -> None:
        """Raises BudgetExceeded."""
        self.left -= cost
        if self.left < 0:
            raise BudgetExceeded("operation cancelled: actual cost limit exceeded")


class TakesLong(Exception):
    """An evaluation costs more than others should wait for: it is to be done where nobody waits."""


class HurriedBudget(Budget):
    """What an evaluation may cost while others wait. Beyond that, it ends without a result."""

    __slots__ = ()

    def charge(self, cost: int) -> None:
        """Raises TakesLong."""
        self.left -= cost
        if self.left < 0:
            raise TakesLong


class UInt(int):
    """An unsigned integer of 64 bits."""

    __slots__ = ()


class Timestamp:
    """A moment, in nanoseconds since 1970."""

    __slots__ = ("ns",)

    def __init__(self, ns: int) -> None:
        self.ns = ns

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Timestamp) and self.ns == other.ns

    def __hash__(self) -> int:
        return hash(("timestamp", self.ns))

    def __lt__(self, other: Timestamp) -> bool:
        return self.ns < other.ns

    def __le__(self, other: Timestamp) -> bool:
        return self.ns <= other.ns


class Duration:
    """A length of time in nanoseconds."""

    __slots__ = ("ns",)

    def __init__(self, ns: int) -> None:
        if not MIN_INT <= ns <= MAX_INT:
            raise EvaluationError("range error converting to duration: duration overflow")
        self.ns = ns

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Duration) and self.ns == other.ns

    def __hash__(self) -> int:
        return hash(("duration", self.ns))

    def __lt__(self, other: Duration) -> bool:
        return self.ns < other.ns

    def __le__(self, other: Duration) -> bool:
        return self.ns <= other.ns


class TypeValue:
    """A type as a value: ``type(1)``, ``int``."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TypeValue) and self.name == other.name

    def __hash__(self) -> int:
        return hash(("type", self.name))


class Optional:
    """A value that may be absent."""

    __slots__ = ("_value", "present")

    def __init__(self, value: Any, present: bool = True) -> None:
        self._value = value
        self.present = present

    @property
    def value(self) -> Any:
        if not self.present:
            raise EvaluationError("optional.none() dereference")
        return self._value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Optional) or self.present != other.present:
            return False
        return not self.present or equals(self._value, other._value)

    __hash__ = None  # type: ignore[assignment]


NONE = Optional(None, False)


class Opaque:
    """Base of a library's own values, such as quantities."""

    __slots__ = ()
    type_name = ""


class LazyMap(dict[str, Any]):
    """A map whose values are worked out when they are first asked for: the ``variables`` of an admission policy."""

    def __init__(self, makers: dict[str, Callable[[], Any]]) -> None:
        super().__init__()
        self._makers = makers

    def __contains__(self, key: object) -> bool:
        return key in self._makers

    def __len__(self) -> int:
        return len(self._makers)

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __getitem__(self, key: str) -> Any:
        if not dict.__contains__(self, key):
            self[key] = self._makers[key]()
        return dict.__getitem__(self, key)


# -- keys of maps


class BoolKey:
    """``true`` or ``false`` as the key of a map: in Python ``True`` is the same key as ``1``."""

    __slots__ = ("value",)

    def __init__(self, value: bool) -> None:
        self.value = value


_TRUE, _FALSE = BoolKey(True), BoolKey(False)


def to_key(value: Any) -> Any:
    """A value as the key of a Python dict. Raises EvaluationError for one that no map can have."""
    kind = type(value)
    if kind is str or kind is int or kind is UInt:
        return value
    if kind is bool:
        return _TRUE if value else _FALSE
    if kind is float:
        return value
    raise EvaluationError(f"unsupported key type: {type_name(value)}")


def from_key(key: Any) -> Any:
    return key.value if type(key) is BoolKey else key


# -- types, equality and order

_NAMES: dict[type, str] = {
    type(None): "null_type",
    bool: "bool",
    int: "int",
    UInt: "uint",
    float: "double",
    str: "string",
    bytes: "bytes",
    list: "list",
    dict: "map",
    Timestamp: "google.protobuf.Timestamp",
    Duration: "google.protobuf.Duration",
    TypeValue: "type",
    Optional: "optional_type",
    LazyMap: "map",
}


def type_name(value: Any) -> str:
    """The name of the value's type."""
    name = _NAMES.get(type(value))
    return name if name is not None else str(getattr(value, "type_name", type(value).__name__))


_NUMBERS = frozenset({int, float, UInt})


def equals(a: Any, b: Any) -> bool:
    """Equality of any two values. Numbers of different types are equal if their values are."""
    kind, other = type(a), type(b)
    if kind is other:
        if kind is list:
            return len(a) == len(b) and all(map(equals, a, b))
        if kind is dict:
            return len(a) == len(b) and all(key in b and equals(value, b[key]) for key, value in a.items())
        return bool(a == b)
    return kind in _NUMBERS and other in _NUMBERS and bool(a == b)


ELEMENTS, CHARACTERS = 2, 1000
"""Elements of lists and maps, and characters, that are compared for one unit of cost."""
_MOST_NESTED = 1 << 20


def equals_within(budget: Budget, a: Any, b: Any) -> bool:
    """As :func:`equals`, for what it costs: values may be as large as a request. Raises BudgetExceeded."""
    kind = type(a)
    if kind is not type(b):
        return equals(a, b)
    if kind is list:
        if len(a) != len(b):
            return False
        budget.charge(len(a) // ELEMENTS)
        return all(map(equals_within, repeat(budget), a, b))
    if kind is dict:
        if len(a) != len(b):
            return False
        budget.charge(len(a) // ELEMENTS)
        return all(key in b and equals_within(budget, value, b[key]) for key, value in a.items())
    if kind is str or kind is bytes:
        budget.charge(min(len(a), len(b)) // CHARACTERS)
    return bool(a == b)


def weight(value: Any) -> int:
    """What comparing `value` with another, or writing it, costs beyond one step. A value that is made of the same parts
    again and again may be larger than any memory: beyond what any budget has, nobody counts on."""
    left = _MOST_NESTED
    pending: list[Any] = [value]
    while pending:
        part = pending.pop()
        if type(part) is list or type(part) is dict:
            left -= len(part)
            if left < 0:
                return 1 << 62
            pending += part.values() if isinstance(part, dict) else part
        elif type(part) is str or type(part) is bytes:
            left -= len(part) * ELEMENTS // CHARACTERS
    return (_MOST_NESTED - left) // ELEMENTS


def fingerprint(value: Any) -> Any:
    """Something to hash a JSON value by: values are equal if these are, and the other way round."""
    kind = type(value)
    if kind is list:
        return (list, *map(fingerprint, value))
    if kind is dict:
        return (dict, frozenset((key, fingerprint(item)) for key, item in value.items()))
    return (bool, value) if kind is bool else value  # Python takes True for 1


_ORDERED = frozenset({bool, str, bytes, Timestamp, Duration, int, float, UInt})


def _comparable(a: Any, b: Any) -> tuple[Any, Any]:
    """Two values that Python orders as CEL does. Raises EvaluationError for values that have no order."""
    kind, other = type(a), type(b)
    if kind is other and kind in _ORDERED:
        return a, b
    if kind in _NUMBERS and other in _NUMBERS:
        if kind is float:
            return a, float(b)  # as cel-go: precision is lost
        return (float(a), b) if other is float else (a, b)
    raise EvaluationError(NO_OVERLOAD)


def less(a: Any, b: Any) -> bool:
    """Raises EvaluationError for values that have no order."""
    a, b = _comparable(a, b)
    return bool(a < b)


def less_or_equal(a: Any, b: Any) -> bool:
    """Raises EvaluationError for values that have no order."""
    a, b = _comparable(a, b)
    return bool(a <= b)


def checked_int(value: int) -> int:
    """Raises EvaluationError for what has no place in 64 bits."""
    if MIN_INT <= value <= MAX_INT:
        return value
    raise EvaluationError("integer overflow")


def checked_uint(value: int) -> UInt:
    """Raises EvaluationError for what has no place in 64 bits without a sign."""
    if 0 <= value <= MAX_UINT:
        return UInt(value)
    raise EvaluationError("unsigned integer overflow")


def format_double(value: float) -> str:
    """As Go's ``strconv.FormatFloat(v, 'g', -1, 64)``."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    text = repr(value)
    mantissa, _, exponent = text.partition("e")
    digits = mantissa.removesuffix(".0")
    if not exponent:
        magnitude = abs(value)
        if magnitude < 1e21 and (magnitude >= 1e-4 or value == 0):
            return digits
        return text
    power = int(exponent)
    if 0 <= power < 21:
        return f"{value:.0f}"
    return f"{digits}e{'-' if power < 0 else '+'}{abs(power):02d}"
