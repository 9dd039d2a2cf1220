"""An object on its way through a kind's own rules, without a server."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from homeport.kube import core
from homeport.kube.kind import Kind
from homeport.kube.schema import REF_PREFIX
from homeport.kube.schema.compiled import Schema
from homeport.kube.schema.struct import components, schema_name
from homeport.kube.table import Printer

NOW = datetime(2026, 11, 3, 12, 0, 0, tzinfo=UTC)
COMPONENTS = components(core.KINDS)


def admitted(kind: Kind, obj: Any, old: Any = None) -> Any:
    """The object as it would be stored."""
    schema = Schema({"$ref": REF_PREFIX + schema_name(kind.struct)}, COMPONENTS)
    return schema.normalise(kind.prepare(schema.default({"metadata": {"name": "x"}, **obj}), old))


def complaints(kind: Kind, obj: Any, old: Any = None) -> list[str]:
    """What is wrong with the object, in Kubernetes' words."""
    schema = Schema({"$ref": REF_PREFIX + schema_name(kind.struct)}, COMPONENTS)
    done = admitted(kind, obj, old)
    return [str(error) for error in schema.validate(done, old) or kind.validate(done, old)]


def row(kind: Kind, obj: Any) -> dict[str, Any]:
    """The object's cells, by the name of the column."""
    printer = Printer(kind.columns)
    metadata = {"name": "x", "creationTimestamp": "2026-11-03T11:55:00Z", **obj.get("metadata", {})}
    cells = printer.cells({**obj, "metadata": metadata}, NOW)
    return {column.name: cell for column, cell in zip(printer.columns, cells, strict=True)}
