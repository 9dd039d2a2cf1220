"""The books: ``status.hard`` and ``status.used`` of every quota, written together with what they count.

The store applies several operations or none, and nothing waits between looking at a quota and writing it: however many
clients create at once, they cannot get more than the quota has, and what a deletion frees is free at once. Upstream
needs a controller for the second and repairs the first after the fact.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from homeport.apiserver.quota.overdue import Overdue
from homeport.apiserver.quota.scopes import counts_for
from homeport.apiserver.quota.usage import CLAIMS, PODS, SERVICES, count_name, counted, text, unspecified, usage
from homeport.clock import utc_now
from homeport.kube.core.pod_resources import Amounts, add, amounts
from homeport.kube.errors import Forbidden, object_details
from homeport.kube.meta import Object, name, spec, status
from homeport.store.protocol import Conflicting, Delete, Key, Put, Record, Store, StoreError

log = logging.getLogger(__name__)

QUOTAS = "/resourcequotas"
RESYNC_SECONDS = 30.0
"""How long a status stays that somebody else wrote (upstream: five minutes)."""


class Ledger:
    """The quotas of one store."""

    def __init__(self, store: Store, now: Callable[[], datetime] = utc_now) -> None:
        self._store = store
        self._overdue = Overdue(store, now, self._settle)
        self._namespaces = {record.key.namespace for record in store.scan(QUOTAS)[0]}
        self._resyncs: dict[Key, asyncio.TimerHandle] = {}
        self._writing: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Look at what was stored before: pods that should have gone meanwhile."""
        for namespace in self._namespaces:
            for record in self._store.heads(PODS, namespace):
                self._overdue.found(record.key, msgspec.json.decode(record.value))
            self._settle(namespace)

    async def close(self) -> None:
        self._overdue.close()
        for timer in self._resyncs.values():
            timer.cancel()
        self._resyncs.clear()
        await asyncio.gather(*self._writing, return_exceptions=True)

    def follow(self, record: Record, *, deleted: bool) -> None:
        """A quota was written: by a request, whose books know of it, or by the restoration of a backup."""
        if not deleted:
            self._namespaces.add(record.key.namespace)

    def booked(self, operation: Put | Delete) -> Sequence[Put | Delete]:
        """`operation` and what it changes in quotas: to be written together, at once. Raises Forbidden if a quota does
        not have enough left, or if a pod does not say what it needs."""
        key = operation.key
        if key.resource == QUOTAS and isinstance(operation, Put):
            self._namespaces.add(key.namespace)
            operation = self._measured(operation)
        elif key.namespace not in self._namespaces:
            return (operation,)
        return (operation, *self._entries(operation))

    def _entries(self, operation: Put | Delete) -> list[Put]:
        """The new states of the quotas that `operation` counts for."""
        key = operation.key
        record = self._store.head(key)
        old: Object | None = msgspec.json.decode(record.value) if record is not None else None
        new = operation.object if isinstance(operation, Put) else None
        if key.resource == PODS:
            self._overdue.seen(key, dict(new) if new is not None else None)
        entries = []
        for quota_record in self._store.heads(QUOTAS, key.namespace):
            if quota_record.key == key:
                continue  # it counts itself when it is measured
            quota: Object = msgspec.json.decode(quota_record.value)
            if "hard" not in status(quota):  # written before quotas were kept
                quota["status"] = self._status(key.namespace, quota)
            hard = status(quota)["hard"]
            before = self._usage(quota, hard, key, old)
            after = self._usage(quota, hard, key, new)
            delta = {r: after.get(r, Decimal(0)) - before.get(r, Decimal(0)) for r in before.keys() | after.keys()}
            delta = {resource: amount for resource, amount in delta.items() if amount}
            if new is not None and _is_enforced(key.resource, old, new):
                _check(quota, hard, key, new, delta, creating=old is None)
            if delta:
                entries.append(_changed(quota_record, quota, delta))
        return entries

    # -- measuring

    def _measured(self, operation: Put) -> Put:
        """A quota on its way into the store: with a status of its own if its spec is new."""
        record = self._store.head(operation.key)
        old: Object | None = msgspec.json.decode(record.value) if record is not None else None
        quota = dict(operation.object)
        if old is None or spec(old) != spec(quota):
            quota["status"] = self._status(operation.key.namespace, quota)
            return Put(operation.key, quota, operation.expect)
        if status(old) != status(quota):
            # Somebody wrote the status. It is theirs for a while, as it would be upstream.
            self._resync_later(operation.key)
        return operation

    def _status(self, namespace: str, quota: Object) -> Object:
        """What is limited, and what of it the namespace uses now."""
        hard = spec(quota).get("hard") or {}
        used: Amounts = {resource: Decimal(0) for resource in hard}
        for resource in counted(hard):
            for record in self._store.heads(resource, namespace):
                if record.key.resource == QUOTAS and record.key.name == name(quota):
                    continue
                obj: Object = msgspec.json.decode(record.value)
                add(used, self._usage(quota, hard, record.key, obj))
        if QUOTAS in counted(hard):
            add(used, self._usage(quota, hard, Key(QUOTAS, namespace, name(quota)), quota))
        return {"hard": dict(hard), "used": {resource: text(resource, amount) for resource, amount in used.items()}}

    def _usage(self, quota: Object, hard: Mapping[str, Any], key: Key, obj: Mapping[str, Any] | None) -> Amounts:
        """What `obj` uses of what the quota limits."""
        if obj is None or not counts_for(spec(quota), key.resource, dict(obj)):
            return {}
        if key.resource == PODS and not self._overdue.counts(obj):
            obj = {**obj, "status": {"phase": "Failed"}}
        return {resource: amount for resource, amount in usage(key.resource, dict(obj)).items() if resource in hard}

    def _settle(self, namespace: str) -> None:
        """Measure the quotas of a namespace now."""
        for record in self._store.heads(QUOTAS, namespace):
            self._resync(record.key)

    def _resync_later(self, key: Key) -> None:
        if key not in self._resyncs:
            loop = asyncio.get_running_loop()
            self._resyncs[key] = loop.call_later(RESYNC_SECONDS, self._resync, key)

    def _resync(self, key: Key) -> None:
        self._resyncs.pop(key, None)
        task = asyncio.get_running_loop().create_task(self._remeasure(key), name=f"quota {key.namespace}/{key.name}")
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def _remeasure(self, key: Key) -> None:
        record = self._store.head(key)
        if record is None:
            return
        quota: Object = msgspec.json.decode(record.value)
        try:
            measured = {**quota, "status": self._status(key.namespace, quota)}
            if measured != quota:
                await self._store.write(Put(key, measured, record.revision))
        except (Conflicting, StoreError) as error:
            log.warning("the status of quota %s/%s could not be written: %s", key.namespace, key.name, error)


