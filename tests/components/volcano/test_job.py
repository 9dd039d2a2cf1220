"""The life of a Volcano job, state by state."""

from __future__ import annotations

from typing import Any

import pytest
from volcano_world import policy, task

from homeport.kube import meta


def started(world: Any, *tasks: Any, **spec: Any) -> Any:
    """A job all of whose pods run."""
    return world(*tasks, **spec).settle().run().settle()


def test_it_waits_for_its_group_runs_and_ends(world: Any) -> None:
    made = world(task("ps", 1), task("worker", 2), phase="Pending").settle()
    assert (made.phase, made.pods) == ("Pending", {})
    spec = made.group["spec"]
    assert (spec["minMember"], spec["minTaskMember"]) == (3, {"ps": 1, "worker": 2})
    assert (spec["minResources"], spec["queue"]) == ({"cpu": "3"}, "default")
    made.group["status"] = {"phase": "Inqueue"}
    made.settle()
    assert sorted(made.pods) == ["demo-ps-0", "demo-worker-0", "demo-worker-1"]
    made.run().settle()
    assert (made.phase, made.status["running"]) == ("Running", 3)
    assert made.status["taskStatusCount"]["worker"] == {"phase": {"Running": 2}}
    made.succeed().settle()
    assert made.phases == ["Pending", "Running", "Completed"]
    assert made.children["PodGroup"] == {}
    assert len(made.pods) == 3


@pytest.mark.parametrize(
    ("tasks", "spec", "text"),
    [
        ([], {}, "No task specified in job spec"),
        ([task(minAvailable=3)], {}, "'minAvailable' is greater than 'replicas' in task: worker, job: demo;"),
        ([task()], {"plugins": {"svc": ["--unknown"]}}, "unknown"),
        ([task(dependsOn={"name": ["worker"]})], {}, "doesn't form a directed acyclic graph"),
    ],
)
def test_a_wrong_job_that_no_webhook_has_stopped_fails(world: Any, tasks: Any, spec: Any, text: str) -> None:
    made = world(*tasks, ttlSecondsAfterFinished=60, **spec).settle()
    assert (made.phase, made.pods, made.children["PodGroup"]) == ("Failed", {}, {})
    assert text in made.status["state"]["message"]
    assert [(note.type, note.reason) for note in made.events] == [("Warning", "FailedValidation")]
    assert made.wait(61).settle().job is None


def test_what_a_pod_bears(world: Any) -> None:
    made = world(task("worker", 1), queue="research", priorityClassName="high").settle()
    pod = made.pods["demo-worker-0"]
    assert pod["spec"]["schedulerName"] == "volcano"
    assert pod["spec"]["priorityClassName"] == "high"
    assert pod["metadata"]["annotations"] == {
        "volcano.sh/task-index": "0",
        "volcano.sh/task-spec": "worker",
        "scheduling.k8s.io/group-name": "demo-uid-demo",
        "volcano.sh/job-name": "demo",
        "volcano.sh/queue-name": "research",
        "volcano.sh/job-version": "0",
        "volcano.sh/template-uid": "demo-worker",
        "volcano.sh/job-retry-count": "0",
    }
    assert pod["metadata"]["labels"]["volcano.sh/job-namespace"] == "team"


def test_why_it_waits_is_told_once(world: Any) -> None:
    made = world(task(), phase="Pending").settle()
    text = "2/2 tasks in gang unschedulable"
    made.group["status"]["conditions"] = [{"type": "Unschedulable", "status": "True", "message": text}]
    made.settle().settle()
    assert made.status["state"]["message"] == f"PodGroup team:demo unschedulable, reason: {text}"
    assert [note.reason for note in made.events] == ["PodGroupPending"]


def test_a_failed_pod_without_a_policy_ends_the_job_when_all_have_ended(world: Any) -> None:
    made = started(world, task()).fail("demo-worker-0").settle()
    assert made.phase == "Running"
    assert made.succeed("demo-worker-1").settle().phase == "Failed"


def test_a_job_may_need_only_some_successes(world: Any) -> None:
    made = started(world, task(replicas=3), minSuccess=2).succeed("demo-worker-0", "demo-worker-2").settle()
    assert made.phase == "Completed"
    assert sorted(made.reap().pods) == ["demo-worker-0", "demo-worker-2"]


def test_restart_job(world: Any) -> None:
    made = started(world, task(), policies=[policy("PodFailed", "RestartJob")]).fail("demo-worker-0").settle()
    assert made.phase == "Restarting"
    assert (made.status["version"], made.status["retryCount"], made.status["terminating"]) == (1, 1, 1)
    made.reap().settle()
    assert made.phase == "Pending"
    assert {pod["metadata"]["annotations"]["volcano.sh/job-version"] for pod in made.pods.values()} == {"1"}
    assert made.run().settle().phase == "Running"
    assert "Start to execute action RestartJob " in [note.message for note in made.events]


