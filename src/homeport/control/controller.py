"""What a controller is: a declaration and one pure function.

``sync(observed) -> desired`` reads no clock, environment, file or socket: `Observed.now` is its clock. The runtime
(:mod:`homeport.control.manager`) observes, calls ``sync``, applies the difference, writes the status once, retries and
emits events. Author's rules:

* Give every child a deterministic name and build it afresh and whole each time.
* A child you stop listing is deleted. A finished parent keeps listing the children that it wants to keep.
* Judge the status by what is observed, never by what is desired.
* What the runtime could not do last time is in ``Observed.failures``: conditions tell of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Literal, TypeAlias

import msgspec

from homeport.kube.kind import Resource
from homeport.kube.meta import Object
from homeport.kube.selector import Selector

Verb: TypeAlias = Literal["create", "apply", "patch", "delete"]


class Failure(msgspec.Struct, frozen=True):
    """A write that the API server refused the last time this parent was synced."""

    verb: Verb
    kind: str
    name: str
    reason: str
    """Of the ``Status``: ``Forbidden``, ``AlreadyExists``, ..."""
    message: str


class Observed(msgspec.Struct, frozen=True):
    """The world as the caches show it. Everything in it is read-only."""

    parent: Object
    children: Mapping[str, Mapping[str, Object]]
    """Kind -> name -> object: what `parent` controls (by owner reference and uid) in its namespace."""
    related: Mapping[str, Mapping[str, Object]]
    """Kind -> ``namespace/name`` (or name) -> object, for the controller's ``related`` resources."""
    now: datetime
    failures: tuple[Failure, ...] = ()
    """What could not be written after the last sync. Those tried again and done are no longer in it."""
    memory: Mapping[str, Object] = msgspec.field(default_factory=dict)
    """``Desired.memory`` of the last sync of this parent. Empty at the first after a start: nothing may depend on it
    but how long to wait."""

    def child(self, kind: str, name: str) -> Object | None:
        return self.children.get(kind, {}).get(name)


class Note(msgspec.Struct, frozen=True):
    """An event to show in ``kubectl describe``. Equal notes about one object are counted, not repeated."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


class Patch(msgspec.Struct, frozen=True):
    """Some fields of an observed object, while the rest stays as it is: of a child, a related object or the parent."""

    object: Object
    """As observed. If it has changed since, nothing is written and the parent is synced again. (Not so with the parent
    itself, whose status is written at the same time.)"""
    changes: Object
    """A JSON merge patch."""
    subresource: str = ""
    """Where it goes: ``status`` for another object's status."""


class Desired(msgspec.Struct, frozen=True):
    """What should be. ``None`` for `status` leaves it as it is."""

    status: Object | None = None
    """Stored before any child is deleted: what it counts is never lost together with the child."""
    children: tuple[Object, ...] = ()
    """Whole objects. The runtime adds the namespace and the controller reference."""
    keep: frozenset[tuple[str, str]] = frozenset()
    """(kind, name) of observed children that stay as they are although they are not in `children`."""
    patches: tuple[Patch, ...] = ()
    """Single fields of children that are kept, and of related objects."""
    others: tuple[Object, ...] = ()
    """Objects of ``related`` kinds to make, before any child, if they are missing. They get no controller reference."""
    removed: tuple[Object, ...] = ()
    """Observed objects of ``related`` kinds to delete, in the foreground; when children are."""
    finalized: frozenset[tuple[str, str]] = frozenset()
    """(kind, name) of observed children that their ``Child.finalizer`` need no longer hold. It is taken off when the
    status is on record."""
    notes: tuple[Note, ...] = ()
    """Emitted when this sync's changes were applied, or its status at least."""
    memory: Mapping[str, Object] = msgspec.field(default_factory=dict)
    """What the parent's next sync is told, as long as the process runs: for back-off."""
    requeue_after: float | None = None
    """Seconds until the next sync if nothing changes before: for deadlines, never for polling."""
    delete_parent: bool = False
    """Delete the parent itself (a time to live that ran out)."""


class Deed(msgspec.Struct, frozen=True):
    """A child made or deleted, or not: then `error` says why. ``apply`` is told of only where it was refused."""

    verb: Literal["create", "apply", "delete"]
    parent: Object
    child: Object
    error: str = ""


def _always(*_: Object) -> bool:
    return True


class Claim(msgspec.Struct, frozen=True):
    """Children belong to a parent by their labels (upstream: ``ControllerRefManager``).

    One that nobody controls and that fits is adopted, one that the parent controls and that fits no longer is released;
    what somebody else controls is left alone. A parent that is being deleted does neither.
    """

    selector: Callable[[Object], Selector]
    """Of a parent."""
    member: Callable[[Object, Object], bool] = _always
    """Whether a parent takes a child that its selector matches."""
    considered: Callable[[Object], bool] = _always
    """Which children are adopted or released at all."""
    claims: Callable[[Object], bool] = _always
    """Which parents adopt and release at all."""


class Child(msgspec.Struct, frozen=True):
    """A kind of child. ``update``: ``never`` (immutable once made, such as pods) or ``apply`` (server-side apply)."""

    resource: Resource
    update: Literal["never", "apply"] = "apply"
    claim: Claim | None = None
    gradual: bool = False
    """Make one, then two, then four, ... at a time, and stop at the first that is refused: a hundred pods that a quota
    forbids are one request (upstream: ``slowStartBatch``)."""
    fixed_names: bool = False
    """Give no other name to a child with a ``generateName`` whose name is taken: it means that name and no other."""
    tell: Callable[[Deed], Note | None] | None = None
    """The event about a child made or deleted. None: only refusals are told of, in the runtime's words."""
    matters: Callable[[Object, Object], bool] = _always
    """Whether a child's change from one state to another is a reason to sync. (It is observed all the same.)"""
    foreground: bool = False
    """Delete a child when what it owns has gone: its name is free only then."""
    finalizer: str = ""
    """Put on each child by `sync`, so that none goes uncounted. The runtime takes it off those in ``Desired.finalized``
    and those that have lost their parent."""
    patched: bool = False
    """Whether ``Desired.patches`` changes it, though it is never updated: the right to do so is asked for."""
    optional: bool = False
    """A cluster may do without this kind of child: there the parent is told, and goes without."""
    complete: Callable[[Object], Object] | None = None
    """Adds what `sync` can't know to a child that is about to be created: keys that are drawn at random. Called in a
    thread, so that it may take its time. Only for children that are never updated."""


class Related(msgspec.Struct, frozen=True):
    """Objects that `sync` reads but does not own. `key` maps one to the parents (namespace, name) that it concerns;
    None: each concerns every parent."""

    resource: Resource
    key: Callable[[Object], tuple[tuple[str, str], ...]] | None
    matters: Callable[[Object, Object], bool] = _always
    """Whether a change from one state to another is a reason to sync. (It is observed all the same.)"""
    tell: Callable[[Deed], Note | None] | None = None
    """The event about one of ``Desired.others`` made, or not."""
    removed: bool = False
    """Whether ``Desired.removed`` may delete one: the right to do so is asked for."""


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
    gather: float = 0.0
    """Seconds from one sync of a parent to the next that its children's changes bring about: many that come one by one
    are counted together. The first after a while is synced at once."""
    grants: tuple[Object, ...] = ()
    """The rules of roles that it makes: who makes a role has to hold what it gives."""
    on_parent: frozenset[Verb] = frozenset()
    """What it does to its parents beside writing their status: ``delete`` (a time to live), ``patch``."""
    until_gone: bool = False
    """Sync also parents that are being deleted, for what their status tells: nothing is made, claimed or deleted."""
