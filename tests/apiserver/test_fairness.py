"""Who is served next, when more want to be than can."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport import metrics
from homeport.apiserver.fairness import Gate, Shares
from homeport.kube.errors import TooManyRequests


def gate(**shares: int) -> Gate:
    return Gate(Shares(**shares), metrics.Registry())


@asynccontextmanager
async def seat(gate: Gate, flow: str) -> AsyncIterator[None]:
    await gate.enter(flow)
    try:
        yield
    finally:
        gate.leave()


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
