"""How the batch scheduler is started, configured, watched and replayed."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from ganging import GROUP, add_group, add_members, member, places, scheduling_groups
from placing import add_node, bound, pod

import support
from homeport.control.events import EventRecorder
from homeport.control.informer import Informers
from homeport.kube import core
from homeport.kube.errors import Permanent
from homeport.kube.meta import Object, metadata, status
from homeport.metrics import Registry
from homeport.scheduler.batch import lazy, membership, telling
from homeport.scheduler.batch.configuration import Configuration
from homeport.scheduler.batch.decide import ACTIONS, PLUGINS
from homeport.scheduler.batch.replay import Recording, load, replay, report, save
from homeport.scheduler.batch.settings import NAME, NAMESPACE, ConfigMapSettings
from homeport.scheduler.binder import Scheduler
from homeport.scheduler.ledger import Ledger
from virtual_time import now


def test_a_start_without_groups_does_not_import_numpy() -> None:
    program = (
        "import sys; from homeport.platform import control; from homeport.scheduler.batch import lazy, membership; "
        "from homeport.scheduler import binder, ledger; sys.exit('numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0


async def test_it_starts_with_the_first_group_or_pod_and_not_before(gangs: support.World) -> None:
    await add_node(gangs)
    informers = Informers(gangs.client, freeze=True)
    ledger = Ledger(gangs.client, informers)
    single = Scheduler(gangs.client, informers=informers, ledger=ledger, leave=membership.names_group, now=now)
    metrics = Registry()
    work = lazy.run(gangs.client, informers, ledger, held=single.held, metrics=metrics)
    async with support.running(informers.run(), single.run(), work):
        await gangs.client.create(core.POD.resource, pod("alone"))
        await bound(gangs, "alone")
        assert informers.find(core.PRIORITY_CLASS.resource) is None, "nobody has asked for it yet"
        assert not metrics.render()
        await add_group(gangs, members=2)
        # These name no scheduler: that they belong to a group is enough.
        for name in ("a", "b"):
            obj = member(name)
            del obj["spec"]["schedulerName"]
            await gangs.client.create(core.POD.resource, obj)
        await bound(gangs, "alone", "a", "b")

        async def counted() -> bool:
            return b'volcano_schedule_attempts_total{result="scheduled"} 2\n' in metrics.render()

        await gangs.eventually(counted)


async def test_the_configuration_is_read_again_when_it_changes(gangs: support.World) -> None:
    await gangs.make_namespace(NAMESPACE)
    informers, found = Informers(gangs.client), []
    recorder = EventRecorder(gangs.client, "homeport", now=now)
    settings = ConfigMapSettings(informers, recorder, found.append, actions=ACTIONS, plugins=PLUGINS)
    async with support.running(informers.run(), recorder.run()):
        await settings.synced.wait()
        data = {"volcano-scheduler.conf": "actions: allocate"}
        await gangs.client.create(core.CONFIG_MAP.resource, core.CONFIG_MAP.new(NAME, NAMESPACE, data=data))

        async def read() -> bool:
            return bool(found) and found[-1].actions == ("allocate",)

        await gangs.eventually(read)
        broken = {"data": {"volcano-scheduler.conf": "actions: [allocate]"}}
        await gangs.client.patch(core.CONFIG_MAP.resource, NAME, NAMESPACE, broken)

        async def told() -> bool:
            events = (await gangs.client.list(core.EVENT.resource, NAMESPACE)).items
            return any("actions: has to be text" in event["message"] for event in events)

        await gangs.eventually(told)
        assert found[-1].actions == ("allocate",)
        misnamed = {"data": {"volcano-scheduler.conf": None, "scheduler.conf": "actions: allocate"}}
        await gangs.client.patch(core.CONFIG_MAP.resource, NAME, NAMESPACE, misnamed)

        async def warned() -> bool:
            events = (await gangs.client.list(core.EVENT.resource, NAMESPACE)).items
            text = (
                'data: there is no key "volcano-scheduler.conf"; name it so, '
                "until then the stock configuration is in force"
            )
            return any((event["reason"], event["message"]) == ("PassedOver", text) for event in events)

        await gangs.eventually(warned)
        assert found[-1] == Configuration()
        await gangs.client.delete(core.CONFIG_MAP.resource, NAME, NAMESPACE)

        async def stock() -> bool:
            return bool(found[-1] == Configuration())

        await gangs.eventually(stock)


async def test_what_it_sees_can_be_saved_replayed_and_explained(gangs: support.World, tmp_path: Path) -> None:
    await add_node(gangs)
    async with scheduling_groups(gangs) as scheduler:
        await add_group(gangs, members=5)
        await add_members(gangs, "abcde")

        async def seen() -> bool:
            return any(len(group.tasks) == 5 for group in scheduler.snapshot().groups)

        await gangs.eventually(seen)
        recording = Recording(scheduler.snapshot(), now().timestamp())
    for name in ("snapshot.json", "snapshot.json.gz"):
        save(tmp_path / name, recording)
        found = load(tmp_path / name)
        assert found == recording
    decisions, seconds = replay(found)
    assert not decisions.binds
    lines = list(report(found, decisions, seconds))
    assert lines[0].startswith("1 nodes, 1 groups, 5 pods")
    assert any(line.startswith("default/g waits: ") for line in lines)
    (group,) = telling.find_groups(found.snapshot, telling.Wanted("g"), "default")
    pod = telling.Wanted("a", "po", frozenset({("", "Pod")}))
    assert telling.find_groups(found.snapshot, pod, "default") == [group]
    assert not telling.find_groups(found.snapshot, telling.Wanted("g", "tfjob"), "default")
    told = list(telling.tell(found.snapshot, decisions, group, found.now))
    assert told[0].startswith("PodGroup default/g waits")
    assert "0 of 5 needed pods have nodes" in told[0]
    assert "  Needs:   5 cpu" in told
    assert "  Idle:    4 cpu on all nodes together" in told


def test_a_file_that_is_no_snapshot_is_refused_with_a_reason(tmp_path: Path) -> None:
    file = tmp_path / "file"
    for content in (b"", b"{}", b'{"format": "x", "now": 0, "configuration": {}, "snapshot": {}}', b"\x1f\x8b nothing"):
        file.write_bytes(content)
        with pytest.raises(Permanent, match=r"file (is no snapshot of a scheduler|can't be read)"):
            load(file)
    with pytest.raises(Permanent, match="No such file"):
        load(tmp_path / "missing")


async def test_a_queue_says_what_its_groups_have(gangs: support.World) -> None:
    await add_node(gangs)
    async with scheduling_groups(gangs):
        await add_group(gangs, members=2)
        await add_members(gangs, "ab")
        await bound(gangs, "a", "b")

        async def counted() -> bool:
            queue = await gangs.client.get(membership.QUEUES[0], "default")
            return (status(queue).get("allocated") or {}).get("cpu") == "2"

        await gangs.eventually(counted)


async def test_a_group_made_anew_under_its_name_is_a_new_one(gangs: support.World) -> None:
    await add_node(gangs)
    async with scheduling_groups(gangs):
        first = await add_group(gangs, members=1)
        await add_members(gangs, "a")
        await bound(gangs, "a")
        await gangs.client.delete(GROUP, "g", "default")
        await gangs.client.delete(core.POD.resource, "a", "default", grace_period=0)
        second = await add_group(gangs, members=2)
        assert metadata(first)["uid"] != metadata(second)["uid"]
        await add_members(gangs, "b")
        await asyncio.sleep(1)
        assert not await places(gangs)
        await add_members(gangs, "c")
        await bound(gangs, "b", "c")


async def test_a_gang_that_waits_through_many_cycles_says_it_once(gangs: support.World) -> None:
    """Volcano #1094: 78,789 identical Unschedulable events in 26 hours."""
    await add_node(gangs)
    async with scheduling_groups(gangs) as scheduler:
        await add_group(gangs, members=5)
        await add_members(gangs, "abcde")

        async def told() -> list[Object]:
            events = (await gangs.client.list(core.EVENT.resource, "default")).items
            return [event for event in events if event["involvedObject"]["name"] == "g"]

        async def first() -> bool:
            return any(event["reason"] == "Unschedulable" for event in await told())

        await gangs.eventually(first)
        await asyncio.sleep(30)
        before = [(event["message"], event["count"]) for event in await told()]
        await add_group(gangs, "other", members=100)
        for number in range(20):  # each makes it look again, and changes nothing for the gang
            cycles = scheduler.counters.cycles
            await add_members(gangs, [f"p{number}"], "other")

            async def looked(cycles: int = cycles) -> bool:
                return scheduler.counters.cycles > cycles

            await gangs.eventually(looked)
        await asyncio.sleep(30)
        assert [(event["message"], event["count"]) for event in await told()] == before
    assert not await places(gangs)
