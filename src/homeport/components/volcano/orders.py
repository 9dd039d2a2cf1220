"""Commands that wait to be carried out."""

from __future__ import annotations

from homeport.control.controller import Observed
from homeport.kube import meta
from homeport.kube.meta import Object


def waiting(observed: Observed) -> list[Object]:
    """The commands for the parent, the oldest first; not those that were carried out and are on their way out."""
    issued = (one for one in observed.related.get("Command", {}).values() if not meta.is_deleting(one))
    return sorted(issued, key=lambda one: (meta.metadata(one).get("creationTimestamp"), meta.name(one)))
