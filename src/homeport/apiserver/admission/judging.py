"""All that is wrong with an object, in one answer. Pure.

A built-in kind has a schema and rules of its own. Upstream has rules alone, which look at Go structs: what a client
left out is there as a zero value, and a word that is not among those allowed is a string like any other. So the rules
here see an object that the schema complains of, too, with zero values in it; and where they have something to say of a
field, that is upstream's own complaint, and the schema's is dropped.
"""

from __future__ import annotations

from collections.abc import Iterable

from homeport.apiserver.resources import Served
from homeport.kube.errors import FieldError
from homeport.kube.meta import Object

_TYPE = "FieldValueTypeInvalid"
_REQUIRED = "FieldValueRequired"


def judged(served: Served, obj: Object, old: Object | None, found: list[FieldError]) -> list[FieldError]:
    """The errors of an object of which the schema has `found` some, perhaps none."""
    if not found:
        return list(served.validate(obj, old))
    if not served.builtin or any(error.reason == _TYPE for error in found):
        return found  # rules may take the types for granted
    told = list(served.validate(served.schema.with_zeros(obj), old))
    return [error for error in found if not _is_told(error, told)] + told


def _is_told(error: FieldError, told: Iterable[FieldError]) -> bool:
    """Whether a rule complains of the same: of the same field, or of one inside of what is missing."""
    if error.reason != _REQUIRED:
        return any(other.path == error.path and other.reason == error.reason for other in told)
    inside = (f"{error.path}.", f"{error.path}[")
    return any(other.path == error.path or other.path.startswith(inside) for other in told)
