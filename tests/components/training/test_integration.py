"""The controllers against the API server, in one process: the test plays the node."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from homeport.apiserver.server import ApiServer
from homeport.client.client import Client
from homeport.client.local import LocalTransport
from homeport.components.training import CONTROLLERS, KINDS
from homeport.control.manager import Manager
from homeport.kube import core, meta
from homeport.kube.errors import Invalid, NotFound
from homeport.kube.kind import Resource
from homeport.kube.meta import Object
from homeport.kube.wire import User
from homeport.store.memory import MemoryStore

Make = Callable[..., Any]
TFJOB, PYTORCHJOB = (next(k.resource for k in KINDS if k.kind == kind) for kind in ("TFJob", "PyTorchJob"))
POD, SERVICE, EVENT = core.POD.resource, core.SERVICE.resource, core.EVENT.resource


class Cluster:
    def __init__(self, client: Client) -> None:
        self.client = client

    async def until(self, resource: Resource, name: str, met: Callable[[Object], bool]) -> Object:
        """The object once it is as wanted."""
        last: Object = {}
        try:
            async with (
                asyncio.timeout(5),
                self.client.watch(resource, "team", fields=f"metadata.name={name}", bookmarks=False) as events,
            ):
                async for event in events:
                    last = event.object
                    if event.type != "DELETED" and met(last):
                        return last
        except TimeoutError:
            raise AssertionError(f"{resource.kind} {name} came no further than {last}") from None
        raise AssertionError("the watch ended")

    async def condition(self, resource: Resource, type: str, name: str = "mnist") -> Object:
        return await self.until(resource, name, lambda job: meta.is_condition_true(job, type))

    async def gone(self, resource: Resource, name: str) -> None:
        async with asyncio.timeout(5), self.client.watch(resource, "team", bookmarks=False) as events:
            async for event in events:
                if meta.name(event.object) == name and event.type == "DELETED":
                    return
                try:
                    await self.client.get(resource, name, "team")
                except NotFound:
                    return

    async def event(self, reason: str) -> Object:
        async with asyncio.timeout(5), self.client.watch(EVENT, "team", bookmarks=False) as events:
            async for event in events:
                if event.object["reason"] == reason:
                    return event.object
        raise AssertionError("the watch ended")

    async def set_phase(self, name: str, phase: str, container: str, **terminated: Any) -> None:
        await self.until(POD, name, lambda pod: not meta.is_deleting(pod))
        state: Object = {"running": {}} if phase == "Running" else {"terminated": {"exitCode": 0, **terminated}}
        statuses = [{"name": container, "image": "x", "imageID": "", "ready": False, "restartCount": 0, "state": state}]
        body = {"status": {"phase": phase, "containerStatuses": statuses}}
        await self.client.patch(POD, name, "team", body, subresource="status")

    async def names(self, resource: Resource) -> list[str]:
        return sorted(meta.name(obj) for obj in (await self.client.list(resource, "team")).items)


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    store = MemoryStore()
    server = ApiServer(store, (*core.KINDS, *KINDS))
    client = Client(LocalTransport(server.handle, User("admin", ("system:masters",))))
    await client.create(core.NAMESPACE.resource, core.NAMESPACE.new("team"))
    manager = Manager(client, CONTROLLERS)
    running = asyncio.create_task(manager.run())
    await manager.ready.wait()
    yield Cluster(client)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await server.close()
    await store.close()


async def test_a_tfjob_runs_to_its_end(cluster: Cluster, make_job: Make) -> None:
    job = make_job("TFJob", {"ps": 1, "Worker": {"replicas": 2, "restartPolicy": "OnFailure"}})
    job["spec"]["runPolicy"] = {"cleanPodPolicy": "Running"}
    del job["metadata"]["uid"]
    stored = await cluster.client.create(TFJOB, job)
    assert list(stored["spec"]["tfReplicaSpecs"]) == ["PS", "Worker"]
    assert stored["spec"]["tfReplicaSpecs"]["PS"]["restartPolicy"] == "Never"
    assert "terminationMessagePath" not in stored["spec"]["tfReplicaSpecs"]["PS"]["template"]["spec"]["containers"][0]
    created = await cluster.condition(TFJOB, "Created")
    pod = await cluster.until(POD, "mnist-worker-1", lambda pod: True)
    assert meta.controller_of(pod) == meta.owner_reference(created)
    assert pod["spec"]["containers"][0]["terminationMessagePolicy"] == "FallbackToLogsOnError"
    assert await cluster.names(SERVICE) == ["mnist-ps-0", "mnist-worker-0", "mnist-worker-1"]
    for name in ("mnist-ps-0", "mnist-worker-0", "mnist-worker-1"):
        await cluster.set_phase(name, "Running", "tensorflow")
    await cluster.until(
        TFJOB, "mnist", lambda job: job["status"].get("replicaStatuses", {}).get("Worker", {}).get("active") == 2
    )
    running = await cluster.condition(TFJOB, "Running")
    assert running["status"]["conditions"][-1]["type"] == "Running"
    await cluster.set_phase("mnist-worker-0", "Succeeded", "tensorflow")
    done = await cluster.condition(TFJOB, "Succeeded")
    assert done["status"]["completionTime"]
    assert done["status"]["replicaStatuses"]["PS"]["succeeded"] == 1
    await cluster.gone(SERVICE, "mnist-ps-0")
    stopped = [pod for pod in (await cluster.client.list(POD, "team")).items if meta.name(pod) != "mnist-worker-0"]
    assert all(meta.is_deleting(pod) for pod in stopped)
    assert not meta.is_deleting(await cluster.client.get(POD, "mnist-worker-0", "team"))


async def test_a_failing_pytorchjob_restarts_and_then_fails_with_its_reason(cluster: Cluster, make_job: Make) -> None:
    policy = {"restartPolicy": "ExitCode"}
    job = make_job("PyTorchJob", {"Master": policy, "Worker": policy}, runPolicy={"backoffLimit": 4})
    del job["metadata"]["uid"]
    await cluster.client.create(PYTORCHJOB, job)
    for name in ("mnist-master-0", "mnist-worker-0"):
        await cluster.set_phase(name, "Running", "pytorch")
    await cluster.condition(PYTORCHJOB, "Running")
    first = meta.uid(await cluster.client.get(POD, "mnist-worker-0", "team"))
    await cluster.set_phase("mnist-worker-0", "Failed", "pytorch", exitCode=143, reason="Error")
    restarting = await cluster.condition(PYTORCHJOB, "Restarting")
    assert restarting["status"]["replicaStatuses"]["Worker"]["restarts"] == 1
    await cluster.until(POD, "mnist-worker-0", lambda pod: meta.uid(pod) != first)
    await cluster.set_phase("mnist-worker-0", "Running", "pytorch")
    await cluster.condition(PYTORCHJOB, "Running")
    await cluster.set_phase("mnist-master-0", "Failed", "pytorch", exitCode=1, message="RuntimeError: no data\n")
    failed = await cluster.condition(PYTORCHJOB, "Failed")
    message = meta.find_condition(failed["status"]["conditions"], "Failed")["message"]  # type: ignore[index]
    assert message.endswith("container pytorch exited with code 1: RuntimeError: no data")
    event = await cluster.event("PyTorchJobFailed")
    assert event["message"] == message
    assert event["involvedObject"]["name"] == "mnist"


async def test_suspending_and_scaling(cluster: Cluster, make_job: Make) -> None:
    job = make_job("PyTorchJob", {"Worker": 2}, runPolicy={"suspend": True}, elasticPolicy={"maxReplicas": 3})
    del job["metadata"]["uid"]
    await cluster.client.create(PYTORCHJOB, job)
    await cluster.condition(PYTORCHJOB, "Suspended")
    assert await cluster.names(POD) == []
    await cluster.client.patch(PYTORCHJOB, "mnist", "team", {"spec": {"runPolicy": {"suspend": False}}})
    await cluster.until(POD, "mnist-worker-1", lambda pod: True)
    scale = await cluster.client.get(PYTORCHJOB, "mnist", "team", subresource="scale")
    assert scale["spec"]["replicas"] == 2
    assert "replica-type=worker" in scale["status"]["selector"]
    await cluster.client.patch(PYTORCHJOB, "mnist", "team", {"spec": {"replicas": 3}}, subresource="scale")
    await cluster.until(POD, "mnist-worker-2", lambda pod: True)


async def test_a_time_to_live_deletes_the_job(cluster: Cluster, make_job: Make) -> None:
    job = make_job("TFJob", {"Worker": 1}, runPolicy={"ttlSecondsAfterFinished": 0})
    del job["metadata"]["uid"]
    await cluster.client.create(TFJOB, job)
    await cluster.set_phase("mnist-worker-0", "Succeeded", "tensorflow")
    await cluster.gone(TFJOB, "mnist")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"replicas": "two"}, "spec.tfReplicaSpecs.Worker.replicas"),
        ({"restartPolicy": "Maybe"}, "spec.tfReplicaSpecs.Worker.restartPolicy"),
        ({"template": {"spec": {"containers": [{"name": "main", "image": "x"}]}}}, "with name tensorflow"),
        ({"template": {"spec": {"containers": [{"name": "tensorflow"}]}}}, "containers[0].image: Required value"),
    ],
)
async def test_a_wrong_job_is_refused_with_the_field(cluster: Cluster, make_job: Make, change: Any, told: str) -> None:
    job = make_job("TFJob", {"Worker": change})
    del job["metadata"]["uid"]
    with pytest.raises(Invalid) as refusal:
        await cluster.client.create(TFJOB, job)
    assert told in str(refusal.value)
    assert await cluster.names(TFJOB) == []


async def test_names_are_taken_by_nobody_else(cluster: Cluster, make_job: Make) -> None:
    """A pod of that name that isn't the job's is left alone, and the job says what it waits for by an event."""
    other = core.POD.new("mnist-worker-0", "team", spec={"containers": [{"name": "x", "image": "x"}]})
    await cluster.client.create(POD, other)
    job = make_job("TFJob", {"Worker": 1})
    del job["metadata"]["uid"]
    await cluster.client.create(TFJOB, job)
    await cluster.condition(TFJOB, "Created")
    event = await cluster.event("FailedCreatePod")
    assert "mnist-worker-0" in event["message"]
    assert meta.controller_of(await cluster.client.get(POD, "mnist-worker-0", "team")) is None


async def test_both_versions_of_mpijob_are_one_resource(cluster: Cluster, make_job: Make) -> None:
    """Each job is run by the controller of the version that it was written in, and shown in both."""
    old, new = (
        next(k.resource for k in KINDS if k.kind == "MPIJob" and k.resource.version == v) for v in ("v1", "v2beta1")
    )
    for version, name in ((old, "by-kubectl"), (new, "by-ssh")):
        job = make_job("MPIJob", {"Launcher": 1, "Worker": 1}, name=name)
        job["apiVersion"] = version.api_version
        del job["metadata"]["uid"]
        await cluster.client.create(version, job)
        await cluster.until(POD, f"{name}-worker-0", lambda pod: True)
    assert (await cluster.client.get(new, "by-ssh", "team"))["spec"]["mpiImplementation"] == "OpenMPI"
    shown = await cluster.client.get(old, "by-ssh", "team")
    assert "mpiImplementation" not in shown["spec"]
    await cluster.client.patch(old, "by-ssh", "team", {"metadata": {"labels": {"a": "b"}}})
    back = await cluster.client.get(new, "by-ssh", "team")
    assert (back["metadata"]["labels"], back["spec"]["sshAuthMountPath"]) == ({"a": "b"}, "/root/.ssh")
    assert await cluster.names(new) == await cluster.names(old) == ["by-kubectl", "by-ssh"]
    await cluster.until(core.JOB.resource, "by-ssh-launcher", lambda job: True)
    secret = await cluster.until(core.SECRET.resource, "by-ssh-ssh", lambda secret: True)
    assert set(secret["data"]) == {"ssh-privatekey", "ssh-publickey"}
    assert await cluster.names(core.ROLE.resource) == ["by-kubectl-launcher"]
    assert await cluster.names(core.JOB.resource) == ["by-ssh-launcher"]
