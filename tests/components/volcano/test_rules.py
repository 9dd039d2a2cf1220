"""What a Volcano job's defaults are, and which jobs are refused in which words."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from volcano_world import policy, task

import support
from homeport.components import volcano
from homeport.components.volcano.job import rules
from homeport.kube import scheduling
from homeport.kube.errors import Forbidden
from homeport.kube.meta import Object


@pytest.fixture
async def served() -> AsyncIterator[support.World]:
    async with support.world(volcano.KINDS, hooks=volcano.ADMISSION) as made:
        yield made


def job(*tasks: Object, **spec: Any) -> Object:
    return volcano.JOB.new("demo", "default", spec={"tasks": list(tasks), **spec})


async def test_defaults(served: support.World) -> None:
    unnamed = {key: value for key, value in task().items() if key != "name"}
    host = {"template": {"spec": {**task()["template"]["spec"], "hostNetwork": True}}}
    wanted = job(unnamed, {**unnamed, **host}, plugins={"mpi": ["--master=default0"]})
    made = await served.client.create(volcano.JOB.resource, wanted)
    spec = made["spec"]
    known = {key: spec[key] for key in ("queue", "schedulerName", "maxRetry", "minAvailable")}
    assert known == {"queue": "default", "schedulerName": "volcano", "maxRetry": 3, "minAvailable": 4}
    assert [(one["name"], one["minAvailable"], one["maxRetry"]) for one in spec["tasks"]] == [
        ("default0", 2, 3),
        ("default1", 2, 3),
    ]
    assert spec["tasks"][1]["template"]["spec"]["dnsPolicy"] == "ClusterFirstWithHostNet"
    assert sorted(spec["plugins"]) == ["mpi", "ssh", "svc"]


@pytest.mark.parametrize(
    ("refused", "text"),
    [
        (job(task(minAvailable=3)), "'minAvailable' is greater than 'replicas' in task: worker, job: demo;"),
        (job(task(), task()), "duplicated task name worker;"),
        (job(task(), minAvailable=3), "job 'minAvailable' should not be greater than total replicas in tasks;"),
        (job(task(), plugins={"magic": []}), "unable to find job plugin: magic;"),
        (job(task(), plugins={"mpi": []}), "The specified mpi master task was not found"),
        (job(task(), plugins={"ray": []}), "The specified ray head task was not found"),
        (job(task(), queue="lost"), 'unable to find job queue: queue.scheduling.volcano.sh "lost" not found;'),
        (job(task(), queue="root"), "can not submit job to root queue;"),
        (
            job(task(), queue="shut"),
            "can only submit job to queue with state `Open`, queue `shut` status is `Closed`;",
        ),
        (job(task(), queue="parent"), "can only submit job to leaf queue, queue `parent` has 1 child queues;"),
        (
            job(task("a", dependsOn={"name": ["b"]}), task("b", dependsOn={"name": ["a"]})),
            "job has dependencies between tasks, but doesn't form a directed acyclic graph(DAG);",
        ),
        (job(task(), policies=[policy("Bored", "AbortJob")]), 'spec.policies: Invalid value: "Bored": invalid policy'),
        (job(task(), policies=[policy("*", "SyncJob")]), 'spec.policies: Invalid value: "SyncJob": invalid policy act'),
        (job(task(), policies=[{"exitCode": 0, "action": "AbortJob"}]), "0 is not a valid error code"),
        (
            job(task(), policies=[policy("*", "AbortJob"), policy("PodFailed", "AbortJob")]),
            "if there's * here, no other policy should be here",
        ),
        (
            job(task(policies=[policy("PodFailed", "AbortJob", exitCode=3)])),
            "must not specify event and exitCode simultaneously",
        ),
        (job(task(), volumes=[{"mountPath": "/a"}]), "either VolumeClaim or VolumeClaimName must be specified;"),
        (
            job(task(partitionPolicy={"totalPartitions": 2, "partitionSize": 2})),
            "'Replicas' are not equal to TotalPartitions*PartitionSize in task: worker, job: demo",
        ),
        (job(task(template={"spec": {"containers": []}})), "spec.task[0].template.spec.containers: Required value"),
    ],
)
async def test_refused(served: support.World, refused: Object, text: str) -> None:
    queues = scheduling.VOLCANO_QUEUE
    for name, spec in (("shut", {}), ("parent", {}), ("child", {"parent": "parent"})):
        await served.client.create(queues.resource, queues.new(name, spec=spec))
    await served.set_status(queues.resource, "shut", "", state="Closed")
    with pytest.raises(Forbidden) as refusal:
        await served.client.create(volcano.JOB.resource, refused)
    assert 'admission webhook "validatejob.volcano.sh" denied the request: ' in str(refusal.value)
    assert text in str(refusal.value)


async def test_what_may_change(served: support.World) -> None:
    made = await served.client.create(volcano.JOB.resource, job(task()))
    tasks = [{**made["spec"]["tasks"][0], "replicas": 3, "minAvailable": 1}]
    changed = {**made["spec"], "tasks": tasks, "minAvailable": 1, "priorityClassName": "high"}
    made = await served.client.replace(volcano.JOB.resource, {**made, "spec": changed})
    for more, text in (
        ({"queue": "other"}, "job updates may not change fields other than `minAvailable`, `tasks[*].replicas under"),
        ({"tasks": [*tasks, task("more", minAvailable=1, maxRetry=3)]}, "job updates may not add or remove tasks"),
        ({"minAvailable": 9}, "job 'minAvailable' must not be greater than total replicas"),
    ):
        with pytest.raises(Forbidden) as refusal:
            await served.client.replace(volcano.JOB.resource, {**made, "spec": {**changed, **more}})
        assert text in str(refusal.value)


def test_wishes_for_tasks_that_there_are_not_are_told_of() -> None:
    wished = job(task("ps"), task("worker"))
    wished["metadata"]["annotations"] = {
        "volcano.sh/task-topology-affinity": "ps,worker;ps",
        "volcano.sh/task-topology-anti-affinity": "chief",
        "volcano.sh/task-topology-task-order": "ps,ps",
    }
    assert [text.partition("; all")[0] for text in rules.passed_over(wished)] == [
        'metadata.annotations[volcano.sh/task-topology-anti-affinity]: "chief": there is no such task',
        'metadata.annotations[volcano.sh/task-topology-task-order]: "ps": it is there twice',
    ]


async def test_a_job_with_wishes_and_a_network_topology_is_taken(served: support.World) -> None:
    wished = job(task(), networkTopology={"mode": "hard", "highestTierAllowed": 1})
    wished["metadata"]["annotations"] = {"volcano.sh/task-topology-affinity": "chief"}
    made = await served.client.create(volcano.JOB.resource, wished)
    assert made["spec"]["networkTopology"] == {"mode": "hard", "highestTierAllowed": 1}
