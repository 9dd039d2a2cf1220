"""The machine's clock is set while pods run: what is due in a while stays due in a while."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime, timedelta

import pytest

from homeport.node import clockwatch, memory
from homeport.node.memory import ContainerMemory, Ending, Memory
from homeport.node.retries import Retries

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def test_only_steps_are_told_and_small_ones_add_up() -> None:
    offsets = iter([100.0, 100.2, 100.4, 101.1, 101.1, 3701.1, 0.0])
    steps = clockwatch.Steps(lambda: next(offsets))
    seen = [steps.take() for _ in range(6)]
    assert [None if step is None else round(step.total_seconds(), 1) for step in seen] == [
        *(None, None, 1.1, None, 3600.0, -3701.1)
    ]


def test_the_wall_clock_against_the_machine_s_own() -> None:
    first, second = clockwatch.offset(), clockwatch.offset()
    assert abs(first - second) < 0.1


@pytest.mark.parametrize("step", [HOUR, -HOUR])
def test_spans_keep_their_length(step: timedelta) -> None:
    ending = Ending(kill_at=BEGIN + timedelta(seconds=30), grace=30.0)
    before = Memory(
        {"main": ContainerMemory(ending=ending), "other": ContainerMemory()}, start_time="2026-01-01T00:00:00Z"
    )
    after = memory.stepped(before, step)
    moved = after.of("main").ending
    assert moved is not None
    assert moved.kill_at - (BEGIN + step) == timedelta(seconds=30)
    assert after.of("other") == before.of("other")
    assert after.skew == step.total_seconds()
    assert memory.stepped(after, -step) == before

    async def never(_: object) -> None:
        await asyncio.sleep(1000)

    retries = Retries(lambda: BEGIN, never, lambda: None)
    problem = retries.fail("/sandbox", "ContainerCreating", "no room")
    retries.stepped(step)
    assert retries.problems["/sandbox"].retry_at - (BEGIN + step) == problem.retry_at - BEGIN


class FakeTimer:
    """A timer whose descriptor the test makes readable, as only the machine's administrator could."""

    def __init__(self) -> None:
        self.descriptor, self._set = os.pipe()
        self.renewed = asyncio.Event()

    def set_clock(self) -> None:
        os.write(self._set, b"x")

    def renew(self) -> None:
        os.read(self.descriptor, 1)
        self.renewed.set()

    def close(self) -> None:
        os.close(self.descriptor)
        os.close(self._set)


@pytest.fixture
def timers(monkeypatch: pytest.MonkeyPatch) -> list[FakeTimer]:
    made: list[FakeTimer] = []

    def make() -> FakeTimer:
        made.append(FakeTimer())
        return made[-1]

    monkeypatch.setattr(clockwatch, "Timer", make)
    return made


async def test_a_step_is_heard_of(timers: list[FakeTimer], monkeypatch: pytest.MonkeyPatch) -> None:
    offsets = [0.0]
    monkeypatch.setattr(clockwatch.Steps.__init__, "__defaults__", (lambda: offsets[-1],))
    heard: asyncio.Queue[timedelta] = asyncio.Queue()
    noticed: list[bool] = []
    task = asyncio.create_task(clockwatch.watch(heard.put_nowait, lambda: noticed.append(True)))
    await asyncio.sleep(0)
    offsets.append(3600.0)
    timers[0].set_clock()
    assert await heard.get() == HOUR
    timers[0].renewed.clear()
    timers[0].set_clock()
    await timers[0].renewed.wait()
    assert heard.empty()
    assert len(noticed) == 2, "also where the clock is what it was: the machine may have slept"
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_the_kernel_gives_such_a_timer() -> None:
    timer = clockwatch.Timer()
    timer.renew()
    timer.close()