def _is_enforced(resource: str, old: Object | None, new: Mapping[str, Any]) -> bool:
    """Whether a quota may refuse the write: a creation; of some kinds, an update that may ask for more."""
    if old is None:
        return True
    if resource == PODS:
        return bool(spec(old).get("containers") != spec(new).get("containers"))
    return resource in (SERVICES, CLAIMS) and spec(old) != spec(new)


def _check(
    quota: Object, hard: Mapping[str, Any], key: Key, new: Mapping[str, Any], delta: Amounts, *, creating: bool
) -> None:
    """Raises Forbidden if `delta` is more than the quota has left."""
    if creating and key.resource == PODS and counts_for(spec(quota), PODS, dict(new)):
        missing = unspecified(dict(new), hard)
        if missing:
            raise _forbidden(key, f"failed quota: {name(quota)}: {missing}")
    limits, used = amounts(hard), amounts(status(quota).get("used"))
    unknown = [resource for resource in delta if resource not in used]
    if unknown:
        raise _forbidden(key, f"status unknown for quota: {name(quota)}, resources: {','.join(sorted(unknown))}")
    asked = {resource: amount for resource, amount in delta.items() if amount > 0}
    exceeded = [resource for resource, amount in asked.items() if used[resource] + amount > limits[resource]]
    if exceeded:
        parts = (
            ("requested", {resource: asked[resource] for resource in exceeded}),
            ("used", {resource: used[resource] for resource in exceeded}),
            ("limited", {resource: limits[resource] for resource in exceeded}),
        )
        listed = ", ".join(f"{what}: {_pretty(values)}" for what, values in parts)
        raise _forbidden(key, f"exceeded quota: {name(quota)}, {listed}")


def _pretty(values: Mapping[str, Decimal]) -> str:
    return ",".join(f"{resource}={text(resource, values[resource])}" for resource in sorted(values))


def _forbidden(key: Key, why: str) -> Forbidden:
    group, _, plural = key.resource.partition("/")
    qualified = count_name(key.resource).removeprefix("count/")
    return Forbidden(f'{qualified} "{key.name}" is forbidden: {why}', details=object_details(group, plural, key.name))


def _changed(record: Record, quota: Object, delta: Amounts) -> Put:
    """The quota after a change of what is used."""
    used = dict(status(quota).get("used") or {})
    total = amounts(used)
    add(total, delta)
    for resource in delta:
        used[resource] = text(resource, max(total[resource], Decimal(0)))
    return Put(record.key, {**quota, "status": {**status(quota), "used": used}}, record.revision)
