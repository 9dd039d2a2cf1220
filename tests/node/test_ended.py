"""What is kept of jobs' pods that are gone: for which pods, how much of it, and until when."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from homeport.apiserver.node import LogOptions
from homeport.apiserver.server import ApiServer
from homeport.client.client import Client
from homeport.client.local import LocalTransport
from homeport.control.informer import Informers
from homeport.kube import core
from homeport.kube.errors import BadRequest, NotFound
from homeport.kube.meta import Object
from homeport.kube.wire import User
from homeport.node import ended, logs, tale
from homeport.node.ended import EndedPods, Limits
from homeport.node.inotify import watches
from homeport.node.leaving import Leaving
from homeport.store.memory import MemoryStore

ADMIN = User("admin", ("system:masters",))
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


class Place:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.client = Client(LocalTransport(ApiServer(MemoryStore(), core.KINDS).handle, ADMIN))
        self.informers = Informers(self.client)
        self.now = BEGIN
        self.limits = Limits()

    def kept(self) -> EndedPods:
        return EndedPods(self.directory / "ended", self.informers, lambda: self.now, self.limits)

    async def job(self, name: str) -> Object:
        container = {"name": "main", "image": "x"}
        template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
        body: Object = {"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": template}}
        body["metadata"] = {"name": name, "namespace": "default"}
        return await self.client.create(core.JOB.resource, body)

    def pod(self, owner: Object, uid: str, *texts: str) -> tuple[Object, Path]:
        """A pod whose attempts wrote `texts`, and its directory."""
        directory = self.directory / "pods" / uid
        for attempt, text in enumerate(texts):
            path = logs.prepare(directory, "main", attempt)
            path.write_text(f"2026-01-01T00:00:00.000000000Z stdout F {text}\n")
        reference = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "controller": True}
        reference |= {"name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"]}
        metadata: dict[str, Any] = {"name": "p", "namespace": "default", "uid": uid, "ownerReferences": [reference]}
        main = {"name": "main", "image": "x", "env": [{"name": "TOKEN", "value": "secret"}]}
        return {"metadata": metadata, "spec": {"containers": [main]}, "status": {}}, directory


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    place = Place(tmp_path)
    await place.client.create(core.NAMESPACE.resource, {"metadata": {"name": "default"}})
    running = asyncio.ensure_future(place.informers.run())
    yield place
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def uids(kept: EndedPods) -> list[str]:
    return [pod["metadata"]["uid"] for pod in await kept.listed("default")]


async def text(kept: EndedPods, uid: str, **options: Any) -> str:
    seen = watches()
    try:
        chunks = await kept.logs(("default", "p", uid), "main", LogOptions(**options), seen)
        return b"".join([chunk async for chunk in chunks]).decode()
    finally:
        seen.close()


async def keep(place: Place, kept: EndedPods, job: Object, uid: str, *texts: str) -> None:
    pod, directory = place.pod(job, uid, *texts)
    await kept.keep(pod, {"phase": "Failed"}, directory)


async def test_a_jobs_logs_are_kept_until_it_goes(place: Place) -> None:
    kept, job = place.kept(), await place.job("j")
    await keep(place, kept, job, "one", "first", "second")
    (pod,) = await kept.listed("default")
    assert (pod["status"], "secret" in str(pod)) == ({"phase": "Failed"}, False)
    assert await kept.listed("other") == []
    assert await text(kept, "one") == "second\n"
    assert await text(kept, "one", previous=True, follow=True) == "first\n"
    with pytest.raises(NotFound, match="kubectl get endedpods"):
        await text(kept, "two")
    with pytest.raises(BadRequest):
        await kept.logs(("default", "p", "one"), "side", LogOptions(), watches())
    again = place.kept()
    await again.restore()
    assert (await uids(again), await text(again, "one")) == (["one"], "second\n")
    await place.client.delete(core.JOB.resource, "j", "default", propagation="Background")
    async with asyncio.timeout(20):
        while (place.directory / "ended").exists():
            await asyncio.sleep(0.01)
    assert await uids(again) == []


async def test_what_went_while_nobody_looked_is_let_go(place: Place) -> None:
    kept, job = place.kept(), await place.job("j")
    await keep(place, kept, job, "one", "text")
    gone = {**job, "metadata": {**job["metadata"], "uid": "of-a-former-one"}}
    await keep(place, kept, gone, "two", "text")
    assert await uids(kept) == ["one"]
    await place.client.delete(core.JOB.resource, "j", "default", propagation="Background")
    await place.job("j")
    again = place.kept()
    again._informers = Informers(place.client)
    running = asyncio.ensure_future(again._informers.run())
    await again.restore()
    assert await uids(again) == []
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize(
    ("limits", "left"),
    [
        (Limits(of_a_job=2), ["a2", "a3", "b0"]),
        (Limits(pods=2), ["a3", "b0"]),
        (Limits(bytes=110), ["a3", "b0"]),
        (Limits(age=timedelta(seconds=3)), ["a2", "a3", "b0"]),
    ],
)
async def test_the_oldest_go_first(place: Place, limits: Limits, left: list[str]) -> None:
    place.limits = limits
    kept, one, two = place.kept(), await place.job("a"), await place.job("b")
    for job, uid in ((one, "a0"), (one, "a1"), (one, "a2"), (one, "a3"), (two, "b0")):
        await keep(place, kept, job, uid, "x" * 10)
        place.now += timedelta(seconds=1.2)
    assert await uids(kept) == left
    kept.clear()
    assert await uids(kept) == []


async def test_other_pods_are_not_kept(place: Place) -> None:
    kept, job = place.kept(), await place.job("j")
    pod, directory = place.pod(job, "one", "text")
    for kind in ("ReplicaSet", "CronJob"):
        pod["metadata"]["ownerReferences"][0]["kind"] = kind
        await kept.keep(pod, {}, directory)
    del pod["metadata"]["ownerReferences"]
    await kept.keep(pod, {}, directory)
    assert await uids(kept) == []
    assert (directory / "logs").is_dir()


async def test_a_record_without_logs_is_cut_off_and_the_pods_directory_tells_it_again(place: Place) -> None:
    """As when the platform is killed between the two."""
    job = await place.job("j")
    pod, directory = place.pod(job, "one", "text")
    tale.Teller(directory).tell(pod, {"phase": "Failed"})
    with patch.object(Path, "rename", side_effect=OSError(5, "killed")):
        await place.kept().keep(pod, {"phase": "Failed"}, directory)
    assert (place.directory / "ended" / job["metadata"]["uid"] / "one").is_dir()
    again = place.kept()
    await again.restore()
    assert await uids(again) == []
    await again.keep_left(directory)
    (told,) = await again.listed("default")
    assert (told["status"], "secret" in str(told)) == ({"phase": "Failed"}, False)
    assert await text(again, "one") == "text\n"


async def test_nothing_is_kept_before_it_is_known_what_there_is(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a look at the disk takes a record for cut off, or brings back one that was let go meanwhile."""
    look, begun, go_on = ended._entries, threading.Event(), threading.Event()

    def slowly(directory: Path) -> Any:
        found = look(directory)
        begun.set()
        go_on.wait(20)
        return found

    job = await place.job("j")
    await keep(place, place.kept(), job, "one", "first")
    monkeypatch.setattr(ended, "_entries", slowly)
    kept = place.kept()
    restoring = asyncio.ensure_future(kept.restore())
    await asyncio.to_thread(begun.wait, 20)
    pod, directory = place.pod(job, "two", "second")
    keeping = asyncio.ensure_future(kept.keep(pod, {}, directory))
    await asyncio.sleep(0)
    go_on.set()
    await asyncio.gather(restoring, keeping)
    assert await uids(kept) == ["one", "two"]
    await place.client.delete(core.JOB.resource, "j", "default", propagation="Background")
    async with asyncio.timeout(20):
        while (place.directory / "ended").exists():
            await asyncio.sleep(0.01)
    assert await uids(kept) == []


