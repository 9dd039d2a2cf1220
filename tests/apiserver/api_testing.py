"""A caller that speaks to a server in process, and objects to speak of."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from homeport.apiserver.server import ApiServer
from homeport.apiserver.transport.target import parse_target
from homeport.components.training import KINDS as TRAINING
from homeport.kube import core
from homeport.kube.kind import Kind
from homeport.kube.meta import Object
from homeport.kube.wire import Request, Response, User
from homeport.store.protocol import Store

ADMIN = User("admin", ("system:masters",))


class Clock:
    """The server's time, which only the test moves."""

    def __init__(self) -> None:
        self.time = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time

    def advance(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


class Answer:
    """An answer whose body has been read."""

    def __init__(self, response: Response, body: bytes) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def ok(self, status: int = 200) -> Any:
        assert self.status == status, (self.status, self.body[:2000])
        return self.json

    def error(self, status: int, reason: str, *words: str) -> Any:
        body = self.json
        assert (self.status, body.get("reason")) == (status, reason), body
        assert body["kind"] == "Status"
        assert body["code"] == status
        for word in words:
            assert word in body["message"], body["message"]
        return body


class Caller:
    """Speaks to a server as one user."""

    def __init__(self, server: ApiServer, store: Store, clock: Clock, user: User = ADMIN) -> None:
        self.server, self.store, self.clock, self.user = server, store, clock, user

    async def open(
        self,
        method: str,
        target: str,
        body: Any = None,
        *,
        content_type: str | None = "application/json",
        accept: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        path, query = parse_target(target.encode())
        assert urlsplit(target).scheme == ""
        sent = dict(headers or {})
        raw = b""
        if body is not None:
            raw = body if isinstance(body, bytes) else json.dumps(body).encode()
            if content_type:
                sent["content-type"] = content_type
        if accept:
            sent["accept"] = accept
        sent.setdefault("user-agent", "tests/1.0")
        return await self.server.handle(Request(method, path, query, sent, raw, self.user))

    async def call(self, method: str, target: str, body: Any = None, **options: Any) -> Answer:
        response = await self.open(method, target, body, **options)
        if isinstance(response.body, bytes):
            return Answer(response, response.body)
        chunks = [chunk async for chunk in response.body]
        return Answer(response, b"".join(chunks))

    async def get(self, target: str, **options: Any) -> Answer:
        return await self.call("GET", target, **options)

    async def post(self, target: str, body: Any, **options: Any) -> Answer:
        return await self.call("POST", target, body, **options)

    async def put(self, target: str, body: Any, **options: Any) -> Answer:
        return await self.call("PUT", target, body, **options)

    async def delete(self, target: str, body: Any = None, **options: Any) -> Answer:
        return await self.call("DELETE", target, body, **options)

    async def patch(self, target: str, body: Any, type: str = "merge", **options: Any) -> Answer:
        media = {
            "merge": "application/merge-patch+json",
            "json": "application/json-patch+json",
            "strategic": "application/strategic-merge-patch+json",
            "apply": "application/apply-patch+yaml",
        }[type]
        return await self.call("PATCH", target, body, content_type=media, **options)

    @asynccontextmanager
    async def watch(self, target: str, **options: Any) -> AsyncIterator[Watcher]:
        response = await self.open("GET", target, **options)
        assert response.status == 200, response.body
        assert not isinstance(response.body, bytes)
        try:
            yield Watcher(response.body)
        finally:
            await response.body.aclose()  # type: ignore[attr-defined]


class Watcher:
    """Reads a watch's events."""

    def __init__(self, stream: AsyncIterator[bytes]) -> None:
        self._stream = stream
        self._ready: list[Any] = []

    async def next(self) -> Any:
        while not self._ready:
            chunk = await anext(self._stream)
            assert chunk.endswith(b"\n")
            self._ready = [json.loads(line) for line in chunk.splitlines()]
        return self._ready.pop(0)

    async def take(self, count: int) -> list[tuple[str, str]]:
        """The next events as type and name."""
        events = [await self.next() for _ in range(count)]
        return [(event["type"], event["object"]["metadata"].get("name", "")) for event in events]

    async def rest(self) -> list[Any]:
        events = self._ready
        self._ready = []
        async for chunk in self._stream:
            events += [json.loads(line) for line in chunk.splitlines()]
        return events


def make_server(store: Store, clock: Clock, kinds: Iterable[Kind] = (), **options: Any) -> ApiServer:
    return ApiServer(store, (*core.KINDS, *TRAINING, *kinds), now=clock, **options)


async def with_default_namespace(caller: Caller) -> Caller:
    (await caller.post("/api/v1/namespaces", namespace("default"))).ok(201)
    return caller


def namespace(name: str) -> Object:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def config_map(name: str, data: dict[str, str] | None = None, **metadata: Any) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, **metadata},
        "data": data if data is not None else {"a": "1"},
    }


def pod(name: str, **spec: Any) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": [{"name": "main", "image": "python"}], **spec},
    }


def crd(
    plural: str = "widgets",
    kind: str = "Widget",
    group: str = "example.com",
    schema: Object | None = None,
    **version: Any,
) -> Object:
    spec_schema = schema or {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "properties": {
                    "size": {"type": "integer", "minimum": 1},
                    "color": {"type": "string", "default": "blue"},
                    "replicas": {"type": "integer"},
                },
            },
            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        },
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "names": {"plural": plural, "kind": kind},
            "scope": "Namespaced",
            "versions": [
                {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": spec_schema}, **version}
            ],
        },
    }
