"""Jobs by what becomes of their pods: counts, conditions, reasons and events in upstream's words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from homeport.kube import meta

Make = Callable[..., Any]
INDEX = "batch.kubernetes.io/job-completion-index"


def test_a_job_of_one_pod_completes(world: Make) -> None:
    w = world().settle()
    (name,) = w.active()
    pod = w.pods[name]
    assert name.startswith("work-")
    assert len(name) == len("work-") + 5
    assert pod["metadata"]["generateName"] == "work-"
    assert pod["metadata"]["finalizers"] == ["batch.kubernetes.io/job-tracking"]
    assert pod["metadata"]["labels"] == {
        "batch.kubernetes.io/controller-uid": "uid-work",
        "batch.kubernetes.io/job-name": "work",
        "controller-uid": "uid-work",
        "job-name": "work",
    }
    start = "2026-01-01T12:00:00Z"
    assert w.status == {
        "startTime": start,
        "active": 1,
        "ready": 0,
        "terminating": 0,
        "uncountedTerminatedPods": {},
    }
    assert w.writes == 2, "the pod, and one status"
    w.run().settle()
    assert w.status["ready"] == 1
    w.wait(5).succeed().sync()
    assert w.status["uncountedTerminatedPods"] == {"succeeded": [meta.uid(w.pods[name])]}
    assert w.true == ["SuccessCriteriaMet"]
    assert not w.pods[name]["metadata"]["finalizers"]
    w.settle()
    end = "2026-01-01T12:00:05Z"
    told = {"reason": "CompletionsReached", "message": "Reached expected number of succeeded pods"}
    condition = {"status": "True", "lastProbeTime": end, "lastTransitionTime": end, **told}
    assert w.status == {
        "startTime": start,
        "completionTime": end,
        "succeeded": 1,
        "ready": 0,
        "terminating": 0,
        "uncountedTerminatedPods": {},
        "conditions": [{"type": "SuccessCriteriaMet", **condition}, {"type": "Complete", **condition}],
    }
    assert [(note.type, note.reason, note.message) for note in w.events] == [("Normal", "Completed", "Job completed")]


def test_no_more_pods_than_are_needed(world: Make) -> None:
    w = world(parallelism=3, completions=5).settle()
    assert len(w.active()) == 3
    w.succeed(*w.active()[:2]).settle()
    assert len(w.active()) == 3
    w.succeed(*w.active()[:2]).settle()
    assert len(w.active()) == 1
    w.succeed().settle()
    assert w.true == ["SuccessCriteriaMet", "Complete"]
    assert w.status["succeeded"] == 5
    assert len(set(w.pods)) == 5


def test_a_work_queue_ends_with_its_last_pod(world: Make) -> None:
    w = world(parallelism=3).settle()
    w.succeed(w.active()[0]).settle()
    assert len(w.active()) == 2, "nothing new is started"
    w.succeed(w.active()[0]).settle()
    assert not w.is_over
    w.succeed().settle()
    assert w.true == ["SuccessCriteriaMet", "Complete"]


def test_failed_pods_are_replaced_after_a_growing_pause(world: Make) -> None:
    w = world(backoffLimit=3).settle()
    for pause in (10, 20, 40):
        w.fail().settle()
        assert not w.active()
        assert w.requeue_after == pause
        w.wait(pause - 1).settle()
        assert not w.active()
        w.wait(1).settle()
        assert len(w.active()) == 1
    w.fail().settle()
    assert w.true == ["FailureTarget", "Failed"]
    assert w.condition("Failed")["reason"] == "BackoffLimitExceeded"
    assert w.condition("Failed")["message"] == "Job has reached the specified backoff limit"
    assert w.status["failed"] == 4
    assert (w.events[-1].type, w.events[-1].reason) == ("Warning", "BackoffLimitExceeded")
    assert "completionTime" not in w.status


def test_deleting_a_failed_pod_makes_the_pause_no_shorter(world: Make) -> None:
    w = world(backoffLimit=10).settle()
    for pause in (10, 20, 40):
        w.fail().settle()
        for name in list(w.pods):
            w.delete(name)
        assert not w.settle().pods
        assert w.requeue_after == pause
        w.wait(pause).settle()
        assert len(w.active()) == 1
    w.succeed().settle()
    assert w.is_over


def test_a_success_ends_the_pause(world: Make) -> None:
    w = world(parallelism=2, completions=4).settle()
    first, second = w.active()
    w.fail(first).settle()
    assert w.requeue_after == 10
    w.wait(1).succeed(second).settle()
    assert len(w.active()) == 2


def test_restarts_in_place_count_against_the_limit(world: Make) -> None:
    template = {"spec": {"restartPolicy": "OnFailure", "containers": [{"name": "main", "image": "x"}]}}
    w = world(template=template, backoffLimit=2).settle()
    w.run()
    (name,) = w.active()
    w.set(name, containerStatuses=[{"name": "main", "restartCount": 1}])
    w.settle()
    assert not w.true
    w.set(name, containerStatuses=[{"name": "main", "restartCount": 2}])
    w.settle()
    assert w.condition("FailureTarget")["reason"] == "BackoffLimitExceeded"
    assert not w.is_over, "its pod still goes away"
    w.reap()
    w.settle()
    assert w.true == ["FailureTarget", "Failed"]
    assert w.status["failed"] == 1


def test_the_deadline_ends_a_job(world: Make) -> None:
    w = world(activeDeadlineSeconds=30, parallelism=2, completions=2).settle()
    assert w.requeue_after == 30
    w.run().wait(30).sync()
    assert w.status["terminating"] == 2
    assert "active" not in w.status
    w.reap()
    w.settle()
    assert w.condition("Failed")["reason"] == "DeadlineExceeded"
    assert w.condition("Failed")["message"] == "Job was active longer than specified deadline"
    assert w.status["failed"] == 2


def test_suspending_and_resuming(world: Make) -> None:
    w = world(suspend=True, parallelism=2, completions=2, activeDeadlineSeconds=60).settle()
    assert w.status["conditions"][0] | {"type": "Suspended", "reason": "JobSuspended"} == w.status["conditions"][0]
    assert "startTime" not in w.status
    assert not w.pods
    w.wait(1000)
    w.change(spec={"suspend": False})
    w.settle()
    assert w.status["startTime"] == "2026-01-01T12:16:40Z"
    assert w.condition("Suspended") | {"status": "False", "reason": "JobResumed"} == w.condition("Suspended")
    w.run()
    w.wait(10)
    w.change(spec={"suspend": True})
    w.settle()
    assert w.status["terminating"] == 2
    w.reap()
    w.settle()
    assert not w.pods
    assert "failed" not in w.status, "what is deleted on purpose is no failure"
    w.wait(100)
    w.change(spec={"suspend": False})
    w.settle()
    assert w.status["startTime"] == "2026-01-01T12:18:30Z"
    assert len(w.active()) == 2
    assert [note.reason for note in w.events] == ["Suspended", "Resumed", "Suspended", "Resumed"]


def test_fewer_at_a_time(world: Make) -> None:
    w = world(parallelism=4, completions=10).settle()
    running = w.active()[1]
    w.run(running)
    w.change(spec={"parallelism": 1})
    w.settle()
    assert w.active() == [running], "those that have done the least go first"
    w.reap()
    w.settle()
    assert "failed" not in w.status


def test_indexes(world: Make) -> None:
    w = world(completionMode="Indexed", parallelism=3, completions=5).settle()
    found = w.by_index()
    assert sorted(found) == [0, 1, 2]
    pod = w.pods[found[1]]
    assert found[1].startswith("work-1-")
    assert len(found[1]) == len("work-1-") + 5
    assert pod["spec"]["hostname"] == "work-1"
    assert pod["metadata"]["labels"][INDEX] == pod["metadata"]["annotations"][INDEX] == "1"
    assert pod["spec"]["containers"][0]["env"] == [
        {
            "name": "JOB_COMPLETION_INDEX",
            "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.labels['{INDEX}']"}},
        }
    ]
    w.succeed(found[0], found[2]).settle()
    assert w.status["completedIndexes"] == "0,2"
    assert sorted(w.by_index()) == [1, 3, 4]
    w.fail(found[1]).settle()
    w.wait(10).settle()
    assert sorted(w.by_index()) == [1, 3, 4]
    w.succeed().settle()
    assert w.status["completedIndexes"] == "0-4"
    assert w.status["succeeded"] == 5
    assert w.status["failed"] == 1
    assert w.true == ["SuccessCriteriaMet", "Complete"]


def test_an_elastic_job_gives_up_indexes(world: Make) -> None:
    w = world(completionMode="Indexed", parallelism=4, completions=4).settle()
    w.succeed(w.by_index()[0]).settle()
    w.change(spec={"parallelism": 2, "completions": 2})
    w.settle()
    assert sorted(w.by_index()) == [1]
    w.reap()
    w.succeed().settle()
    assert w.status["completedIndexes"] == "0,1"
    assert w.true == ["SuccessCriteriaMet", "Complete"]


def test_a_limit_for_each_index(world: Make) -> None:
    w = world(completionMode="Indexed", parallelism=3, completions=3, backoffLimitPerIndex=1).settle()
    assert w.job["spec"]["backoffLimit"] == 2**31 - 1
    failures = "batch.kubernetes.io/job-index-failure-count"
    assert meta.annotations(w.pods[w.by_index()[0]])[failures] == "0"
    failed = w.by_index()[0]
    w.fail(failed).settle()
    assert w.pods[failed]["metadata"]["finalizers"], "until its successor has taken over its count"
    assert w.requeue_after == 10
    w.wait(10).settle()
    assert meta.annotations(w.pods[w.by_index()[0]])[failures] == "1"
    assert not w.pods[failed]["metadata"]["finalizers"]
    assert w.status["failed"] == 1
    w.fail(w.by_index()[0]).settle()
    assert w.status["failedIndexes"] == "0"
    w.succeed().settle()
    assert w.condition("Failed")["reason"] == "FailedIndexes"
    assert w.condition("Failed")["message"] == "Job has failed indexes"
    assert w.status["completedIndexes"] == "1,2"


def test_most_failed_indexes(world: Make) -> None:
    spec = {"completionMode": "Indexed", "parallelism": 4, "completions": 4}
    w = world(**spec, backoffLimitPerIndex=0, maxFailedIndexes=1).settle()
    w.fail(w.by_index()[0]).settle()
    assert not w.true
    w.fail(w.by_index()[3]).settle()
    w.reap()
    w.settle()
    assert w.condition("Failed")["reason"] == "MaxFailedIndexesExceeded"
    assert w.condition("Failed")["message"] == "Job has exceeded the specified maximal number of failed indexes"
    assert w.status["failedIndexes"] == "0,3"


RULES = [
    {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}},
    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
    {"action": "Count", "onExitCodes": {"containerName": "main", "operator": "NotIn", "values": [1, 2]}},
]


def test_a_policy_that_fails_the_job(world: Make) -> None:
    w = world(podFailurePolicy={"rules": RULES}, parallelism=2, completions=2, backoffLimit=0).settle()
    one, other = w.active()
    w.run(other)
    w.fail(one, code=42).settle()
    words = f"Container main for pod team/{one} failed with exit code 42 matching FailJob rule at index 0"
    assert w.condition("FailureTarget") | {"reason": "PodFailurePolicy", "message": words} == w.condition(
        "FailureTarget"
    )
    w.reap()
    w.settle()
    assert w.condition("Failed") | {"reason": "PodFailurePolicy", "message": words} == w.condition("Failed")
    assert w.status["failed"] == 2


def test_a_policy_that_ignores(world: Make) -> None:
    w = world(podFailurePolicy={"rules": RULES}, backoffLimit=0).settle()
    w.fail(conditions=[{"type": "DisruptionTarget", "status": "True"}]).settle()
    assert "failed" not in w.status
    w.wait(10).settle()
    assert len(w.active()) == 1
    w.succeed().settle()
    assert "Complete" in w.true


def test_a_policy_that_fails_an_index(world: Make) -> None:
    rules = [{"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [42]}}]
    spec = {"completionMode": "Indexed", "completions": 2, "parallelism": 2, "backoffLimitPerIndex": 5}
    w = world(**spec, podFailurePolicy={"rules": rules}).settle()
    w.fail(w.by_index()[1], code=42).settle()
    assert w.status["failedIndexes"] == "1"
    w.succeed().settle()
    assert w.condition("Failed")["reason"] == "FailedIndexes"


@pytest.mark.parametrize(
    ("rule", "done"),
    [
        ({"succeededIndexes": "1,3"}, "1,3"),
        ({"succeededCount": 1}, "1"),
        ({"succeededIndexes": "0-2", "succeededCount": 1}, "1"),
    ],
)
def test_a_success_policy(world: Make, rule: Any, done: str) -> None:
    w = world(completionMode="Indexed", parallelism=4, completions=4, successPolicy={"rules": [rule]}).settle()
    w.run()
    for index in map(int, done.split(",")):
        assert not w.true
        w.succeed(w.by_index()[index]).settle()
    assert w.condition("SuccessCriteriaMet")["reason"] == "SuccessPolicy"
    assert w.condition("SuccessCriteriaMet")["message"] == "Matched rules at index 0"
    assert w.status["terminating"] == 4 - len(done.split(","))
    w.reap()
    w.settle()
    assert w.condition("Complete")["reason"] == "SuccessPolicy"
    assert w.status["completedIndexes"] == done
    assert "failed" not in w.status


@pytest.mark.parametrize("policy", ["Failed", "TerminatingOrFailed"])
def test_when_a_pod_is_replaced(world: Make, policy: str) -> None:
    w = world(podReplacementPolicy=policy).settle()
    w.run()
    (name,) = w.active()
    w.delete(name)
    w.settle()
    w.wait(10).settle()
    assert len(w.active()) == (policy == "TerminatingOrFailed")
    assert w.status["terminating"] == 1
    w.reap()
    w.settle()
    w.wait(10).settle()
    assert len(w.active()) == 1
    assert w.status["failed"] == 1


def test_a_time_to_live(world: Make) -> None:
    w = world(ttlSecondsAfterFinished=20).settle()
    w.succeed().settle()
    assert w.requeue_after == 20
    w.wait(20).settle()
    assert w.is_deleted


def test_a_job_of_another_controller_is_left_alone(world: Make) -> None:
    w = world(managedBy="example.com/other").settle()
    assert not w.pods
    assert not w.status


def test_a_job_that_is_deleted_lets_its_pods_go(world: Make) -> None:
    w = world(parallelism=2, completions=2).settle()
    w.change(metadata={"deletionTimestamp": "2026-01-01T12:00:00Z"})
    desired = w.controller.sync(w.observed())
    assert {name for _, name in desired.finalized} == set(w.pods) == {name for _, name in desired.keep}
    assert not desired.children


def test_refused_pods_are_not_counted(world: Make) -> None:
    w = world(parallelism=3, completions=3)
    w.refuse = True
    w.settle()
    assert "active" not in w.status
    assert w.status["startTime"]
    w.refuse = False
    w.settle()
    assert w.status["active"] == 3
