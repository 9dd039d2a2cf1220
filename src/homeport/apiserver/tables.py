"""Answers as tables: what ``kubectl get`` prints. The columns are computed here, on the server."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from homeport.apiserver.encoding import Form
from homeport.apiserver.resources import Served
from homeport.kube.errors import BadRequest
from homeport.kube.kind import Column
from homeport.kube.meta import Object
from homeport.kube.table import AGE, NAME, Include, Printer

SCALE: Final = Printer(
    (
        NAME,
        Column("Desired", "integer", ".spec.replicas", "How many replicas are wanted."),
        Column("Available", "integer", ".status.replicas", "How many replicas there are."),
        AGE,
    )
)
"""The columns of a Scale of a built-in kind. One of a custom resource has those of the resource, as upstream."""


def include_object(text: str) -> Include:
    """The query parameter ``includeObject``. Raises BadRequest."""
    match text:
        case "" | "Metadata":
            return "Metadata"
        case "None":
            return "None"
        case "Object":
            return "Object"
    raise BadRequest(f'includeObject: Unsupported value: "{text}": supported values: "Metadata", "None", "Object"')


def table(
    served: Served,
    objects: Sequence[Object],
    form: Form,
    include: Include,
    now: datetime,
    metadata: dict[str, Any],
    *,
    headers: bool = True,
    printer: Printer | None = None,
) -> dict[str, Any]:
    """A ``Table`` of `objects`, in the version that the client asked for. `printer`: unless it is the resource's."""
    printer = printer or served.definition.printer
    result = printer.table(objects, now, metadata=metadata, include=include, headers=headers)
    return _versioned(result, form)


def _versioned(result: dict[str, Any], form: Form) -> dict[str, Any]:
    if form.version != "v1":
        result["apiVersion"] = f"meta.k8s.io/{form.version}"
        for row in result["rows"]:
            if row.get("object", {}).get("kind") == "PartialObjectMetadata":
                row["object"]["apiVersion"] = f"meta.k8s.io/{form.version}"
    return result
