"""Field errors, worded as Kubernetes words them (``k8s.io/apimachinery/pkg/util/validation/field``)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from homeport.kube.errors import FieldError

OMITTED: Any = object()
"""In place of a value that no message may show."""


def quote(value: Any) -> str:
    """A value as a message shows it: a string in quotes, all else as JSON."""
    return msgspec.json.encode(value).decode()


def _body(words: str, value: Any, detail: str) -> str:
    shown = words if value is OMITTED else f"{words}: {quote(value)}"
    return f"{shown}: {detail}" if detail else shown


def required(path: str, detail: str = "") -> FieldError:
    return FieldError(path, "FieldValueRequired", _body("Required value", OMITTED, detail))


def invalid(path: str, value: Any, detail: str) -> FieldError:
    return FieldError(path, "FieldValueInvalid", _body("Invalid value", value, detail))


def type_invalid(path: str, value: Any, detail: str) -> FieldError:
    return FieldError(path, "FieldValueTypeInvalid", _body("Invalid value", value, detail))


def not_supported(path: str, value: Any, supported: Iterable[Any]) -> FieldError:
    """`value` is not one of `supported`, which the message lists."""
    listed = ", ".join(quote(item if isinstance(item, str) else quote(item)) for item in supported)
    detail = f"supported values: {listed}" if listed else ""
    return FieldError(path, "FieldValueNotSupported", _body("Unsupported value", value, detail))


def not_found(path: str, value: Any) -> FieldError:
    return FieldError(path, "FieldValueNotFound", _body("Not found", value, ""))


def duplicate(path: str, value: Any) -> FieldError:
    return FieldError(path, "FieldValueDuplicate", _body("Duplicate value", value, ""))


def forbidden(path: str, detail: str) -> FieldError:
    return FieldError(path, "FieldValueForbidden", _body("Forbidden", OMITTED, detail))


def too_long(path: str, limit: int) -> FieldError:
    """Longer than `limit` bytes; the message does not repeat the value."""
    unit = "byte" if limit == 1 else "bytes"
    return FieldError(path, "FieldValueTooLong", f"Too long: may not be more than {limit} {unit}")


def too_many(path: str, count: int, limit: int) -> FieldError:
    unit = "item" if limit == 1 else "items"
    return FieldError(path, "FieldValueTooMany", _body("Too many", count, f"must have at most {limit} {unit}"))


def child(path: str, name: str) -> str:
    """The path of the field `name` of the object at `path` (empty for the root)."""
    return f"{path}.{name}" if path else name
