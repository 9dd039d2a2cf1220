"""Groups and their pods, without a server."""

from __future__ import annotations

import placing
from ganging import GROUP, member

from homeport.kube.meta import Object, name, uid
from homeport.scheduler.batch import membership
from homeport.scheduler.batch.model import TaskStatus
from homeport.scheduler.batch.roster import Member, Roster
from homeport.scheduler.batch.tasks import task_of
from homeport.scheduler.model import parse_pod


def filed(obj: Object) -> Member:
    obj["metadata"] |= {"uid": name(obj), "creationTimestamp": "2026-01-01T00:00:00Z"}
    pod = parse_pod(obj)
    return Member(obj, pod, membership.belonging(obj), task_of(obj, pod, 0, ""))


def group(least: int) -> Object:
    return {"metadata": {"name": "g", "namespace": "default"}, "spec": {"minMember": least}}


def test_pods_of_a_gang_that_is_not_all_there_want_no_node_yet() -> None:
    roster = Roster(lambda _: 0)
    roster.put_group(GROUP, group(3))
    for pod in "ab":
        roster.put(filed(member(pod)))
    roster.put(filed(placing.pod("alone", schedulerName="volcano")))
    assert (roster.size, roster.wanting) == (3, 1)
    roster.put(filed(member("c")))
    assert roster.wanting == 4
    roster.put_group(GROUP, group(4))
    assert roster.wanting == 1


def test_who_has_been_given_a_node_wants_none() -> None:
    roster = Roster(lambda _: 0)
    roster.put_group(GROUP, group(1))
    one = filed(member("a"))
    roster.put(one)
    placed = Member(one.obj, one.pod, one.belonging, task_of(one.obj, one.pod, 0, "n"))
    assert placed.task.status is TaskStatus.BINDING
    assert roster.put(placed)
    assert roster.wanting == 0
    assert [task.uid for task in roster.groups()[0].tasks] == [uid(one.obj)]
