"""What a component has to say about objects before they are stored: the declaration of a webhook.

A component's `Hook` is a pair of pure functions. Homeport's own API server asks them as it asks its built-in plug-ins,
without a connection; on a real cluster the process with the controllers serves them to a
``MutatingWebhookConfiguration`` and a ``ValidatingWebhookConfiguration`` (:mod:`homeport.control.webhooks`). Either way
a refusal reads the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Literal, Protocol

import msgspec

from homeport.kube.kind import Resource
from homeport.kube.meta import Object

Operation = Literal["CREATE", "UPDATE", "DELETE"]


class Refusal(Exception):
    """The object may not be stored; the text says why. The writer is told ``403 Forbidden``, with the hook's name."""


class World(Protocol):
    """What is stored already, of the resources that a hook declares to read. Its objects are read-only."""

    def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """One object; `namespace` is empty for cluster scope."""

    def find(self, resource: Resource, namespace: str, prefix: str = "") -> Iterable[Object]:
        """The objects of a namespace whose names begin with `prefix`, in the order of their names."""

    def now(self) -> datetime:
        """When the object is written."""


class Hook(msgspec.Struct, frozen=True):
    """Looks at the objects of one resource as they are created, changed or deleted.

    The functions are pure and never change their arguments. They see objects that nobody has validated yet in
    `mutate`, and valid ones in the others; each raises Refusal to refuse.
    """

    name: str
    """A name with dots, as webhooks have: ``pods.jobset.x-k8s.io``. Refusals quote it."""
    resource: Resource
    operations: tuple[Operation, ...] = ("CREATE",)
    selector: Object | None = None
    """A label selector for the objects that it is about; None: all."""
    namespaces: Object | None = None
    """A label selector for the namespaces that it is about; None: all."""
    mutate: Callable[[Object, World], Object] | None = None
    """Object -> the object to go on with, itself if nothing changes. Asked again after others have changed it: what is
    done already is left alone."""
    validate: Callable[[Object, Object | None, World], Iterable[str] | None] | None = None
    """New and old object; None for one that is created. Gives what the writer is warned of."""
    remove: Callable[[Object, World], Iterable[str] | None] | None = None
    """The object that is to be deleted (operation ``DELETE``). Gives what the writer is warned of."""
    reads: tuple[Resource, ...] = ()
    """The resources that it looks up, apart from namespaces."""
