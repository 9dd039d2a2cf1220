from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import support
from homeport.client.client import Client
from homeport.components.system.disruption import counting
from homeport.components.system.disruption.controller import DisruptionBudgets
from homeport.control.events import EventRecorder
from homeport.control.informer import Informers
from homeport.kube import core
from homeport.kube.core import disruption
from homeport.kube.errors import TooManyRequests
from homeport.kube.meta import Object, find_condition, timestamp
from homeport.kube.selector import Selector
from virtual_time import now

BUDGET, POD, SET = core.POD_DISRUPTION_BUDGET.resource, core.POD.resource, core.REPLICA_SET.resource
NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
CONTAINERS = [{"name": "main", "image": "python"}]
LABELS = {"app": "web"}


@asynccontextmanager
async def counted(world: support.World, client: Client | None = None) -> AsyncIterator[None]:
    client = client or world.client
    informers, recorder = Informers(client), EventRecorder(client, "test", now=now)
    part = DisruptionBudgets(client, informers, recorder, now=now)
    async with support.running(informers.run(), recorder.run(), part.run()):
        await part.ready.wait()
        yield


def budget(name: str = "web", **spec: Any) -> Object:
    return core.POD_DISRUPTION_BUDGET.new(name, "default", spec={"selector": {"matchLabels": LABELS}, **spec})


async def make_set(world: support.World, name: str = "web", replicas: int = 3, **meta: Any) -> Object:
    template = {"metadata": {"labels": LABELS}, "spec": {"containers": CONTAINERS}}
    spec = {"replicas": replicas, "selector": {"matchLabels": LABELS}, "template": template}
    return await world.client.create(SET, core.REPLICA_SET.new(name, "default", metadata=meta, spec=spec))


async def make_pod(
    world: support.World, name: str, owner: Object | None = None, *, ready: bool = True, phase: str = "Running"
) -> None:
    references = [{key: owner[key] for key in ("apiVersion", "kind")} | {
        "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"], "controller": True
    }] if owner else []  # fmt: skip
    meta = {"labels": LABELS, "ownerReferences": references}
    await world.client.create(POD, core.POD.new(name, "default", metadata=meta, spec={"containers": CONTAINERS}))
    await set_ready(world, name, ready, phase)


async def set_ready(world: support.World, name: str, ready: bool, phase: str = "Running") -> None:
    condition = {"type": "Ready", "status": str(ready), "lastTransitionTime": timestamp(now())}
    await world.set_status(POD, name, "default", phase=phase, conditions=[condition])


async def evict(world: support.World, name: str, **options: Any) -> Object:
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": "default"}}
    return await world.client.create(POD, body | options, subresource="eviction")


async def status(world: support.World, name: str = "web", **wanted: Any) -> Object:
    """The budget's status, once it says what is wanted."""

    async def there() -> Object | None:
        found: Object = (await world.client.get(BUDGET, name, "default"))["status"]
        return found if found.get("conditions") and wanted.items() <= found.items() else None

    found: Object = await world.eventually(there)
    return found


async def event(world: support.World, reason: str) -> Object:
    async def there() -> Object | None:
        events = (await world.client.list(core.EVENT.resource, "default")).items
        return next((one for one in events if one["reason"] == reason), None)

    found: Object = await world.eventually(there)
    return found


@pytest.mark.parametrize(
    ("spec", "desired", "expected"),
    [
        ({"maxUnavailable": 1}, 3, 4),
        ({"maxUnavailable": "30%"}, 2, 4),
        ({"maxUnavailable": 9}, 0, 4),
        ({"minAvailable": "60%"}, 3, 4),
        ({"minAvailable": 2}, 2, 3),
        ({}, 0, 0),
    ],
)
async def test_what_a_budget_asks_for(world: support.World, spec: Object, desired: int, expected: int) -> None:
    owner = await make_set(world, replicas=4)
    for index in range(3):
        await make_pod(world, f"p{index}", owner, ready=index > 0)
    await world.client.create(BUDGET, budget(**spec))
    async with counted(world):
        found = await status(world, desiredHealthy=desired, expectedPods=expected, currentHealthy=2)
        allowed = 2 - desired if expected and desired < 2 else 0
        assert (found["disruptionsAllowed"], found["observedGeneration"]) == (allowed, 1)
        [condition] = found["conditions"]
        assert condition["reason"] == ("SufficientPods" if allowed else "InsufficientPods")


