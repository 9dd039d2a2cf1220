"""The controllers against the API server, in one process: the test plays the node."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from homeport.apiserver.server import ApiServer
from homeport.client.client import Client
from homeport.client.local import LocalTransport
from homeport.clock import utc_now
from homeport.components.batch import ADMISSION, CONTROLLERS, JOB_SET_KIND, KINDS
from homeport.control.manager import Manager
from homeport.kube import core, meta
from homeport.kube.kind import Resource
from homeport.kube.meta import Object
from homeport.kube.wire import User
from homeport.store.memory import MemoryStore

JOB, POD, EVENT = core.JOB.resource, core.POD.resource, core.EVENT.resource
JOB_SET = JOB_SET_KIND.resource
TEMPLATE = {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "x"}]}}


class Cluster:
    manager: Manager

    def __init__(self, client: Client) -> None:
        self.client = client
        self.ahead = timedelta()
        """Of the controllers' clock."""

    def now(self) -> datetime:
        return utc_now() + self.ahead

    async def until(self, resource: Resource, met: Callable[[Object], bool]) -> Object:
        """The first object that is as wanted."""
        seen: dict[str, Object] = {}
        try:
            async with asyncio.timeout(10), self.client.watch(resource, "team", bookmarks=False) as events:
                async for event in events:
                    seen[meta.name(event.object)] = event.object
                    if event.type != "DELETED" and met(event.object):
                        return event.object
        except TimeoutError:
            raise AssertionError(f"no {resource.kind} came so far: {seen}") from None
        raise AssertionError("the watch ended")

    async def pods(self) -> list[Object]:
        return list((await self.client.list(POD, "team")).items)

    async def phase(self, pod: Object, phase: str) -> None:
        await self.client.patch(POD, meta.name(pod), "team", {"status": {"phase": phase}}, subresource="status")

    async def job(self, **spec: Any) -> Object:
        return await self.client.create(JOB, core.JOB.new("work", "team", spec={"template": TEMPLATE, **spec}))


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    store = MemoryStore()
    server = ApiServer(store, (*core.KINDS, *KINDS), hooks=ADMISSION)
    client = Client(LocalTransport(server.handle, User("admin", ("system:masters",))))
    await client.create(core.NAMESPACE.resource, core.NAMESPACE.new("team"))
    made = Cluster(client)
    made.manager = Manager(client, CONTROLLERS, now=made.now)
    running = asyncio.create_task(made.manager.run())
    await made.manager.ready.wait()
    yield made
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await server.close()
    await store.close()


async def test_a_job_runs_to_its_end(cluster: Cluster) -> None:
    await cluster.job(parallelism=2, completions=3)
    for _ in range(3):
        pod = await cluster.until(POD, lambda pod: not core.has_ended(pod))
        await cluster.phase(pod, "Succeeded")
    done = await cluster.until(JOB, lambda job: meta.is_condition_true(job, "Complete"))
    assert done["status"]["succeeded"] == 3
    pods = await cluster.pods()
    assert len(pods) == 3
    assert not any("finalizers" in pod["metadata"] for pod in pods)
    assert await cluster.until(EVENT, lambda event: event["message"] == "Job completed")


async def test_pods_are_adopted_and_let_go(cluster: Cluster) -> None:
    job = await cluster.job(parallelism=1, completions=1)
    pod = await cluster.until(POD, lambda pod: True)
    name = meta.name(pod)
    await cluster.client.patch(POD, name, "team", {"metadata": {"ownerReferences": None}})
    back = await cluster.until(POD, lambda pod: meta.name(pod) == name and meta.controller_of(pod) is not None)
    assert (meta.controller_of(back) or {})["uid"] == meta.uid(job)
    labels = dict.fromkeys(meta.labels(back))
    await cluster.client.patch(POD, name, "team", {"metadata": {"labels": labels}})
    free = await cluster.until(POD, lambda pod: meta.name(pod) == name and meta.controller_of(pod) is None)
    assert "finalizers" not in free["metadata"]
    await cluster.until(POD, lambda pod: meta.name(pod) != name)


async def test_pods_whose_job_has_gone_are_let_go(cluster: Cluster) -> None:
    await cluster.job()
    pod = await cluster.until(POD, lambda pod: bool(pod["metadata"].get("finalizers")))
    await cluster.client.delete(JOB, "work", "team", propagation="Background")
    await cluster.until(POD, lambda seen: meta.uid(seen) == meta.uid(pod) and "finalizers" not in seen["metadata"])


