"""Followers against the real API server, with a node that says what the test says."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import pytest

from homeport.apiserver.node import LogOptions, NodeProxy
from homeport.apiserver.server import ApiServer
from homeport.client.client import Client
from homeport.client.local import LocalTransport
from homeport.components import batch, progress, trainer, training
from homeport.components.progress import follower, scalars, writing
from homeport.components.progress.leaders import JOB_SETS, TRAIN_JOBS
from homeport.control.informer import Informers
from homeport.kube import core, meta
from homeport.kube.errors import BadRequest, Forbidden
from homeport.kube.kind import Resource
from homeport.kube.meta import Object
from homeport.kube.wire import User
from homeport.store.memory import MemoryStore

PYTORCH = Resource("kubeflow.org", "v1", "pytorchjobs", "PyTorchJob")
TEMPLATE: Object = {"spec": {"containers": [{"name": "pytorch", "image": "x"}]}}
SETS = "jobset.sigs.k8s.io/"


class Node:
    """Its pods' logs, which have no end as long as the pods run."""

    def __init__(self) -> None:
        self.written: dict[str, list[bytes]] = {}
        self.asked: list[str] = []
        self.looks: list[tuple[str, str, str]] = []
        self.scalars: list[Object] = []
        self.refuses = False
        self.news = asyncio.Event()
        self.over = False

    def write(self, pod: str, *lines: str) -> None:
        self.written.setdefault(pod, []).append("".join(f"{line}\n" for line in lines).encode())
        self.tell()

    def tell(self) -> None:
        news, self.news = self.news, asyncio.Event()
        news.set()

    async def logs(self, pod: Object, container: str, options: LogOptions) -> AsyncIterator[bytes]:
        self.asked.append(meta.name(pod))
        if self.refuses:
            raise Forbidden('pods "p" is forbidden')
        return self._lines(meta.name(pod))

    async def event_files(self, pod: Object, container: str, directory: str, after: str) -> Object:
        self.looks.append((container, directory, after))
        if directory == "/nowhere":
            raise BadRequest(f"{directory} is not on a volume: mount one there")
        scalars = self.scalars[int(after or 0) :]
        return {"scalars": scalars, "position": str(len(self.scalars)), "more": False}

    async def _lines(self, pod: str) -> AsyncIterator[bytes]:
        at = 0
        while True:
            news = self.news
            for chunk in self.written.get(pod, [])[at:]:
                at += 1
                yield chunk
            if self.over:
                return
            await news.wait()


