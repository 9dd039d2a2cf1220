"""Tables: the rows and columns of ``kubectl get``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from homeport.kube.kind import Column
from homeport.kube.table import AGE, Printer, age, human_duration

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
MINUTE, HOUR, DAY = 60, 3600, 86400


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-2, "<invalid>"), (-1.5, "0s"), (-0.5, "0s"), (0, "0s"), (0.9, "0s"), (1, "1s"), (70, "70s"), (119, "119s"),
        (120, "2m"), (190, "3m10s"), (599, "9m59s"), (600, "10m"), (70 * MINUTE, "70m"), (179 * MINUTE + 59, "179m"),
        (180 * MINUTE, "3h"), (3 * HOUR + 10 * MINUTE, "3h10m"), (7 * HOUR + 59 * MINUTE, "7h59m"), (8 * HOUR, "8h"),
        (8 * HOUR + 59 * MINUTE, "8h"), (47 * HOUR, "47h"), (48 * HOUR, "2d"), (49 * HOUR, "2d1h"),
        (7 * DAY + 23 * HOUR, "7d23h"), (8 * DAY, "8d"), (8 * DAY + 9 * HOUR, "8d"), (729 * DAY, "729d"),
        (730 * DAY, "2y"), (730 * DAY + 23 * HOUR, "2y"), (731 * DAY, "2y1d"), (8 * 365 * DAY - 1, "7y364d"),
        (8 * 365 * DAY, "8y"), (10_000 * DAY, "27y"),
    ],
)  # fmt: skip
def test_human_duration(seconds: float, text: str) -> None:
    assert human_duration(seconds) == text


@pytest.mark.parametrize(
    ("timestamp", "text"),
    [
        ("2026-11-22T11:59:15Z", "45s"),
        ("2026-11-22T12:59:15+01:00", "45s"),
        ("2026-11-19T08:00:00.123456Z", "3d3h"),
        ("2026-11-22T12:00:01Z", "0s"),
        ("2026-11-22T12:01:00Z", "<invalid>"),
        ("", "<unknown>"),
        (None, "<unknown>"),
        ("yesterday", "<invalid>"),
        ("2026-11-22T12:00:00", "<invalid>"),
    ],
)
def test_age(timestamp: str | None, text: str) -> None:
    assert age(timestamp, NOW) == text


TFJOB: dict[str, Any] = {
    "apiVersion": "kubeflow.org/v1",
    "kind": "TFJob",
    "metadata": {"name": "digits", "namespace": "default", "creationTimestamp": "2026-11-22T11:50:30Z"},
    "status": {"conditions": [{"type": "Created"}, {"type": "Running"}]},
}
TFJOB_COLUMNS = (
    Column("State", "string", ".status.conditions[-1:].type"),
    Column("Age", "date", ".metadata.creationTimestamp"),
)


def test_the_table_of_a_training_job() -> None:
    """The columns of upstream's TFJob; this is what ``kubectl get tfjobs`` prints."""
    table = Printer(TFJOB_COLUMNS).table([TFJOB], NOW, metadata={"resourceVersion": "7"})
    assert table == {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": "7"},
        "columnDefinitions": [
            {
                "name": "Name",
                "type": "string",
                "format": "name",
                "description": "Name of the object.",
                "priority": 0,
            },
            {"name": "State", "type": "string", "format": "", "description": "", "priority": 0},
            {"name": "Age", "type": "date", "format": "", "description": "", "priority": 0},
        ],
        "rows": [
            {
                "cells": ["digits", "Running", "9m30s"],
                "object": {
                    "kind": "PartialObjectMetadata",
                    "apiVersion": "meta.k8s.io/v1",
                    "metadata": TFJOB["metadata"],
                },
            }
        ],
    }


def test_what_a_row_carries() -> None:
    printer = Printer(TFJOB_COLUMNS)
    assert printer.row(TFJOB, NOW, "Object")["object"] is TFJOB
    assert "object" not in printer.row(TFJOB, NOW, "None")
    assert printer.row(TFJOB, NOW)["object"]["kind"] == "PartialObjectMetadata"


def test_later_events_of_a_watch_have_no_headers() -> None:
    table = Printer(TFJOB_COLUMNS).table([TFJOB], NOW, headers=False)
    assert table["columnDefinitions"] is None
    assert table["metadata"] == {}


def test_a_kind_without_columns_shows_its_age() -> None:
    printer = Printer(())
    assert [column.name for column in printer.columns] == ["Name", "Age"]
    assert printer.cells(TFJOB, NOW) == ["digits", "9m30s"]
    assert printer.columns[1] is AGE


def test_own_name_column() -> None:
    printer = Printer((Column("NAME", "string", compute=lambda obj: "x/" + obj["metadata"]["name"]),))
    assert printer.cells(TFJOB, NOW) == ["x/digits"]


@pytest.mark.parametrize(
    ("type", "value", "cell"),
    [
        ("string", "text", "text"),
        ("string", "", ""),
        ("string", 5, "5"),
        ("string", 0.5, "0.5"),
        ("string", 3.0, "3"),
        ("string", 1e-7, "1e-07"),
        ("string", 0.0001, "0.0001"),
        ("string", 1234567.5, "1.2345675e+06"),
        ("string", 2e22, "2e+22"),
        ("string", True, "true"),
        ("string", {"b": 1, "a": [2]}, '{"a":[2],"b":1}'),
        ("string", ["x"], '["x"]'),
        ("string", None, None),
        ("integer", 5, 5),
        ("integer", 5.7, 5),
        ("integer", "5", None),
        ("integer", True, None),
        ("number", 5, 5.0),
        ("number", 0.5, 0.5),
        ("number", "x", None),
        ("boolean", False, False),
        ("boolean", "true", None),
        ("date", "2026-11-22T11:59:00Z", "60s"),
        ("date", "", "<unknown>"),
        ("date", "nonsense", "<invalid>"),
        ("date", 5, None),
        ("nonsense", "x", None),
    ],
)
def test_cells_by_type(type: str, value: Any, cell: Any) -> None:
    printer = Printer((Column("X", type, ".status.x"),))
    (_, found) = printer.cells({"metadata": {"name": "n"}, "status": {"x": value}}, NOW)
    assert found == cell
    assert found.__class__ is cell.__class__
    msgspec.json.encode(found)


@pytest.mark.parametrize("type", ["string", "integer", "number", "boolean", "date"])
def test_what_an_object_lacks_is_null(type: str) -> None:
    printer = Printer((Column("X", type, ".status.x.y[0]"),))
    assert printer.cells({"metadata": {"name": "n"}}, NOW) == ["n", None]


def test_only_the_first_of_several_values_shows() -> None:
    assert Printer((Column("X", "string", ".status.conditions[*].type"),)).cells(TFJOB, NOW)[1] == "Created"


def test_computed_cells() -> None:
    printer = Printer(
        (
            Column("Ready", "string", compute=lambda obj: "1/2"),
            Column("Restarts", "integer", compute=lambda obj: None),
            Column("Age", "date", compute=lambda obj: obj["metadata"]["creationTimestamp"]),
        )
    )
    assert printer.cells(TFJOB, NOW + timedelta(days=3)) == ["digits", "1/2", None, "3d"]


def test_malformed_path() -> None:
    with pytest.raises(ValueError, match="JSONPath"):
        Printer((Column("X", "string", "status["),))
