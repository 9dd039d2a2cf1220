"""Policies as objects of the API, and what the runtime is told of them."""

from __future__ import annotations

import asyncio
import errno
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from ipaddress import IPv4Network
from pathlib import Path
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
from homeport.node.network import NodeNetwork
from homeport.node.runtime import SandboxError, Unenforceable
from homeport.node.sandbox import netd, network
from homeport.store.memory import MemoryStore

sys.path.insert(0, str(Path(__file__).parents[1]))  # virtual_time.py

from virtual_time import VirtualTimeLoop


class Runtime:
    """Keeps what it is told, unless it has a problem."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.tries = 0
        self.problem: Exception | None = None

    async def set_policies(self, message: dict[str, Any]) -> None:
        self.tries += 1
        if self.problem is not None:
            raise self.problem
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

    async def events(self) -> list[Any]:
        found = await self.client.list(core.EVENT.resource)
        return [event for event in found.items if event["reason"] == "PolicyNotEnforced"]

    async def until(self, holds: Callable[[], object]) -> None:
        async with asyncio.timeout(1000):
            while not holds():
                await asyncio.sleep(0.01)


@asynccontextmanager
async def following() -> AsyncIterator[World]:
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


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with following() as made:
        yield made


def in_virtual_time(story: Callable[[World], Awaitable[None]]) -> None:
    async def tell() -> None:
        async with following() as world:
            await story(world)

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(tell())


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


NO_NFTABLES = Unenforceable("no nftables")
AWAY = ConnectionRefusedError("the helper is away")


def test_kernel_that_can_not() -> None:
    async def story(world: World) -> None:
        await world.enforcement.settled()
        world.runtime.problem = NO_NFTABLES
        world.pod("a", "10.42.0.2")
        await world.policy()
        await world.until(lambda: world.runtime.tries == 2)
        now = asyncio.get_running_loop().time
        begin = now()
        for number in range(9):
            world.pod(f"b{number}", f"10.42.0.{number + 3}")
            await world.enforcement.settled()
        assert now() == begin  # no pod waits for the next try
        await world.until(lambda: world.runtime.tries == 3)
        assert now() - begin < 1  # which is at once, since something has changed

        begin = now()
        await world.until(lambda: world.runtime.tries == 8)
        assert now() - begin == pytest.approx(5 + 10 + 20 + 40 + 80, abs=1)  # then after pauses that double
        (event,) = await world.events()
        assert (event["type"], event["involvedObject"]["name"]) == ("Warning", "p")
        assert "no nftables. `homeport doctor` says what the machine lacks" in event["message"]

        world.runtime.problem = None
        world.pod("c", "10.42.0.20")
        await world.until(lambda: len(world.runtime.told) == 2)
        assert len(world.runtime.told[-1]["pods"]) == 11

    in_virtual_time(story)


@pytest.mark.parametrize("problem", [AWAY, SandboxError("the helper can't be started")])
def test_pods_wait_for_a_helper_that_is_away(problem: Exception) -> None:
    async def story(world: World) -> None:
        await world.enforcement.settled()
        world.runtime.problem = problem
        world.pod("a", "10.42.0.2")
        await world.policy()
        await world.until(lambda: world.runtime.tries == 2)
        world.pod("b", "10.42.0.3")
        waiting = asyncio.create_task(world.enforcement.settled())
        await asyncio.sleep(3600)
        assert not waiting.done()
        (event,) = await world.events()
        assert str(problem) in event["message"]
        assert "wait" in event["message"]

        now = asyncio.get_running_loop().time
        begin = now()
        world.runtime.problem = None
        await waiting
        assert world.runtime.told[-1]["pods"] == {"10.42.0.2": [0, None], "10.42.0.3": [0, None]}
        assert now() - begin <= 5

    in_virtual_time(story)


def test_a_change_is_tried_at_once() -> None:
    async def story(world: World) -> None:
        await world.enforcement.settled()
        world.runtime.problem = AWAY
        world.pod("a", "10.42.0.2")
        await world.policy()
        await asyncio.sleep(3600)
        tries, begin = world.runtime.tries, asyncio.get_running_loop().time()
        world.runtime.problem = None
        world.pod("b", "10.42.0.3")
        await world.enforcement.settled()
        assert (world.runtime.tries, asyncio.get_running_loop().time()) == (tries + 1, begin)
        assert "10.42.0.3" in world.runtime.told[-1]["pods"]

    in_virtual_time(story)


@pytest.mark.parametrize(("problem", "most"), [(NO_NFTABLES, 1), (AWAY, 10)])
def test_without_a_policy_nobody_waits_and_trying_ends(problem: Exception, most: int) -> None:
    async def story(world: World) -> None:
        await world.enforcement.settled()
        world.pod("a", "10.42.0.2")
        await world.policy()
        await world.until(lambda: world.runtime.tries == 2)
        world.runtime.problem = problem
        await world.client.delete(core.NETWORK_POLICY.resource, "p", "default")
        await world.until(lambda: world.runtime.tries == 3)
        begin = asyncio.get_running_loop().time()
        await world.enforcement.settled()
        assert asyncio.get_running_loop().time() == begin
        await asyncio.sleep(3600)
        tries = world.runtime.tries
        assert tries <= 2 + most
        await asyncio.sleep(24 * 3600)
        assert world.runtime.tries == tries
        assert await world.events() == []

        await world.policy()  # which is tried, of course
        await world.until(lambda: world.runtime.tries > tries)

    in_virtual_time(story)


def test_a_helper_that_goes_where_the_kernel_can_not() -> None:
    """What is known of the kernel is known no more: pods wait until the next helper has said it."""

    async def story(world: World) -> None:
        await world.enforcement.settled()
        world.runtime.problem = NO_NFTABLES
        world.pod("a", "10.42.0.2")
        await world.policy()
        await world.until(lambda: world.runtime.tries == 2)
        await world.enforcement.settled()
        world.runtime.problem = AWAY
        world.pod("b", "10.42.0.3")
        await world.until(lambda: world.runtime.tries == 3)
        waiting = asyncio.create_task(world.enforcement.settled())
        await asyncio.sleep(60)
        assert not waiting.done()
        world.runtime.problem = NO_NFTABLES
        await waiting
        assert len(await world.events()) >= 2

    in_virtual_time(story)


class Helper:
    """A network helper that is only its answers to the question of policies; None: it ends instead."""

    def __init__(self, directory: Path, answers: list[dict[str, Any] | None]) -> None:
        self._path = network.helper_socket(str(directory))
        self._answers = answers
        pods, services = IPv4Network("10.42.0.0/16"), IPv4Network("10.43.0.0/16")
        self.net = NodeNetwork(str(directory), pods, services, self._start)
        self._server: asyncio.Server | None = None
        self._peers: set[asyncio.Task[None]] = set()

    async def _start(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_unix_server(self._accept, self._path)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._peers.add(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            message = json.loads(line)
            answer = self._answers.pop(0) if message["op"] == "policies" else {}
            if answer is None:
                break
            writer.write(json.dumps({"id": message["id"], **answer}).encode() + b"\n")
        writer.close()
        await writer.wait_closed()

    async def stop(self) -> None:
        await self.net.stop()
        if self._server is not None:
            self._server.close()
        await asyncio.gather(*self._peers)


REFUSED, LATER = {"error": "no nftables"}, {"later": "no memory"}


@pytest.mark.parametrize(
    ("answers", "kind", "text"),
    [
        ([{}, {}], None, ""),
        ([REFUSED, REFUSED], Unenforceable, "no nftables"),
        ([LATER, LATER], SandboxError, "the kernel can't make the rules now: no memory"),
        ([{}, None, {}, {}], None, ""),
        ([None] * 4, ConnectionError, ""),
    ],
)
async def test_what_the_helper_says(
    tmp_path: Path, answers: list[dict[str, Any] | None], kind: type[Exception] | None, text: str
) -> None:
    helper = Helper(tmp_path, answers)
    found: Exception | None = None
    try:
        await helper.net.set_policies({"pods": {}, "lists": []})
    except (SandboxError, OSError) as error:
        found = error
    await helper.stop()
    if kind is None:
        assert found is None
    else:
        assert type(found) is kind or (kind is ConnectionError and isinstance(found, kind))
        assert text in str(found)
    assert answers == []


@pytest.mark.parametrize(
    ("number", "verdict"), [(errno.ENOENT, "error"), (errno.EOPNOTSUPP, "error"), (errno.ENOMEM, "later")]
)
def test_what_the_kernel_says(number: int, verdict: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def apply(message: dict[str, Any]) -> None:
        raise OSError(number, "the kernel's words")

    monkeypatch.setattr(netd.isolation, "apply", apply)
    told: list[Any] = []
    helper = SimpleNamespace(_peers=SimpleNamespace(send=lambda _peer, answer: told.append(answer)))
    netd.Netd._handle(helper, None, {"id": 7, "op": "policies", "pods": {}, "lists": []})  # type: ignore[arg-type]
    assert told == [{"id": 7, verdict: "the kernel's words"}]
