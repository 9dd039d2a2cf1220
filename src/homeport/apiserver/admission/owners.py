"""Owner references that are said twice: one of them is kept, and the client hears of it (upstream:
``dedupOwnerReferences`` in ``apiserver/pkg/endpoints/handlers``). Pure."""

from __future__ import annotations

from typing import Any

from homeport.apiserver.context import Call
from homeport.kube.meta import Object

_WARNING = (
    ".metadata.ownerReferences contains duplicate entries{when}; API server dedups owner references in 1.20+, and may "
    "reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {uids}"
)


def without_repeated_owners(call: Call, obj: Object, *, admitted: bool = False) -> Object:
    """`obj` with each owner once. `admitted`: after admission has changed it."""
    owners = obj["metadata"].get("ownerReferences")
    if not isinstance(owners, list) or len(owners) < 2:
        return obj
    kept: list[Any] = []
    repeated = []
    for owner in owners:
        if owner in kept:
            repeated.append(str(owner.get("uid", "")) if isinstance(owner, dict) else "")
        else:
            kept.append(owner)
    if not repeated:
        return obj
    when = " after mutating admission happens" if admitted else ""
    call.warnings.append(_WARNING.format(when=when, uids=", ".join(repeated)))
    return {**obj, "metadata": {**obj["metadata"], "ownerReferences": kept}}
