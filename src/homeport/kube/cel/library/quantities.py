"""``quantity("1.5Gi")`` (Kubernetes 1.28)."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from homeport.kube import quantity
from homeport.kube.cel.functions import Library
from homeport.kube.cel.values import MAX_INT, MIN_INT, EvaluationError, Opaque

_NAME = "kubernetes.Quantity"


class Quantity(Opaque):
    """An exact amount."""

    __slots__ = ("amount",)
    type_name = _NAME

    def __init__(self, amount: Decimal) -> None:
        self.amount = amount

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Quantity) and self.amount == other.amount

    __hash__ = None  # type: ignore[assignment]


LIBRARY = Library()
_function, _member = LIBRARY.function, LIBRARY.member


@_function(f"quantity(string): {_NAME}", cost=lambda text: len(text) // 10)
def _quantity(text: str) -> Quantity:
    try:
        return Quantity(quantity.parse(text))
    except ValueError as error:
        raise EvaluationError(str(error)) from error


@_function("isQuantity(string): bool", cost=lambda text: len(text) // 10)
def _is_quantity(text: str) -> bool:
    try:
        quantity.parse(text)
    except ValueError:
        return False
    return True


@_function(f"sign({_NAME}): int")
@_member(f"sign({_NAME}): int")
def _sign(value: Quantity) -> int:
    return (value.amount > 0) - (value.amount < 0)


@_member(f"isInteger({_NAME}): bool")
def _is_integer(value: Quantity) -> bool:
    return value.amount == value.amount.to_integral_value() and MIN_INT <= value.amount <= MAX_INT


@_member(f"asInteger({_NAME}): int")
def _as_integer(value: Quantity) -> int:
    if not _is_integer(value):
        raise EvaluationError("cannot convert value to integer")
    return int(value.amount)


@_member(f"asApproximateFloat({_NAME}): double")
def _as_float(value: Quantity) -> float:
    return float(value.amount)


def _amount(value: Any) -> Decimal:
    return value.amount if isinstance(value, Quantity) else Decimal(value)


@_member(f"add({_NAME}, {_NAME}): {_NAME}", f"add({_NAME}, int): {_NAME}")
def _add(value: Quantity, other: Any) -> Quantity:
    return Quantity(value.amount + _amount(other))


@_member(f"sub({_NAME}, {_NAME}): {_NAME}", f"sub({_NAME}, int): {_NAME}")
def _subtract(value: Quantity, other: Any) -> Quantity:
    return Quantity(value.amount - _amount(other))


@_member(f"compareTo({_NAME}, {_NAME}): int")
def _compare(value: Quantity, other: Quantity) -> int:
    return (value.amount > other.amount) - (value.amount < other.amount)


@_member(f"isLessThan({_NAME}, {_NAME}): bool")
def _is_less(value: Quantity, other: Quantity) -> bool:
    return value.amount < other.amount


@_member(f"isGreaterThan({_NAME}, {_NAME}): bool")
def _is_greater(value: Quantity, other: Quantity) -> bool:
    return value.amount > other.amount
