"""Job flows and job templates: order, patches, what becomes of the jobs, and what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from volcano_world import START, task

import support
from homeport.components import volcano
from homeport.components.volcano.flow.merging import patched
from homeport.components.volcano.flow.sync import sync
from homeport.control.controller import Observed
from homeport.control.freeze import freeze
from homeport.control.informer import Informers
from homeport.control.manager import Manager
from homeport.kube import meta
from homeport.kube.errors import Forbidden, Invalid
from homeport.kube.meta import Object

FLOWS, TEMPLATES, JOBS = volcano.JOB_FLOW.resource, volcano.JOB_TEMPLATE.resource, volcano.JOB.resource
AMONG_FLOWS = tuple(one for one in volcano.CONTROLLERS if one.parent in (FLOWS, TEMPLATES))


def step(name: str, *targets: str, **fields: Any) -> Object:
    return {"name": name, **({"dependsOn": {"targets": list(targets)}} if targets else {}), **fields}


def flow(*flows: Object, **spec: Any) -> Object:
    return volcano.JOB_FLOW.new("night", "default", spec={"flows": list(flows), **spec})


def template(name: str, **spec: Any) -> Object:
    return volcano.JOB_TEMPLATE.new(name, "default", spec={"tasks": [task()], **spec})


@pytest.fixture
async def served() -> AsyncIterator[support.World]:
    async with support.world(volcano.KINDS, hooks=volcano.ADMISSION) as made:
        yield made


@pytest.fixture
async def acting(served: support.World) -> AsyncIterator[support.World]:
    """With the controllers of flows, and without that of jobs: the tests play it."""
    informers = Informers(served.client)
    manager = Manager(served.client, AMONG_FLOWS, informers=informers)
    tasks = [asyncio.create_task(informers.run()), asyncio.create_task(manager.run())]
    await manager.ready.wait()
    yield served
    for one in tasks:
        one.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def reached(served: support.World, *jobs: str, phase: str) -> Object:
    """Wait until exactly these jobs are there and the flow has that phase."""

    async def check() -> Any:
        found = await served.client.get(FLOWS, "night", "default")
        there = await served.names(JOBS, "default") == sorted(jobs)
        return found if there and (found.get("status") or {}).get("state", {}).get("phase") == phase else None

    found: Object = await served.eventually(check)
    return found


async def turn(served: support.World, name: str, phase: str) -> None:
    state = {"phase": phase, "lastTransitionTime": meta.timestamp(START)}
    await served.set_status(JOBS, name, "default", state=state)


async def test_the_example_of_volcano(acting: support.World) -> None:
    """Jobs are made as what they wait for is complete, and all go in the end."""
    for name in "abcde":
        await acting.client.create(TEMPLATES, template(name))
    steps = (step("a"), step("b", "a"), step("c", "b"), step("d", "b"), step("e", "c", "d"))
    await acting.client.create(FLOWS, flow(*steps, jobRetainPolicy="delete"))
    await reached(acting, "night-a", phase="Pending")
    made = await acting.client.get(JOBS, "night-a", "default")
    marks = {"volcano.sh/createdByJobTemplate": "default.a", "volcano.sh/createdByJobFlow": "default.night"}
    assert made["metadata"]["labels"] == marks == made["metadata"]["annotations"]
    assert made["metadata"]["ownerReferences"][0]["kind"] == "JobFlow"

    async def told() -> bool:
        found = await acting.client.get(TEMPLATES, "a", "default")
        return bool((found.get("status") or {}).get("jobDependsOnList") == ["night-a"])

    await acting.eventually(told)
    await turn(acting, "night-a", "Running")
    found = await reached(acting, "night-a", phase="Running")
    assert found["status"]["runningJobs"] == ["night-a"]
    await turn(acting, "night-a", "Completed")
    await reached(acting, "night-a", "night-b", phase="Running")
    await turn(acting, "night-b", "Completed")
    await reached(acting, "night-a", "night-b", "night-c", "night-d", phase="Running")
    await turn(acting, "night-c", "Completed")
    await turn(acting, "night-d", "Running")
    await turn(acting, "night-d", "Completed")
    found = await reached(acting, *(f"night-{name}" for name in "abcde"), phase="Running")
    assert found["status"]["completedJobs"] == ["night-a", "night-b", "night-c", "night-d"]
    await turn(acting, "night-e", "Completed")

    async def gone() -> bool:
        left = (await acting.client.list(JOBS, "default")).items
        return all(meta.is_deleting(job) for job in left)

    await acting.eventually(gone)
    found = await acting.client.get(FLOWS, "night", "default")
    assert found["status"]["state"]["phase"] == "Succeed"
    first = found["status"]["jobStatusList"][0]
    assert (first["name"], first["state"], first["endTimestamp"]) == ("night-a", "Completed", meta.timestamp(START))
    assert [one["state"] for one in first["runningHistories"]][-2:] == ["Running", "Completed"]


async def test_a_template_that_comes_later(acting: support.World) -> None:
    await acting.client.create(FLOWS, flow(step("a", patch={"jobSpec": {"minAvailable": 1, "queue": "default"}})))
    await reached(acting, phase="Pending")
    await acting.client.create(TEMPLATES, template("a", maxRetry=7))
    await reached(acting, "night-a", phase="Pending")
    made = (await acting.client.get(JOBS, "night-a", "default"))["spec"]
    assert (made["minAvailable"], made["maxRetry"], made["tasks"][0]["replicas"]) == (1, 7, 2)


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"flows": [step("b", "a")]}, "jobflow Flow is not DAG: vertex is not defined: a"),
        ({"flows": [step("a", "b"), step("b", "a")]}, "jobflow Flow is not DAG"),
        ({"flows": [step("a", "a")]}, "jobflow Flow is not DAG"),
        ({"flows": [step("a"), step("a")]}, "duplicated flow name a"),
        ({"flows": [{"dependsOn": {}}]}, "spec.flows[0].name: Required value"),
        ({"jobRetainPolicy": "forget"}, 'supported values: "retain", "delete"'),
    ],
)
async def test_refused(served: support.World, spec: Object, text: str) -> None:
    with pytest.raises((Forbidden, Invalid)) as refusal:
        await served.client.create(FLOWS, volcano.JOB_FLOW.new("night", "default", spec=spec))
    assert text in str(refusal.value)


async def test_a_diamond_is_no_cycle(served: support.World) -> None:
    await served.client.create(FLOWS, flow(step("a"), step("b", "a"), step("c", "a"), step("d", "b", "c")))


# -- the pure part


class Night:
    """A job flow with jobs that the tests move."""

    def __init__(self, *flows: Object, **spec: Any) -> None:
        metadata = {"name": "night", "namespace": "default", "uid": "n", "creationTimestamp": meta.timestamp(START)}
        self.flow: Object = {**flow(*flows, **spec), "metadata": metadata}
        names = {one["name"] for one in flows}
        self.templates = {f"default/{name}": template(name) for name in names}
        self.jobs: dict[str, Object] = {}
        self.notes: list[str] = []

    def sync(self) -> Night:
        related = {"JobTemplate": self.templates}
        desired = sync(Observed(freeze(self.flow), freeze({"Job": self.jobs}), freeze(related), START))
        if desired.status is not None:
            self.flow = {**self.flow, "status": desired.status}
        kept = {name for _, name in desired.keep}
        self.jobs = {name: job for name, job in self.jobs.items() if name in kept}
        for job in desired.children:
            made = {**job["metadata"], "creationTimestamp": meta.timestamp(START)}
            self.jobs[meta.name(job)] = {**job, "metadata": made}
        self.notes += [note.message for note in desired.notes]
        return self

    def turn(self, name: str, phase: str) -> Night:
        state = {"phase": phase, "lastTransitionTime": meta.timestamp(START)}
        self.jobs[f"night-{name}"] = {**self.jobs[f"night-{name}"], "status": {"state": state}}
        return self.sync()

    @property
    def phase(self) -> str:
        return str(meta.status(self.flow)["state"]["phase"])


def test_a_completed_job_that_is_gone_is_not_made_again() -> None:
    """Its time to live may end before its successor's turn."""
    night = Night(step("a"), step("b", "a")).sync().turn("a", "Completed")
    del night.jobs["night-a"]
    night.sync()
    assert set(night.jobs) == {"night-b"}
    assert night.turn("b", "Completed").phase == "Succeed"
    night.jobs.clear()
    assert night.sync().jobs == {}