async def test_evictions_go_on_as_pods_are_replaced(world: support.World) -> None:
    owner = await make_set(world, replicas=2)
    for name in ("a", "b"):
        await make_pod(world, name, owner)
    await world.client.create(BUDGET, budget(maxUnavailable=1))
    with pytest.raises(TooManyRequests) as early:  # nobody has counted yet
        await evict(world, "a")
    assert early.value.retry_after == 10
    async with counted(world):
        await status(world, disruptionsAllowed=1)
        await evict(world, "a", deleteOptions={"dryRun": ["All"]})
        assert (await status(world))["disruptionsAllowed"] == 1
        await evict(world, "a")
        with pytest.raises(TooManyRequests) as refused:
            await evict(world, "b")
        [cause] = refused.value.details["causes"]
        assert cause["reason"] == "DisruptionBudget"
        assert cause["message"].startswith("The disruption budget web needs 1 healthy pods and has ")
        await make_pod(world, "c", owner)
        await status(world, disruptionsAllowed=1, currentHealthy=2)
        await evict(world, "b")
        assert await world.names(POD) == ["c"]


@pytest.mark.parametrize("seed", range(3))
async def test_through_a_bad_connection(world: support.World, seed: int) -> None:
    owner = await make_set(world, replicas=6)
    flaky = Client(support.FlakyTransport(world.transport, seed=seed, chance=0.3))
    async with counted(world, flaky):
        await world.client.create(BUDGET, budget(maxUnavailable="50%"))
        for index in range(6):
            await make_pod(world, f"p{index}", owner, ready=index < 2)
        for index in range(2, 6):
            await set_ready(world, f"p{index}", True)
        await make_pod(world, "other", owner)
        await world.client.delete(POD, "other", "default")
        await asyncio.sleep(2000)
        await status(world, expectedPods=6, desiredHealthy=3, currentHealthy=6, disruptionsAllowed=3)


async def test_of_a_deployment_the_deployment_counts(world: support.World) -> None:
    template = {"metadata": {"labels": LABELS}, "spec": {"containers": CONTAINERS}}
    spec = {"replicas": 5, "selector": {"matchLabels": LABELS}, "template": template}
    above = await world.client.create(core.DEPLOYMENT.resource, core.DEPLOYMENT.new("web", "default", spec=spec))
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": above["metadata"]["uid"]}
    owner = await make_set(world, "web-1", 2, ownerReferences=[{**reference, "controller": True}])
    await make_pod(world, "p", owner)
    await world.client.create(BUDGET, budget(maxUnavailable=1))
    async with counted(world):
        await status(world, expectedPods=5, desiredHealthy=4)


async def test_pods_whose_number_nobody_knows_stay(world: support.World) -> None:
    job = {"template": {"spec": {"containers": CONTAINERS, "restartPolicy": "Never"}}}
    owner = await world.client.create(core.JOB.resource, core.JOB.new("j", "default", spec=job))
    await make_pod(world, "p", owner)
    await world.client.create(BUDGET, budget(maxUnavailable=1))
    async with counted(world):
        condition = find_condition((await status(world))["conditions"], "DisruptionAllowed")
        assert condition is not None
        words = "jobs.batch does not implement the scale subresource"
        assert (condition["reason"], condition["message"]) == ("SyncFailed", words)
        assert words in (await event(world, "CalculateExpectedPodCountFailed"))["message"]


