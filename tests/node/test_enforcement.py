"""Policies as objects of the API, and what the runtime is told of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from homeport.apiserver.authz import MASTERS
from homeport.apiserver.server import ApiServer
from homeport.client.client import Client
from homeport.client.local import LocalTransport
from homeport.control.events import EventRecorder
from homeport.control.informer import Informers
from homeport.kube import core
from homeport.kube.wire import User
from homeport.node import enforcement
from homeport.node.runtime import SandboxError
from homeport.store.memory import MemoryStore


class Runtime:
    """Keeps what it is told; a kernel that can't if `problem` says so."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.problem = ""

    async def set_policies(self, message: dict[str, Any]) -> None:
        if self.problem:
            raise SandboxError(self.problem)
        self.told.append(message)


class World:
    def __init__(self) -> None:
        api = ApiServer(MemoryStore(), core.KINDS)
        self.client = Client(LocalTransport(api.handle, User("admin", (MASTERS,))))
        self.informers = Informers(self.client)
        self.recorder = EventRecorder(self.client, "kubelet", instance="n")
        self.runtime = Runtime()
        self.enforcement = enforcement.Enforcement(self.runtime, self.recorder)  # type: ignore[arg-type]

    def pod(self, name: str, address: str, phase: str = "Running", **labels: str) -> None:
        pod = {"metadata": {"name": name, "namespace": "default", "labels": labels}, "spec": {"containers": []}}
        worker = SimpleNamespace(uid=name, pod=pod, address=address, status={"phase": phase})
        self.enforcement.see(worker)  # type: ignore[arg-type]

    async def policy(self, **spec: Any) -> None:
        obj = {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": "p", "namespace": "default"},
            "spec": {"podSelector": {}, **spec},
        }
        await self.client.create(core.NETWORK_POLICY.resource, obj)

    async def until(self, holds: Callable[[], object]) -> None:
        async with asyncio.timeout(20):
            while not holds():
                await asyncio.sleep(0.01)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    await made.client.create(
        core.NAMESPACE.resource, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}}
    )
    tasks = [asyncio.create_task(work) for work in (made.informers.run(), made.recorder.run())]
    await made.enforcement.follow(made.informers)
    tasks.append(asyncio.create_task(made.enforcement.run()))
    yield made
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_follows_policies_and_pods(world: World) -> None:
    await world.enforcement.settled()
    assert world.runtime.told == [{"pods": {}, "lists": []}]
    world.pod("a", "10.42.0.2", app="web")
    world.pod("b", "10.42.0.3")
    await world.enforcement.settled()
    assert len(world.runtime.told) == 1  # no policy: nothing to tell

    await world.policy(podSelector={"matchLabels": {"app": "web"}}, policyTypes=["Ingress"])
    await world.until(lambda: len(world.runtime.told) == 2)
    assert world.runtime.told[-1] == {"pods": {"10.42.0.2": [0, None]}, "lists": [[]]}

    world.pod("b", "10.42.0.3", app="web")
    await world.enforcement.settled()
    assert list(world.runtime.told[-1]["pods"]) == ["10.42.0.2", "10.42.0.3"]
    world.pod("a", "10.42.0.2", "Succeeded", app="web")
    await world.enforcement.settled()
    assert list(world.runtime.told[-1]["pods"]) == ["10.42.0.3"]

    await world.client.delete(core.NETWORK_POLICY.resource, "p", "default")
    await world.until(lambda: not world.runtime.told[-1]["pods"])


async def test_labels_of_namespaces(world: World) -> None:
    world.pod("a", "10.42.0.2")
    peer = {"namespaceSelector": {"matchLabels": {"team": "x"}}}
    await world.policy(ingress=[{"from": [peer]}])
    await world.until(lambda: world.runtime.told[-1]["lists"] == [[[[], None]]])
    await world.client.patch(core.NAMESPACE.resource, "default", "", {"metadata": {"labels": {"team": "x"}}})
    number = (10 << 24) + (42 << 16) + 2
    await world.until(lambda: world.runtime.told[-1]["lists"] == [[[[[number, number]], None]]])


async def test_kernel_that_can_not(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enforcement, "_FIRST_RETRY", 0.05)
    await world.enforcement.settled()
    world.runtime.problem = "no nftables"
    world.pod("a", "10.42.0.2")
    await world.policy()
    events: list[Any] = []
    async with asyncio.timeout(20):
        while not events:
            await asyncio.sleep(0.02)
            found = await world.client.list(core.EVENT.resource)
            events = [event for event in found.items if event["reason"] == "PolicyNotEnforced"]
    assert (events[0]["type"], events[0]["involvedObject"]["name"]) == ("Warning", "p")
    assert "no nftables" in events[0]["message"]
    async with asyncio.timeout(20):
        await world.enforcement.settled()  # pods start all the same
    world.runtime.problem = ""
    await world.until(lambda: world.runtime.told[-1]["pods"])
