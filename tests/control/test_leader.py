from __future__ import annotations

import asyncio
import contextlib
from typing import Any, cast

import pytest

import support
from homeport.client.client import Client
from homeport.control.leader import LeaderElector
from homeport.kube import core
from homeport.kube.errors import Forbidden
from homeport.kube.meta import spec
from virtual_time import now


def elector(world: support.World, identity: str, client: Client | None = None) -> LeaderElector:
    return LeaderElector(client or world.client, "default", "lock", identity, now=now)


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


async def end(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_one_leads_and_the_next_takes_over_when_it_ends(world: support.World) -> None:
    one, two = elector(world, "one"), elector(world, "two")
    first = asyncio.create_task(one.run(forever))
    async with asyncio.timeout(60):
        await one.leading.wait()
    second = asyncio.create_task(two.run(forever))
    await asyncio.sleep(100)  # longer than a lease: it is renewed
    assert not two.leading.is_set()
    await end(first)
    async with asyncio.timeout(60):
        await two.leading.wait()
    lease = await world.client.get(core.LEASE.resource, "lock", "default")
    assert spec(lease)["holderIdentity"] == "two"
    assert spec(lease)["leaseTransitions"] >= 1
    await end(second)


async def test_one_that_vanished_loses_its_lease(world: support.World) -> None:
    dead = elector(world, "dead")
    assert await dead._try()
    alive = elector(world, "alive")
    task = asyncio.create_task(alive.run(forever))
    await asyncio.sleep(12)
    assert not alive.leading.is_set()
    async with asyncio.timeout(10):
        await alive.leading.wait()
    await end(task)


async def test_who_can_not_renew_stops_working(world: support.World) -> None:
    flaky = support.FlakyTransport(world.transport, seed=0, chance=0.0)
    cut_off = elector(world, "one", Client(flaky))
    stopped = asyncio.Event()

    async def work() -> None:
        try:
            await forever()
        finally:
            stopped.set()

    task = asyncio.create_task(cut_off.run(work))
    async with asyncio.timeout(60):
        await cut_off.leading.wait()
        flaky.chance = 1.0
        await stopped.wait()
        assert not cut_off.leading.is_set()
        flaky.chance = 0.0
        await cut_off.leading.wait()
    await end(task)


async def test_the_end_and_the_errors_of_the_work_come_out(world: support.World) -> None:
    async def short() -> None:
        return

    async def broken() -> None:
        raise KeyError("bug")

    async with asyncio.timeout(60):
        await elector(world, "one").run(short)
        with pytest.raises(KeyError):
            await elector(world, "two").run(broken)


async def test_times_that_make_no_sense(world: support.World) -> None:
    with pytest.raises(ValueError, match="retry < renew"):
        LeaderElector(world.client, "default", "x", "me", lease_seconds=5, renew=10)


class Lacking:
    """A client whose account may not do one thing to leases, as long as `verb` names it."""

    def __init__(self, client: Client, verb: str) -> None:
        self._client = client
        self.verb = verb

    def __getattr__(self, verb: str) -> Any:
        if verb == self.verb:
            raise Forbidden(f'cannot {verb} resource "leases"')
        return getattr(self._client, verb)


@pytest.mark.parametrize("verb", ["get", "create"])
async def test_a_missing_right_is_told_of_once_until_it_is_granted(
    world: support.World, caplog: pytest.LogCaptureFixture, verb: str
) -> None:
    lacking = Lacking(world.client, verb)
    waiting = elector(world, "one", cast(Client, lacking))
    task = asyncio.create_task(waiting.run(forever))
    await asyncio.sleep(60)  # virtual: many retries
    assert not waiting.leading.is_set()
    assert f'cannot {verb} resource "leases"' in waiting.refusal
    assert "needs get, create and update of leases.coordination.k8s.io in the namespace default" in waiting.refusal
    assert [record.getMessage() for record in caplog.records].count(waiting.refusal) == 1
    lacking.verb = ""
    async with asyncio.timeout(60):
        await waiting.leading.wait()
    assert not waiting.refusal
    await end(task)


async def test_who_loses_the_right_while_leading_stops_and_says_so(world: support.World) -> None:
    lacking = Lacking(world.client, "")
    leader = elector(world, "one", cast(Client, lacking))
    task = asyncio.create_task(leader.run(forever))
    async with asyncio.timeout(60):
        await leader.leading.wait()
        lacking.verb = "replace"
        await asyncio.sleep(30)
        assert not leader.leading.is_set()
        assert 'cannot replace resource "leases"' in leader.refusal
        lacking.verb = ""
        await leader.leading.wait()
    assert not leader.refusal
    await end(task)
