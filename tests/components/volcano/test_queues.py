"""The states of queues, and the rules of queues and of the groups in them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import support
from homeport.components import volcano
from homeport.components.volcano import queues
from homeport.control.diff import merged
from homeport.control.informer import Informers
from homeport.control.manager import Manager
from homeport.control.testing import observed
from homeport.kube import core, meta
from homeport.kube.errors import Forbidden
from homeport.kube.meta import Object
from homeport.kube.scheduling import VOLCANO_POD_GROUP, VOLCANO_QUEUE, names


@pytest.mark.parametrize(
    ("before", "action", "has_groups", "after"),
    [
        ("", "", True, "Open"),
        ("Open", "", False, "Open"),
        ("Open", "CloseQueue", True, "Closing"),
        ("Open", "CloseQueue", False, "Closed"),
        ("Closing", "", True, "Closing"),
        ("Closing", "", False, "Closed"),
        ("Closing", "OpenQueue", True, "Open"),
        ("Closed", "CloseQueue", True, "Closed"),
        ("Closed", "", True, "Closed"),
        ("Closed", "OpenQueue", False, "Open"),
        ("Nonsense", "", False, "Unknown"),
    ],
)
def test_states(before: str, action: str, has_groups: bool, after: str) -> None:
    assert queues.state(before, action, has_groups) == after


@pytest.fixture
async def served() -> AsyncIterator[support.World]:
    async with support.world(volcano.KINDS, hooks=volcano.ADMISSION) as made:
        yield made


def queue(name: str = "one", **spec: Any) -> Object:
    return VOLCANO_QUEUE.new(name, spec=spec)


def group(**spec: Any) -> Object:
    return VOLCANO_POD_GROUP.new("gang", "default", spec=spec)


@pytest.fixture
async def kept(served: support.World) -> AsyncIterator[support.World]:
    """With the controller of queues."""
    informers = Informers(served.client)
    manager = Manager(served.client, (volcano.QUEUES,), informers=informers)
    async with support.running(informers.run(), manager.run()):
        await manager.ready.wait()
        yield served


async def order(world: support.World, name: str, action: str, *, uid: str = "") -> None:
    found = await world.client.get(VOLCANO_QUEUE.resource, name)
    target = {"apiVersion": "scheduling.volcano.sh/v1beta1", "kind": "Queue", "name": name}
    target["uid"] = uid or meta.uid(found)
    command = volcano.COMMAND.new("", "default", action=action, target=target)
    command["metadata"] = {"generateName": "order-", "namespace": "default"}
    await world.client.create(volcano.COMMAND.resource, command)


async def reached(world: support.World, **states: str) -> None:
    async def check() -> bool:
        found = {meta.name(one): queues.state_of(one) for one in await listed(world)}
        return all(found.get(name) == state for name, state in states.items())

    await world.eventually(check)


async def obeyed(world: support.World) -> None:
    """No command is left."""

    async def check() -> bool:
        left = (await world.client.list(volcano.COMMAND.resource, "default")).items
        return all(meta.is_deleting(one) for one in left)  # nobody collects garbage here

    await world.eventually(check)


async def ignored(world: support.World, text: str) -> None:
    """The event is there that says so."""

    async def check() -> bool:
        events = (await world.client.list(core.EVENT.resource)).items
        return any(one["reason"] == "CommandIgnored" and text in one["message"] for one in events)

    await world.eventually(check)


async def test_a_queue_is_closed_and_opened_by_commands(kept: support.World) -> None:
    await kept.client.create(VOLCANO_QUEUE.resource, queue("one"))
    waiting = await kept.client.create(VOLCANO_POD_GROUP.resource, group(queue="one"))
    await reached(kept, one="Open")
    await order(kept, "one", "CloseQueue")
    await reached(kept, one="Closing")
    late = {**group(queue="one"), "metadata": {"name": "late", "namespace": "default"}}
    with pytest.raises(Forbidden, match="can only submit PodGroup to queue with state `Open`"):
        await kept.client.create(VOLCANO_POD_GROUP.resource, late)
    await kept.client.delete(VOLCANO_POD_GROUP.resource, waiting["metadata"]["name"], "default")
    await reached(kept, one="Closed")
    await order(kept, "one", "OpenQueue")
    await reached(kept, one="Open")
    await obeyed(kept)


async def test_what_no_queue_does_is_told(kept: support.World) -> None:
    await queues.install(kept.client)
    await kept.client.create(VOLCANO_QUEUE.resource, queue("one"))
    await reached(kept, one="Open", root="Open")
    await order(kept, "one", "Shut")
    await ignored(kept, 'there is no action "Shut"; there are OpenQueue, CloseQueue')
    await order(kept, "one", "CloseQueue", uid="earlier")
    await ignored(kept, "of this name, which is gone")
    await order(kept, "root", "CloseQueue")
    await ignored(kept, "the queue root is never closed")
    await obeyed(kept)
    await reached(kept, one="Open", root="Open")


async def test_the_queues_below_are_closed_and_opened_with_it(kept: support.World) -> None:
    await queues.install(kept.client)
    for made in (queue("team"), queue("a", parent="team"), queue("b", parent="team"), queue("deep", parent="a")):
        await kept.client.create(VOLCANO_QUEUE.resource, made)
    await reached(kept, team="Open", a="Open", b="Open", deep="Open", root="Open")
    await order(kept, "b", "CloseQueue")
    await reached(kept, b="Closed")
    await kept.client.create(VOLCANO_POD_GROUP.resource, group(queue="deep"))
    await order(kept, "team", "CloseQueue")
    await reached(kept, team="Closed", a="Closed", b="Closed", deep="Closing", default="Open", root="Open")
    await kept.client.delete(VOLCANO_POD_GROUP.resource, "gang", "default")
    await reached(kept, deep="Closed")
    await order(kept, "a", "OpenQueue")
    await ignored(kept, "it is closed with its parent queue team")
    await kept.client.create(VOLCANO_QUEUE.resource, queue("new", parent="team"))
    await reached(kept, new="Closed", a="Closed")
    await order(kept, "team", "OpenQueue")
    await reached(kept, team="Open", a="Open", b="Closed", deep="Open", new="Open")

    async def settled() -> bool:
        marks = {meta.annotations(one).get(names.CLOSED_BY_PARENT) for one in await listed(kept)}
        return marks <= {None, "false"}

    await kept.eventually(settled)


async def test_who_is_closed_by_itself_as_well_stays_so(kept: support.World) -> None:
    for made in (queue("team"), queue("a", parent="team")):
        await kept.client.create(VOLCANO_QUEUE.resource, made)
    await reached(kept, team="Open", a="Open")
    await order(kept, "team", "CloseQueue")
    await reached(kept, team="Closed", a="Closed")
    await order(kept, "a", "CloseQueue")
    await obeyed(kept)
    await order(kept, "team", "OpenQueue")
    await reached(kept, team="Open")
    await obeyed(kept)
    await reached(kept, a="Closed")


async def test_every_queue_is_part_of_one(kept: support.World) -> None:
    await queues.install(kept.client)
    await kept.client.create(VOLCANO_QUEUE.resource, queue("one"))

    async def placed() -> bool:
        parents = {meta.name(one): one["spec"].get("parent") for one in await listed(kept)}
        return parents == {"root": None, "default": "root", "one": "root"}

    await kept.eventually(placed)


@given(
    above=st.sampled_from(["", "Open", "Closing", "Closed", "Unknown"]),
    below=st.sampled_from(["", "Open", "Closing", "Closed", "Unknown"]),
    marked=st.booleans(),
)
def test_a_queue_below_comes_to_rest(above: str, below: str, marked: bool) -> None:
    """Step by step, whatever was cut off before: in at most two, and closed by itself it stays closed."""
    notes = {names.CLOSED_BY_PARENT: "true"} if marked else {}
    child: Object = {"kind": "Queue", "metadata": {"name": "b", "annotations": notes}, "spec": {"parent": "a"}}
    child |= {"status": {"state": below}}
    parent: Object = {"kind": "Queue", "metadata": {"name": "a"}, "spec": {"parent": "root"}}
    parent |= {"status": {"state": above}}
    for left in (2, 1, 0):
        seen = observed(volcano.QUEUES, parent, related=[child])
        changes = [one for one in queues.sync(seen).patches if meta.name(one.object) == "b"]
        if not changes:
            break
        assert left, "it never comes to rest"
        (change,) = changes
        child = merged(child, change.changes)
    is_marked = meta.annotations(child).get(names.CLOSED_BY_PARENT) == "true"
    if above in queues.SHUT:
        assert queues.state_of(child) in queues.SHUT
        assert is_marked == (marked or below not in queues.SHUT)
    else:
        assert not is_marked
        assert (queues.state_of(child) in queues.SHUT) == (below in queues.SHUT and not marked)


async def test_those_that_are_always_there(served: support.World) -> None:
    await queues.install(served.client)
    await queues.install(served.client)
    found = {one["metadata"]["name"]: one["spec"]["reclaimable"] for one in await listed(served)}
    assert found == {"default": True, "root": False}


async def listed(served: support.World) -> list[Object]:
    return list((await served.client.list(VOLCANO_QUEUE.resource)).items)


@pytest.mark.parametrize(
    ("refused", "text"),
    [
        (queue(guarantee={"resource": {"cpu": "2"}}), "deserved[cpu] must be >= guarantee[cpu]=2"),
        (queue(guarantee={"resource": {"cpu": "2"}}, deserved={"cpu": "1"}), "deserved[cpu]=1 must be >= guarantee"),
        (queue(deserved={"cpu": "3"}, capability={"cpu": "2"}), "deserved[cpu]=3 must be <= capability[cpu]=2"),
        (queue(capability={"cpu": "-1"}), "must be greater than or equal to 0"),
        (queue(parent="one"), "queue one cannot use itself as parent"),
        (queue(parent="lost"), "failed to get parent queue of queue one"),
        (group(queue="lost"), 'unable to find queue: queue.scheduling.volcano.sh "lost" not found'),
        (
            group(networkTopology={"highestTierAllowed": 1, "highestTierName": "rack"}),
            "must not specify 'highestTierAllowed' and 'highestTierName'",
        ),
    ],
)
async def test_refused(served: support.World, refused: Object, text: str) -> None:
    kind = VOLCANO_QUEUE if refused["kind"] == "Queue" else VOLCANO_POD_GROUP
    with pytest.raises(Forbidden) as refusal:
        await served.client.create(kind.resource, refused)
    assert text in str(refusal.value)


async def test_which_may_not_be_deleted(served: support.World) -> None:
    await queues.install(served.client)
    for made in (queue("team"), queue("a", parent="team"), queue("b", parent="team"), queue("busy")):
        await served.client.create(VOLCANO_QUEUE.resource, made)
    await served.set_status(VOLCANO_QUEUE.resource, "busy", "", allocated={"cpu": "2", "pods": "3"})
    for name, text in (
        ("default", "`default` queue can not be deleted"),
        ("root", "`root` queue can not be deleted"),
        ("team", "queue team can not be deleted because it has 2 child queues: a, b"),
        ("busy", "queue busy cannot be deleted because it has allocated Pods: 3"),
    ):
        with pytest.raises(Forbidden) as refusal:
            await served.client.delete(VOLCANO_QUEUE.resource, name)
        assert str(refusal.value).endswith(f'"validatequeue.volcano.sh" denied the request: {text}')
    await served.set_status(VOLCANO_QUEUE.resource, "busy", "", state="Closed")  # its pods are on their way out
    for name in ("a", "b", "team", "busy"):
        await served.client.delete(VOLCANO_QUEUE.resource, name)
    assert [one["metadata"]["name"] for one in await listed(served)] == ["default", "root"]


async def test_a_queue_with_pods_takes_none_below_it(served: support.World) -> None:
    await served.client.create(VOLCANO_QUEUE.resource, queue("busy"))
    await served.set_status(VOLCANO_QUEUE.resource, "busy", "", allocated={"cpu": "2", "pods": "3"})
    with pytest.raises(Forbidden, match="busy cannot be the parent queue of queue a because it has allocated Pods: 3"):
        await served.client.create(VOLCANO_QUEUE.resource, queue("a", parent="busy"))


async def test_hierarchies(served: support.World) -> None:
    def placed(name: str, path: str, weights: str) -> Object:
        annotations = {"volcano.sh/hierarchy": path, "volcano.sh/hierarchy-weights": weights}
        return VOLCANO_QUEUE.new(name, metadata={"annotations": annotations}, spec={})

    await served.client.create(VOLCANO_QUEUE.resource, placed("dev", "root/sci/dev", "1/2/3"))
    for path, weights, text in (
        ("root/sci", "1", "must have the same length with"),
        ("root/a", "1/x", "is invalid number"),
        ("root/a", "1/0", "must be larger than 0"),
        ("root/sci", "1/2", "is not allowed to be in the sub path of root/sci/dev of queue dev"),
    ):
        with pytest.raises(Forbidden) as refusal:
            await served.client.create(VOLCANO_QUEUE.resource, placed("other", path, weights))
        assert text in str(refusal.value)


async def test_the_queues_that_are_always_there_come_back() -> None:
    """On a cluster on which no webhook keeps them."""
    async with support.world(volcano.KINDS) as world:
        informers = Informers(world.client)

        async def there() -> bool:
            return {meta.name(one) for one in (await world.client.list(VOLCANO_QUEUE.resource)).items} == {
                "default",
                "root",
            }

        async with support.running(informers.run(), volcano.keep_queues(world.client, informers)):
            await world.eventually(there)
            await world.client.create(VOLCANO_QUEUE.resource, queue("one"))
            for name in ("default", "root", "one"):
                await world.client.delete(VOLCANO_QUEUE.resource, name)
            await world.eventually(there)