async def test_a_quota_that_forbids_pods(cluster: Cluster) -> None:
    quota = core.RESOURCE_QUOTA.new("few", "team", spec={"hard": {"pods": "1"}}, status={"hard": {"pods": "1"}})
    await cluster.client.create(core.RESOURCE_QUOTA.resource, quota)
    used = {"status": {"hard": {"pods": "1"}, "used": {"pods": "0"}}}
    await cluster.client.patch(core.RESOURCE_QUOTA.resource, "few", "team", used, subresource="status")
    await cluster.job(parallelism=5, completions=5)
    event = await cluster.until(EVENT, lambda event: event["reason"] == "FailedCreate")
    assert event["message"].startswith("Error creating: pods ")
    assert "exceeded quota: few" in event["message"]
    await cluster.until(JOB, lambda job: (job.get("status") or {}).get("active") == 1)


async def test_a_time_to_live(cluster: Cluster) -> None:
    await cluster.job(ttlSecondsAfterFinished=0)
    await cluster.phase(await cluster.until(POD, lambda pod: True), "Succeeded")
    async with asyncio.timeout(5):
        while (await cluster.client.list(JOB, "team")).items:
            await asyncio.sleep(0.01)


async def test_a_job_set_fails_with_its_job(cluster: Cluster) -> None:
    group = {"name": "worker", "replicas": 2, "template": {"spec": {"backoffLimit": 0, "template": TEMPLATE}}}
    await cluster.client.create(JOB_SET, JOB_SET_KIND.new("train", "team", spec={"replicatedJobs": [group]}))
    pod = await cluster.until(POD, lambda pod: pod["metadata"]["labels"]["jobset.sigs.k8s.io/job-index"] == "1")
    assert pod["spec"]["hostname"] == "train-worker-1-0"
    assert pod["spec"]["subdomain"] == "train"
    await cluster.phase(pod, "Failed")
    failed = await cluster.until(JOB_SET, lambda found: meta.is_condition_true(found, "Failed"))
    condition = meta.find_condition(failed["status"]["conditions"], "Failed") or {}
    assert condition["message"].endswith("(first failed job: train-worker-1)")
    service = await cluster.until(core.SERVICE.resource, lambda found: meta.name(found) == "train")
    assert service["spec"]["clusterIP"] == "None"
    event = await cluster.until(EVENT, lambda event: event["reason"] == "FailedJobs")
    assert event["involvedObject"]["kind"] == "JobSet"


async def test_each_job_of_a_set_in_a_domain_of_its_own(cluster: Cluster) -> None:
    """The first pod of a job is placed apart from other jobs; the others are made when it has a node, and follow it."""
    node = core.NODE.new("n", metadata={"labels": {"rack": "r1"}})
    await cluster.client.create(core.NODE.resource, node)
    spec = {"parallelism": 2, "completions": 2, "template": TEMPLATE}
    group = {"name": "worker", "replicas": 2, "template": {"spec": spec}}
    asked = {"annotations": {"alpha.jobset.sigs.k8s.io/exclusive-topology": "rack"}}
    new = JOB_SET_KIND.new("train", "team", metadata=asked, spec={"replicatedJobs": [group]})
    await cluster.client.create(JOB_SET, new)
    first = await cluster.until(POD, lambda pod: meta.name(pod).startswith("train-worker-1-0-"))
    terms = "requiredDuringSchedulingIgnoredDuringExecution"
    (together,), (apart,) = (first["spec"]["affinity"][sort][terms] for sort in ("podAffinity", "podAntiAffinity"))
    key = meta.labels(first)["jobset.sigs.k8s.io/job-key"]
    assert together["topologyKey"] == apart["topologyKey"] == "rack"
    assert together["labelSelector"]["matchExpressions"][0]["values"] == [key]
    assert [each["operator"] for each in apart["labelSelector"]["matchExpressions"]] == ["Exists", "NotIn", "In"]
    refused = await cluster.until(EVENT, lambda event: event["reason"] == "FailedCreate")
    assert refused["message"].endswith("denied the request: follower pod node selector not set")
    assert len(await cluster.pods()) == 2
    binding = {"apiVersion": "v1", "kind": "Binding", "target": {"kind": "Node", "name": "n"}}
    bound = {**binding, "metadata": {"name": meta.name(first), "namespace": "team"}}
    await cluster.client.create(POD, bound, subresource="binding")
    second = await cluster.until(POD, lambda pod: meta.name(pod).startswith("train-worker-1-1-"))
    assert second["spec"]["nodeSelector"] == {"rack": "r1"}
    assert not any(meta.name(pod).startswith("train-worker-0-1-") for pod in await cluster.pods())


