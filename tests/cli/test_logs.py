"""What `homeport logs` does where a pod comes and goes unseen, and what it says against bad input."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from homeport.apiserver.node import LogOptions, NodeProxy
from homeport.apiserver.server import ApiServer
from homeport.cli import logs
from homeport.cli.connection import Connection
from homeport.cli.jobs import Follower, Job
from homeport.cli.logs import ENDED_PODS
from homeport.cli.terminal import Terminal
from homeport.client.client import Client
from homeport.client.local import LocalTransport
from homeport.kube import core
from homeport.kube.errors import HomeportError, NotFound, Permanent
from homeport.kube.meta import Object
from homeport.kube.wire import User
from homeport.store.memory import MemoryStore


class Node:
    """Keeps the logs of jobs' pods that are gone."""

    def __init__(self) -> None:
        self.kept: list[Object] = []
        self.has_logs = True
        self.asked = asyncio.Event()

    async def ended(self, namespace: str) -> list[Object]:
        self.asked.set()
        return list(self.kept)

    async def ended_logs(self, pod: tuple[str, str, str], container: str, options: LogOptions) -> AsyncIterator[bytes]:
        if not self.has_logs:
            raise NotFound(f'no logs are kept of a pod "{pod[1]}"')

        async def lines() -> AsyncIterator[bytes]:
            yield f"2026-01-01T00:00:00.000000000Z {pod[1]} wrote\n".encode()

        return lines()


class Stand:
    """A connection that is there."""

    def __init__(self, client: Client) -> None:
        self.client, self.namespace = client, "default"

    def found(self) -> None:
        pass

    async def lost(self, error: HomeportError) -> None:
        raise error


class Place:
    def __init__(self) -> None:
        self.node = Node()
        server = ApiServer(MemoryStore(), core.KINDS, node=cast(NodeProxy, self.node))
        self.client = Client(LocalTransport(server.handle, User("admin", ("system:masters",))))
        self.connection = cast(Connection, Stand(self.client))
        self.job: Object = {}

    async def fill(self) -> Job:
        await self.client.create(core.NAMESPACE.resource, {"metadata": {"name": "default"}})
        template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "x"}]}}
        body: Object = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j", "namespace": "default"}}
        self.job = await self.client.create(core.JOB.resource, body | {"spec": {"template": template}})
        return Job(core.JOB.resource, self.job)

    def gone(self, name: str) -> Object:
        """A pod of the job, as the node tells of it."""
        owner: dict[str, Any] = {"apiVersion": "batch/v1", "kind": "Job", "name": "j", "controller": True}
        owner["uid"] = self.job["metadata"]["uid"]
        metadata = {"name": name, "namespace": "default", "uid": name, "ownerReferences": [owner]}
        metadata["creationTimestamp"] = self.job["metadata"]["creationTimestamp"]
        ended = {"name": "main", "state": {"terminated": {"exitCode": 0, "finishedAt": "2026-01-01T00:00:00Z"}}}
        status = {"phase": "Succeeded", "containerStatuses": [ended]}
        return {"metadata": metadata, "spec": {"containers": [{"name": "main"}]}, "status": status}

    async def end(self) -> None:
        conditions = [{"type": type, "status": "True"} for type in ("SuccessCriteriaMet", "Complete")]
        times = {"startTime": "2026-01-01T00:00:00Z", "completionTime": "2026-01-01T00:00:00Z"}
        await self.client.patch(
            core.JOB.resource, "j", "default", {"status": {"conditions": conditions, **times}}, subresource="status"
        )


async def test_a_pod_that_came_and_went_before_the_watch_began_is_followed(capsys: pytest.CaptureFixture[str]) -> None:
    place = Place()
    job = await place.fill()
    shown = {"before"}

    async def later(job: Job) -> Any:
        return [one for one in (await logs.kept(place.connection, job))[0] if one.uid not in shown]

    place.node.kept = [place.gone("before"), place.gone("between")]
    follower = Follower(place.connection, [job], Terminal(), ended=later)
    running = asyncio.ensure_future(follower.run())
    async with asyncio.timeout(20):
        await place.node.asked.wait()
        await place.end()
        await running
    assert capsys.readouterr().out.splitlines() == ["[between] between wrote"]


async def test_a_pod_that_goes_between_the_two_looks_is_found_once(capsys: pytest.CaptureFixture[str]) -> None:
    place = Place()
    job = await place.fill()
    place.node.kept = [place.gone("p")]
    pod = {**place.gone("p"), "spec": {"containers": [{"name": "main", "image": "x"}]}}
    del pod["metadata"]["uid"]
    made = await place.client.create(core.POD.resource, pod)
    place.node.kept[0]["metadata"]["uid"] = made["metadata"]["uid"]
    order: list[str] = []
    listing = place.client.list

    async def noted(resource: Any, *words: Any, **options: Any) -> Any:
        order.append(resource.plural)
        return await listing(resource, *words, **options)

    place.client.list = noted  # type: ignore[method-assign]
    present, ended, keeps = await logs.pods(place.connection, job)
    assert (present, [one.name for one in ended], keeps) == ([], ["p"], True)
    assert order == [core.POD.resource.plural, ENDED_PODS.plural]


async def test_a_log_that_is_not_there_is_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    place = Place()
    job = await place.fill()
    place.node.kept, place.node.has_logs = [place.gone("p")], False
    ended, _ = await logs.kept(place.connection, job)
    await logs._print_merged(place.connection, ended, logs.WHOLE, Terminal())
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", '[p] its log can\'t be shown: no logs are kept of a pod "p"\n')


async def test_a_job_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    place = Place()
    await place.fill()
    told = "there is no Job k in namespace default: kubectl get jobs -n default lists those that are there, and -n"
    with pytest.raises(Permanent, match=told):
        await logs.find(place.connection, "job/k", "default")
    with pytest.raises(Permanent, match="there is no job k in namespace default: -n names another"):
        await logs.find(place.connection, "k", "default")


@pytest.mark.parametrize("text", ["x", "0", "-1", ""])
def test_an_attempt_is_a_number(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    logs.add_parser(parser.add_subparsers())
    with pytest.raises(SystemExit):
        parser.parse_args(["logs", "j", f"--attempt={text}"])
    assert f"{text!r} is not the number of an attempt: 1 is a replica's first pod" in capsys.readouterr().err
