"""A platform's world for tests: the real API server on a memory store, clients to it, and a transport that misbehaves.

Test directories that use it put this directory on `sys.path` in their conftest.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from homeport.apiserver.server import ApiServer
from homeport.client.client import Client
from homeport.client.local import LocalTransport
from homeport.client.transport import Transport, Unreachable, discard
from homeport.clock import utc_now
from homeport.components.training import KINDS as TRAINING
from homeport.kube import core
from homeport.kube.admission import Hook
from homeport.kube.errors import AlreadyExists, ApiError, Conflict, Expired, InternalError, NotFound, TooManyRequests
from homeport.kube.kind import Kind, Resource
from homeport.kube.meta import Object, namespace
from homeport.kube.wire import Request, Response, User
from homeport.store.memory import MemoryStore

ADMIN = User("system:homeport", ("system:masters", "system:authenticated"))
NAMESPACES = Resource("", "v1", "namespaces", "Namespace", namespaced=False)


class World:
    """A server and an honest client of it."""

    def __init__(self, store: MemoryStore, server: ApiServer) -> None:
        self.store = store
        self.server = server
        self.transport = LocalTransport(server.handle, ADMIN)
        self.client = Client(self.transport)

    async def names(self, resource: Resource, place: str = "") -> list[str]:
        listed = await self.client.list(resource, place)
        return sorted(item["metadata"]["name"] for item in listed.items)

    async def make_namespace(self, name: str) -> None:
        with contextlib.suppress(AlreadyExists):
            await self.client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})

    async def get(self, resource: Resource, name: str, place: str = "") -> Object | None:
        try:
            return await self.client.get(resource, name, place)
        except NotFound:
            return None

    async def update(
        self, resource: Resource, name: str, place: str, change: Callable[[Object], None], subresource: str = ""
    ) -> Object:
        """Read, change, write, until nobody comes between."""
        while True:
            obj = await self.client.get(resource, name, place)
            assert namespace(obj) == place
            change(obj)
            try:
                return await self.client.replace(resource, obj, subresource=subresource)
            except Conflict:
                continue

    async def set_status(self, resource: Resource, name: str, place: str, **status: Any) -> Object:
        def change(obj: Object) -> None:
            obj["status"] = {**(obj.get("status") or {}), **status}

        return await self.update(resource, name, place, change, "status")

    async def eventually(self, check: Callable[[], Awaitable[Any]], seconds: float = 10.0, every: float = 0.002) -> Any:
        """The first true answer of `check`; fails with the last answer when time is up."""
        answer: Any = None
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while loop.time() < deadline:
            answer = await check()
            if answer:
                return answer
            await asyncio.sleep(every)
        raise AssertionError(f"not within {seconds} s; last answer: {answer!r}")


@asynccontextmanager
async def world(
    kinds: Iterable[Kind] = (), now: Callable[[], datetime] = utc_now, hooks: Sequence[Hook] = ()
) -> AsyncIterator[World]:
    store = MemoryStore()
    server = ApiServer(store, (*core.KINDS, *TRAINING, *kinds), now=now, hooks=hooks)
    made = World(store, server)
    await made.make_namespace("default")
    try:
        yield made
    finally:
        await server.close()
        await store.close()


@asynccontextmanager
async def running(*work: Coroutine[Any, Any, Any]) -> AsyncIterator[list[asyncio.Task[Any]]]:
    """Coroutines in the background. Whatever ends one of them by an error fails the test."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
            raise result


class FlakyTransport:
    """Loses and delays requests and answers, refuses, and drops watches, as `chance` (0 to 1) has it.

    An answer may be lost after the server has carried the request out: that is the hard case.
    """

    remote = False

    def __init__(self, inner: Transport, *, seed: int = 0, chance: float = 0.1) -> None:
        self.inner = inner
        self.chance = chance
        self.faults = 0
        self.requests = 0
        self._random = random.Random(seed)

    def _errors(self) -> list[ApiError]:
        return [
            TooManyRequests("too many", retry_after=0),
            InternalError("injected"),
            Conflict("injected conflict"),
        ]

    async def send(self, request: Request) -> Response:
        self.requests += 1
        if self._random.random() < self.chance:
            await asyncio.sleep(self._random.random() * 0.01)
        watching = ("watch", "true") in request.query
        if self._random.random() < self.chance:
            self.faults += 1
            if watching and self._random.random() < 0.5:
                return _refusal(Expired("injected: too old"))
            kind = self._random.randrange(3)
            if kind == 0:
                raise Unreachable("injected: connection refused")
            if kind == 1:
                return _refusal(self._random.choice(self._errors()))
            response = await self.inner.send(request)
            await discard(response.body)
            raise Unreachable("injected: the answer was lost")
        response = await self.inner.send(request)
        if watching and not isinstance(response.body, bytes):
            response.body = self._dropping(response.body)
        return response

    async def _dropping(self, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        try:
            async for chunk in body:
                roll = self._random.random()
                if roll < self.chance / 3:
                    self.faults += 1
                    return
                if roll < self.chance * 2 / 3:
                    self.faults += 1
                    raise Unreachable("injected: the watch was cut")
                if roll < self.chance:
                    await asyncio.sleep(self._random.random() * 0.01)
                yield chunk
        finally:
            await discard(body)

    async def close(self) -> None:
        await self.inner.close()


def _refusal(error: ApiError) -> Response:
    import msgspec

    return Response(error.code, {"content-type": "application/json"}, msgspec.json.encode(error.to_status()))