def test_a_job_is_restarted_max_retry_times(world: Any) -> None:
    made = started(world, task(replicas=1), maxRetry=2, policies=[policy("PodFailed", "RestartJob")])
    made.fail("demo-worker-0").settle().reap().settle().run().settle()
    assert made.phase == "Running"
    made.fail("demo-worker-0").settle()
    assert (made.phase, made.status["retryCount"]) == ("Failed", 2)
    assert list(made.pods) == ["demo-worker-0"]  # what is left of the last attempt can be looked at
    why = "the job has no try left (maxRetry 2); pod demo-worker-0 failed with exit code 1"
    assert made.settle().status["state"]["message"] == why


@pytest.mark.parametrize("action", ["RestartPod", "RestartTask"])
def test_who_failed_last_is_kept(world: Any, action: str) -> None:
    made = started(world, task(policies=[policy("PodFailed", action)]), maxRetry=2)
    made.fail("demo-worker-0", 2).settle().reap().settle().run().settle()
    failed = meta.uid(made.pods["demo-worker-0"])
    made.fail("demo-worker-0", 3).settle().reap().settle()
    assert (made.phase, made.status["retryCount"], made.phases[-2:]) == ("Failed", 2, ["Restarting", "Failed"])
    assert {name: meta.uid(pod) for name, pod in made.pods.items()} == {"demo-worker-0": failed}
    why = "the job has no try left (maxRetry 2); pod demo-worker-0 failed with exit code 3"
    assert made.status["state"]["message"] == why


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({}, "1 of task worker's 2 pods succeeded, 2 have to"),
        ({"minAvailable": 2, "least": 1}, "1 of 2 pods succeeded, 2 have to (minAvailable)"),
        ({"minAvailable": 1, "minSuccess": 2}, "1 of 2 pods succeeded, 2 have to (minSuccess)"),
    ],
)
def test_a_failed_job_says_what_it_lacks(world: Any, spec: dict[str, int], why: str) -> None:
    least = {"minAvailable": spec.pop("least")} if "least" in spec else {}
    made = started(world, task(**least), **spec).fail("demo-worker-0", 7).succeed("demo-worker-1").settle().settle()
    assert made.phase == "Failed"
    assert made.status["state"]["message"] == f"{why}; pod demo-worker-0 failed with exit code 7"


@pytest.mark.parametrize(
    ("action", "left"),
    [
        ("RestartPod", {"demo-ps-0", "demo-worker-1", "demo-worker-2", "demo-worker-3"}),
        ("RestartTask", {"demo-ps-0"}),
        ("RestartPartition", {"demo-ps-0", "demo-worker-2", "demo-worker-3"}),
    ],
)
def test_only_a_part_is_restarted(world: Any, action: str, left: set[str]) -> None:
    parts = {"totalPartitions": 2, "partitionSize": 2}
    workers = task("worker", 4, partitionPolicy=parts, policies=[policy("PodFailed", action)])
    made = started(world, task("ps", 1), workers)
    before = {name: meta.uid(pod) for name, pod in made.pods.items()}
    made.fail("demo-worker-0").settle().reap().settle()
    assert {name for name, pod in made.pods.items() if meta.uid(pod) == before[name]} == left
    assert len(made.pods) == 5
    assert (made.phase, made.status["retryCount"], made.status.get("version")) == ("Pending", 1, None)
    assert made.run().settle().phase == "Running"


@pytest.mark.parametrize(
    ("action", "passing", "end"),
    [
        ("AbortJob", "Aborting", "Aborted"),
        ("TerminateJob", "Terminating", "Terminated"),
        ("CompleteJob", "Completing", "Completed"),
    ],
)
def test_stopped(world: Any, action: str, passing: str, end: str) -> None:
    made = started(world, task(policies=[policy("PodFailed", action)]), plugins={"svc": []}).fail("demo-worker-0")
    made.settle()
    assert (made.phase, made.status["terminating"], made.children["PodGroup"]) == (passing, 1, {})
    assert made.children["Service"] == {}
    made.reap().settle()
    assert (made.phase, list(made.pods)) == (end, ["demo-worker-0"])


def test_exit_codes_come_with_actions(world: Any) -> None:
    policies = [{"exitCode": 3, "action": "AbortJob"}, {"exitCode": 4, "action": "CompleteJob"}]
    made = started(world, task(policies=policies)).fail("demo-worker-0", 4).settle()
    assert made.phase == "Completing"


def test_a_task_that_is_complete_completes_the_job(world: Any) -> None:
    made = started(world, task("ps", 1), task("worker", 2, policies=[policy("TaskCompleted", "CompleteJob")]))
    made.succeed("demo-worker-0").settle()
    assert made.phase == "Running"
    made.succeed("demo-worker-1").settle().reap().settle()
    assert (made.phase, sorted(made.pods)) == ("Completed", ["demo-worker-0", "demo-worker-1"])


