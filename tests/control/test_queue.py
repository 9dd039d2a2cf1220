from __future__ import annotations

import asyncio
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.control.loop import KeyedLoop
from homeport.control.queue import WorkQueue
from homeport.kube.errors import Conflict, HomeportError, Permanent, Superseded


async def test_a_key_added_twice_comes_once() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    queue.add("a")
    assert await queue.get() == "a"
    assert len(queue) == 0


async def test_a_key_added_while_worked_on_comes_again_afterwards() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    key = await queue.get()
    queue.add("a")
    assert len(queue) == 0
    queue.done(key)
    assert await queue.get() == "a"


async def test_delays_double_up_to_the_limit_and_start_anew_after_success() -> None:
    queue: WorkQueue[str] = WorkQueue(base=0.005, limit=1000.0)
    delays = [queue.add_rate_limited("a") for _ in range(20)]
    assert delays[:4] == [0.005, 0.01, 0.02, 0.04]
    assert delays[-1] == 1000.0
    queue.forget("a")
    assert queue.add_rate_limited("a") == 0.005
    queue.close()


async def test_of_several_delayed_adds_the_earliest_stands() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add_after("a", 60)
    queue.add_after("a", 0.01)
    queue.add_after("a", 30)
    async with asyncio.timeout(5):
        assert await queue.get() == "a"
    queue.done("a")
    await asyncio.sleep(0)
    assert queue.idle


async def test_taking_a_key_stops_its_timer() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add_after("a", 0.02)
    queue.add("a")
    queue.done(await queue.get())
    await asyncio.sleep(0.05)
    assert len(queue) == 0


async def test_a_cancelled_worker_passes_its_wake_up_on() -> None:
    queue: WorkQueue[str] = WorkQueue()
    first = asyncio.create_task(queue.get())
    second = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add("a")
    first.cancel()
    async with asyncio.timeout(5):
        assert await second == "a"
    with contextlib.suppress(asyncio.CancelledError):
        await first


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=60))
def test_whatever_the_order_no_key_is_lost_or_worked_on_twice_at_once(steps: list[tuple[str, bool]]) -> None:
    """Steps either add a key or let a worker take or finish one."""

    async def check() -> None:
        queue: WorkQueue[str] = WorkQueue()
        working: set[str] = set()
        owed: set[str] = set()
        for key, add in steps:
            if add:
                queue.add(key)
                owed.add(key)
            elif len(queue):
                taken = await queue.get()
                assert taken not in working
                working.add(taken)
                owed.discard(taken)
            elif working:
                finished = working.pop()
                queue.done(finished)
        for finished in list(working):
            queue.done(finished)
        while len(queue):
            taken = await queue.get()
            owed.discard(taken)
            queue.done(taken)
        assert not owed
        assert queue.idle

    asyncio.run(check())


async def run_until(loop: KeyedLoop[str], condition: asyncio.Event) -> None:
    task = asyncio.create_task(loop.run())
    try:
        async with asyncio.timeout(5):
            await condition.wait()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_a_failing_key_is_tried_again_until_it_succeeds() -> None:
    calls: list[str] = []
    done = asyncio.Event()

    async def reconcile(key: str) -> None:
        calls.append(key)
        if len(calls) < 4:
            raise HomeportError("not yet")
        done.set()

    loop: KeyedLoop[str] = KeyedLoop("test", reconcile)
    loop.queue.add("a")
    await run_until(loop, done)
    assert calls == ["a"] * 4
    assert loop.queue.failures("a") <= 3


async def test_a_permanent_error_is_not_tried_again() -> None:
    calls: list[str] = []
    errors: list[Exception] = []
    done = asyncio.Event()

    async def reconcile(key: str) -> None:
        calls.append(key)
        if key == "last":
            done.set()
            return
        raise Permanent("never")

    loop: KeyedLoop[str] = KeyedLoop("test", reconcile, failed=lambda key, error: errors.append(error))
    loop.queue.add("a")
    loop.queue.add_after("last", 0.05)
    await run_until(loop, done)
    assert calls == ["a", "last"]
    assert isinstance(errors[0], Permanent)


async def test_a_bug_is_reported_and_retried(caplog: pytest.LogCaptureFixture) -> None:
    calls: list[str] = []
    done = asyncio.Event()

    async def reconcile(key: str) -> None:
        calls.append(key)
        if len(calls) == 1:
            raise KeyError("spec")
        done.set()

    loop: KeyedLoop[str] = KeyedLoop("test", reconcile)
    loop.queue.add("a")
    await run_until(loop, done)
    assert "KeyError" in caplog.text


async def test_a_refused_key_waits_until_it_is_added_again() -> None:
    calls: list[str] = []
    open_gate = False
    done = asyncio.Event()

    async def reconcile(key: str) -> None:
        calls.append(key)
        done.set()

    loop: KeyedLoop[str] = KeyedLoop("test", reconcile, admit=lambda key: open_gate)
    loop.queue.add("a")
    task = asyncio.create_task(loop.run())
    await asyncio.sleep(0.01)
    assert calls == []
    open_gate = True
    loop.queue.add("a")
    async with asyncio.timeout(5):
        await done.wait()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_what_comes_later_can_be_hastened() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add_after("a", 3600)
    queue.add_after("b", 7200)
    assert queue.idle
    queue.hasten()
    assert [await queue.get(), await queue.get()] == ["a", "b"]


@pytest.mark.parametrize(
    ("error", "failures", "levels"),
    [
        (Superseded("changed meanwhile"), 4, {"DEBUG"}),
        (Conflict("the object has been modified"), 4, {"DEBUG"}),
        (Superseded("changed meanwhile"), 12, {"DEBUG", "WARNING"}),
        (HomeportError("no route to host"), 4, {"INFO", "WARNING", "DEBUG"}),
    ],
)
async def test_two_writers_that_meet_are_no_news(
    error: Exception, failures: int, levels: set[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "homeport.control.loop")
    left = failures

    async def reconcile(key: str) -> None:
        nonlocal left
        left -= 1
        if left >= 0:
            raise error

    loop: KeyedLoop[str] = KeyedLoop("test", reconcile)
    loop.queue.add("a")
    running = asyncio.create_task(loop.run())
    while left >= 0:
        loop.queue.hasten()
        await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert {record.levelname for record in caplog.records if record.name == "homeport.control.loop"} == levels


async def test_the_attempts_of_a_second_are_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    """Nine failures take 2.6 s; the first warning comes with the third, the next when a second lies between two."""
    done = asyncio.Event()
    caplog.set_level("INFO", "homeport.control.loop")

    async def reconcile(key: str) -> None:
        if loop.queue.failures(key) == 9:
            done.set()
            return
        asyncio.get_running_loop().call_soon(loop.queue.hasten)
        raise HomeportError("exceeded quota")

    loop: KeyedLoop[str] = KeyedLoop("test", reconcile)
    loop.queue.add("a")
    await run_until(loop, done)
    told = [record.message.rpartition("again in ")[2] for record in caplog.records if record.levelname == "WARNING"]
    assert told == ["0.02 s", "1.28 s"]
