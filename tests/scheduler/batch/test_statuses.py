from __future__ import annotations

from typing import Any

import pytest

from homeport.clock import utc_now
from homeport.kube.meta import Object
from homeport.scheduler.batch import membership
from homeport.scheduler.batch.decisions import Condition, Counts, GroupOutcome
from homeport.scheduler.batch.model import GroupPhase
from homeport.scheduler.batch.statuses import pod_group_status

WAITS = Condition("Unschedulable", "True", "NotEnoughResources", "3/3 tasks in gang unschedulable")


def group(status: Object | None = None, **spec: Any) -> Object:
    return {"metadata": {"name": "g", "namespace": "n", "generation": 1}, "spec": spec, "status": status or {}}


def test_what_is_there_already_is_not_written_again() -> None:
    outcome = GroupOutcome(GroupPhase.INQUEUE, Counts(running=1), (WAITS,))
    first = pod_group_status(membership.VOLCANO, group(), outcome, utc_now())
    assert first is not None
    assert (first["phase"], first["running"], first["failed"]) == ("Inqueue", 1, None)
    (condition,) = first["conditions"]
    assert condition["transitionID"]
    again = group({key: value for key, value in first.items() if value is not None})
    assert pod_group_status(membership.VOLCANO, again, outcome, utc_now()) is None
    other = Condition("Unschedulable", "True", "NotEnoughResources", "2/3 tasks in gang unschedulable")
    second = pod_group_status(
        membership.VOLCANO, again, GroupOutcome(GroupPhase.INQUEUE, Counts(running=1), (other,)), utc_now()
    )
    assert second is not None
    (changed,) = second["conditions"]
    assert changed["message"] == other.message
    assert changed["lastTransitionTime"] == condition["lastTransitionTime"], "it is as true as it was"
    assert changed["transitionID"] != condition["transitionID"]


def test_a_condition_of_another_type_stays() -> None:
    scheduled = Condition("Scheduled", "True", "tasks in gang are ready to be scheduled", "")
    known = group({"conditions": [{"type": "Unschedulable", "status": "True", "message": "m", "reason": "r"}]})
    written = pod_group_status(
        membership.VOLCANO, known, GroupOutcome(GroupPhase.RUNNING, Counts(), (scheduled,)), utc_now()
    )
    assert written is not None
    assert [condition["type"] for condition in written["conditions"]] == ["Unschedulable", "Scheduled"]


@pytest.mark.parametrize(
    ("phase", "counts", "told"),
    [
        (GroupPhase.PENDING, Counts(), "Pending"),
        (GroupPhase.INQUEUE, Counts(running=1), "Scheduling"),
        (GroupPhase.RUNNING, Counts(running=2), "Running"),
        (GroupPhase.RUNNING, Counts(running=1, failed=1), "Failed"),
        (GroupPhase.COMPLETED, Counts(succeeded=2), "Finished"),
    ],
)
def test_the_coscheduling_plug_ins_phases(phase: GroupPhase, counts: Counts, told: str) -> None:
    written = pod_group_status(membership.COSCHEDULING, group(minMember=2), GroupOutcome(phase, counts), utc_now())
    assert written is not None
    assert written["phase"] == told
    assert written["scheduleStartTime"]


def test_kube_batch_has_fewer_phases() -> None:
    for phase, told in ((GroupPhase.INQUEUE, "Pending"), (GroupPhase.COMPLETED, "Running")):
        written = pod_group_status(membership.INCUBATOR, group(), GroupOutcome(phase, Counts()), utc_now())
        assert written is not None
        assert written["phase"] == told


def test_kubernetes_own_group_was_placed_once_and_for_all() -> None:
    waits = GroupOutcome(GroupPhase.PENDING, Counts(), (WAITS,))
    first = pod_group_status(membership.IN_TREE, group(), waits, utc_now())
    assert first is not None
    (condition,) = first["conditions"]
    assert (condition["type"], condition["status"]) == ("PodGroupInitiallyScheduled", "False")
    placed = pod_group_status(membership.IN_TREE, group(first), GroupOutcome(GroupPhase.RUNNING, Counts()), utc_now())
    assert placed is not None
    (condition,) = placed["conditions"]
    assert (condition["status"], condition["reason"]) == ("True", "Scheduled")
    assert pod_group_status(membership.IN_TREE, group(placed), waits, utc_now()) is None
