"""What a controller is: a declaration and one pure function.

``sync(observed) -> desired`` reads no clock, environment, file or socket: `Observed.now` is its clock. The runtime
(:mod:`homeport.control.manager`) observes, calls ``sync``, applies the difference, writes the status once, retries and
emits events. Author's rules:

* Give every child a deterministic name and build it afresh and whole each time.
* A child you stop listing is deleted. A finished parent keeps listing the children that it wants to keep.
* Judge the status by what is observed, never by what is desired.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Literal

import msgspec

from homeport.kube.kind import Resource
from homeport.kube.meta import Object


class Observed(msgspec.Struct, frozen=True):
    """The world as the caches show it. Everything in it is read-only."""

    parent: Object
    children: Mapping[str, Mapping[str, Object]]
    """Kind -> name -> object: what `parent` controls (by owner reference and uid) in its namespace."""
    related: Mapping[str, Mapping[str, Object]]
    """Kind -> ``namespace/name`` (or name) -> object, for the controller's ``related`` resources."""
    now: datetime

    def child(self, kind: str, name: str) -> Object | None:
        return self.children.get(kind, {}).get(name)


class Note(msgspec.Struct, frozen=True):
    """An event to show in ``kubectl describe``. Equal notes about one object are counted, not repeated."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


class Desired(msgspec.Struct, frozen=True):
    """What should be. ``None`` for `status` leaves it as it is."""

    status: Object | None = None
    """Stored before any child is deleted: what it counts is never lost together with the child."""
    children: tuple[Object, ...] = ()
    """Whole objects. The runtime adds the namespace and the controller reference."""
    keep: frozenset[tuple[str, str]] = frozenset()
    """(kind, name) of observed children that stay as they are although they are not in `children`."""
    notes: tuple[Note, ...] = ()
    """Emitted when this sync's changes were applied."""
    requeue_after: float | None = None
    """Seconds until the next sync if nothing changes before: for deadlines, never for polling."""
    delete_parent: bool = False
    """Delete the parent itself (a time to live that ran out)."""


class Child(msgspec.Struct, frozen=True):
    """A kind of child. ``update``: ``never`` (immutable once made, such as pods) or ``apply`` (server-side apply)."""

    resource: Resource
    update: Literal["never", "apply"] = "apply"


class Related(msgspec.Struct, frozen=True):
    """Objects that `sync` reads but does not own. `key` maps one to the parents (namespace, name) that it concerns."""

    resource: Resource
    key: Callable[[Object], tuple[tuple[str, str], ...]]


class Controller(msgspec.Struct, frozen=True):
    name: str
    """For logs, metrics and the field manager, for example ``tfjob``."""
    parent: Resource
    sync: Callable[[Observed], Desired]
    children: tuple[Child, ...] = ()
    related: tuple[Related, ...] = ()
    workers: int = 4
    """How many parents are synced at a time."""
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)