async def test_pods_follow_the_first_of_their_job_to_another_domain(cluster: Cluster) -> None:
    for name in ("a", "b"):
        node = core.NODE.new(name, metadata={"labels": {"rack": f"rack-{name}"}})
        await cluster.client.create(core.NODE.resource, node)

    async def bind(pod: Object, node: str) -> None:
        binding = {"apiVersion": "v1", "kind": "Binding", "target": {"kind": "Node", "name": node}}
        bound = {**binding, "metadata": {"name": meta.name(pod), "namespace": "team"}}
        await cluster.client.create(POD, bound, subresource="binding")

    def is_at(index: int) -> Callable[[Object], bool]:
        return lambda pod: meta.name(pod).startswith(f"train-w-0-{index}-") and not meta.is_deleting(pod)

    spec = {"parallelism": 2, "completions": 2, "backoffLimit": 9, "template": TEMPLATE}
    asked = {"annotations": {"alpha.jobset.sigs.k8s.io/exclusive-topology": "rack"}}
    groups = {"replicatedJobs": [{"name": "w", "template": {"spec": spec}}]}
    await cluster.client.create(JOB_SET, JOB_SET_KIND.new("train", "team", metadata=asked, spec=groups))
    first = await cluster.until(POD, is_at(0))
    await bind(first, "a")
    second = await cluster.until(POD, is_at(1))
    assert second["spec"]["nodeSelector"] == {"rack": "rack-a"}
    await bind(second, "a")
    # The first one is lost, and comes back elsewhere.
    await cluster.phase(first, "Failed")
    cluster.ahead += timedelta(seconds=60)
    cluster.manager.look_again()
    again = await cluster.until(POD, lambda pod: is_at(0)(pod) and meta.uid(pod) != meta.uid(first))
    await bind(again, "b")
    going = await cluster.until(POD, lambda pod: meta.is_condition_true(pod, "DisruptionTarget"))
    assert meta.uid(going) == meta.uid(second)
    condition = meta.find_condition(going["status"]["conditions"], "DisruptionTarget") or {}
    assert condition["reason"] == "ExclusivePlacementViolation"
    async with asyncio.timeout(10), cluster.client.watch(POD, "team", bookmarks=False) as events:
        async for event in events:
            if meta.uid(event.object) == meta.uid(second) and meta.is_deleting(event.object):
                break


async def test_pods_under_a_quota_take_turns(cluster: Cluster) -> None:
    """What has ended is counted and let go although the next pod is refused."""
    quota = core.RESOURCE_QUOTA.new("few", "team", spec={"hard": {"pods": "1"}})
    await cluster.client.create(core.RESOURCE_QUOTA.resource, quota)
    used = {"status": {"hard": {"pods": "1"}, "used": {"pods": "0"}}}
    await cluster.client.patch(core.RESOURCE_QUOTA.resource, "few", "team", used, subresource="status")
    await cluster.job(parallelism=2, completions=3)
    for _ in range(3):
        pod = await cluster.until(POD, lambda pod: not core.has_ended(pod))
        await cluster.phase(pod, "Succeeded")
    await cluster.until(JOB, lambda job: meta.is_condition_true(job, "Complete"))


async def test_a_moment_that_came_while_the_machine_slept(cluster: Cluster) -> None:
    inner = {"template": TEMPLATE}
    spec = {"schedule": "0 3 * * *", "jobTemplate": {"spec": inner}}
    await cluster.client.create(core.CRON_JOB.resource, core.CRON_JOB.new("nightly", "team", spec=spec))
    async with asyncio.timeout(5):
        while not cluster.manager.counters["cronjob-controller"].syncs or not cluster.manager.idle:
            await asyncio.sleep(0.01)
    assert not (await cluster.client.list(JOB, "team")).items
    cluster.ahead = timedelta(days=1)
    cluster.manager.look_again()
    job = await cluster.until(JOB, lambda job: True)
    assert meta.name(job).startswith("nightly-")
    await cluster.until(core.CRON_JOB.resource, lambda found: "lastScheduleTime" in (found.get("status") or {}))


async def test_nothing_is_done_for_a_job_of_another_controller(cluster: Cluster) -> None:
    job = await cluster.job(managedBy="example.com/other")
    owner = [{**meta.owner_reference({**job, "apiVersion": "batch/v1", "kind": "Job"})}]
    pod = core.POD.new("own", "team", spec=TEMPLATE["spec"], metadata={"ownerReferences": owner})
    await cluster.client.create(POD, pod)
    await cluster.client.create(
        POD,
        core.POD.new(
            "free", "team", spec=TEMPLATE["spec"], metadata={"labels": job["spec"]["template"]["metadata"]["labels"]}
        ),
    )
    other = await cluster.client.create(JOB, core.JOB.new("second", "team", spec={"template": TEMPLATE}))
    await cluster.until(JOB, lambda found: meta.name(found) == "second" and bool(found.get("status")))
    found = {meta.name(pod): meta.controller_of(pod) for pod in await cluster.pods()}
    assert (found.pop("own") or {})["uid"] == meta.uid(job)
    assert found.pop("free") is None
    assert [(owner or {})["uid"] for owner in found.values()] == [meta.uid(other)]
    assert not (await cluster.client.get(JOB, "work", "team")).get("status")