class Place:
    def __init__(self) -> None:
        self.node = Node()
        kinds = [*core.KINDS, *training.KINDS, *trainer.KINDS, *batch.KINDS]
        server = ApiServer(MemoryStore(), kinds, node=cast(NodeProxy, self.node))
        self.client = Client(LocalTransport(server.handle, User("admin", ("system:masters",))))
        self.tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """A platform's life."""
        self.informers = informers = Informers(self.client)
        for resource in (core.POD.resource, PYTORCH, TRAIN_JOBS, JOB_SETS):
            informers.get(resource)
        self.tasks = [asyncio.ensure_future(informers.run())]
        for resource in (core.POD.resource, PYTORCH, TRAIN_JOBS, JOB_SETS):
            await informers.get(resource).synced.wait()
        self.tasks.append(asyncio.ensure_future(progress.follow(self.client, informers)))

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def job(self, name: str, annotation: str = "", directory: str = "") -> Object:
        replica = {"replicas": 1, "restartPolicy": "Never", "template": TEMPLATE}
        metadata: Object = {"name": name, "namespace": "default", "annotations": {progress.ANNOTATION: annotation}}
        if directory:
            metadata["annotations"] = {progress.ANNOTATION: annotation, progress.DIRECTORY: directory}
        spec = {"pytorchReplicaSpecs": {"Master": replica}}
        body: Object = {"apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "metadata": metadata, "spec": spec}
        return await self.client.create(PYTORCH, body)

    async def train_job(self, name: str) -> Object:
        body: Object = {"apiVersion": TRAIN_JOBS.api_version, "kind": "TrainJob"}
        body["metadata"] = {"name": name, "namespace": "default"}
        body["spec"] = {"runtimeRef": {"kind": "TrainingRuntime", "name": "plain"}}
        return await self.client.create(TRAIN_JOBS, body)

    async def pod(self, name: str, job: Object | None, labels: dict[str, str], container: str) -> None:
        """A pod that runs."""
        metadata: dict[str, Any] = {"name": name, "namespace": "default", "labels": labels}
        if job is not None:
            owner = {"apiVersion": job["apiVersion"], "kind": job["kind"], "name": meta.name(job), "controller": True}
            metadata["ownerReferences"] = [owner | {"uid": meta.uid(job)}]
        spec = {"nodeName": "n", "containers": [{"name": container, "image": "x"}]}
        await self.client.create(core.POD.resource, {"metadata": metadata, "spec": spec})
        await self.state(name, container, {"running": {"startedAt": "2026-01-01T00:00:00Z"}})

    async def state(self, name: str, container: str, state: Object) -> None:
        one = {"name": container, "state": state, "containerID": "homeport://1", "image": "x", "imageID": "x"}
        one |= {"ready": True, "restartCount": 0}
        body = {"status": {"phase": "Running", "containerStatuses": [one]}}
        await self.client.patch(core.POD.resource, name, "default", body, subresource="status")

    async def master(self, job: Object) -> str:
        labels = {f"training.kubeflow.org/{key}": value for key, value in {
            "job-name": meta.name(job), "replica-type": "master", "replica-index": "0", "job-role": "master",
        }.items()}  # fmt: skip
        await self.pod(f"{meta.name(job)}-master-0", job, labels, "pytorch")
        return f"{meta.name(job)}-master-0"

    async def of_set(self, job: Object, group: str) -> str:
        labels = {f"{SETS}jobset-name": meta.name(job), f"{SETS}replicatedjob-name": group, f"{SETS}job-index": "0"}
        await self.pod(f"{meta.name(job)}-{group}-0", None, labels, "node")
        return f"{meta.name(job)}-{group}-0"

    async def seen(self, resource: Resource, name: str, good: Callable[[Object], Any]) -> None:
        """Returns once the platform has seen an object as it is to be."""
        cache = self.informers.get(resource).cache
        async with asyncio.timeout(30):
            while (found := cache.get("default", name)) is None or not good(found):
                await asyncio.sleep(0.01)

    async def until(self, resource: Resource, name: str, good: Callable[[Any], Any]) -> Any:
        """What `good` says of an object's status once that is something."""
        async with asyncio.timeout(30):
            while True:
                if found := good(meta.status(await self.client.get(resource, name, "default"))):
                    return found
                await asyncio.sleep(0.01)


@pytest.fixture
async def place(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Place]:
    monkeypatch.setattr(writing, "_FIRST", 0.0)
    monkeypatch.setattr(writing, "INTERVAL", 0.0)
    monkeypatch.setattr(writing, "_MOST_A_SECOND", 1000)
    monkeypatch.setattr(follower, "_BREATH", 0.01)
    place = Place()
    await place.client.create(core.NAMESPACE.resource, {"metadata": {"name": "default"}})
    await place.start()
    yield place
    await place.stop()


def values(status: Any) -> dict[str, str]:
    return {each["name"]: each["value"] for each in status.get("trainingMetrics") or ()}


def reported(status: Any) -> dict[str, str]:
    return {each["name"]: each["value"] for each in (status.get("trainerStatus") or {}).get("metrics") or ()}


async def test_figures_go_on_after_a_restart_of_the_platform(place: Place) -> None:
    job = await place.job("digits")
    pod = await place.master(job)
    place.node.write(pod, "epoch 1/4 val_loss=3 loss=2")
    assert await place.until(PYTORCH, "digits", values) == {"epoch": "1", "val_loss": "3", "loss": "2"}
    await place.stop()
    place.node.written[pod] = []  # long past the lines that are read at first
    place.node.write(pod, "loss=1")
    await place.start()
    known = await place.until(PYTORCH, "digits", lambda now: values(now).get("loss") == "1" and now)
    assert values(known) == {"epoch": "1", "val_loss": "3", "loss": "1"}
    assert known["trainingMetrics"][2]["epoch"] == 1
    await place.stop()
    # It ended while nobody looked: what it wrote last is read, once.
    place.node.over = True
    place.node.write(pod, "loss=0.5")
    await place.state(pod, "pytorch", {"terminated": {"exitCode": 0, "finishedAt": "2026-01-01T00:00:00Z"}})
    await place.start()
    await place.until(PYTORCH, "digits", lambda now: values(now)["loss"] == "0.5")


async def test_the_programs_own_reports_take_the_place_of_what_was_read(place: Place) -> None:
    job = await place.train_job("digits")
    pod = await place.of_set(job, "node")
    place.node.write(pod, "epoch 3/4 loss=2")
    await place.until(TRAIN_JOBS, "digits", reported)
    own = {"metrics": [{"name": "quality", "value": "1"}], "lastUpdatedTime": "2026-01-01T00:00:00Z"}
    await report(place, job, own)
    place.node.write(pod, "epoch 4/4 loss=1")
    left = await place.until(TRAIN_JOBS, "digits", lambda now: now["trainerStatus"] == own and now)
    assert reported(left) == {"quality": "1"}
    found = await place.client.get(TRAIN_JOBS, "digits", "default")
    assert writing.MANAGER not in {entry["manager"] for entry in meta.metadata(found)["managedFields"]}


async def report(place: Place, job: Object, status: Object) -> None:
    wanted = {"apiVersion": TRAIN_JOBS.api_version, "kind": "TrainJob", "status": {"trainerStatus": status}}
    wanted["metadata"] = {"name": meta.name(job), "namespace": "default", "uid": meta.uid(job)}
    await place.client.apply(TRAIN_JOBS, wanted, subresource="status", field_manager="trainer-status")


async def test_a_report_that_comes_in_the_same_moment_is_not_overwritten(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await place.train_job("digits")
    pod = await place.of_set(job, "node")
    own = {"metrics": [{"name": "quality", "value": "1"}], "lastUpdatedTime": "2026-01-01T00:00:00Z"}
    look = writing.Writer._managers
    looks: list[set[str]] = []

    async def late(writer: writing.Writer) -> set[str]:
        looks.append(await look(writer))
        if len(looks) == 1:
            await report(place, job, own)
        return looks[-1]

    monkeypatch.setattr(writing.Writer, "_managers", late)
    place.node.write(pod, "loss=2")
    async with asyncio.timeout(30):
        while len(looks) < 2:
            await asyncio.sleep(0.01)
    assert (await place.client.get(TRAIN_JOBS, "digits", "default"))["status"]["trainerStatus"] == own


async def test_under_mpi_the_launcher_alone_is_read(place: Place) -> None:
    job = await place.train_job("digits")
    groups = [{"name": name, "template": {"spec": {"template": TEMPLATE}}} for name in ("launcher", "node")]
    body: Object = {"apiVersion": JOB_SETS.api_version, "kind": "JobSet", "spec": {"replicatedJobs": groups}}
    await place.client.create(JOB_SETS, body | {"metadata": {"name": "digits", "namespace": "default"}})
    await place.seen(JOB_SETS, "digits", lambda found: True)
    node, launcher = await place.of_set(job, "node"), await place.of_set(job, "launcher")
    place.node.write(node, "loss=9")
    place.node.write(launcher, "loss=2")
    assert await place.until(TRAIN_JOBS, "digits", reported) == {"loss": "2"}
    assert place.node.asked == [launcher]


async def test_logs_that_may_not_be_read_are_once_they_may(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(follower, "_REFUSED", 0.02)
    place.node.refuses = True
    with caplog.at_level(logging.WARNING, logger=follower.__name__):
        for name in ("one", "two"):
            place.node.write(await place.master(await place.job(name)), "loss=2")
        async with asyncio.timeout(30):
            while len(place.node.asked) < 6:
                await asyncio.sleep(0.01)
        place.node.refuses = False
        for name in ("one", "two"):
            assert await place.until(PYTORCH, name, values) == {"loss": "2"}
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "forbidden" in caplog.text


async def test_a_wrong_annotation_is_an_event_and_a_good_one_counts_at_once(place: Place) -> None:
    job = await place.job("digits", "quality=(")
    pod = await place.master(job)
    place.node.write(pod, "nothing")
    async with asyncio.timeout(30):
        while not (found := (await place.client.list(core.EVENT.resource, "default")).items):
            await asyncio.sleep(0.01)
    (event,) = found
    assert (event["type"], event["reason"], event["involvedObject"]["uid"]) == (
        "Warning",
        "InvalidMetrics",
        meta.uid(job),
    )
    assert event["message"] == (
        "metadata.annotations[homeport.dev/metrics]: quality: error parsing regexp: missing closing ): `(`. Write one "
        "name=pattern a line (RE2), or off; a change counts for lines from then on"
    )
    annotations = {"metadata": {"annotations": {progress.ANNOTATION: "quality=is [0-9]+"}}}
    await place.client.patch(PYTORCH, "digits", "default", annotations)
    await place.seen(
        PYTORCH, "digits", lambda found: meta.annotations(found)[progress.ANNOTATION] == "quality=is [0-9]+"
    )
    place.node.write(pod, "loss=1 quality is 3")
    assert await place.until(PYTORCH, "digits", values) == {"quality": "3"}


async def test_all_followers_together_look_at_lines_for_a_small_share_of_the_time(place: Place) -> None:
    now = [0.0]
    budget = follower.Budget(lambda: now[0])
    budget.spend(0.2)
    assert not budget.is_spent
    budget.spend(0.05)
    assert budget.is_spent
    now[0] = 5.0
    assert not budget.is_spent


def test_many_jobs_are_written_more_rarely() -> None:
    assert [writing.interval(jobs) for jobs in (1, 50, 100, 1000)] == [5, 5, 10, 100]


async def test_beyond_that_share_the_last_lines_count(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower, "_SHARE", 0.0)
    pod = await place.master(await place.job("digits"))
    place.node.write(pod, *(f"loss={number}" for number in range(1000)), "accuracy=1", *("x" for _ in range(19)))
    assert await place.until(PYTORCH, "digits", values) == {"accuracy": "1"}


def scalar(tag: str, value: str, step: int, run: str = "") -> Object:
    return {"run": run, "tag": tag, "value": value, "step": step, "time": 1.0}


async def test_scalars_of_event_files_are_read_while_it_runs_and_at_its_end(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "interval", lambda jobs: 0.02)
    job = await place.job("digits", "off", directory="/logs")
    pod = await place.master(job)
    place.node.scalars += [scalar("Loss/train", "2", 10), scalar("epoch_loss", "3", 10, "logs/validation")]
    known = await place.until(PYTORCH, "digits", lambda now: len(values(now)) == 3 and now)
    assert values(known) == {"step": "10", "loss/train": "2", "val_epoch_loss": "3"}
    assert known["trainingMetrics"][1]["step"] == 10
    monkeypatch.setattr(follower, "interval", lambda jobs: 1000.0)
    async with asyncio.timeout(30):
        while len(place.node.looks) < 2:
            await asyncio.sleep(0.01)
    place.node.scalars += [scalar("Loss/train", "1", 20), scalar("train/epoch", "1.5", 20)]
    await place.state(pod, "pytorch", {"terminated": {"exitCode": 0, "finishedAt": "2026-01-01T00:00:00Z"}})
    ended = await place.until(PYTORCH, "digits", lambda now: values(now).get("loss/train") == "1" and now)
    assert values(ended)["epoch"] == "1"
    assert {look[:2] for look in place.node.looks} == {("pytorch", "/logs")}
    assert place.node.asked == []  # the log is not to be read


async def test_a_directory_that_can_not_be_read_is_an_event_and_is_once_it_can(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "interval", lambda jobs: 0.02)
    await place.master(await place.job("digits", "off", directory="/nowhere"))
    async with asyncio.timeout(30):
        while not (found := (await place.client.list(core.EVENT.resource, "default")).items):
            await asyncio.sleep(0.01)
    told = "metadata.annotations[homeport.dev/tensorboard-dir]: /nowhere is not on a volume: mount one there"
    assert [(event["reason"], event["message"]) for event in found] == [("InvalidMetrics", told)]
    place.node.scalars.append(scalar("loss", "2", 1))
    annotations = {"metadata": {"annotations": {progress.DIRECTORY: "/logs"}}}
    await place.client.patch(PYTORCH, "digits", "default", annotations)
    assert await place.until(PYTORCH, "digits", values) == {"step": "1", "loss": "2"}


def test_what_scalars_say() -> None:
    told = [scalar("", "1", 1), scalar("a b!", "NaN", -1), scalar("epoch", "NaN", 1), scalar("acc", "1", 1, "x/test")]
    told.append(scalar("of/two", "2", 1, "x/of_two_a"))
    said = list(scalars.said(told))
    assert [(figure.name, figure.value, one.step) for one in said for figure in one.figures] == [
        ("a_b", "NaN", None),
        ("test_accuracy", "1", 1),
        ("of_two_a", "2", 1),
    ]
