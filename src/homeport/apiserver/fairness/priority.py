"""Keeps the gate in step with the FlowSchemas and PriorityLevelConfigurations in the store, and tells in a FlowSchema's
status whether its level exists (upstream: ``apiserver/pkg/util/flowcontrol`` apf_controller.go)."""

from __future__ import annotations

import asyncio
import logging

import msgspec

from homeport import metrics
from homeport.apiserver.context import Api
from homeport.apiserver.fairness import flowcontrol
from homeport.apiserver.fairness.classification import Classes, Level, Schema, levels, schemas
from homeport.apiserver.fairness.gate import Gate, Shares
from homeport.kube import meta
from homeport.kube.meta import Object
from homeport.store.protocol import Conflicting, Key, Put, Record, StoreError

log = logging.getLogger(__name__)


class Priority:
    """The gate of one API server, arranged by the stored objects. Nothing is written before :meth:`start`."""

    def __init__(self, api: Api, shares: Shares, shown: metrics.Registry) -> None:
        self._api = api
        self._shares = shares
        self._levels: dict[str, Level] = {}
        self._schemas: dict[str, Schema] = {}
        self._started = False
        self._outdated = False
        self._task: asyncio.Task[None] | None = None
        self.gate = Gate(shares, *self._read(), shown)
        api.followers[flowcontrol.SCHEMAS] = self._committed
        api.followers[flowcontrol.LEVELS] = self._committed

    async def start(self) -> None:
        """Write the conditions of FlowSchemas from now on."""
        self._started = True
        self._outdated = True
        await self._catch_up()

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _committed(self, record: Record, *, deleted: bool) -> None:
        self.gate.arrange(*self._read())
        if self._started:
            self._outdated = True
            if self._task is None or self._task.done():
                self._task = asyncio.get_running_loop().create_task(self._catch_up(), name="flow schemas")

    def _read(self) -> tuple[Classes, list[Level]]:
        stored = {key: self._stored(key) for key in (flowcontrol.LEVELS, flowcontrol.SCHEMAS)}
        # Some have to be there; before any is written, all that every cluster has.
        wanted: dict[str, dict[str, Object]] = {flowcontrol.LEVELS: {}, flowcontrol.SCHEMAS: {}}
        for kind, obj in flowcontrol.objects():
            key = f"{kind.resource.group}/{kind.resource.plural}"
            if not stored[flowcontrol.SCHEMAS] or meta.name(obj) in flowcontrol.MANDATORY:
                wanted[key][meta.name(obj)] = obj
        found = {key: {**wanted[key], **stored[key]}.values() for key in stored}
        self._levels = levels(found[flowcontrol.LEVELS], self._shares.in_flight, self._levels)
        sorted_ = schemas(found[flowcontrol.SCHEMAS], self._levels, self._schemas)
        self._schemas = {schema.name: schema for schema in sorted_}
        return Classes(sorted_), list(self._levels.values())

    def _stored(self, key: str) -> dict[str, Object]:
        return {record.key.name: msgspec.json.decode(record.value) for record in self._api.store.heads(key, "")}

    async def _catch_up(self) -> None:
        while self._outdated:
            self._outdated = False
            try:
                await self._say()
            except Conflicting:
                self._outdated = True
            except StoreError as error:
                log.warning("the states of flow schemas could not be written; the next change tries again: %s", error)

    async def _say(self) -> None:
        """Write the condition ``Dangling`` where it is not true. Raises StoreError."""
        stored = self._stored(flowcontrol.LEVELS)
        changes = []
        for record in self._api.store.heads(flowcontrol.SCHEMAS, ""):
            obj: Object = msgspec.json.decode(record.value)
            level = (meta.spec(obj).get("priorityLevelConfiguration") or {}).get("name") or ""
            known = meta.status(obj).get("conditions") or []
            condition = flowcontrol.dangling(level, exists=level in stored)
            condition = meta.with_transition(condition, known, self._api.now())
            conditions = [*(one for one in known if one.get("type") != condition["type"]), condition]
            if conditions != known:
                key = Key(flowcontrol.SCHEMAS, "", record.key.name)
                changes.append(Put(key, {**obj, "status": {"conditions": conditions}}, record.revision))
        if changes:
            await self._api.store.write(*changes)
