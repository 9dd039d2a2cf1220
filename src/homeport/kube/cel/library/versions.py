"""``semver("1.2.3")`` (Kubernetes 1.33, with normalisation)."""

from __future__ import annotations

import re
from functools import total_ordering

from homeport.kube.cel.functions import Library
from homeport.kube.cel.values import EvaluationError, Opaque

_NAME = "kubernetes.Semver"
_NUMBER = "(0|[1-9][0-9]*)"
_PART = r"(?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_SYNTAX = re.compile(
    rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-({_PART}(?:\.{_PART})*))?(?:\+([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?", re.ASCII
)
_MAX_NUMBER = 2**64 - 1


@total_ordering
class Semver(Opaque):
    """A semantic version. Build metadata counts for nothing."""

    __slots__ = ("numbers", "pre")
    type_name = _NAME

    def __init__(self, numbers: tuple[int, ...], pre: tuple[str, ...]) -> None:
        self.numbers = numbers
        self.pre = pre

    def _order(self) -> tuple[tuple[int, ...], bool, list[tuple[bool, int, str]]]:
        parts = [(not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in self.pre]
        return self.numbers, not self.pre, parts

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Semver) and self._order() == other._order()

    def __lt__(self, other: Semver) -> bool:
        return self._order() < other._order()

    __hash__ = None  # type: ignore[assignment]


LIBRARY = Library()
_function, _member = LIBRARY.function, LIBRARY.member


def _parse(text: str, normalize: bool) -> Semver:
    if normalize:
        text = _normalized(text)
    match = _SYNTAX.fullmatch(text) if len(text) <= 256 else None
    if match is None:
        raise EvaluationError(f'"{text[:64]}" is not a semantic version')
    numbers = tuple(int(match[index]) for index in (1, 2, 3))
    if max(numbers) > _MAX_NUMBER:
        raise EvaluationError(f'"{text[:64]}" is not a semantic version: a number is too large')
    return Semver(numbers, tuple(match[4].split(".")) if match[4] else ())


def _normalized(text: str) -> str:
    """Without ``v`` in front and zeros at the start of numbers, and with what is missing of three numbers."""
    parts = text.removeprefix("v").split(".", 2)
    parts = [_without_zeros(part) for part in parts]
    if len(parts) < 3:
        if "+" in parts[-1] or "-" in parts[-1]:
            raise EvaluationError("short version cannot contain PreRelease/Build meta data")
        parts += ["0"] * (3 - len(parts))
    return ".".join(parts)


def _without_zeros(part: str) -> str:
    if len(part) < 2:
        return part
    stripped = part.lstrip("0")
    return stripped if stripped[:1].isdigit() else "0" + stripped


@_function(f"semver(string): {_NAME}", f"semver(string, bool): {_NAME}", cost=lambda text, *rest: len(text) // 10)
def _semver(text: str, normalize: bool = False) -> Semver:
    return _parse(text, normalize)


@_function("isSemver(string): bool", "isSemver(string, bool): bool", cost=lambda text, *rest: len(text) // 10)
def _is_semver(text: str, normalize: bool = False) -> bool:
    try:
        _parse(text, normalize)
    except EvaluationError:
        return False
    return True


@_member(f"major({_NAME}): int")
def _major(version: Semver) -> int:
    return version.numbers[0]


@_member(f"minor({_NAME}): int")
def _minor(version: Semver) -> int:
    return version.numbers[1]


@_member(f"patch({_NAME}): int")
def _patch(version: Semver) -> int:
    return version.numbers[2]


@_member(f"compareTo({_NAME}, {_NAME}): int")
def _compare(version: Semver, other: Semver) -> int:
    return (version > other) - (version < other)


@_member(f"isLessThan({_NAME}, {_NAME}): bool")
def _is_less(version: Semver, other: Semver) -> bool:
    return version < other


@_member(f"isGreaterThan({_NAME}, {_NAME}): bool")
def _is_greater(version: Semver, other: Semver) -> bool:
    return version > other
