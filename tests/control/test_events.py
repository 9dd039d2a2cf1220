from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import support
from homeport.client.client import Client
from homeport.control.events import EventRecorder
from homeport.kube import core
from homeport.kube.kind import Resource
from homeport.kube.meta import Object, metadata

PODS = Resource("", "v1", "pods", "Pod")
POD: Object = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "p", "namespace": "default", "uid": "u", "resourceVersion": "5"},
}


class Clock:
    def __init__(self) -> None:
        self.moment = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.moment


@pytest.fixture
def clock() -> Clock:
    return Clock()


@asynccontextmanager
async def recording(world: support.World, clock: Clock, client: Client | None = None) -> AsyncIterator[EventRecorder]:
    recorder = EventRecorder(client or world.client, "tests", instance="here", now=clock)
    async with support.running(recorder.run()):
        yield recorder


class Listing(Client):
    """Counts its lists."""

    lists = 0

    async def list(self, *args: Any, **options: Any) -> Any:
        self.lists += 1
        return await super().list(*args, **options)


async def stored(world: support.World, place: str = "default") -> list[Object]:
    return (await world.client.list(core.EVENT.resource, place)).items


async def test_an_event_tells_what_kubectl_shows(world: support.World, clock: Clock) -> None:
    async with recording(world, clock) as recorder:
        recorder.record(POD, "Warning", "Failed", "it broke", field_path="spec.containers{main}")
        await recorder.flush()
    (event,) = await stored(world)
    assert event["involvedObject"] == {
        "apiVersion": "v1",
        "kind": "Pod",
        "name": "p",
        "namespace": "default",
        "uid": "u",
        "resourceVersion": "5",
        "fieldPath": "spec.containers{main}",
    }
    assert (event["type"], event["reason"], event["message"], event["count"]) == ("Warning", "Failed", "it broke", 1)
    assert event["firstTimestamp"] == event["lastTimestamp"] == "2026-01-01T00:00:00Z"
    assert event["source"] == {"component": "tests"}
    assert (event["reportingComponent"], event["reportingInstance"]) == ("tests", "here")
    assert metadata(event)["name"].startswith("p.")


async def test_equal_events_are_counted(world: support.World, clock: Clock) -> None:
    async with recording(world, clock) as recorder:
        for _ in range(3):
            recorder.record(POD, "Normal", "Seen", "again")
        await recorder.flush()
        clock.moment += timedelta(seconds=5)
        recorder.record(POD, "Normal", "Seen", "again")
        recorder.record(POD, "Normal", "Seen", "something else")
        await recorder.flush()
    events = {event["message"]: event for event in await stored(world)}
    assert events["again"]["count"] == 4
    assert events["again"]["firstTimestamp"] == "2026-01-01T00:00:00Z"
    assert events["again"]["lastTimestamp"] == "2026-01-01T00:00:05Z"
    assert events["something else"]["count"] == 1


async def test_counting_goes_on_after_a_restart(world: support.World, clock: Clock) -> None:
    for _ in range(2):
        async with recording(world, clock) as recorder:
            recorder.record(POD, "Normal", "Seen", "again")
            recorder.record(POD, "Normal", "Seen", "again")
            await recorder.flush()
    (event,) = await stored(world)
    assert event["count"] == 4


async def test_after_a_restart_the_events_of_many_are_read_once(world: support.World, clock: Clock) -> None:
    pods = [{**POD, "metadata": {**POD["metadata"], "name": f"p{number}", "uid": f"u{number}"}} for number in range(20)]
    for turn in range(2):
        client = Listing(world.client.transport)
        async with recording(world, clock, client) as recorder:
            for pod in pods[: 10 + 10 * turn]:
                recorder.record(pod, "Normal", "Seen", "again")
            await recorder.flush()
        assert client.lists == 1
    counts = {event["involvedObject"]["uid"]: event["count"] for event in await stored(world)}
    assert counts == {f"u{number}": 2 if number < 10 else 1 for number in range(20)}


async def test_events_of_one_moment_are_listed_in_their_order(world: support.World, clock: Clock) -> None:
    said = ["Scheduled", "Pulled", "Created", "Started", "Killing", "BackOff"]
    async with recording(world, clock) as recorder:
        for reason in said:
            recorder.record(POD, "Normal", reason, "again")
        recorder.record(POD, "Normal", "Scheduled", "again")
        await recorder.flush()
    events = await stored(world)
    assert [event["reason"] for event in events] == said
    assert [event["count"] for event in events] == [2, 1, 1, 1, 1, 1]


async def test_two_recorders_may_tell_of_an_object_at_the_same_moment(world: support.World, clock: Clock) -> None:
    async with recording(world, clock) as one, recording(world, clock) as other:
        one.record(POD, "Normal", "One", "one")
        other.record(POD, "Normal", "Other", "other")
        await one.flush()
        await other.flush()
    assert {event["reason"] for event in await stored(world)} == {"One", "Other"}


async def test_events_of_a_new_object_are_not_looked_for(world: support.World, clock: Clock) -> None:
    young = {**POD, "metadata": {**POD["metadata"], "creationTimestamp": "2026-01-01T00:00:05Z"}}
    client = Listing(world.client.transport)
    async with recording(world, clock, client) as recorder:
        clock.moment += timedelta(seconds=5)
        recorder.record(young, "Normal", "Seen", "again")
        await recorder.flush()
        assert client.lists == 0
        recorder.record(POD, "Normal", "Older", "again")
        await recorder.flush()
    assert client.lists == 1


async def test_an_expired_event_starts_over(world: support.World, clock: Clock) -> None:
    async with recording(world, clock) as recorder:
        recorder.record(POD, "Normal", "Seen", "again")
        await recorder.flush()
        await world.client.delete_collection(core.EVENT.resource, "default")
        recorder.record(POD, "Normal", "Seen", "again")
        await recorder.flush()
        (event,) = await stored(world)
        assert event["count"] == 1


async def test_one_object_can_not_flood(world: support.World, clock: Clock) -> None:
    async with recording(world, clock) as recorder:
        for index in range(100):
            recorder.record(POD, "Normal", "Seen", f"number {index}")
        other = {**POD, "metadata": {**POD["metadata"], "name": "q", "uid": "v"}}
        recorder.record(other, "Normal", "Seen", "me too")
        await recorder.flush()
    events = await stored(world)
    assert len(events) == 26
    assert any(event["involvedObject"]["name"] == "q" for event in events)


async def test_long_messages_and_cluster_scoped_objects(world: support.World, clock: Clock) -> None:
    node: Object = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n" * 250, "uid": "w"}}
    async with recording(world, clock) as recorder:
        recorder.record(node, "Normal", "Seen", "ä" * 2000)
        await recorder.flush()
    (event,) = await stored(world)
    assert len(event["message"].encode()) <= 1024
    assert event["message"].endswith("...")
    assert "namespace" not in event["involvedObject"]


async def test_a_failing_server_fails_nobody(world: support.World, clock: Clock) -> None:
    flaky = support.FlakyTransport(world.transport, seed=1, chance=0.9)
    gone = {**POD, "metadata": {**POD["metadata"], "namespace": "nowhere"}}
    async with recording(world, clock, Client(flaky)) as recorder:
        for index in range(20):
            recorder.record(POD, "Normal", "Seen", f"number {index}")
            recorder.record(gone, "Normal", "Seen", f"number {index}")
        await recorder.flush()
        flaky.chance = 0
        recorder.record({**POD, "metadata": {**POD["metadata"], "uid": "x"}}, "Normal", "Seen", "at last")
        await recorder.flush()
    assert any(event["message"] == "at last" for event in await stored(world))
