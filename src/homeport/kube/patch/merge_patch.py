"""JSON merge patch (RFC 7386)."""

from __future__ import annotations

from typing import Any

from homeport.kube.errors import BadRequest
from homeport.kube.meta import Object


def merge_patch(obj: Object, patch: Any) -> Object:
    """`obj` with the fields of `patch`; null removes a field, objects merge, anything else replaces.

    Raises BadRequest if `patch` is not an object: that would replace the whole API object by something else.
    """
    if not isinstance(patch, dict):
        raise BadRequest("a merge patch must be a JSON object")
    merged: Object = _merged(obj, patch)
    return merged


def _merged(target: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merged(result.get(key), value)
    return result
