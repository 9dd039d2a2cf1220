"""Answers as tables: what ``kubectl get`` prints. The columns are computed here, on the server."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from homeport.apiserver.encoding import Form
from homeport.apiserver.resources import Served
from homeport.kube.errors import BadRequest
from homeport.kube.meta import Object
from homeport.kube.table import Include


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
) -> dict[str, Any]:
    """A ``Table`` of `objects`, in the version that the client asked for."""
    result = served.definition.printer.table(objects, now, metadata=metadata, include=include, headers=headers)
    return _versioned(result, form)


def _versioned(result: dict[str, Any], form: Form) -> dict[str, Any]:
    if form.version != "v1":
        result["apiVersion"] = f"meta.k8s.io/{form.version}"
        for row in result["rows"]:
            if row.get("object", {}).get("kind") == "PartialObjectMetadata":
                row["object"]["apiVersion"] = f"meta.k8s.io/{form.version}"
    return result
