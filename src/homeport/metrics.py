"""Counters, gauges and histograms in Prometheus' text format.

A family holds one number for each combination of label values. Families are made once and kept by whoever counts;
counting is a dictionary look-up and an addition, so that it can stand on the path of every request. What can be read
off when somebody asks (how many objects there are, how much memory is used) is a callback and costs nothing until then.

The format is Prometheus' text exposition format 0.0.4.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import ClassVar, Protocol, TypeAlias

Labels: TypeAlias = tuple[str, ...]
"""The values of a family's labels, in the order of their names."""

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Family(Protocol):
    """One named metric with all its label values."""

    name: str

    def lines(self) -> Iterator[str]:
        """The family in the text format, with its help and type."""


class Cell:
    """The number of one combination of label values, for whoever counts it often."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0


class _Numbers:
    """What counters and gauges share: a number for each combination of label values."""

    type: ClassVar[str]

    def __init__(self, name: str, help: str, labels: Sequence[str] = ()) -> None:
        self.name = name
        self._help = help
        self._labels = tuple(labels)
        self._cells: dict[Labels, Cell] = {}

    def cell(self, values: Labels = ()) -> Cell:
        """Where the number is kept. It is shown from now on."""
        cell = self._cells.get(values)
        if cell is None:
            cell = self._cells[values] = Cell()
        return cell

    def add(self, values: Labels = (), amount: float = 1) -> None:
        """Count `amount` more."""
        self.cell(values).value += amount

    def value(self, values: Labels = ()) -> float:
        """The present number; 0 for what was never counted."""
        cell = self._cells.get(values)
        return 0 if cell is None else cell.value

    def lines(self) -> Iterator[str]:
        yield from _head(self.name, self._help, self.type)
        for values in sorted(self._cells):
            yield f"{self.name}{_labels(self._labels, values)} {_number(self._cells[values].value)}"


class Counter(_Numbers):
    """Only grows. The name ends in ``_total`` by convention."""

    type = "counter"


class Gauge(_Numbers):
    """Goes up and down."""

    type = "gauge"

    def set(self, values: Labels, number: float) -> None:
        self.cell(values).value = number


class Sampled:
    """A family whose numbers are read off when somebody asks: `read` gives pairs of label values and number."""

    def __init__(
        self,
        name: str,
        help: str,
        labels: Sequence[str],
        read: Callable[[], Iterable[tuple[Labels, float]]],
        *,
        type: str = "gauge",
    ) -> None:
        self.name = name
        self._help, self._labels, self._read, self._type = help, tuple(labels), read, type

    def lines(self) -> Iterator[str]:
        yield from _head(self.name, self._help, self._type)
        for values, number in sorted(self._read()):
            yield f"{self.name}{_labels(self._labels, values)} {_number(number)}"


class Buckets:
    """What a histogram has observed with one combination of label values, for whoever observes often."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """One for each bound, and for what lies above all of them."""
        self.sum = 0.0

    def observe(self, number: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, number)] += 1
        self.sum += number


class Histogram:
    """How often a value fell below each bound. `bounds` ascend; the bound ``+Inf`` is understood."""

    def __init__(self, name: str, help: str, labels: Sequence[str], bounds: Sequence[float]) -> None:
        self.name = name
        self._help, self._labels, self._bounds = help, tuple(labels), tuple(bounds)
        self._rows: dict[Labels, Buckets] = {}

    def buckets(self, values: Labels) -> Buckets:
        """Where observations are kept. They are shown once there are any."""
        row = self._rows.get(values)
        if row is None:
            row = self._rows[values] = Buckets(self._bounds)
        return row

    def observe(self, values: Labels, number: float) -> None:
        """Count one value."""
        self.buckets(values).observe(number)

    def count(self, values: Labels) -> int:
        """How many values were observed."""
        row = self._rows.get(values)
        return 0 if row is None else sum(row.counts)

    def lines(self) -> Iterator[str]:
        yield from _head(self.name, self._help, "histogram")
        names = (*self._labels, "le")
        for values in sorted(self._rows):
            row = self._rows[values]
            if not any(row.counts):
                continue
            below = 0
            for bound, count in zip((*map(_number, self._bounds), "+Inf"), row.counts, strict=True):
                below += count
                yield f"{self.name}_bucket{_labels(names, (*values, bound))} {_number(below)}"
            labels = _labels(self._labels, values)
            yield f"{self.name}_sum{labels} {_number(row.sum)}"
            yield f"{self.name}_count{labels} {_number(below)}"


class Registry:
    """The families that one process shows."""

    def __init__(self) -> None:
        self._families: dict[str, Family] = {}

    def add(self, *families: Family) -> None:
        """Show `families` from now on. Raises ValueError for a name that is taken."""
        for family in families:
            if family.name in self._families:
                raise ValueError(f"there is a metric {family.name} already")
            self._families[family.name] = family

    def render(self) -> bytes:
        """All families in the text format."""
        lines = [line for _, family in sorted(self._families.items()) for line in family.lines()]
        return "\n".join([*lines, ""]).encode()


def _head(name: str, help: str, type: str) -> tuple[str, str]:
    text = help.replace("\\", r"\\").replace("\n", r"\n")
    return f"# HELP {name} {text}", f"# TYPE {name} {type}"


def _labels(names: Labels, values: Labels) -> str:
    if not names:
        return ""
    pairs = (f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True))
    return "{" + ",".join(pairs) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(number: float) -> str:
    return str(int(number)) if number == int(number) and abs(number) < 2**53 else repr(float(number))
