"""Keeps the APIServices true, and passes requests on to the servers that they name.

For each group-version that this server answers there is a local APIService, made and kept by this module. Each one
with a service is watched over by a task: it asks the extra server what it offers, writes the condition ``Available``
and asks again in half a minute, or at once when the service or its endpoints change. A server without such APIServices
has no task and no timer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec

from homeport.apiserver.aggregation import priorities
from homeport.apiserver.aggregation.remote import CheckFailed, Identity, Remote
from homeport.apiserver.aggregation.table import ApiServices, Backend, GroupVersion, Offer
from homeport.apiserver.context import Api, Follower
from homeport.apiserver.routes import RequestInfo
from homeport.apiserver.streaming import dial
from homeport.apiserver.uids import new_uid
from homeport.kube import core, meta
from homeport.kube.errors import ApiError, NotFound, ServiceUnavailable
from homeport.kube.meta import Object
from homeport.kube.wire import Request, Response, User
from homeport.store.protocol import Conflicting, Delete, Key, Put, Record, StoreError

log = logging.getLogger(__name__)

KEY = "apiregistration.k8s.io/apiservices"
_AUTOMANAGED = "kube-aggregator.kubernetes.io/automanaged"
_ENDPOINTS = "/endpoints", "discovery.k8s.io/endpointslices"
_AGAIN = 30.0
"""Seconds after which a server that answers is asked again."""
_FIRST_RETRY = 0.5


class _Verdict(NamedTuple):
    available: bool
    reason: str
    message: str


_PASSED = _Verdict(True, "Passed", "all checks passed")


class _Watched:
    """A group-version of an extra server, and the task that looks after it."""

    def __init__(self, backend: Backend, remote: Remote) -> None:
        self.backend = backend
        self.remote = remote
        self.news = asyncio.Event()
        self.task: asyncio.Task[None] | None = None


class Aggregator:
    """The extra servers of one API server.

    `group_versions` are those that the API server answers itself, those of CRDs included. Nothing is asked or written
    before :meth:`start`, but requests are passed on as the stored objects say.
    """

    def __init__(
        self,
        api: Api,
        services: ApiServices,
        group_versions: Callable[[], Iterable[GroupVersion]],
        identity: Identity | None,
    ) -> None:
        self._api = api
        self._services = services
        self._group_versions = group_versions
        self._identity = identity
        self._watched: dict[GroupVersion, _Watched] = {}
        self._started = False
        self._reconciling: asyncio.Task[None] | None = None
        self._outdated = False
        api.followers[KEY] = self._committed
        records, _ = api.store.scan(KEY)
        for record in records:
            services.put(msgspec.json.decode(record.value))
        for key, entry in services.remote.items():
            assert entry.backend is not None, "it is remote"
            self._watched[key] = _Watched(entry.backend, Remote(api, entry.backend, identity))

    async def start(self) -> None:
        """Write the local APIServices that are missing, and look after the extra servers from now on."""
        self._started = True
        self._follow("/services", self._service_changed)
        for resource in _ENDPOINTS:
            self._follow(resource, self._endpoints_changed)
        self._outdated = True
        await self._catch_up()
        for key, watched in self._watched.items():
            self._look_after(key, watched)

    async def close(self) -> None:
        tasks = [watched.task for watched in self._watched.values() if watched.task is not None]
        tasks += [] if self._reconciling is None else [self._reconciling]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- requests

    def find(self, info: RequestInfo) -> GroupVersion | None:
        """The group-version of an extra server that has to answer the request; None for this server."""
        remote = self._services.remote
        if not remote:
            return None
        if info.is_resource:
            key = (info.group, info.version)
        else:
            parts = info.path.split("/")
            if len(parts) != 4 or parts[1] != "apis":
                return None
            key = (parts[2], parts[3])
        return key if key in remote else None

    async def forward(self, key: GroupVersion, request: Request, user: User) -> Response:
        """Raises ServiceUnavailable if the extra server is not there."""
        watched = self._watched[key]
        if not self._services.remote[key].available:
            raise ServiceUnavailable("service unavailable")
        return await watched.remote.forward(request, user)

    # -- what is written

    def _follow(self, resource: str, follower: Follower) -> None:
        """Hear of writes to a resource beside whoever does already."""
        former = self._api.followers.get(resource)
        if former is None:
            self._api.followers[resource] = follower
            return
        first = former

        def both(record: Record, *, deleted: bool) -> None:
            first(record, deleted=deleted)
            follower(record, deleted=deleted)

        self._api.followers[resource] = both

    def _committed(self, record: Record, *, deleted: bool) -> None:
        obj: Object = msgspec.json.decode(record.value)
        if deleted:
            self._services.remove(obj)
            self.changed()  # one of ours comes back
        else:
            self._services.put(obj)
        spec = meta.spec(obj)
        key = (str(spec.get("group") or ""), str(spec.get("version") or ""))
        entry = self._services.remote.get(key)
        backend = None if entry is None else entry.backend
        watched = self._watched.get(key)
        if watched is not None and watched.backend != backend:
            if watched.task is not None:
                watched.task.cancel()
            del self._watched[key]
            watched = None
        if backend is not None and watched is None:
            watched = self._watched[key] = _Watched(backend, Remote(self._api, backend, self._identity))
            if self._started:
                self._look_after(key, watched)

    def _service_changed(self, record: Record, *, deleted: bool) -> None:
        self._wake(record.key.namespace, record.key.name)

    def _endpoints_changed(self, record: Record, *, deleted: bool) -> None:
        if record.key.resource == _ENDPOINTS[0]:
            self._wake(record.key.namespace, record.key.name)
        else:
            self._wake(record.key.namespace, record.labels.get("kubernetes.io/service-name", ""))

    def _wake(self, namespace: str, service: str) -> None:
        for watched in self._watched.values():
            if (watched.backend.namespace, watched.backend.name) == (namespace, service):
                watched.news.set()

    # -- extra servers

    def _look_after(self, key: GroupVersion, watched: _Watched) -> None:
        name = f"API service {key[1]}.{key[0]}"
        watched.task = asyncio.get_running_loop().create_task(self._keep(key, watched), name=name)
        watched.task.add_done_callback(_ended)

    async def _keep(self, key: GroupVersion, watched: _Watched) -> None:
        delay = _FIRST_RETRY
        while True:
            watched.news.clear()
            try:
                verdict = await self._check(key, watched)
                await self._say(key, verdict)
                wait = _AGAIN if verdict.available else delay
            except StoreError as error:
                log.warning("the state of API service %s.%s could not be written: %s", key[1], key[0], error)
                wait = delay
            delay = _FIRST_RETRY if wait == _AGAIN else min(delay * 2, _AGAIN)
            try:
                async with asyncio.timeout(wait):
                    await watched.news.wait()
                    delay = _FIRST_RETRY
            except TimeoutError:
                continue

    async def _check(self, key: GroupVersion, watched: _Watched) -> _Verdict:
        """Whether the server is there, in upstream's words (``controllers/status/remote``). What it offers is noted."""
        backend = watched.backend
        place = f'service/{backend.name} in "{backend.namespace}"'
        try:
            service = dial.find_object(self._api, "services", backend.namespace, backend.name)
        except NotFound:
            return _Verdict(False, "ServiceNotFound", f"{place} is not present")
        if meta.spec(service).get("type") != "ExternalName":
            ports = [port for port in meta.spec(service).get("ports") or () if port.get("port") == backend.port]
            if not ports:
                return _Verdict(False, "ServicePortError", f"{place} is not listening on port {backend.port}")
            try:
                dial.service_addresses(self._api, service, str(backend.port))
            except ApiError:
                words = f'endpoints for {place} have no addresses with port name "{ports[0].get("name") or ""}"'
                return _Verdict(False, "MissingEndpoints", words)
        try:
            resources = await watched.remote.resources(key)
        except CheckFailed as error:
            return _Verdict(False, "FailedDiscoveryCheck", str(error))
        offer = self._services.offer(key)
        try:
            document = await watched.remote.document(key)
        except ApiError as error:
            # It answers, so that it can be used; its schemas are asked for again with the next check.
            log.info("OpenAPI of API service %s.%s: %s", key[1], key[0], error)
            document = None if offer is None else offer.document
        self._services.show(key, Offer(resources, document))
        return _PASSED

    async def _say(self, key: GroupVersion, verdict: _Verdict) -> None:
        """Write the condition, if it says something new. Raises StoreError."""
        stored = Key(KEY, "", f"{key[1]}.{key[0]}")
        while (record := self._api.store.head(stored)) is not None:
            obj: Object = msgspec.json.decode(record.value)
            status = "True" if verdict.available else "False"
            condition = {"type": "Available", "status": status, "reason": verdict.reason, "message": verdict.message}
            known = meta.status(obj).get("conditions") or []
            condition = meta.with_transition(condition, known, self._api.now())
            others = [one for one in known if one.get("type") != "Available"]
            conditions = [*others, condition]
            if conditions == known:
                return
            try:
                await self._write(Put(stored, {**obj, "status": {"conditions": conditions}}, record.revision))
                return
            except Conflicting:
                continue

    # -- this server's own

    def changed(self) -> None:
        """What this server answers itself may have changed."""
        if not self._started:
            return
        self._outdated = True
        if self._reconciling is None or self._reconciling.done():
            self._reconciling = asyncio.get_running_loop().create_task(self._catch_up(), name="local API services")

    async def _catch_up(self) -> None:
        while self._outdated:
            self._outdated = False
            try:
                await self._reconcile()
            except Conflicting:
                self._outdated = True
            except StoreError as error:
                log.warning("the local API services could not be written; the next change tries again: %s", error)

    async def _reconcile(self) -> None:
        """Let there be an APIService for each group-version of this server that has none, and no old ones."""
        store = self._api.store
        wanted = {f"{key[1]}.{key[0]}": key for key in self._group_versions()}
        old = [
            Delete(record.key, record.revision, msgspec.json.decode(record.value))
            for record in store.heads(KEY, "")
            if _AUTOMANAGED in record.labels and record.key.name not in wanted
        ]
        new = [
            Put(Key(KEY, "", name), self._local(name, key), 0)
            for name, key in wanted.items()
            if store.head(Key(KEY, "", name)) is None
        ]
        await self._write(*old, *new)

    async def _write(self, *operations: Put | Delete) -> None:
        """Raises StoreError."""
        if operations:
            for operation, record in zip(operations, await self._api.store.write(*operations), strict=True):
                self._committed(record, deleted=isinstance(operation, Delete))

    def _local(self, name: str, key: GroupVersion) -> Object:
        rank = priorities.of(*key)
        now = meta.timestamp(self._api.now())
        new = core.API_SERVICE.new(
            name,
            metadata={
                "uid": new_uid(),
                "creationTimestamp": now,
                "labels": {_AUTOMANAGED: "true" if rank == priorities.CUSTOM else "onstart"},
            },
            spec={
                **({"group": key[0]} if key[0] else {}),
                "version": key[1],
                "groupPriorityMinimum": rank.group,
                "versionPriority": rank.version,
            },
        )
        return core.API_SERVICE.prepare(new, None)


def _ended(task: asyncio.Task[None]) -> None:
    """Nothing dies in silence: looking after a server ends only when it is cancelled."""
    if not task.cancelled() and task.exception() is not None:
        log.error("%s is no longer looked after", task.get_name(), exc_info=task.exception())
