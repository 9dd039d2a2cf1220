"""More important pods in the place of others: who has to go, and that nobody else takes the room meanwhile."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from placing import add_node, bound, pod, scheduling, waiting

import support
from homeport.kube import core
from homeport.kube.meta import Object, find_condition, is_deleting, spec, status, uid
from homeport.kube.selector import from_label_selector
from homeport.scheduler.assign import Assigner, Crowd, Load, lacking
from homeport.scheduler.company import ANTI_AFFINITY_REASON, Resident
from homeport.scheduler.interpod import PodTerm, Rules, Spread
from homeport.scheduler.model import Demand, Node, Pod
from homeport.scheduler.preemption import find_victims
from homeport.scheduler.victims import NO_VICTIMS, Budget, Outcome, Tenant, choose

HOST = "kubernetes.io/hostname"


def demand(cpu: int) -> Demand:
    return Demand(requests=(("cpu", cpu),))


def tenant(name: str, cpu: int, priority: int, started: str = "2026-01-01T00:00:00Z", **labels: str) -> Tenant:
    return Tenant(Pod("default", name, name, priority, started, demand(cpu), labels=labels), started)


def chosen(
    wanted: int, priority: int, nodes: dict[str, list[Tenant]], *budgets: Budget, size: int = 4000
) -> tuple[str, set[str]] | None:
    pairs = []
    for name, tenants in nodes.items():
        load = Load()
        for each in tenants:
            load.add(each.pod.demand)
        pairs.append((Node(name, allocatable={"cpu": size, "pods": 110}), load))
    urgent = Pod("default", "urgent", "urgent", priority, "", demand(wanted))
    found = choose(urgent, pairs, nodes, budgets).eviction
    return None if found is None else (found.node, {victim.pod.name for victim in found.victims})


def test_as_few_as_possible_and_the_least_important() -> None:
    tenants = [
        tenant("a", 1000, 5),
        tenant("b", 1000, 1),
        tenant("c", 1000, 3),
        tenant("d", 1000, 1, "2026-01-02T00:00:00Z"),
    ]
    assert chosen(1000, 10, {"n": tenants}) == ("n", {"d"})  # of the least important the youngest
    assert chosen(2000, 10, {"n": tenants}) == ("n", {"b", "d"})
    assert chosen(4000, 10, {"n": tenants}) == ("n", {"a", "b", "c", "d"})
    assert chosen(4000, 5, {"n": tenants}) is None
    assert chosen(5000, 10, {"n": tenants}) is None
    assert chosen(1000, 1, {"n": tenants}) is None, "equals stay"


def test_the_node_where_it_does_the_least_harm() -> None:
    assert chosen(4000, 9, {"a": [tenant("x", 4000, 5)], "b": [tenant("y", 4000, 3)]}) == ("b", {"y"})
    two = [tenant("x", 2000, 3), tenant("y", 2000, 3)]
    assert chosen(4000, 9, {"a": two, "b": [tenant("z", 4000, 3)]}) == ("b", {"z"})
    later = tenant("late", 4000, 3, "2026-01-03T00:00:00Z")
    assert chosen(4000, 9, {"a": [later], "b": [tenant("early", 4000, 3)]}) == ("a", {"late"})
    assert chosen(1000, 9, {"a": [tenant("x", 4000, 5)], "b": []}) is None, "there is room"


def test_budgets_are_heeded_where_that_is_possible() -> None:
    selector = from_label_selector({"matchLabels": {"app": "db"}})
    guarded, free = tenant("guarded", 2000, 1, app="db"), tenant("free", 2000, 2)
    none, one = Budget("default", selector, 0), Budget("default", selector, 1)
    assert chosen(2000, 9, {"n": [guarded, free]}) == ("n", {"guarded"})
    assert chosen(2000, 9, {"n": [guarded, free]}, none) == ("n", {"free"})
    assert chosen(2000, 9, {"n": [guarded, free]}, one) == ("n", {"guarded"})
    assert chosen(4000, 9, {"n": [guarded, free]}, none) == ("n", {"guarded", "free"})
    assert chosen(2000, 9, {"n": [guarded, free]}, Budget("other", selector, 0)) == ("n", {"guarded"})


@given(
    st.lists(st.tuples(st.integers(1, 2000), st.integers(0, 9)), max_size=8), st.integers(1, 5000), st.integers(0, 10)
)
def test_whoever_goes_has_to(pods: list[tuple[int, int]], wanted: int, priority: int) -> None:
    size = max(sum(cpu for cpu, _ in pods), 1)
    tenants = [tenant(f"p{index}", cpu, rank) for index, (cpu, rank) in enumerate(pods)]
    found = chosen(wanted, priority, {"n": tenants}, size=size)
    could = wanted <= sum(cpu for cpu, rank in pods if rank < priority)
    assert (found is not None) == could
    if found is None:
        return
    node, staying = (
        Node("n", allocatable={"cpu": size, "pods": 110}),
        [t for t in tenants if t.pod.name not in found[1]],
    )
    assert all(t.pod.priority < priority for t in tenants if t.pod.name in found[1])

    def fits(kept: list[Tenant]) -> bool:
        load = Load(requested=Counter(cpu=sum(dict(t.pod.demand.requests)["cpu"] for t in kept)))
        return not lacking(node, load, demand(wanted))

    assert fits(staying)
    assert not any(fits([*staying, t]) for t in tenants if t.pod.name in found[1]), "nobody too many"


async def classes(world: support.World, *, polite: bool = False, **values: int) -> None:
    for name, value in values.items():
        body: Object = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}}
        policy = "Never" if polite else "PreemptLowerPriority"
        await world.client.create(core.PRIORITY_CLASS.resource, body | {"value": value, "preemptionPolicy": policy})


async def create(world: support.World, name: str, priority: str, cpu: str, **spec: Any) -> Object:
    return await world.client.create(core.POD.resource, pod(name, cpu, priorityClassName=priority, **spec))


async def leaving(world: support.World, name: str) -> bool:
    found = await world.get(core.POD.resource, name, "default")
    return found is None or is_deleting(found)


async def remove(world: support.World, name: str) -> None:
    """As the node does once the containers have ended."""
    await world.client.delete(core.POD.resource, name, "default", grace_period=0)


async def test_a_more_important_pod_gets_the_place_of_others_and_nobody_else_does(world: support.World) -> None:
    await add_node(world)
    await classes(world, low=1, middle=10, high=100)
    async with scheduling(world) as scheduler:
        for name in ("a", "b"):
            await create(world, name, "low", "2")
        await bound(world, "a", "b")
        urgent = await create(world, "urgent", "high", "4")
        for name in ("a", "b"):
            await world.eventually(lambda name=name: leaving(world, name))
        waiting = await world.client.get(core.POD.resource, "urgent", "default")
        assert status(waiting)["nominatedNodeName"] == "n"
        victim = await world.client.get(core.POD.resource, "a", "default")
        condition = find_condition(status(victim)["conditions"], "DisruptionTarget")
        assert condition is not None
        assert condition["reason"] == "PreemptionByScheduler"
        # One has gone, and a pod comes that would fit already.
        await remove(world, "a")
        await create(world, "thief", "middle", "2")
        await asyncio.sleep(1)
        await bound(world, "b")
        await remove(world, "b")
        await bound(world, "urgent")
        await scheduler._recorder.flush()
        listed = await world.client.list(core.EVENT.resource, "default")
        told = [event["message"] for event in listed.items if event["reason"] == "Preempted"]
        assert told == [f"Preempted by pod {uid(urgent)} on node n"] * 2


async def test_who_must_not_preempt_waits(world: support.World) -> None:
    await add_node(world)
    await classes(world, polite=True, low=1, high=100)
    async with scheduling(world):
        await create(world, "a", "low", "4")
        await bound(world, "a")
        await create(world, "polite", "high", "4")
        await create(world, "equal", "low", "4")
        await asyncio.sleep(5)
        assert not await leaving(world, "a")


async def test_only_as_many_go_as_are_in_the_way(world: support.World) -> None:
    await add_node(world)
    await classes(world, low=1, middle=10, high=100)
    async with scheduling(world):
        for name, priority in (("a", "low"), ("b", "middle"), ("c", "middle"), ("d", "low")):
            await create(world, name, priority, "1")
        await bound(world, "a", "b", "c", "d")
        await create(world, "urgent", "high", "2")
        for name in ("a", "d"):
            await world.eventually(lambda name=name: leaving(world, name))
        await asyncio.sleep(5)
        assert not await leaving(world, "b")
        assert not await leaving(world, "c")
        for name in ("a", "d"):
            await remove(world, name)
        await bound(world, "b", "c", "urgent")


def test_a_pod_that_is_counted_as_disrupted_already_takes_nothing_of_its_budget() -> None:
    selector = from_label_selector({"matchLabels": {"app": "db"}})
    one, two = tenant("one", 2000, 1, app="db"), tenant("two", 2000, 2, app="db")
    assert chosen(2000, 9, {"n": [one, two]}, Budget("default", selector, 0)) == ("n", {"one"})
    assert chosen(2000, 9, {"n": [one, two]}, Budget("default", selector, 0, frozenset({"two"}))) == ("n", {"two"})


def test_company_decides_who_has_to_go() -> None:
    term = PodTerm(HOST, from_label_selector({"matchLabels": {"app": "db"}}), frozenset({"default"}))
    urgent = Pod("default", "u", "u", 9, "", demand(100), rules=Rules(anti_affinity=(term,)))
    db, web, tough = tenant("db", 100, 1, app="db"), tenant("web", 100, 0), tenant("tough", 100, 9, app="db")

    def outcome(there: dict[str, list[Tenant]]) -> Outcome:
        nodes = [Node(name, {HOST: name}, allocatable={"cpu": 4000, "pods": 110}) for name in there]
        residents = [Resident(name, one.pod) for name, tenants in there.items() for one in tenants]
        assigner = Assigner(nodes, {}, Crowd(residents))
        return find_victims(urgent, assigner, there, ())

    found = outcome({"a": [db, web], "b": [tough, web]}).eviction
    assert found is not None
    assert (found.node, found.victims) == ("a", (db,)), "neither the less important one, nor where it does not help"
    assert outcome({"b": [tough, web]}).reasons == {ANTI_AFFINITY_REASON: 1}
    assert outcome({"b": [tough]}).reasons == {NO_VICTIMS: 1}


def test_as_many_go_as_make_a_pod_fit_its_spread() -> None:
    selector = from_label_selector({"matchLabels": {"app": "db"}})
    spread = Rules(spread=(Spread(HOST, selector, max_skew=1, hard=True),))
    urgent = Pod("default", "u", "u", 9, "", demand(100), labels={"app": "db"}, rules=spread)
    there = {"a": [tenant("one", 100, 1, app="db"), tenant("two", 100, 2, app="db"), tenant("web", 100, 0)]}
    nodes = [
        Node("a", {HOST: "a"}, allocatable={"cpu": 4000, "pods": 110}),
        Node("b", {HOST: "b"}, allocatable={"cpu": 4000, "pods": 110}, unschedulable=True),
    ]
    assigner = Assigner(nodes, {}, Crowd([Resident("a", each.pod) for each in there["a"]]))
    outcome = find_victims(urgent, assigner, there, ())
    assert outcome.eviction is not None
    assert {victim.pod.name for victim in outcome.eviction.victims} == {"one", "two"}
    calmer = replace(urgent, rules=Rules(spread=(Spread(HOST, selector, max_skew=2, hard=True),)))
    outcome = find_victims(calmer, assigner, there, ())
    assert outcome.eviction is not None
    assert {victim.pod.name for victim in outcome.eviction.victims} == {"one"}


async def test_what_is_said_of_those_who_wait(world: support.World) -> None:
    await add_node(world)
    await classes(world, low=1, high=100)
    await classes(world, polite=True, meek=50)
    async with scheduling(world):
        await create(world, "a", "low", "4")
        await bound(world, "a")
        for name, priority, cpu in (
            ("meek", "meek", "4"),
            ("equal", "low", "4"),
            ("huge", "high", "8"),
        ):
            await create(world, name, priority, cpu)
        lead, none = "0/1 nodes are available: 1 Insufficient cpu. preemption:", "0/1 nodes are available: 1"
        await waiting(world, "meek", f"{lead} not eligible due to preemptionPolicy=Never.")
        await waiting(world, "equal", f"{lead} {none} No preemption victims found for incoming pod.")
        await waiting(world, "huge", f"{lead} {none} Preemption is not helpful for scheduling.")
        assert not await leaving(world, "a")
        await create(world, "urgent", "high", "4")
        await waiting(world, "urgent", "0/1 nodes are available: 1 Insufficient cpu.")
        assert await leaving(world, "a")


async def test_a_nomination_outlives_the_scheduler(world: support.World) -> None:
    await add_node(world)
    await classes(world, low=1, middle=10, high=100)
    async with scheduling(world):
        for name in ("a", "b"):
            await create(world, name, "low", "2")
        await bound(world, "a", "b")
        await create(world, "urgent", "high", "4")
        for name in ("a", "b"):
            await world.eventually(lambda name=name: leaving(world, name))
    await remove(world, "a")
    async with scheduling(world):
        await create(world, "thief", "middle", "2")
        said = "not eligible due to a terminating pod on the nominated node."
        await waiting(world, "urgent", f"0/1 nodes are available: 1 Insufficient cpu. preemption: {said}")
        assert spec(await world.client.get(core.POD.resource, "thief", "default")).get("nodeName") is None
        await remove(world, "b")
        await bound(world, "urgent")


async def test_a_kept_place_goes_to_one_that_is_more_important(world: support.World) -> None:
    await add_node(world)
    await classes(world, low=1, middle=10, high=100)
    async with scheduling(world):
        await create(world, "a", "low", "4")
        await bound(world, "a")
        await create(world, "first", "middle", "4")
        await world.eventually(lambda: leaving(world, "a"))
        await create(world, "second", "high", "4")
        await remove(world, "a")
        await bound(world, "second")
        await create(world, "third", "middle", "8")
        await waiting_for_nothing(world, "first")


async def waiting_for_nothing(world: support.World, name: str) -> None:
    """No place is kept for it any more."""

    async def check() -> bool:
        return not status(await world.client.get(core.POD.resource, name, "default")).get("nominatedNodeName")

    await world.eventually(check)


async def test_an_empty_selector_of_a_budget_covers_all_pods_of_its_namespace(world: support.World) -> None:
    for name, selector in (("all", {}), ("none", None)):
        made = core.POD_DISRUPTION_BUDGET.new(name, "default", spec={"minAvailable": 1, "selector": selector})
        await world.client.create(core.POD_DISRUPTION_BUDGET.resource, made)
    async with scheduling(world) as scheduler:
        budgets = await scheduler._preemption.budgets()
    assert [budget.covers(tenant("any", 1, 1).pod) for budget in budgets] == [True]
