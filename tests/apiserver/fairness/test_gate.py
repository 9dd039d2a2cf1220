"""Who is served next, when more want to be than can."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport import metrics
from homeport.apiserver.fairness import gate as fairness
from homeport.apiserver.fairness.classification import Classes, Level, Place, Schema
from homeport.apiserver.fairness.gate import Gate, Shares
from homeport.kube.errors import TooManyRequests

LENGTH = 1000


def gate(starts: int = 8, in_flight: int = 600, queued: int = LENGTH) -> Turns:
    return Turns(starts, Level("all", nominal=in_flight, most=in_flight, per_flow=queued, waiting_most=100 * queued))


class Turns:
    """A gate, entered by the name of a flow: of the first level, unless it says another's (``level/flow``)."""

    def __init__(self, starts: int, *levels: Level, in_flight: int = 600) -> None:
        self.schemas = {level.name: Schema(level.name, level) for level in levels}
        self.first = levels[0].name
        classes = Classes(self.schemas.values())
        self.gate = Gate(Shares(starts=starts, in_flight=in_flight), classes, levels, metrics.Registry())

    def place(self, flow: str) -> Place:
        level, _, own = flow.rpartition("/")
        return Place(self.schemas[level or self.first], (level or self.first, own))

    async def enter(self, flow: str) -> None:
        await self.gate.enter(self.place(flow))

    def leave(self, flow: str = "") -> None:
        self.gate.leave(self.place(flow))


@asynccontextmanager
async def seat(gate: Turns, flow: str) -> AsyncIterator[None]:
    await gate.enter(flow)
    try:
        yield
    finally:
        gate.leave(flow)


async def test_a_greedy_flow_delays_another_by_a_turn_and_not_by_its_queue() -> None:
    turns = gate(starts=2)
    order: list[str] = []

    async def request(flow: str) -> None:
        async with seat(turns, flow):
            order.append(flow)

    greedy = [asyncio.create_task(request("greedy")) for _ in range(100)]
    await asyncio.sleep(0)
    await asyncio.gather(*greedy[:2], request("modest"))
    assert order.index("modest") <= 6
    await asyncio.gather(*greedy)
    assert len(order) == 101


async def test_flows_that_wait_take_turns() -> None:
    turns = gate(starts=1, in_flight=1)
    order: list[str] = []

    async def request(flow: str) -> None:
        async with seat(turns, flow):
            order.append(flow)

    await turns.enter("first")
    waiting = [asyncio.create_task(request(flow)) for flow in ("a", "a", "a", "b", "c", "b")]
    await asyncio.sleep(0)
    turns.leave()
    await asyncio.gather(*waiting)
    assert order == ["a", "b", "c", "a", "b", "a"]


async def test_a_full_queue_refuses_with_a_time_to_come_back() -> None:
    turns = gate(starts=1, in_flight=1, queued=2)
    await turns.enter("first")
    waiting = [asyncio.create_task(turns.enter("greedy")) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(TooManyRequests) as refused:
        await turns.enter("greedy")
    assert refused.value.retry_after == 1
    other = asyncio.create_task(turns.enter("modest"))
    for _ in range(3):
        turns.leave()
        await asyncio.sleep(0.001)
    await asyncio.gather(*waiting, other)


async def test_no_more_are_worked_on_than_allowed_and_none_is_forgotten() -> None:
    turns = gate(starts=4, in_flight=3)
    running = most = 0

    async def request(flow: str) -> None:
        nonlocal running, most
        async with seat(turns, flow):
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1

    await asyncio.gather(*(request(str(number % 5)) for number in range(200)))
    assert most == 3
    assert running == 0


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=30), st.integers(1, 3))
def test_clients_that_go_while_they_wait_take_no_seat(requests: list[tuple[str, bool]], seats: int) -> None:
    async def run() -> None:
        turns = gate(starts=2, in_flight=seats)
        served: list[str] = []

        async def request(flow: str) -> None:
            async with seat(turns, flow):
                served.append(flow)
                await asyncio.sleep(0)

        tasks = [(asyncio.create_task(request(flow)), goes) for flow, goes in requests]
        await asyncio.sleep(0)
        for task, goes in tasks:
            if goes:
                task.cancel()
            await asyncio.sleep(0)
        await asyncio.gather(*(task for task, _ in tasks), return_exceptions=True)
        async with asyncio.timeout(1):
            for _ in range(seats):  # every seat can be had again
                await turns.enter("after")

    asyncio.run(run())


async def test_a_level_keeps_its_seats_and_borrows_those_that_others_lend() -> None:
    own = Level("own", nominal=2, reserved=2)
    other = Level("other", nominal=4, reserved=1, per_flow=9, waiting_most=9)
    turns = Turns(100, own, other, in_flight=6)
    for _ in range(4):
        await turns.enter("other/a")
    waiting = asyncio.create_task(turns.enter("other/a"))
    await asyncio.sleep(0.01)
    assert not waiting.done(), "what is reserved can't be borrowed"
    own.reserved = 0
    turns.gate.arrange(turns.gate.classes, (own, other))
    await waiting
    await turns.enter("own/b")
    await turns.enter("own/b")
    assert (own.executing, other.executing) == (2, 5)


async def test_a_level_without_queues_refuses_what_has_no_seat() -> None:
    turns = Turns(100, Level("all", nominal=1, most=1, queues=False))
    await turns.enter("a")
    with pytest.raises(TooManyRequests):
        await turns.enter("b")
    turns.leave()
    await turns.enter("b")


async def test_levels_take_turns_and_exempt_ones_need_no_seat() -> None:
    turns = Turns(1, Level("busy", nominal=50, per_flow=99, waiting_most=99), Level("exempt", exempt=True))
    order: list[str] = []

    async def request(flow: str) -> None:
        async with seat(turns, flow):
            order.append(flow)

    tasks = [asyncio.create_task(request("busy/a")) for _ in range(20)]
    await asyncio.sleep(0)
    await request("exempt/b")
    assert order.index("exempt/b") <= 4
    await asyncio.gather(*tasks)


async def test_nobody_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fairness, "LONGEST_WAIT", 0.01)
    turns = gate(in_flight=1)
    await turns.enter("a")
    with pytest.raises(TooManyRequests):
        await turns.enter("b")
    turns.leave()
    await turns.enter("b")
