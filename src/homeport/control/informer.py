"""A local copy of a resource, kept fresh by list and watch.

Objects in the cache are shared by all readers and read-only. They lack ``metadata.managedFields`` except the entries
of the field managers asked for: half of an object's bytes, for nobody.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
from collections.abc import Callable
from typing import NamedTuple

from homeport.client.client import Client
from homeport.client.watch import WatchEvent
from homeport.control.cache import Cache, Change, ObjectKey, key_of
from homeport.control.freeze import freeze as freeze_object
from homeport.control.reflector import Follower, Reflector
from homeport.kube.errors import HomeportError
from homeport.kube.kind import Resource
from homeport.kube.meta import Object

_log = logging.getLogger(__name__)

Handler = Callable[[Change], None]


class Informer(Reflector):
    """Use through `Informers`, which shares them. `cache` is complete once `synced` is set."""

    def __init__(
        self,
        client: Client,
        resource: Resource,
        *,
        metadata_only: bool = False,
        fields: str = "",
        freeze: bool = False,
    ) -> None:
        super().__init__(client, resource, metadata_only=metadata_only, fields=fields)
        self.cache = Cache()
        self.synced = asyncio.Event()
        self.revision = 0
        """Every change up to this revision is in the cache."""
        self._freeze = freeze
        self._managers: set[str] = set()
        self._handlers: list[Handler] = []
        self._when: list[tuple[int, int, Callable[[], None]]] = []
        self._count = itertools.count()

    def subscribe(self, handler: Handler) -> None:
        """Call `handler` with every change, at once with an ADDED for each object already in the cache.

        Handlers run inside the informer's task: quick, without awaiting, and they do not raise.
        """
        self._handlers.append(handler)
        for obj in list(self.cache):
            self._call(handler, Change("ADDED", None, obj))

    def unsubscribe(self, handler: Handler) -> None:
        self._handlers.remove(handler)

    def keep_managed_fields(self, manager: str) -> None:
        """Keep the managedFields entries of this manager in the cache. Before the first list only."""
        self._managers.add(manager)

    def when(self, revision: int, callback: Callable[[], None]) -> None:
        """Call `callback` once the cache shows everything up to `revision`."""
        if revision <= self.revision:
            callback()
        else:
            heapq.heappush(self._when, (revision, next(self._count), callback))

    async def _list(self) -> str:
        listed = await self._client.list(self.resource, fields=self._fields, metadata_only=self._metadata_only)
        fresh = {key_of(obj): obj for obj in listed.items}
        revision = _number(listed.resource_version, self.resource)
        for key in set(self.cache.keys()).difference(fresh):
            self._gone(key, None)
        for key, obj in fresh.items():
            known = self.cache.get(*key)
            if known is None or known["metadata"].get("resourceVersion") != obj["metadata"].get("resourceVersion"):
                self._came(obj)
        if revision < self.revision:
            # The server went back in time (its data was replaced). What somebody waited for will never come.
            self.revision = revision
            waiting, self._when = self._when, []
            for _, _, callback in waiting:
                callback()
        self._reached(revision)
        self.synced.set()
        return listed.resource_version

    def _take(self, event: WatchEvent) -> None:
        type, obj = event
        if type == "DELETED":
            self._gone(key_of(obj), obj)
        elif type != "BOOKMARK":
            self._came(obj)
        self._reached(_number((obj.get("metadata") or {}).get("resourceVersion") or "", self.resource))

    def _came(self, obj: Object) -> None:
        meta = obj["metadata"]
        managed = meta.pop("managedFields", None)  # decoded just now: nobody else has it yet
        if managed and self._managers:
            kept = [entry for entry in managed if entry.get("manager") in self._managers]
            if kept:
                meta["managedFields"] = kept
        obj.setdefault("apiVersion", self.resource.api_version)
        obj.setdefault("kind", self.resource.kind)
        if self._freeze:
            obj = freeze_object(obj)
        known = self.cache.get(*key_of(obj))
        if known is not None and known["metadata"].get("uid") != meta.get("uid"):
            self._gone(key_of(obj), None)  # deleted and made anew while nobody watched
        old = self.cache._put(obj)
        self._tell(Change("ADDED" if old is None else "MODIFIED", old, obj))

    def _gone(self, key: ObjectKey, final: Object | None) -> None:
        old = self.cache._remove(key)
        if old is not None:
            self._tell(Change("DELETED", final if final is not None else old, None))

    def _tell(self, change: Change) -> None:
        for handler in self._handlers:
            self._call(handler, change)

    def _call(self, handler: Handler, change: Change) -> None:
        try:
            handler(change)
        except Exception:
            _log.exception("%s: a handler failed on %s", self.resource.qualified, "/".join(key_of(change.object)))

    def _reached(self, revision: int) -> None:
        self.revision = max(self.revision, revision)
        while self._when and self._when[0][0] <= self.revision:
            heapq.heappop(self._when)[2]()


class _Key(NamedTuple):
    resource: Resource
    metadata_only: bool
    fields: str


class Informers:
    """One informer per resource for everybody in the process. `freeze` is for tests: cached objects refuse changes."""

    def __init__(self, client: Client, *, freeze: bool = False) -> None:
        self.client = client
        self._freeze = freeze
        self._informers: dict[_Key, Informer] = {}
        self._followers: dict[Resource, Follower] = {}
        self._tasks: dict[Reflector, asyncio.Task[None]] = {}
        self._group: asyncio.TaskGroup | None = None

    def get(self, resource: Resource, *, metadata_only: bool = False, fields: str = "") -> Informer:
        """The informer of a resource, made (and started, if `run` runs) on the first request.

        With `metadata_only`, an informer of whole objects serves too if there is one already. `fields` is a field
        selector: such an informer sees only what matches.
        """
        whole = _Key(resource, False, fields)
        key = whole if whole in self._informers else _Key(resource, metadata_only, fields)
        informer = self._informers.get(key)
        if informer is None:
            informer = Informer(self.client, resource, metadata_only=metadata_only, fields=fields, freeze=self._freeze)
            self._informers[key] = informer
            self._start(informer)
        return informer

    def find(self, resource: Resource) -> Informer | None:
        """The informer of all whole objects of a resource, if somebody has asked for one."""
        return self._informers.get(_Key(resource, False, ""))

    def follow(self, follower: Follower) -> None:
        """Run a follower too, one for each resource."""
        self._followers[follower.resource] = follower
        self._start(follower)

    def drop(self, resource: Resource) -> None:
        """Stop and forget the follower of a resource that the server no longer has."""
        follower = self._followers.pop(resource, None)
        task = self._tasks.pop(follower, None) if follower is not None else None
        if task is not None:
            task.cancel()

    @property
    def waiting(self) -> list[str]:
        """The resources that have not been listed yet, nor failed to be."""
        return [each.resource.qualified for each in self._all() if not each.attempted.is_set()]

    async def synced(self) -> None:
        """Wait until every informer known now has listed."""
        for informer in list(self._informers.values()):
            await informer.synced.wait()

    async def run(self) -> None:
        """Run all of them, also those that are asked for later, until cancelled."""
        if self._group is not None:
            raise RuntimeError("these informers run already")
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                for each in self._all():
                    self._start(each)
                await asyncio.get_running_loop().create_future()
        finally:
            self._group = None
            self._tasks.clear()

    def _all(self) -> list[Reflector]:
        return [*self._informers.values(), *self._followers.values()]

    def _start(self, reflector: Reflector) -> None:
        if self._group is not None and reflector not in self._tasks:
            name = f"informer {reflector.resource.qualified}"
            self._tasks[reflector] = self._group.create_task(reflector.run(), name=name)


def _number(resource_version: str, resource: Resource) -> int:
    """Resource versions of one resource are numbers that only grow: Kubernetes promises it since 1.35 (KEP-5504) and
    has always kept it."""
    try:
        return int(resource_version)
    except ValueError:
        raise HomeportError(
            f"{resource.qualified}: resourceVersion {resource_version!r} is not a number; this server is not supported"
        ) from None