def test_an_evicted_pod(world: Any) -> None:
    made = started(world, task(), policies=[policy("PodEvicted", "RestartJob")])
    made.delete("Pod", "demo-worker-1")
    made.settle()
    assert (made.phase, made.status["retryCount"]) == ("Restarting", 1)
    made.reap().settle().run().settle()
    assert (made.phase, made.status["retryCount"]) == ("Running", 1)


def test_a_pod_that_is_restarted_is_no_evicted_one(world: Any) -> None:
    made = started(world, task(policies=[policy("*", "RestartPod")]))
    made.delete("Pod", "demo-worker-1")
    made.settle()
    assert made.status["retryCount"] == 1
    made.reap().settle().run().settle()
    assert (made.phase, made.status["retryCount"]) == ("Running", 1)


def test_restarts_in_place_fail_a_task(world: Any) -> None:
    made = started(world, task(maxRetry=2, policies=[policy("TaskFailed", "TerminateJob")]))
    containers = [{"name": "main", "ready": True, "restartCount": 2}]
    assert made.set("demo-worker-0", "Running", containerStatuses=containers).settle().phase == "Terminating"


def test_an_unknown_group_restarts_the_job(world: Any) -> None:
    made = started(world, task(), policies=[policy("Unknown", "RestartJob")])
    made.group["status"]["phase"] = "Unknown"
    assert made.settle().reap().settle().run().settle().phase == "Running"
    assert made.status["retryCount"] == 1


def test_an_action_waits(world: Any) -> None:
    made = started(world, task(replicas=1), policies=[policy("PodFailed", "RestartJob", timeout="10m")])
    made.fail("demo-worker-0").settle()
    assert (made.phase, made.requeue_after) == ("Running", 600.0)
    made.wait(599).settle()
    assert made.requeue_after == 1.0
    made.wait(1).settle()
    assert made.status["retryCount"] == 1


def test_a_pod_that_stays_pending(world: Any) -> None:
    made = world(task(), policies=[policy("PodPending", "AbortJob", timeout="30s")]).settle()
    assert made.phase == "Pending"
    assert made.wait(31).settle().phase == "Aborted"


def test_pending_without_a_timeout_is_no_reason(world: Any) -> None:
    assert world(task(), policies=[policy("*", "AbortJob")]).settle().phase == "Pending"


def test_suspend_and_resume(world: Any) -> None:
    made = started(world, task()).succeed("demo-worker-0").settle()
    made.command("AbortJob").settle().reap().settle()
    assert (made.phase, made.commands, list(made.pods)) == ("Aborted", {}, ["demo-worker-0"])
    assert [note.reason for note in made.events] == ["CommandIssued", "ExecuteAction"]
    made.command("ResumeJob").settle()
    assert made.phase == "Pending"
    assert made.run().settle().phase == "Running"
    assert made.succeed().settle().phase == "Completed"
    assert made.command("ResumeJob").settle().phase == "Completed"  # no way back from there
    assert made.commands == {}


@pytest.mark.parametrize(
    ("phase", "action"),
    [("Running", "ResumeJob"), ("Aborted", "AbortJob"), ("Completed", "AbortJob"), ("Completed", "RestartJob")],
)
def test_an_order_that_changes_nothing_says_so(world: Any, phase: str, action: str) -> None:
    made = started(world, task())
    if phase == "Aborted":
        made.command("AbortJob").settle().reap().settle()
    if phase == "Completed":
        made.succeed().settle()
    before, made.events[:] = made.status, []
    assert (made.command(action).settle().phase, made.status, made.commands) == (phase, before, {})
    said = [note.message for note in made.events if note.reason == "CommandIgnored"]
    assert said == [f"Command {action} changes nothing: the job is {phase}"]
    assert all(note.reason != "ExecuteAction" for note in made.events)


@pytest.mark.parametrize("action", ["Abort", "RestartTask", ""])
def test_an_order_that_nobody_knows_says_so(world: Any, action: str) -> None:
    made = started(world, task())
    before, made.events[:] = made.status, []
    assert (made.command(action).settle().status, made.commands) == (before, {})
    ((type, reason, text),) = [(note.type, note.reason, note.message) for note in made.events]
    assert (type, reason) == ("Warning", "CommandIgnored")
    assert f'there is no action "{action}"; there are AbortJob, ResumeJob, ' in text


def test_an_order_for_an_earlier_job_of_the_name(world: Any) -> None:
    made = started(world, task()).command("AbortJob")
    (order,) = made.commands.values()
    order["target"]["uid"] = "uid-of-the-earlier-one"
    made.events.clear()
    assert (made.settle().phase, made.commands) == ("Running", {})
    assert [note.message for note in made.events] == [
        "Command AbortJob is about another Job of this name, which is gone"
    ]


