"""What the printer columns of several kinds share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from homeport.kube.kind import Column

NONE = "<none>"
UNSET = "<unset>"

CREATED_AT = Column("Created At", "date", ".metadata.creationTimestamp", "When the object was created.")


def labels_text(labels: Mapping[str, str] | None) -> str:
    """Labels as ``kubectl`` shows them: ``a=b,c=d``."""
    return ",".join(f"{key}={labels[key]}" for key in sorted(labels)) if labels else NONE


def selector_text(selector: Mapping[str, Any] | None) -> str:
    """A label selector as ``kubectl`` shows it."""
    found = selector or {}
    texts = [f"{key}={value}" for key, value in sorted((found.get("matchLabels") or {}).items())]
    for item in found.get("matchExpressions") or ():
        key, operator = item.get("key", ""), item.get("operator")
        values = f"({','.join(sorted(item.get('values') or ()))})"
        shown = {"In": f"{key} in {values}", "NotIn": f"{key} notin {values}", "DoesNotExist": f"!{key}"}
        texts.append(shown.get(str(operator), key))
    return joined(texts)


def joined(texts: Iterable[str]) -> str:
    return ",".join(texts) or NONE


ACCESS_MODES = {
    "ReadWriteOnce": "RWO",
    "ReadOnlyMany": "ROX",
    "ReadWriteMany": "RWX",
    "ReadWriteOncePod": "RWOP",
}


def access_modes_text(modes: Iterable[str] | None) -> str:
    present = set(modes or ())
    return ",".join(short for mode, short in ACCESS_MODES.items() if mode in present)


def quantity_text(amounts: Mapping[str, Any] | None, resource: str) -> str:
    return str((amounts or {}).get(resource, ""))
