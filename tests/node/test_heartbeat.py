"""The node's beat while those who look after its pods take their time, or make a mistake."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from homeport.apiserver.server import ApiServer
from homeport.client.client import Client
from homeport.client.local import LocalTransport
from homeport.clock import utc_now
from homeport.kube import core, meta
from homeport.kube.errors import NotFound
from homeport.kube.wire import User
from homeport.node import heartbeat
from homeport.node.heartbeat import Heartbeat
from homeport.node.pressure import Crossing
from homeport.store.memory import MemoryStore

SECONDS = 10.0


class Relief:
    """Looks after pods for as long as the test says."""

    def __init__(self) -> None:
        self.calls = 0
        self.cancelled = 0
        self.begun = asyncio.Event()
        self.may_end = asyncio.Event()

    async def __call__(self, _crossings: list[Crossing]) -> None:
        self.calls += 1
        self.begun.set()
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        raise LookupError("of our own making")


async def beating(relief: Callable[..., Any]) -> tuple[Client, asyncio.Task[None]]:
    client = Client(LocalTransport(ApiServer(MemoryStore(), core.KINDS).handle, User("admin", ("system:masters",))))
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kube-node-lease"}}
    await client.create(core.NAMESPACE.resource, namespace)
    node = await client.create(core.NODE.resource, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}})
    host: Any = SimpleNamespace(
        client=client, node_name="n1", now=utc_now, recorder=None, capacity={"nvidia.com/gpu": "2"}
    )
    beat = Heartbeat(host, node, look=dict, relieve=relief, thresholds={})
    return client, asyncio.create_task(beat.run())


async def renewals(client: Client, number: int) -> None:
    """Return once the Lease has been renewed so often."""
    seen: set[str] = set()
    async with asyncio.timeout(SECONDS):
        while len(seen) <= number:
            try:
                lease = await client.get(core.LEASE.resource, "n1", "kube-node-lease")
                seen.add(lease["spec"]["renewTime"])
            except NotFound:
                pass
            await asyncio.sleep(0.01)


async def test_the_lease_waits_for_nobody_who_looks_after_pods(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(heartbeat, "_INTERVAL", 0.05)
    relief = Relief()
    client, task = await beating(relief)
    await asyncio.wait_for(relief.begun.wait(), SECONDS)
    await renewals(client, 3)
    assert relief.calls == 1, "one at a time"

    relief.begun.clear()
    relief.may_end.set()
    await asyncio.wait_for(relief.begun.wait(), SECONDS)
    relief.may_end.clear()
    assert "pods could not be looked after" in caplog.text
    assert "of our own making" in caplog.text

    relief.begun.clear()
    await asyncio.wait_for(relief.begun.wait(), SECONDS)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert relief.cancelled == 1, "it ends with the heart"


async def test_a_node_that_was_taken_for_dead_says_that_it_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "_INTERVAL", 0.02)
    client = Client(LocalTransport(ApiServer(MemoryStore(), core.KINDS).handle, User("admin", ("system:masters",))))
    node = await client.create(core.NODE.resource, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}})

    async def tell(ready: str) -> Any:
        body = {"status": {"conditions": [{"type": "Ready", "status": ready}]}}
        return await client.patch(core.NODE.resource, "n1", "", body, type="strategic", subresource="status")

    host: Any = SimpleNamespace(
        client=client, node_name="n1", now=utc_now, recorder=None, capacity={"nvidia.com/gpu": "2"}
    )

    async def relief(_crossings: list[Crossing]) -> None: ...

    beat = Heartbeat(host, await tell("True"), look=dict, relieve=relief, thresholds={})
    task = asyncio.create_task(beat.run())
    try:
        beat.see(await tell("Unknown"))
        async with asyncio.timeout(SECONDS):
            while not meta.is_condition_true(node, "Ready"):
                await asyncio.sleep(0.01)
                node = await client.get(core.NODE.resource, "n1")
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_extended_resources_that_somebody_tells_of_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "_INTERVAL", 0.02)
    client = Client(LocalTransport(ApiServer(MemoryStore(), core.KINDS).handle, User("admin", ("system:masters",))))
    node = await client.create(core.NODE.resource, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}})
    host: Any = SimpleNamespace(
        client=client, node_name="n1", now=utc_now, recorder=None, capacity={"nvidia.com/gpu": "2"}
    )

    async def relief(_crossings: list[Crossing]) -> None: ...

    async def tell(**status: Any) -> Any:
        return await client.patch(core.NODE.resource, "n1", "", {"status": status}, subresource="status")

    beat = Heartbeat(host, node, look=dict, relieve=relief, thresholds={})
    task = asyncio.create_task(beat.run())

    async def becomes(expected: dict[str, str]) -> None:
        async with asyncio.timeout(SECONDS):
            while meta.status(await client.get(core.NODE.resource, "n1")).get("allocatable") != expected:
                await asyncio.sleep(0.01)

    try:
        own = {"cpu": "2", "nvidia.com/gpu": "2"}
        beat.see(
            await tell(capacity=own | {"example.com/fakecpu": "1k"}, allocatable={"cpu": "1", "nvidia.com/gpu": "1"})
        )
        await becomes({"cpu": "1", "nvidia.com/gpu": "1", "example.com/fakecpu": "1k"})
        beat.see(await tell(capacity={"example.com/fakecpu": None}))
        await becomes({"cpu": "1", "nvidia.com/gpu": "1"})
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
