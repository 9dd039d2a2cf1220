"""Completion indexes in the compressed form of a job's status: ``1,3-5,7`` (upstream: ``indexed_job_utils.go``)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TypeAlias

Intervals: TypeAlias = tuple[tuple[int, int], ...]
"""Ascending, first and last of each, with a gap between any two: however many indexes a job has, this stays small."""

_PART = re.compile(r"(\d+)(?:-(\d+))?", re.ASCII)


def parse(text: str, completions: int) -> Intervals:
    """The indexes below `completions` that `text` names; what is no interval is left out."""
    found = (_PART.fullmatch(part) for part in text.split(",")) if text else ()
    pairs = ((int(match[1]), int(match[2] or match[1])) for match in found if match)
    return _joined((first, min(last, completions - 1)) for first, last in pairs if first < completions)


def merged(intervals: Intervals, *others: Iterable[tuple[int, int]]) -> Intervals:
    return _joined((*intervals, *(interval for other in others for interval in other)))


def with_indexes(intervals: Intervals, indexes: Iterable[int]) -> Intervals:
    added = [(index, index) for index in indexes]
    return merged(intervals, added) if added else intervals


def _joined(intervals: Iterable[tuple[int, int]]) -> Intervals:
    result: list[tuple[int, int]] = []
    for first, last in sorted(intervals):
        if result and first <= result[-1][1] + 1:
            result[-1] = (result[-1][0], max(result[-1][1], last))
        elif first <= last:
            result.append((first, last))
    return tuple(result)


def text(intervals: Intervals) -> str:
    return ",".join(
        str(first) if first == last else f"{first}{',' if last == first + 1 else '-'}{last}"
        for first, last in intervals
    )


def total(intervals: Intervals) -> int:
    return sum(last - first + 1 for first, last in intervals)


def has(intervals: Intervals, index: int) -> bool:
    return any(first <= index <= last for first, last in intervals)


def overlap(one: Intervals, other: Intervals) -> int:
    """How many indexes both have."""
    return sum(max(0, min(a[1], b[1]) - max(a[0], b[0]) + 1) for a in one for b in other)


def missing(intervals: Intervals, completions: int) -> Iterator[int]:
    """The indexes below `completions` that are not there, ascending."""
    candidate = 0
    for first, last in intervals:
        yield from range(candidate, min(first, completions))
        candidate = last + 1
    yield from range(candidate, completions)
