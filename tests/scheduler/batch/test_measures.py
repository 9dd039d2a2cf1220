"""What ``/metrics`` shows of the scheduler is what it has done."""

from __future__ import annotations

import msgspec
from ganging import add_group, add_members, member, scheduling_groups
from placing import add_node, bound

import support
from homeport.client.client import Client
from homeport.client.transport import Transport
from homeport.kube import core
from homeport.kube.wire import Request, Response
from homeport.metrics import Registry
from homeport.scheduler.batch.decisions import Decisions, Evict
from homeport.scheduler.batch.measures import Measures


def shown(measures: Measures) -> dict[str, float]:
    """Every line of a number."""
    registry = Registry()
    registry.add(*measures.families())
    lines = (line.rpartition(" ") for line in registry.render().decode().splitlines() if not line.startswith("#"))
    return {name: float(number) for name, _, number in lines}


async def test_what_is_placed_and_what_waits_is_counted(gangs: support.World) -> None:
    await add_node(gangs)
    measures = Measures()
    async with scheduling_groups(gangs, measures=measures):
        await add_group(gangs, members=2)
        await add_members(gangs, "ab")
        await bound(gangs, "a", "b")
        await add_group(gangs, "big", members=9)
        for number in range(9):
            await gangs.client.create(core.POD.resource, member(f"big-{number}", "big"))

        async def told() -> bool:
            return shown(measures).get('volcano_unschedule_task_count{job_id="default/big"}') == 9

        await gangs.eventually(told)
        seen = shown(measures)
        assert seen["volcano_unschedule_job_count"] == 1
        assert seen['volcano_schedule_attempts_total{result="scheduled"}'] == 2
        assert seen['volcano_schedule_attempts_total{result="error"}'] == 0
        assert seen['volcano_task_scheduling_latency_milliseconds_count{stage="Bound"}'] == 2
        assert seen["volcano_e2e_scheduling_latency_milliseconds_count"] >= 2
        assert seen['volcano_queue_allocated_milli_cpu{queue_name="default"}'] == 2000
        assert seen['volcano_queue_allocated_scalar_resources{queue_name="default",resource="pods"}'] == 2
        waiting = [
            seen[f'volcano_queue_pod_group_{phase}_count{{queue_name="default"}}'] for phase in ("inqueue", "pending")
        ]
        assert sum(waiting) >= 1
    assert not [name for name in shown(measures) if "queue_name" in name or "job_id" in name]


class Refusing:
    """A transport to a server that refuses so many bindings."""

    remote = False

    def __init__(self, inner: Transport, bindings: int) -> None:
        self.inner = inner
        self.left = bindings

    async def send(self, request: Request) -> Response:
        if self.left and request.path.endswith("/binding"):
            self.left -= 1
            status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 403, "reason": "Forbidden"}
            return Response(403, {"content-type": "application/json"}, msgspec.json.encode(status))
        return await self.inner.send(request)

    async def close(self) -> None:
        return


async def test_bindings_that_fail_are_errors(gangs: support.World) -> None:
    await add_node(gangs)
    measures = Measures()
    async with scheduling_groups(gangs, Client(Refusing(gangs.transport, 3)), measures=measures):
        await add_group(gangs, members=2)
        await add_members(gangs, "ab")
        await bound(gangs, "a", "b")

        async def counted() -> bool:
            seen = shown(measures)
            results = [seen[f'volcano_schedule_attempts_total{{result="{one}"}}'] for one in ("error", "scheduled")]
            return results == [3, 2]

        await gangs.eventually(counted)


def test_an_eviction_transaction_is_one_group_that_gets_room() -> None:
    measures = Measures()
    ended = [
        Evict("1", "x", "n", "preempt", by="a"),
        Evict("2", "x", "n", "preempt", by="a"),
        Evict("3", "x", "n", "preempt", by="b"),
        Evict("4", "x", "n", "reclaim", by="c"),
        Evict("5", "x", "n", "stale"),
    ]
    measures.decided(Decisions(evictions=tuple(ended)), 0.01)
    seen = shown(measures)
    assert seen['volcano_eviction_transactions_total{action="preempt"}'] == 2
    assert seen['volcano_eviction_transactions_total{action="reclaim"}'] == 1
    assert seen["volcano_pod_preemption_victims"] == 3
    measures.decided(Decisions(), 0.01)
    assert shown(measures)["volcano_pod_preemption_victims"] == 3
