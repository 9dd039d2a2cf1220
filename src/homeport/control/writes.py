"""What a sync wrote, so that the next one waits until the caches show it (upstream: controller expectations)."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from homeport.control.cache import ObjectKey
from homeport.control.controller import Failure
from homeport.control.informer import Informers
from homeport.kube.kind import Resource
from homeport.kube.meta import Object, is_deleting, resource_version, uid


class OwnWrites(msgspec.Struct):
    """What one sync wrote, and by what the caches will show it: no further sync of this parent before they do."""

    revisions: dict[Resource, int] = msgspec.field(default_factory=dict)
    deletions: set[tuple[Resource, ObjectKey, str]] = msgspec.field(default_factory=set)
    blocked: dict[tuple[Resource, ObjectKey], str] = msgspec.field(default_factory=dict)
    """Names that somebody else's object has, and what to tell the user (empty: it goes by itself). Not waited for;
    their deletion is a reason to sync."""
    failures: list[Failure] = msgspec.field(default_factory=list)
    recorded: bool = False
    """Whether the parent's status was written."""

    def note(self, resource: Resource, obj: Object) -> None:
        version = resource_version(obj)
        if version.isdigit():
            self.revisions[resource] = max(self.revisions.get(resource, 0), int(version))

    def unseen(self, informers: Informers, wake: Callable[[], None]) -> bool:
        """Whether a cache lags behind these writes. Then `wake` is called once it might have caught up; the events of
        children being deleted wake their parent anyway."""
        for resource, revision in list(self.revisions.items()):
            informer = informers.get(resource)
            if informer.revision < revision:
                informer.when(revision, wake)
                return True
            del self.revisions[resource]
        for entry in list(self.deletions):
            resource, key, deleted = entry
            cached = informers.get(resource).cache.get(*key)
            if cached is not None and uid(cached) == deleted and not is_deleting(cached):
                return True
            self.deletions.discard(entry)
        return False
