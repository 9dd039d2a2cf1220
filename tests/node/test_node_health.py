"""The node's sign of life, and what becomes of pods that it can't take or keep."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fakenvml import FakeNvml

from homeport.apiserver.server import ApiServer
from homeport.client.client import Client
from homeport.client.local import LocalTransport
from homeport.kube import core, meta
from homeport.kube.errors import NotFound
from homeport.kube.meta import Object
from homeport.kube.wire import User
from homeport.node import heartbeat, nvml
from homeport.node.agent import Agent
from homeport.node.images import ImageStore
from homeport.node.process import ProcessRuntime
from homeport.node.runtime import Wanted
from homeport.store.memory import MemoryStore

ADMIN = User("admin", ("system:masters",))
SECONDS = 30.0
PLENTY = {"memory.available": "0", "nodefs.available": "0", "nodefs.inodesFree": "0", "pid.available": "0"}


class Machine:
    def __init__(self, base: Path) -> None:
        self.base = base
        self.client = Client(LocalTransport(ApiServer(MemoryStore(), core.KINDS).handle, ADMIN))
        self.runtime = ProcessRuntime(base / "runtime")
        self.agent: Agent | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self, gpus: int = 0, **thresholds: str) -> Agent:
        images = ImageStore(self.base / "images", cache=self.base / "cache")
        wanted: Any = PLENTY | {name.replace("_", "."): value for name, value in thresholds.items()}
        self.agent = Agent(
            self.client,
            self.runtime,
            images,
            node_name="n1",
            data_dir=self.base / "node",
            thresholds=wanted,
            find_gpus=lambda: nvml.discover(lambda: FakeNvml(gpus)),
        )
        self._task = asyncio.create_task(self.agent.run())
        async with asyncio.timeout(SECONDS):
            await self.agent.ready.wait()
        if self.agent.problem:
            pytest.skip(f"this machine can't run sandboxes: {self.agent.problem}")
        return self.agent

    async def stop(self, *, end_pods: bool = True) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self.runtime.stop(end_pods=end_pods)

    async def create(self, name: str, script: str, **container: Any) -> Object:
        main = {"name": "main", "image": "busybox", "command": ["/bin/sh", "-c", script], **container}
        spec = {"nodeName": "n1", "restartPolicy": "Never", "containers": [main]}
        metadata = {"name": name, "namespace": "default"}
        return await self.client.create(
            core.POD.resource, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
        )

    async def status(self, name: str, *phases: str) -> Object:
        last: Object = {}
        try:
            async with asyncio.timeout(SECONDS):
                fields = f"metadata.name={name}"
                async with self.client.watch(core.POD.resource, "default", fields=fields) as events:
                    async for event in events:
                        last = meta.status(event.object)
                        if last.get("phase") in phases:
                            return last
        except TimeoutError:
            raise AssertionError(f"never: {last}") from None
        raise AssertionError("the watch ended")

    async def node(self) -> Object:
        return await self.client.get(core.NODE.resource, "n1")


@pytest.fixture
async def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Machine]:
    monkeypatch.setattr(heartbeat, "_INTERVAL", 0.2)
    made = Machine(tmp_path)
    for name in ("default", "kube-node-lease"):
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        await made.client.create(core.NAMESPACE.resource, namespace)
    try:
        yield made
    finally:
        await made.stop()


async def lease(machine: Machine) -> Object:
    try:
        return await machine.client.get(core.LEASE.resource, "n1", "kube-node-lease")
    except NotFound:
        return {}


async def test_the_lease_is_renewed(machine: Machine) -> None:
    await machine.start()
    async with asyncio.timeout(SECONDS):
        while not (first := await lease(machine)):
            await asyncio.sleep(0.05)
        while (later := await lease(machine))["spec"]["renewTime"] == first["spec"]["renewTime"]:
            await asyncio.sleep(0.05)
    assert first["spec"]["holderIdentity"] == "n1"
    assert first["spec"]["leaseDurationSeconds"] == 40
    (owner,) = later["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"]) == ("Node", meta.uid(await machine.node()))


async def test_a_pod_that_asks_for_more_than_there_is_fails(machine: Machine) -> None:
    await machine.start()
    await machine.create("fits", "sleep 100", resources={"requests": {"cpu": "100m"}})
    await machine.status("fits", "Running")
    await machine.create("large", "true", resources={"requests": {"cpu": "9999"}})
    status = await machine.status("large", "Failed")
    assert status["reason"] == "OutOfcpu"
    assert status["message"].startswith(
        "Pod was rejected: Node didn't have enough resource: cpu, requested: 9999000, used: 100, capacity: "
    )
    assert "containerStatuses" not in status


async def test_under_pressure_pods_end_and_the_node_says_so(machine: Machine) -> None:
    await machine.start(memory_available="99.9%")
    async with asyncio.timeout(SECONDS):
        while not meta.is_condition_true(node := await machine.node(), "MemoryPressure"):
            await asyncio.sleep(0.05)
    assert meta.is_condition_true(node, "Ready")
    await machine.create("refused", "sleep 100")
    status = await machine.status("refused", "Failed")
    assert (status["reason"], status["message"]) == (
        "Evicted",
        "Pod was rejected: The node had condition: [MemoryPressure]. ",
    )
    await machine.create("evicted", "sleep 100", resources={"requests": {"memory": "1Mi"}})
    status = await machine.status("evicted", "Failed")
    assert status["reason"] == "Evicted"
    assert status["message"].startswith("The node was low on resource: memory. Threshold quantity: ")
    disrupted = meta.find_condition(status["conditions"], "DisruptionTarget")
    assert disrupted is not None
    assert (disrupted["status"], disrupted["reason"]) == ("True", "TerminationByKubelet")


async def test_a_pod_that_writes_more_than_it_may_is_ended(machine: Machine) -> None:
    await machine.start()
    limits = {"limits": {"ephemeral-storage": "2Mi"}}
    await machine.create("modest", "head -c 1000000 /dev/zero >/tmp/x; sleep 100", resources=limits)
    await machine.create("greedy", "head -c 4000000 /dev/zero >/tmp/x; sleep 100", resources=limits)
    status = await machine.status("greedy", "Failed")
    assert status["reason"] == "Evicted"
    assert "exceeds the total limit of containers 2Mi" in status["message"]
    (main,) = status["containerStatuses"]
    assert main["state"]["terminated"]["exitCode"] == 137
    assert (await machine.status("modest", "Running", "Failed"))["phase"] == "Running"


GPU = {"limits": {"nvidia.com/gpu": "1"}}
SHOW = "echo $CUDA_VISIBLE_DEVICES > /dev/termination-log; sleep 100"


async def held(machine: Machine, *names: str) -> dict[str, str]:
    """The GPUs that running pods say they have."""
    assert machine.agent is not None
    found = {}
    for name in names:
        await machine.status(name, "Running")
        pod = await machine.client.get(core.POD.resource, name, "default")
        session = await machine.agent.execute(
            pod, "main", ["sh", "-c", "echo $CUDA_VISIBLE_DEVICES"], Wanted(stdout=True)
        )
        assert session.stdout is not None
        found[name] = (await session.stdout.read()).decode().strip()
        session.close()
    return found


async def test_gpus_are_given_once_and_stay_whose_they_are(machine: Machine) -> None:
    await machine.start(gpus=2)
    node = await machine.node()
    assert meta.status(node)["allocatable"]["nvidia.com/gpu"] == "2"
    assert meta.labels(node)["nvidia.com/gpu.product"] == "NVIDIA-Test-80GB"
    for name in ("a", "b"):
        await machine.create(name, SHOW, resources=GPU)
    before = await held(machine, "a", "b")
    assert sorted(before.values()) == ["GPU-0", "GPU-1"]
    await machine.create("c", SHOW, resources=GPU)
    assert (await machine.status("c", "Failed"))["reason"] == "OutOfnvidia.com/gpu"

    # The platform goes and comes back; the pods have run on.
    await machine.stop(end_pods=False)
    await machine.start(gpus=2)
    assert await held(machine, "a", "b") == before
    await machine.create("d", SHOW, resources=GPU)
    assert (await machine.status("d", "Failed"))["reason"] == "OutOfnvidia.com/gpu"
    await machine.client.delete(core.POD.resource, "b", "default", grace_period=1)
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                await machine.client.get(core.POD.resource, "b", "default")
            except NotFound:
                break
            await asyncio.sleep(0.05)
    await machine.create("e", SHOW, resources=GPU)
    assert await held(machine, "e") == {"e": before["b"]}

    # Without the driver there are none any more, and the node says so.
    await machine.stop()
    await machine.start(gpus=0)
    assert meta.status(await machine.node())["capacity"]["nvidia.com/gpu"] == "0"
