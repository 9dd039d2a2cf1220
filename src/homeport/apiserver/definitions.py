"""Keeps what is served in step with the stored CustomResourceDefinitions, and empties those that are deleted."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime

import msgspec
from msgspec.structs import replace

from homeport.apiserver import crd
from homeport.apiserver.deletion import DeleteOptions, mark
from homeport.apiserver.quota.ledger import Ledger
from homeport.apiserver.resources import Registry, Served
from homeport.apiserver.webhooks.conversion import ConversionWebhooks
from homeport.kube import core
from homeport.kube.meta import Object, is_condition_true, is_deleting, name, spec
from homeport.store.protocol import Conflicting, Delete, Key, Lagging, Put, Record, Store

log = logging.getLogger(__name__)

KEY = f"{core.CRD.resource.group}/{core.CRD.resource.plural}"
"""The store's name of CustomResourceDefinitions."""


class Definitions:
    """The CRDs of one server."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        now: Callable[[], datetime],
        quotas: Ledger,
        webhooks: ConversionWebhooks,
    ) -> None:
        self._store = store
        self._quotas = quotas
        self._webhooks = webhooks
        self._registry = registry
        self._now = now
        self._terminating: set[tuple[str, str]] = set()
        self._cleanups: dict[str, asyncio.Task[None]] = {}

    def load(self) -> None:
        """Serve what is stored, and go on with deletions that a restart interrupted."""
        records, _ = self._store.scan(KEY)
        for record in records:
            self.committed(record, deleted=False)

    def committed(self, record: Record, *, deleted: bool) -> None:
        """A CRD was written or removed."""
        obj: Object = crd.read(record.value)
        group, plural = spec(obj)["group"], spec(obj)["names"]["plural"]
        declared = self._registry.is_declared(group, plural)
        if deleted:
            self._terminating.discard((group, plural))
            if not declared:
                self._registry.replace(group, plural, ())
            return
        if not declared and crd.is_established(obj):
            versions = crd.served_versions(obj, record.revision, self._registry, self._webhooks)
            self._registry.replace(group, plural, [self._kept(served) for served in versions])
        if is_deleting(obj) and crd.FINALIZER in (obj["metadata"].get("finalizers") or ()):
            self._terminating.add((group, plural))
            self._clean_up(obj, record)

    def _kept(self, served: Served) -> Served:
        """`served` with what was worked out of its schema before, if it has still the same: most writes to a definition
        change its labels, its status or a webhook's certificate."""
        resource = served.resource
        former = self._registry.find(resource.group, resource.version, resource.plural)
        if former is None or former.resource != resource or former.definition.digest != served.definition.digest:
            return served
        return replace(
            served, definition=former.definition.with_columns(served.definition), changed_at=former.changed_at
        )

    def is_terminating(self, served: Served) -> bool:
        """Whether no more objects of the resource may be created, since its definition is being deleted."""
        return bool(self._terminating) and (served.group, served.resource.plural) in self._terminating

    async def close(self) -> None:
        """Stop; a later start goes on with unfinished deletions."""
        for task in list(self._cleanups.values()):
            task.cancel()
        await asyncio.gather(*self._cleanups.values(), return_exceptions=True)

    # -- deletion

    def _clean_up(self, obj: Object, record: Record) -> None:
        key = name(obj)
        if key in self._cleanups:
            return
        declared = self._registry.is_declared(spec(obj)["group"], spec(obj)["names"]["plural"])
        work = self._remove_finalizer(key) if declared else self._empty(obj, record)
        task = asyncio.get_running_loop().create_task(work, name=f"delete {key}")
        self._cleanups[key] = task
        task.add_done_callback(lambda done: self._ended(key, done))

    def _ended(self, key: str, task: asyncio.Task[None]) -> None:
        self._cleanups.pop(key, None)
        if not task.cancelled() and task.exception() is not None:
            log.error(
                "the instances of %s could not be deleted; the next start tries again", key, exc_info=task.exception()
            )

    async def _empty(self, obj: Object, record: Record) -> None:
        """Delete all instances, wait until the last is gone, then let go of the CRD."""
        await self._say_terminating(name(obj))
        served = crd.served_versions(obj, record.revision, self._registry, all_versions=True)[0]
        changes = self._store.watch(served.key, after=self._store.revision)
        try:
            records, _ = self._store.scan(served.key)
            await asyncio.gather(*(self._delete(served, instance) for instance in records))
            while self._store.count(served.key):
                try:
                    await anext(aiter(changes))
                except Lagging:  # more went at once than a watch holds; only the count matters
                    changes.close()
                    changes = self._store.watch(served.key)
        finally:
            changes.close()
        await self._remove_finalizer(name(obj))

    async def _delete(self, served: Served, record: Record) -> None:
        current: Record | None = record
        while current is not None:
            outcome = mark(served, msgspec.json.decode(current.value), DeleteOptions(policy="Background"), self._now())
            try:
                if outcome.remove:
                    await self._write(Delete(current.key, current.revision, outcome.object))
                elif outcome.changed:
                    await self._write(Put(current.key, outcome.object, current.revision))
                return
            except Conflicting:
                current = self._store.head(record.key)

    async def _write(self, operation: Put | Delete) -> None:
        await self._store.write(*self._quotas.booked(operation))

    async def _say_terminating(self, crd_name: str) -> None:
        key = Key(KEY, "", crd_name)
        while (record := self._store.head(key)) is not None:
            obj: Object = crd.read(record.value)
            if is_condition_true(obj, "Terminating"):
                return
            try:
                await self._write(Put(key, crd.terminating(obj, self._now()), record.revision))
                return
            except Conflicting:
                continue

    async def _remove_finalizer(self, crd_name: str) -> None:
        key = Key(KEY, "", crd_name)
        while (record := self._store.head(key)) is not None:
            obj: Object = crd.read(record.value)
            finalizers = [f for f in obj["metadata"].get("finalizers") or () if f != crd.FINALIZER]
            metadata = {**obj["metadata"], "finalizers": finalizers}
            if not finalizers:
                del metadata["finalizers"]
            obj = {**obj, "metadata": metadata}
            removing = not finalizers
            try:
                operation = Delete(key, record.revision, obj) if removing else Put(key, obj, record.revision)
                (written,) = await self._store.write(operation)
            except Conflicting:
                continue
            self.committed(written, deleted=removing)
            return