async def test_pods_of_nobody_are_told_of(world: support.World) -> None:
    await make_pod(world, "p")
    await world.client.create(BUDGET, budget(maxUnavailable="50%"))
    async with counted(world):
        await status(world, expectedPods=0, disruptionsAllowed=0)
        told = (await event(world, "UnmanagedPods"))["message"]
        labels = "MatchLabels:map[string]string{app: web,},MatchExpressions:[]LabelSelectorRequirement{},"
        assert told.startswith(f"Pods selected by this PodDisruptionBudget (selector: &LabelSelector{{{labels}}}) were")


async def test_an_evicted_pod_that_stays_counts_again(world: support.World) -> None:
    owner = await make_set(world, replicas=1)
    await make_pod(world, "p", owner)
    await world.client.create(BUDGET, budget(minAvailable=0))
    async with counted(world):
        await status(world, disruptionsAllowed=1)
        noted = {"p": timestamp(now())}
        await world.set_status(BUDGET, "web", "default", disruptedPods=noted)
        await status(world, currentHealthy=0, disruptedPods=noted)

        async def back() -> bool:
            found = (await world.client.get(BUDGET, "web", "default"))["status"]
            return found["currentHealthy"] == 1 and "disruptedPods" not in found

        await asyncio.sleep(119)
        assert not await back()
        await world.eventually(back)
        assert (await event(world, "NotDeleted"))["message"].startswith("Pod was expected by PDB default/web")