def test_scaled(world: Any) -> None:
    made = started(world, task(replicas=3, minAvailable=1), minAvailable=1)
    made.job["spec"]["tasks"][0]["replicas"] = 1
    made.settle().reap().settle()
    assert (list(made.pods), made.phase) == (["demo-worker-0"], "Running")
    made.job["spec"]["tasks"][0]["replicas"] = 4
    assert len(made.settle().pods) == 4


def test_the_time_to_live(world: Any) -> None:
    made = started(world, task(), ttlSecondsAfterFinished=60).succeed().settle()
    assert made.requeue_after == 60.0
    made.wait(60).settle()
    assert made.job is None


@pytest.mark.parametrize(("iteration", "needed"), [("any", 1), ("all", 2)])
def test_tasks_wait_for_each_other(world: Any, iteration: str, needed: int) -> None:
    first = [task("a", 1), task("b", 1)]
    last = task("c", 2, dependsOn={"name": ["a", "b"], "iteration": iteration})
    made = world(*first, last).settle()
    assert sorted(made.pods) == ["demo-a-0", "demo-b-0"]
    # A gang that needed the others could never be whole.
    assert (made.group["spec"]["minMember"], made.group["spec"]["minTaskMember"]) == (2, {"a": 1, "b": 1})
    for name in ("demo-a-0", "demo-b-0")[:needed]:
        assert len(made.pods) == 2
        made.run(name).settle()
    assert len(made.pods) == 4
    assert made.group["spec"]["minMember"] == 4


@pytest.mark.parametrize("policies", [[], [policy("PodEvicted", "RestartTask")], [policy("PodEvicted", "RestartJob")]])
def test_a_task_that_waits_for_a_preempted_one_does_not_block_the_controller(world: Any, policies: Any) -> None:
    """Volcano #2897: a worker that waits for the task it depends on never sees that task's pod come back."""
    first, last = task("a", 1), task("b", 1, dependsOn={"name": ["a"]})
    made = world(first, last, policies=policies, maxRetry=9).settle()
    assert sorted(made.pods) == ["demo-a-0"]
    for _ in range(3):
        made.run("demo-a-0").delete("Pod", "demo-a-0")
        made.settle()  # comes to rest while the pod is still leaving
        assert meta.is_deleting(made.pods["demo-a-0"])
        made.reap().settle()
        assert made.pods["demo-a-0"]["status"]["phase"] == "Pending"
    made.run().settle().run().settle()
    assert (made.phase, sorted(made.pods)) == ("Running", ["demo-a-0", "demo-b-0"])


def test_the_important_ones_count_first(world: Any) -> None:
    made = world(task("a", 2, minAvailable=1), task("b", 2, minAvailable=2), minAvailable=1).settle()
    assert made.group["spec"]["minResources"] == {"cpu": "1"}


def test_volumes(world: Any) -> None:
    volumes = [
        {"mountPath": "/in", "volumeClaimName": "data"},
        {"mountPath": "/out", "volumeClaim": {"accessModes": ["ReadWriteOnce"]}},
    ]
    made = started(world, task(replicas=1), volumes=volumes)
    (claim,) = made.children["PersistentVolumeClaim"]
    assert claim.startswith("demo-pvc-")
    pod = made.pods["demo-worker-0"]["spec"]
    assert [one["persistentVolumeClaim"]["claimName"] for one in pod["volumes"]] == ["data", claim]
    assert [one["mountPath"] for one in pod["containers"][0]["volumeMounts"]] == ["/in", "/out"]
    assert made.status["controlledResources"] == {"volume-pvc-data": "data", f"volume-pvc-{claim}": claim}
    made.succeed().settle()
    assert list(made.children["PersistentVolumeClaim"]) == [claim]


def test_what_a_crash_left_is_ended(world: Any) -> None:
    """The status was stored, and then nothing was deleted."""
    made = started(world, task())
    made.job["status"] |= {"version": 1, "retryCount": 1}
    made.job["status"]["state"] = {"phase": "Restarting", "lastTransitionTime": "2026-01-01T12:00:00Z"}
    made.settle().reap().settle().run().settle()
    assert {pod["metadata"]["annotations"]["volcano.sh/job-version"] for pod in made.pods.values()} == {"1"}
    assert made.phase == "Running"


def test_an_order_that_is_being_deleted_was_carried_out(world: Any) -> None:
    made = started(world, task()).command("RestartJob")
    (order,) = made.commands.values()
    order["metadata"]["deletionTimestamp"] = "2026-01-01T12:00:00Z"
    assert made.settle().phase == "Running"
