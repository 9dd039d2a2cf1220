"""The life of a job, as the simulated world shows it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from homeport.kube import meta

Make = Callable[..., Any]


def test_a_job_runs_from_created_to_succeeded(world: Make) -> None:
    w = world("TFJob", {"PS": 1, "Worker": 3})
    w.sync()
    assert w.state == "Created"
    assert list(w.pods) == ["mnist-ps-0", "mnist-worker-0", "mnist-worker-1", "mnist-worker-2"]
    assert set(w.children["Service"]) == set(w.pods)
    assert w.condition("Created")["reason"] == "TFJobCreated"
    w.run()
    w.wait(5)
    w.settle()
    assert w.state == "Running"
    assert w.status["startTime"] == "2026-01-01T12:00:00Z"
    assert w.status["lastReconcileTime"] == "2026-01-01T12:00:05Z"
    assert w.status["replicaStatuses"]["Worker"]["active"] == 3
    w.succeed("mnist-worker-0")
    w.wait(5)
    w.settle()
    assert w.true == ["Created", "Succeeded"]
    assert w.condition("Running")["status"] == "False"
    assert w.condition("Succeeded")["message"] == "TFJob mnist succeeded: Worker replica 0 finished."
    assert w.status["completionTime"] == "2026-01-01T12:00:10Z"
    worker = w.status["replicaStatuses"]["Worker"]
    assert worker["succeeded"] == 3
    assert "active" not in worker
    assert len(w.pods) == 4, "cleanPodPolicy is None unless said otherwise"
    assert [note.reason for note in w.events] == ["TFJobRunning", "TFJobSucceeded"]


def test_a_settled_job_writes_nothing_as_time_goes_by(world: Make) -> None:
    w = world("TFJob", {"Worker": 2}).settle()
    w.run()
    w.settle()
    before = w.writes
    w.wait(3600)
    assert w.sync().status is None
    assert w.writes == before


@pytest.mark.parametrize(
    ("kind", "replicas", "spec", "first", "then"),
    [
        ("TFJob", {"Chief": 1, "Worker": 2}, {}, ["mnist-worker-0", "mnist-worker-1"], ["mnist-chief-0"]),
        ("TFJob", {"Master": 1, "Worker": 1, "PS": 1}, {}, ["mnist-worker-0"], ["mnist-master-0"]),
        ("TFJob", {"Worker": 2, "PS": 1}, {}, ["mnist-worker-1"], ["mnist-worker-0"]),
        ("TFJob", {"Worker": 2}, {"successPolicy": "AllWorkers"}, ["mnist-worker-0"], ["mnist-worker-1"]),
        ("TFJob", {"Chief": 0, "Worker": 2}, {}, ["mnist-worker-1"], ["mnist-worker-0"]),
        ("TFJob", {"PS": 1, "Evaluator": 1}, {}, ["mnist-ps-0"], ["mnist-evaluator-0"]),
        ("PyTorchJob", {"Master": 1, "Worker": 1}, {}, ["mnist-worker-0"], ["mnist-master-0"]),
        ("PyTorchJob", {"Worker": 2}, {}, ["mnist-worker-0"], ["mnist-worker-1"]),
        ("PyTorchJob", {"Worker": 3}, {"elasticPolicy": {"minReplicas": 1, "maxReplicas": 3}}, [], ["mnist-worker-2"]),
        ("XGBoostJob", {"Master": 1, "Worker": 1}, {}, ["mnist-worker-0"], ["mnist-master-0"]),
        ("PaddleJob", {"Worker": 2}, {}, ["mnist-worker-0"], ["mnist-worker-1"]),
        ("PaddleJob", {"Master": 2, "Worker": 1}, {}, ["mnist-worker-0", "mnist-master-1"], ["mnist-master-0"]),
        ("JAXJob", {"Worker": 2}, {}, ["mnist-worker-0"], ["mnist-worker-1"]),
        ("MXJob", {"Scheduler": 1, "Server": 1, "Worker": 1}, {}, ["mnist-worker-0"], ["mnist-scheduler-0"]),
        ("MXJob", {"TunerTracker": 1, "Tuner": 1}, {"jobMode": "MXTune"}, [], ["mnist-tuner-0"]),
        ("MXJob", {"Worker": 2}, {}, ["mnist-worker-1"], ["mnist-worker-0"]),
    ],
)
def test_success_rules(world: Make, kind: str, replicas: Any, spec: Any, first: list[str], then: list[str]) -> None:
    w = world(kind, replicas, **spec).settle()
    w.run()
    w.settle()
    w.succeed(*first)
    assert w.settle().state == "Running"
    w.succeed(*then)
    assert w.settle().state == "Succeeded"


def test_a_failed_replica_fails_the_job_and_the_condition_says_why(world: Make) -> None:
    w = world("TFJob", {"PS": 1, "Worker": 2}).settle()
    w.run()
    w.settle()
    w.wait(60)
    w.fail(
        "mnist-worker-1", 1, message="Traceback (most recent call last):\n  ...\nValueError: no such optimizer: adm\n"
    )
    w.settle()
    assert w.state == "Failed"
    assert w.condition("Failed")["reason"] == "TFJobFailed"
    assert w.condition("Failed")["message"] == (
        "TFJob mnist failed: Worker replica 1 (pod mnist-worker-1): container tensorflow exited with code 1: "
        "Traceback (most recent call last):\n  ...\nValueError: no such optimizer: adm"
    )
    assert w.status["completionTime"] == "2026-01-01T12:01:00Z"
    assert w.condition("Running")["status"] == "False"
    assert len(w.pods) == 3


def test_the_first_failure_is_named_not_those_that_followed(world: Make) -> None:
    w = world("PyTorchJob", {"Worker": {"replicas": 4, "restartPolicy": "Never"}}).settle()
    w.run()
    w.settle()
    w.fail("mnist-worker-0", 143)
    w.fail("mnist-worker-1", 1, message="RuntimeError: [gloo] Connection closed by peer [10.0.0.3]:4711")
    w.wait(1)
    w.fail("mnist-worker-3", 1, message="ValueError: batch 17 has no labels")
    w.wait(1)
    w.fail("mnist-worker-2", 1, message="OSError: gone")
    message = w.settle().condition("Failed")["message"]
    assert "Worker replica 3 (pod mnist-worker-3)" in message
    assert message.endswith("ValueError: batch 17 has no labels")
    assert [note.message for note in w.events if note.reason == "PyTorchJobFailed"] == [message]


def test_signals_and_memory_are_named(world: Make) -> None:
    w = world("TFJob", {"Worker": 1}).settle()
    w.fail("mnist-worker-0", 137, reason="OOMKilled")
    message = w.settle().condition("Failed")["message"]
    assert "container tensorflow was killed by SIGKILL (exit code 137), out of memory" in message


def test_success_of_the_deciding_replica_wins_over_a_failure_seen_at_the_same_time(world: Make) -> None:
    w = world("TFJob", {"Chief": 1, "Worker": 1}).settle()
    w.succeed("mnist-chief-0")
    w.fail("mnist-worker-0")
    assert w.settle().state == "Succeeded"


def test_dynamic_workers_may_fail_but_not_the_one_that_decides(world: Make) -> None:
    w = world("TFJob", {"PS": 1, "Worker": 3}, enableDynamicWorker=True).settle()
    w.run()
    w.fail("mnist-worker-2")
    assert w.settle().state == "Running"
    w.fail("mnist-worker-0")
    assert w.settle().state == "Failed"


class TestExitCodes:
    @pytest.mark.parametrize("code", [1, 2, 126, 127])
    def test_up_to_127_fail_the_job_for_good(self, world: Make, code: int) -> None:
        w = world("TFJob", {"Worker": {"replicas": 2, "restartPolicy": "ExitCode"}}).settle()
        assert w.pods["mnist-worker-0"]["spec"]["restartPolicy"] == "Never"
        w.run()
        w.fail("mnist-worker-1", code)
        assert w.settle().state == "Failed"
        assert w.status["completionTime"]

    @pytest.mark.parametrize("code", [128, 130, 137, 143, 255])
    def test_from_128_the_pod_is_replaced(self, world: Make, code: int) -> None:
        w = world("TFJob", {"Worker": {"replicas": 2, "restartPolicy": "ExitCode"}}).settle()
        w.run()
        w.settle()
        first = meta.uid(w.pods["mnist-worker-1"])
        w.fail("mnist-worker-1", code)
        w.settle()
        assert w.state == "Restarting"
        assert "Running" not in w.true
        assert meta.uid(w.pods["mnist-worker-1"]) != first
        assert w.status["replicaStatuses"]["Worker"]["restarts"] == 1
        assert w.status["replicaStatuses"]["Worker"]["restartsByIndex"] == {"1": 1}
        w.run()
        w.settle()
        assert w.true == ["Created", "Running"]
        assert not w.condition("Restarting"), "Running and Restarting exclude each other"

    def test_an_eviction_is_retried(self, world: Make) -> None:
        w = world("TFJob", {"Worker": {"replicas": 1, "restartPolicy": "ExitCode"}}).settle()
        w.run()
        w.evict("mnist-worker-0")
        w.settle()
        assert "Evicted: The node was low on memory." in w.condition("Restarting")["message"]
        assert w.pods["mnist-worker-0"]["status"]["phase"] == "Pending"

    def test_replicas_that_fail_again_and_again_wait_longer_each_time(self, world: Make) -> None:
        w = world("TFJob", {"Worker": {"replicas": 1, "restartPolicy": "ExitCode"}}).settle()
        pauses = []
        for _ in range(8):
            w.run()
            w.fail("mnist-worker-0", 139)
            w.settle()
            pause = w.requeue_after or 0.0
            pauses.append(pause)
            if pause:
                assert w.pods["mnist-worker-0"]["status"]["phase"] == "Failed"
                w.wait(pause)
                w.settle()
            assert w.pods["mnist-worker-0"]["status"]["phase"] == "Pending"
        assert pauses == [0, 10, 20, 40, 80, 160, 300, 300]


@pytest.mark.parametrize("policy", ["OnFailure", "Always"])
def test_a_lost_pod_is_replaced(world: Make, policy: str) -> None:
    w = world("PyTorchJob", {"Worker": {"replicas": 2, "restartPolicy": policy}}).settle()
    w.run()
    w.settle()
    w.evict("mnist-worker-0")
    w.settle()
    assert w.state == "Restarting"
    w.run()
    assert w.settle().state == "Running"


def test_a_pod_that_somebody_deletes_is_replaced_and_is_no_failure(world: Make) -> None:
    w = world("TFJob", {"Worker": 2}).settle()
    w.run()
    w.settle()
    w.delete("Pod", "mnist-worker-1")
    w.set("mnist-worker-1", phase="Failed")
    w.settle()
    assert w.state == "Running"
    w.reap()
    w.settle()
    assert w.pods["mnist-worker-1"]["status"]["phase"] == "Pending"
    assert w.status["replicaStatuses"]["Worker"]["restarts"] == 0


class TestBackoffLimit:
    def test_counts_replaced_pods(self, world: Make) -> None:
        w = world(
            "TFJob", {"Worker": {"replicas": 2, "restartPolicy": "ExitCode"}}, runPolicy={"backoffLimit": 2}
        ).settle()
        for name in ("mnist-worker-0", "mnist-worker-1"):
            w.run()
            w.fail(name, 137)
            w.settle()
            assert w.state == "Restarting"
        w.run()
        w.fail("mnist-worker-1", 137)
        w.settle()
        assert w.state == "Failed"
        message = w.condition("Failed")["message"]
        assert message.startswith(
            "TFJob mnist failed: 3 restarts are more than backoffLimit 2 allows. The last failure was Wo"
        )
        assert "SIGKILL" in message
        assert w.status["completionTime"]
        w.reap()
        w.settle()
        assert list(w.pods) == ["mnist-worker-1"], "what ran was stopped, what failed can still be read"

    def test_counts_restarts_in_place_whether_the_pod_runs_or_not(self, world: Make) -> None:
        w = world("PyTorchJob", {"Worker": 2}, runPolicy={"backoffLimit": 3}).settle()
        w.restart_in_place("mnist-worker-0", 2)
        w.restart_in_place("mnist-worker-1", 1)
        assert w.settle().state == "Running"
        w.restart_in_place("mnist-worker-1", 2)
        w.set("mnist-worker-1", phase="Pending")
        assert w.settle().state == "Failed"
        assert w.status["replicaStatuses"]["Worker"]["restarts"] == 4

    def test_zero_allows_none(self, world: Make) -> None:
        w = world("PyTorchJob", {"Worker": 1}, runPolicy={"backoffLimit": 0}).settle()
        w.run()
        assert w.settle().state == "Running"
        w.restart_in_place("mnist-worker-0", 1, code=2)
        w.settle()
        assert "1 restart is more than backoffLimit 0 allows" in w.condition("Failed")["message"]
        assert "container pytorch exited with code 2" in w.condition("Failed")["message"]

    def test_restarts_in_place_of_a_pod_outlive_it(self, world: Make) -> None:
        w = world("PyTorchJob", {"Worker": 1}, runPolicy={"backoffLimit": 3}).settle()
        w.restart_in_place("mnist-worker-0", 2)
        w.settle()
        status = dict(w.pods["mnist-worker-0"]["status"]["containerStatuses"][0])
        w.set("mnist-worker-0", phase="Failed", reason="Evicted", containerStatuses=[status])
        w.settle()
        assert w.status["replicaStatuses"]["Worker"]["restarts"] == 3
        assert w.state == "Restarting"


class TestActiveDeadline:
    def test_stops_the_job_at_that_second(self, world: Make) -> None:
        w = world("TFJob", {"PS": 1, "Worker": 1}, runPolicy={"activeDeadlineSeconds": 60}).settle()
        w.run()
        w.succeed("mnist-ps-0")
        w.wait(20)
        w.settle()
        assert w.requeue_after == 40
        w.wait(40)
        w.settle()
        assert w.state == "Failed"
        assert "active for longer than activeDeadlineSeconds 60" in w.condition("Failed")["message"]
        w.reap()
        w.settle()
        assert list(w.pods) == ["mnist-ps-0"]

    def test_a_success_in_time_stays_one(self, world: Make) -> None:
        w = world("TFJob", {"Worker": 1}, runPolicy={"activeDeadlineSeconds": 60}).settle()
        w.succeed("mnist-worker-0")
        w.wait(60)
        assert w.settle().state == "Succeeded"


class TestCleanPodPolicy:
    @pytest.mark.parametrize(
        ("policy", "left"),
        [
            ("None", ["mnist-chief-0", "mnist-ps-0", "mnist-worker-0", "mnist-worker-1"]),
            ("Running", ["mnist-chief-0", "mnist-worker-0"]),
            ("All", []),
        ],
    )
    def test_says_what_is_left(self, world: Make, policy: str, left: list[str]) -> None:
        w = world("TFJob", {"Chief": 1, "PS": 1, "Worker": 2}, runPolicy={"cleanPodPolicy": policy}).settle()
        w.run("mnist-chief-0", "mnist-worker-0", "mnist-ps-0")
        w.settle()
        w.succeed("mnist-worker-0", "mnist-chief-0")
        w.settle()
        w.reap()
        w.settle()
        assert sorted(w.pods) == left
        assert sorted(w.children["Service"]) == left
        assert w.status["replicaStatuses"]["Worker"]["succeeded"] == 1
        assert w.status["replicaStatuses"]["PS"]["succeeded"] == 1, "what ran is counted as succeeded"


class TestTimeToLive:
    @pytest.mark.parametrize("ends", ["succeeds", "fails", "breaks the rules"])
    def test_deletes_the_job_whatever_its_end(self, world: Make, ends: str) -> None:
        replicas = {"Worker": {"restartPolicy": "ExitCode"}} if ends != "breaks the rules" else {"Worker": 1, "Boss": 1}
        w = world("TFJob", replicas, runPolicy={"ttlSecondsAfterFinished": 100}).settle()
        if ends == "succeeds":
            w.succeed("mnist-worker-0")
        elif ends == "fails":
            w.fail("mnist-worker-0", 1)
        w.settle()
        assert w.state == ("Succeeded" if ends == "succeeds" else "Failed")
        assert w.requeue_after == 100
        w.wait(99)
        w.settle()
        assert w.requeue_after == 1
        w.wait(1)
        w.settle()
        assert w.job is None

    def test_goes_by_the_condition_where_no_completion_time_is(self, world: Make) -> None:
        w = world("TFJob", {"Worker": 1}, runPolicy={"ttlSecondsAfterFinished": 100}).settle()
        w.fail("mnist-worker-0")
        w.settle()
        w.job = {**w.job, "status": {k: v for k, v in w.status.items() if k != "completionTime"}}
        w.wait(100)
        assert w.settle().job is None


@pytest.mark.parametrize("kind", ["PyTorchJob", "PaddleJob"])
def test_an_elastic_job_with_metrics_has_an_autoscaler_while_it_goes_on(world: Make, kind: str) -> None:
    metric = {
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}},
    }
    w = world(kind, {"Worker": 2}, elasticPolicy={"maxReplicas": 4, "minReplicas": 1, "metrics": [metric]}).settle()
    scaler = w.children["HorizontalPodAutoscaler"]["mnist"]["spec"]
    assert scaler["scaleTargetRef"] == {"apiVersion": "kubeflow.org/v1", "kind": kind, "name": "mnist"}
    assert (scaler["minReplicas"], scaler["maxReplicas"], scaler["metrics"]) == (1, 4, [metric])
    w.run()
    w.settle()
    w.job["spec"]["runPolicy"] = {"suspend": True}
    assert not w.settle().children["HorizontalPodAutoscaler"]
    w.job["spec"]["runPolicy"] = {}
    w.reap()
    assert w.settle().children["HorizontalPodAutoscaler"]
    w.run()
    w.succeed("mnist-worker-0", "mnist-worker-1")
    assert w.settle().state == "Succeeded"
    assert not w.children["HorizontalPodAutoscaler"]


class TestSuspend:
    def test_created_suspended_makes_no_pods(self, world: Make) -> None:
        w = world("TFJob", {"Worker": 2}, runPolicy={"suspend": True}).settle()
        assert w.true == ["Created", "Suspended"]
        assert not w.pods
        assert "startTime" not in w.status

    def test_suspends_and_resumes(self, world: Make) -> None:
        w = world("TFJob", {"Worker": 2}, runPolicy={"activeDeadlineSeconds": 100}).settle()
        w.run()
        w.settle()
        w.job["spec"]["runPolicy"]["suspend"] = True
        w.settle()
        assert w.state == "Suspended"
        assert w.condition("Suspended")["reason"] == "TFJobSuspended"
        assert w.condition("Running")["status"] == "False"
        assert "active" not in w.status["replicaStatuses"]["Worker"]
        w.wait(1000)
        assert w.settle().state == "Suspended", "no deadline runs meanwhile"
        w.job["spec"]["runPolicy"]["suspend"] = False
        w.settle()
        assert w.state == "Created"
        assert w.condition("Suspended")["status"] == "False"
        assert w.condition("Suspended")["reason"] == "TFJobResumed"
        assert w.status["startTime"] == "2026-01-01T12:16:40Z"
        assert all(meta.is_deleting(pod) for pod in w.pods.values()), "the old pods must go first"
        w.reap()
        w.settle()
        w.run()
        assert w.settle().state == "Running"


def test_scaling_makes_and_removes_pods_and_services(world: Make) -> None:
    w = world("PyTorchJob", {"Worker": 2}, elasticPolicy={"minReplicas": 1, "maxReplicas": 4}).settle()
    w.run()
    w.settle()
    w.job["spec"]["pytorchReplicaSpecs"]["Worker"]["replicas"] = 4
    w.settle()
    assert len(w.pods) == len(w.children["Service"]) == 4
    w.run()
    w.job["spec"]["pytorchReplicaSpecs"]["Worker"]["replicas"] = 1
    w.settle()
    w.reap()
    w.settle()
    assert list(w.pods) == list(w.children["Service"]) == ["mnist-worker-0"]


class TestWaiting:
    HELD = {"state": {"waiting": {"reason": "ErrImagePull", "message": "no image file for registry.example/train:1"}}}

    def test_is_told_in_the_condition_and_by_one_event(self, world: Make) -> None:
        w = world("TFJob", {"Worker": 2}).settle()
        for name in w.pods:
            w.set(name, containerStatuses=[{"name": "tensorflow", **self.HELD}])
        w.settle()
        w.settle()
        assert w.condition("Created")["message"] == (
            "TFJob mnist is created. Waiting: Worker replica 0 (pod mnist-worker-0): ErrImagePull: "
            "no image file for registry.example/train:1 (and 1 more)"
        )
        assert [note.reason for note in w.events] == ["ErrImagePull"]
        w.run()
        w.settle()
        assert w.condition("Created")["message"] == "TFJob mnist is created."
        assert w.state == "Running"

    def test_a_crash_loop_is_told_with_its_cause(self, world: Make) -> None:
        w = world("PyTorchJob", {"Master": 1, "Worker": 1}).settle()
        w.run()
        crashed = {"terminated": {"exitCode": 3, "reason": "Error", "message": "cannot open /data"}}
        held = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 20s"}}
        w.set(
            "mnist-worker-0",
            containerStatuses=[{"name": "pytorch", "restartCount": 2, "state": held, "lastState": crashed}],
        )
        w.settle()
        assert w.condition("Running")["message"].endswith(
            "CrashLoopBackOff: container pytorch exited with code 3: cannot open /data (restarts: 2)"
        )

    def test_an_unschedulable_pod_says_why(self, world: Make) -> None:
        w = world("TFJob", {"Worker": 1}).settle()
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}
        w.set("mnist-worker-0", conditions=[condition])
        assert w.settle().condition("Created")["message"].endswith("Unschedulable: 0/1 nodes")


class TestForeignJobs:
    def test_a_job_that_another_controller_manages_is_left_alone(self, world: Make) -> None:
        w = world("TFJob", {"Worker": 1}, runPolicy={"managedBy": "kueue.x-k8s.io/multikueue"}).settle()
        assert w.writes == 0
        w = world("TFJob", {"Worker": 1}, runPolicy={"managedBy": "kubeflow.org/training-operator"}).settle()
        assert w.writes

    def test_a_job_that_is_being_deleted_is_left_alone(self, world: Make) -> None:
        w = world("TFJob", {"Worker": 1}).settle()
        w.job["metadata"]["deletionTimestamp"] = "2026-01-01T12:00:00Z"
        w.fail("mnist-worker-0")
        before = w.writes
        w.settle()
        assert w.writes == before


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"tfReplicaSpecs": []}, "spec.tfReplicaSpecs: Invalid value: expected `object`, got `array`"),
        ({"tfReplicaSpecs": None}, "tfReplicaSpecs"),
        ({"tfReplicaSpecs": {"Worker": {"replicas": "two", "template": {}}}}, "expected `int | null`, got `str`"),
        (
            {"tfReplicaSpecs": {"Worker": {"template": {"spec": {"containers": "x"}}}}},
            "spec.tfReplicaSpecs[Worker].tem",
        ),
        ({"tfReplicaSpecs": {"Worker": {"template": {"spec": {"containers": [{}]}}}}}, "containers[0]"),
        ({"tfReplicaSpecs": {"Worker": {"template": {"spec": {}}, "restartPolicy": "Maybe"}}}, "'Maybe'"),
        (
            {"tfReplicaSpecs": {"Boss": {"template": {"spec": {}}}}},
            'spec.tfReplicaSpecs[Boss]: Unsupported value: "Boss"',
        ),
        ({"runPolicy": "none"}, "spec.runPolicy"),
    ],
)
def test_a_stored_job_that_is_not_valid_fails_with_the_field(world: Make, change: Any, told: str) -> None:
    w = world("TFJob", {"Worker": 1})
    w.job["spec"] |= change
    w.settle()
    assert w.state == "Failed"
    assert w.condition("Failed")["reason"] == "TFJobFailedValidation"
    assert told in w.condition("Failed")["message"]
    assert w.events[0].reason == "TFJobFailedValidation"
    assert not w.pods
    assert w.status["completionTime"]


@pytest.mark.parametrize("spec", [None, "x", [], 3])
def test_a_job_without_a_proper_spec_fails_too(world: Make, spec: Any) -> None:
    w = world("TFJob", {"Worker": 1})
    w.job["spec"] = spec
    assert w.settle().state == "Failed"


def test_a_hundred_replicas_take_a_few_milliseconds(world: Make) -> None:
    """Measured at 1.5 ms for the first sync and 1 ms for a later one; the bound leaves room for a busy machine."""
    w = world("TFJob", {"PS": 4, "Worker": 100})
    took = []
    for stage in (w.sync, w.run, w.settle):
        observed = w.observed()
        started = time.process_time()
        w.controller.sync(observed)
        took.append(time.process_time() - started)
        stage()
    assert min(took) < 0.02


class TestGangRestart:
    """All replicas restart together, and each attempt counts once."""

    def job(self, world: Make, **run_policy: Any) -> Any:
        w = world("PyTorchJob", {"Master": 1, "Worker": 2}, runPolicy=run_policy)
        w.job["metadata"]["annotations"] = {"homeport.dev/gang-restart": "true"}
        return w.settle()

    def test_one_that_fails_takes_the_others_with_it(self, world: Make) -> None:
        w = self.job(world)
        before = {name: meta.uid(pod) for name, pod in w.pods.items()}
        assert {pod["spec"]["restartPolicy"] for pod in w.pods.values()} == {"Never"}
        w.run()
        w.settle()
        w.fail("mnist-worker-1", 7, message="boom")
        w.settle()
        assert w.state == "Restarting"
        assert w.condition("Restarting")["message"].startswith(
            "PyTorchJob mnist is restarting all replicas (1): Worker replica 1 (pod mnist-worker-1): container pytorch "
            "exited with code 7: boom"
        )
        assert w.status["gangRestarts"] == 1
        assert sorted(w.pods) == ["mnist-master-0", "mnist-worker-0"], "no new pod while an old one is there"
        assert all(meta.is_deleting(pod) for pod in w.pods.values())
        w.fail("mnist-worker-0", 1, message="Connection reset by peer")
        w.settle()
        w.reap()
        w.settle()
        assert {name: meta.uid(pod) for name, pod in w.pods.items()}.items().isdisjoint(before.items())
        assert len(w.pods) == 3
        w.run()
        assert w.settle().state == "Running"
        assert w.status["gangRestarts"] == 1
        w.succeed("mnist-master-0")
        assert w.settle().state == "Succeeded"

    def test_attempts_are_counted_against_the_limit_and_wait_longer_each_time(self, world: Make) -> None:
        w = self.job(world, backoffLimit=3)
        pauses = []
        for _ in range(3):
            w.run()
            w.settle()
            w.fail("mnist-worker-0", 1)
            w.fail("mnist-worker-1", 1)
            w.settle()
            w.reap()
            pauses.append(w.requeue_after or 0.0)
            if pauses[-1]:
                w.settle()
                assert sorted(w.pods) == ["mnist-worker-0", "mnist-worker-1"], "what failed can be read meanwhile"
                w.wait(pauses[-1])
            w.settle()
            assert len(w.pods) == 3
        assert pauses == [0, 10, 20]
        w.run()
        w.fail("mnist-master-0", 1)
        w.settle()
        assert w.state == "Failed"
        assert "4 restarts are more than backoffLimit 3 allows" in w.condition("Failed")["message"]

    def test_what_its_policy_does_not_restart_fails_the_job(self, world: Make) -> None:
        w = world("TFJob", {"Worker": {"replicas": 2, "restartPolicy": "ExitCode"}})
        w.job["metadata"]["annotations"] = {"homeport.dev/gang-restart": "true"}
        w.settle()
        w.run()
        w.fail("mnist-worker-0", 137)
        assert w.settle().state == "Restarting"
        w.reap()
        w.settle()
        w.run()
        w.settle()
        w.fail("mnist-worker-0", 1)
        assert w.settle().state == "Failed"