@pytest.mark.parametrize("content", [b"", b"{", b'{"pod": 1}'])
async def test_what_a_former_life_left_without_a_tale_is_not_kept(place: Place, content: bytes) -> None:
    _, directory = place.pod(await place.job("j"), "one", "text")
    if content:
        (directory / "tale.json").write_bytes(content)
    kept = place.kept()
    await kept.keep_left(directory)
    assert await uids(kept) == []


class Leaver:
    """A worker whose pod's end is not over."""

    def __init__(self, pod: Object, directory: Path) -> None:
        self.pod, self.directory = pod, directory
        self.uid, self.status = pod["metadata"]["uid"], {"phase": "Running"}

    def log_source(self, container: str, *, previous: bool) -> logs.LogSource:
        async def ended() -> None:
            pass

        return logs.LogSource(logs.path_of(self.directory, container, 0), ended)


async def test_a_pod_is_listed_and_read_at_every_moment_of_its_end(place: Place) -> None:
    job, kept, workers = await place.job("j"), place.kept(), dict[str, Any]()
    leaving, seen = Leaving(place.client, workers, kept), watches()
    leaver = Leaver(*place.pod(job, "one", "text"))
    workers["one"] = leaver

    async def found() -> tuple[list[str], str]:
        of_one = ("default", "p", "one")
        chunks = await leaving.logs(of_one, "", LogOptions(), seen, place.now)
        said = b"".join([chunk async for chunk in chunks]).decode()
        return [pod["metadata"]["uid"] for pod in await leaving.listed("default")], said

    assert await found() == (["one"], "text\n")
    leaving.see(leaver)  # type: ignore[arg-type]
    del workers["one"]
    assert [pod["metadata"]["uid"] for pod in await leaving.listed("")] == ["one"]
    reading = asyncio.ensure_future(found())
    await asyncio.sleep(0)
    await leaving.keep(leaver)  # type: ignore[arg-type]
    assert await reading == (["one"], "text\n")
    assert await found() == (["one"], "text\n")
    assert await leaving.listed("other") == []
    seen.close()