async def test_a_disruption_that_does_not_come_is_taken_back(world: support.World) -> None:
    await make_pod(world, "p")
    target = {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler", "message": "soon"}
    others = (await world.client.get(POD, "p", "default"))["status"]["conditions"]
    told = [*others, {**target, "lastTransitionTime": timestamp(now())}]
    await world.set_status(POD, "p", "default", conditions=told)
    async with counted(world):

        async def taken_back() -> bool:
            found = (await world.client.get(POD, "p", "default"))["status"]["conditions"]
            known = find_condition(found, "DisruptionTarget")
            return known is not None and known["status"] == "False" and "reason" not in known

        await asyncio.sleep(119)
        assert not await taken_back()
        await world.eventually(taken_back)


@pytest.mark.parametrize(
    ("policy", "healthy", "goes"),
    [("AlwaysAllow", 0, True), ("IfHealthyBudget", 0, False), ("IfHealthyBudget", 1, True), (None, 1, True)],
)
async def test_unhealthy_pods(world: support.World, policy: str | None, healthy: int, goes: bool) -> None:
    await make_pod(world, "sick", ready=False)
    spec = {"minAvailable": 1} | ({"unhealthyPodEvictionPolicy": policy} if policy else {})
    await world.client.create(BUDGET, budget(**spec))
    await world.set_status(
        BUDGET, "web", "default", observedGeneration=1, currentHealthy=healthy, desiredHealthy=1, disruptionsAllowed=0
    )
    if goes:
        await evict(world, "sick")
        assert await world.names(POD) == []
    else:
        with pytest.raises(TooManyRequests):
            await evict(world, "sick")


@pytest.mark.parametrize("phase", ["Pending", "Succeeded", "Failed"])
async def test_who_disrupts_nothing_needs_no_budget(world: support.World, phase: str) -> None:
    await make_pod(world, "p", ready=False, phase=phase)
    await world.client.create(BUDGET, budget(maxUnavailable=0))
    await evict(world, "p")
    assert await world.names(POD) == []


async def test_a_pod_that_is_evicted_says_so(world: support.World) -> None:
    await make_pod(world, "p")
    held = {"metadata": {"finalizers": ["example.com/wait"]}}
    await world.client.patch(POD, "p", "default", held)
    await evict(world, "p")
    found = await world.client.get(POD, "p", "default")
    condition = find_condition(found["status"]["conditions"], "DisruptionTarget")
    assert condition is not None
    del condition["lastTransitionTime"]
    assert condition == {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting",
        "observedGeneration": 1,  # before the deletion, which makes another one
    }


async def test_two_budgets_for_one_pod_are_an_error(world: support.World) -> None:
    await make_pod(world, "p")
    for name in ("one", "two"):
        await world.client.create(BUDGET, budget(name, maxUnavailable=1))
    with pytest.raises(Exception, match="more than one PodDisruptionBudget") as refused:
        await evict(world, "p")
    assert refused.value.to_status()["code"] == 500  # type: ignore[attr-defined]


async def test_an_eviction_is_counted_with_the_pods_end_or_not_at_all(world: support.World) -> None:
    await make_pod(world, "p")
    await world.client.create(BUDGET, budget(minAvailable=0))
    await world.set_status(BUDGET, "web", "default", observedGeneration=1, disruptionsAllowed=1)
    with pytest.raises(Exception, match="Precondition failed"):
        await evict(world, "p", deleteOptions={"preconditions": {"uid": "another"}})
    found = (await world.client.get(BUDGET, "web", "default"))["status"]
    assert (found["disruptionsAllowed"], found.get("disruptedPods")) == (1, None)
    await evict(world, "p")
    found = (await world.client.get(BUDGET, "web", "default"))["status"]
    assert (found["disruptionsAllowed"], list(found["disruptedPods"])) == (0, ["p"])


_pods = st.lists(st.tuples(st.booleans(), st.booleans()), max_size=8)
_amounts = st.one_of(st.integers(0, 9), st.integers(0, 100).map("{}%".format))


@given(_pods, st.sampled_from(["minAvailable", "maxUnavailable"]), _amounts, st.integers(0, 9))
def test_no_eviction_breaks_a_budget(pods: list[tuple[bool, bool]], kind: str, amount: int | str, scale: int) -> None:
    """However many are evicted one after the other: as many stay healthy as have to, if there were as many."""
    made = [
        {
            "metadata": {"name": f"p{index}", "labels": LABELS} | ({"deletionTimestamp": "x"} if going else {}),
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": str(ready)}]},
        }
        for index, (ready, going) in enumerate(pods)
    ]
    one = {"metadata": {"name": "web", "generation": 1}, "spec": {kind: amount}}
    wanted = counting.expectation(one, len(made), scale)
    before = counting.healthy(made, ())
    one["status"] = counting.new_status(one, wanted, before, {}, NOON)
    for pod in made:
        if disruption.is_ready(pod) and "deletionTimestamp" not in pod["metadata"]:
            try:
                one = disruption.charged(one, pod, NOON)
            except TooManyRequests:
                break
    going = counting.evicted(one, made, NOON).since
    assert len(going) <= max(0, before - wanted.healthy)
    assert counting.healthy(made, going) >= min(before, wanted.healthy)
    assert counting.evicted(one, made, NOON + timedelta(minutes=3)).since == {}


async def test_what_one_event_costs_does_not_grow_with_what_is_unrelated(
    world: support.World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody looks at all pods, nor at the selectors of all budgets."""
    looked = 0
    original = Selector.matches

    def matches(self: Selector, labels: Mapping[str, str]) -> bool:
        nonlocal looked
        looked += 1
        return original(self, labels)

    for number in range(40):
        other = budget(f"other-{number}", minAvailable=1)
        other["spec"]["selector"] = {"matchLabels": {"app": f"other-{number}"}}
        await world.client.create(BUDGET, other)
        stranger = core.POD.new(f"other-{number}", "default", spec={"containers": CONTAINERS})
        stranger["metadata"]["labels"] = {"app": f"other-{number}"}
        await world.client.create(POD, stranger)
    await world.client.create(BUDGET, budget(minAvailable=1))
    async with counted(world):
        await make_pod(world, "web-0")
        await world.eventually(lambda: status_is(world, currentHealthy=1))
        monkeypatch.setattr(Selector, "matches", matches)
        await make_pod(world, "web-1")
        await world.eventually(lambda: status_is(world, currentHealthy=2))
    assert 0 < looked < 40


async def status_is(world: support.World, **expected: int) -> bool:
    found = (await world.client.get(BUDGET, "web", "default")).get("status") or {}
    return all(found.get(key) == value for key, value in expected.items())