def test_a_job_that_is_deleted_before_its_end_is_made_again() -> None:
    night = Night(step("a")).sync().turn("a", "Running")
    night.jobs.clear()
    assert set(night.sync().jobs) == {"night-a"}


@pytest.mark.parametrize("end", ["Failed", "Terminated"])
def test_nothing_follows_a_failure(end: str) -> None:
    night = Night(step("a"), step("b"), step("c", "b")).sync().turn("b", "Running").turn("a", end)
    assert night.phase == "Failed"
    night.turn("b", "Completed")
    assert set(night.jobs) == {"night-a", "night-b"}
    assert meta.status(night.flow)["completedJobs"] == ["night-b"]


def test_an_aborted_job_is_waited_for() -> None:
    night = Night(step("a"), step("b", "a")).sync().turn("a", "Running").turn("a", "Aborted")
    assert (night.phase, meta.status(night.flow)["unKnowJobs"]) == ("Running", ["night-a"])
    assert set(night.turn("a", "Completed").jobs) == {"night-a", "night-b"}


def test_a_missing_template_is_told_of() -> None:
    night = Night(step("a"))
    night.templates.clear()
    assert night.sync().jobs == {}
    assert night.notes == ['Failed to create job night-a: jobtemplate.flow.volcano.sh "a" not found']


