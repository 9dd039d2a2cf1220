"""``kubectl get``'s rows and columns: the server-side ``Table`` of ``meta.k8s.io/v1`` (upstream: apiextensions
``tableconvertor`` and apimachinery ``util/duration``)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Literal, TypeAlias

import msgspec

from homeport.kube import jsonpath
from homeport.kube.kind import Column
from homeport.kube.meta import Object, name, parse_time

Include: TypeAlias = Literal["None", "Metadata", "Object"]
"""What a row carries beside its cells (query parameter ``includeObject``)."""

NAME: Final = Column("Name", "string", ".metadata.name", "Name of the object.", "name")
AGE: Final = Column("Age", "date", ".metadata.creationTimestamp", "How long ago the object was created.")

_Cell: TypeAlias = Callable[[Object, datetime], Any]


class Printer:
    """The columns of one kind, compiled. The name comes first; without columns of its own a kind shows its age.

    Raises ValueError if a column's path is malformed.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        columns = tuple(columns) or (AGE,)
        if not any(column.name.lower() == "name" for column in columns):
            columns = (NAME, *columns)
        self.columns = columns
        self.definitions = [definition(column) for column in columns]
        """``columnDefinitions`` of the Table."""
        self._cells = [_cell(column) for column in columns]

    def cells(self, obj: Object, now: datetime) -> list[Any]:
        """One value for each column; None, which clients show as ``<none>``, where the object has none."""
        return [cell(obj, now) for cell in self._cells]

    def row(self, obj: Object, now: datetime, include: Include = "Metadata") -> dict[str, Any]:
        """A ``TableRow``."""
        row: dict[str, Any] = {"cells": self.cells(obj, now)}
        if include == "Object":
            row["object"] = obj
        elif include == "Metadata":
            row["object"] = {
                "kind": "PartialObjectMetadata",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": obj.get("metadata") or {},
            }
        return row

    def table(
        self,
        objects: Iterable[Object],
        now: datetime,
        *,
        metadata: dict[str, Any] | None = None,
        include: Include = "Metadata",
        headers: bool = True,
    ) -> dict[str, Any]:
        """A ``Table``. `metadata` is the list's (``resourceVersion``, ``continue``, ``remainingItemCount``). A watch
        sends `headers` with its first event only."""
        return {
            "kind": "Table",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": metadata or {},
            "columnDefinitions": self.definitions if headers else None,
            "rows": [self.row(obj, now, include) for obj in objects],
        }


def definition(column: Column) -> dict[str, Any]:
    """A ``TableColumnDefinition``."""
    return {
        "name": column.name,
        "type": column.type,
        "format": column.format,
        "description": column.description,
        "priority": column.priority,
    }


def human_duration(seconds: float) -> str:
    """A duration to two or three significant figures, as ages are shown: ``45s``, ``3m5s``, ``3d4h``, ``2y10d``.

    Up to two seconds below zero count as now, since clocks differ; more are ``<invalid>``.
    """
    total = int(seconds)
    if total < -1:
        return "<invalid>"
    if total < 0:
        return "0s"
    if total < 120:
        return f"{total}s"
    minutes, hours, days = total // 60, total // 3600, total // 86400
    if minutes < 10:
        return _pair(minutes, "m", total % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _pair(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return _pair(days, "d", hours % 24, "h")
    if days < 365 * 2:
        return f"{days}d"
    if days < 365 * 8:
        return _pair(days // 365, "y", days % 365, "d")
    return f"{days // 365}y"


def age(timestamp: str | None, now: datetime) -> str:
    """How long ago an RFC 3339 timestamp was; ``<unknown>`` for none, ``<invalid>`` for anything else."""
    if not timestamp:
        return "<unknown>"
    try:
        moment = parse_time(timestamp)
    except ValueError:
        return "<invalid>"
    return human_duration((now - moment).total_seconds())


def _pair(major: int, major_unit: str, minor: int, minor_unit: str) -> str:
    return f"{major}{major_unit}{minor}{minor_unit}" if minor else f"{major}{major_unit}"


def _cell(column: Column) -> _Cell:
    if column.compute_at is not None:
        return column.compute_at
    if column.compute is not None:
        compute = column.compute
        if column.type == "date":
            return lambda obj, now: _date(compute(obj), now)
        return lambda obj, now: compute(obj)
    if column.path == NAME.path:
        return lambda obj, now: name(obj)
    select = jsonpath.compile(column.path)
    convert = _CONVERSIONS.get(column.type, _nothing)

    def cell(obj: Object, now: datetime) -> Any:
        found = select(obj)
        # Upstream shows the first of several values only.
        return convert(found[0], now) if found and found[0] is not None else None

    return cell


def _nothing(value: Any, now: datetime) -> Any:
    return None


def _integer(value: Any, now: datetime) -> Any:
    return int(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _number(value: Any, now: datetime) -> Any:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _boolean(value: Any, now: datetime) -> Any:
    return value if isinstance(value, bool) else None


def _date(value: Any, now: datetime) -> Any:
    return age(value, now) if isinstance(value, str) else None


def _string(value: Any, now: datetime) -> str:
    """Any value as text: a string column shows numbers and whole objects too."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _float_text(value)
    if isinstance(value, (dict, list)):
        return msgspec.json.encode(value, order="sorted").decode()
    return str(value)


def _float_text(value: float) -> str:
    """As Go prints a float64: the fewest digits, with an exponent below 1e-04 and from 1e+06 on."""
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    assert isinstance(exponent, int)
    point = len(digits) + exponent - 1
    text = "".join(map(str, digits))
    if -4 <= point < 6:
        return format(Decimal(repr(value)).normalize(), "f")
    mantissa = f"{text[0]}.{text[1:]}" if len(text) > 1 else text
    return f"{'-' if sign else ''}{mantissa}e{'-' if point < 0 else '+'}{abs(point):02}"


_CONVERSIONS: Final[dict[str, Callable[[Any, datetime], Any]]] = {
    "string": _string,
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
    "date": _date,
}