def test_the_history_of_a_job_is_bounded() -> None:
    night = Night(step("a")).sync()
    for _ in range(60):
        night.turn("a", "Running").turn("a", "Pending")
    assert len(meta.status(night.flow)["jobStatusList"][0]["runningHistories"]) == 50


@given(st.data())
def test_every_job_comes_once_and_after_what_it_waits_for(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 6))
    names = [f"s{index}" for index in range(count)]
    steps = [
        step(name, *data.draw(st.lists(st.sampled_from(names[:index]), unique=True) if index else st.just([])))
        for index, name in enumerate(names)
    ]
    waits = {one["name"]: set((one.get("dependsOn") or {}).get("targets") or ()) for one in steps}
    night, done = Night(*data.draw(st.permutations(steps))).sync(), set[str]()
    while night.phase != "Succeed":
        there = {name.removeprefix("night-") for name in night.jobs}
        assert there | done == {name for name in names if waits[name] <= done}
        name = data.draw(st.sampled_from(sorted(there - done)))
        done.add(name)
        night.turn(name, "Completed")
        if data.draw(st.booleans()):
            del night.jobs[f"night-{name}"]  # its time to live
    assert done == set(names)


def test_patches() -> None:
    container: Object = {"name": "main", "image": "one", "env": [{"name": "A", "value": "1"}], "args": ["x"]}
    pod = {"containers": [container], "nodeSelector": {"a": "1"}, "affinity": {"nodeAffinity": {}}}
    spec: Object = {
        "queue": "default",
        "plugins": {"svc": ["--a"], "env": []},
        "volumes": [{"mountPath": "/a", "volumeClaimName": "old"}],
        "tasks": [{"name": "ps", "replicas": 1}, {"name": "worker", "replicas": 2, "template": {"spec": pod}}],
    }
    change: Object = {
        "maxRetry": 5,
        "plugins": {"svc": ["--b"], "ssh": None},
        "volumes": [{"mountPath": "/a", "volumeClaimName": "new"}, {"mountPath": "/b", "volumeClaimName": "b"}],
        "tasks": [
            {
                "name": "worker",
                "template": {
                    "spec": {
                        "containers": [
                            {"name": "main", "image": "two", "env": [{"name": "B", "value": "2"}], "args": ["y"]},
                            {"name": "side", "image": "three"},
                        ],
                        "nodeSelector": {"b": "2"},
                        "affinity": {"podAffinity": {}},
                    }
                },
            },
            {"name": "late", "replicas": 1},
        ],
    }
    assert patched(spec, change) == {
        "queue": "default",
        "maxRetry": 5,
        "plugins": {"svc": ["--a", "--b"], "env": [], "ssh": []},
        "volumes": [{"mountPath": "/a", "volumeClaimName": "new"}, {"mountPath": "/b", "volumeClaimName": "b"}],
        "tasks": [
            {"name": "ps", "replicas": 1},
            {
                "name": "worker",
                "replicas": 2,
                "template": {
                    "spec": {
                        "containers": [
                            {
                                "name": "main",
                                "image": "two",
                                "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
                                "args": ["y"],
                            },
                            {"name": "side", "image": "three"},
                        ],
                        "nodeSelector": {"a": "1", "b": "2"},
                        "affinity": {"podAffinity": {}},
                    }
                },
            },
            {"name": "late", "replicas": 1},
        ],
    }
    assert patched(spec, {}) == spec
    unnamed = patched(spec, {"tasks": [{"replicas": 4}]})
    assert [one["replicas"] for one in unnamed["tasks"]] == [4, 2]
