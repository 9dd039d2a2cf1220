from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from homeport.cli import output
from homeport.cli.replicas import Outcome, Replica, belongs, blame, finishes, outcome, replica, seconds_between

NOW = datetime(2026, 1, 2, 3, 4, 30, tzinfo=UTC)


def pod(name: str = "digits-worker-0", phase: str = "Running", **state: Any) -> dict[str, Any]:
    entry = {"name": "tensorflow", "restartCount": state.pop("restarts", 0), "state": state.pop("state", {})}
    if "last" in state:
        entry["lastState"] = {"terminated": state.pop("last")}
    _, type, index = name.rsplit("-", 2)
    labels = {
        "training.kubeflow.org/job-name": "digits",
        "training.kubeflow.org/operator-name": "tfjob-controller",
        "training.kubeflow.org/replica-type": type,
        "training.kubeflow.org/replica-index": index,
    }
    return {
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "uid": name, "labels": labels} | state.pop("metadata", {}),
        "spec": {"containers": [{"name": "tensorflow"}]},
        "status": {"phase": phase, "containerStatuses": [entry]} | state,
    }


def ended(code: int, reason: str = "", second: int = 20, message: str = "") -> dict[str, Any]:
    return {
        "exitCode": code,
        "reason": reason or ("Error" if code else "Completed"),
        "startedAt": "2026-01-02T03:04:05Z",
        "finishedAt": f"2026-01-02T03:04:{second:02d}Z",
        "message": message,
    }


def test_kinds_that_come_to_an_end() -> None:
    assert all(finishes(kind) for kind in ("Pod", "TFJob", "MPIJob", "Job", "TrainJob", "JobSet", "Experiment"))
    assert not any(finishes(kind) for kind in ("CronJob", "Deployment", "ConfigMap", "Notebook"))


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ([("Created", "True"), ("Running", "True")], None),
        ([("Running", "False"), ("Succeeded", "True")], True),
        ([("Complete", "True")], True),
        ([("Succeeded", "False"), ("Failed", "True")], False),
    ],
)
def test_the_outcome_of_a_job(conditions: list[tuple[str, str]], expected: bool | None) -> None:
    body = [{"type": type, "status": status, "message": "why"} for type, status in conditions]
    found = outcome({"kind": "TFJob", "status": {"conditions": body}})
    assert (found.succeeded if found else None) == expected


def test_the_outcome_of_a_pod() -> None:
    assert outcome(pod()) is None
    assert outcome(pod(phase="Succeeded")) == Outcome(True)
    assert outcome(pod(phase="Failed", reason="Evicted", message="m")) == Outcome(False, "Evicted", "m")


def test_which_pods_are_a_jobs_own() -> None:
    job = {"kind": "TFJob", "metadata": {"name": "digits", "namespace": "default", "uid": "J"}}
    owner = {"kind": "TFJob", "uid": "J", "controller": True}
    assert belongs(pod(metadata={"ownerReferences": [owner]}), job)
    assert not belongs(pod(metadata={"ownerReferences": [owner | {"uid": "older"}]}), job)
    assert belongs(pod(metadata={"ownerReferences": [owner | {"kind": "JobSet", "uid": "S"}]}), job)
    assert belongs(pod(), job)
    assert not belongs(pod(metadata={"namespace": "other"}), job)
    assert belongs(pod(), pod())


TRAINING = "training.kubeflow.org/"
LAUNCHER = {"kind": "Job", "uid": "L", "controller": True}


@pytest.mark.parametrize(
    ("labels", "kind"),
    [
        ({TRAINING + "job-name": "same", TRAINING + "operator-name": "tfjob-controller"}, "TFJob"),
        ({TRAINING + "job-name": "same", TRAINING + "operator-name": "mpi-operator"}, "MPIJob"),
        ({TRAINING + "job-name": "same", TRAINING + "operator-name": "mpijob-controller"}, "MPIJob"),
        ({"chainerjob.kubeflow.org/name": "same"}, "ChainerJob"),
        ({"jobset.sigs.k8s.io/jobset-name": "same", "jobset.sigs.k8s.io/jobset-uid": "JobSet"}, "JobSet"),
        ({"job-name": "same", "batch.kubernetes.io/job-name": "same"}, ""),
    ],
)
def test_jobs_of_other_kinds_may_have_the_same_name(labels: dict[str, str], kind: str) -> None:
    """Their pods are owned by Jobs and sets in between, so that the owner does not tell."""
    made = pod(metadata={"labels": labels, "ownerReferences": [LAUNCHER]})
    kinds = ("TFJob", "PyTorchJob", "MPIJob", "ChainerJob", "JobSet", "Job", "TrainJob")
    found = [each for each in kinds if belongs(made, job_of(each))]
    assert found == [each for each in (kind, "TrainJob" if kind == "JobSet" else "") if each]


def job_of(kind: str, created: str = "2026-01-02T03:04:05Z") -> dict[str, Any]:
    metadata = {"name": "same", "namespace": "default", "uid": kind, "creationTimestamp": created}
    return {"kind": kind, "metadata": metadata}


@pytest.mark.parametrize(("second", "expected"), [(4, False), (5, True), (6, True)])
def test_pods_of_an_older_job_of_the_same_name(second: int, expected: bool) -> None:
    labels = {TRAINING + "job-name": "same", TRAINING + "operator-name": "mpi-operator"}
    when = f"2026-01-02T03:04:{second:02d}Z"
    made = pod(metadata={"labels": labels, "ownerReferences": [LAUNCHER], "creationTimestamp": when})
    assert belongs(made, job_of("MPIJob")) is expected


@pytest.mark.parametrize(
    ("one", "title"),
    [
        (pod("d-worker-2", metadata={"labels": {"training.kubeflow.org/job-role": "worker"}}), "worker-2"),
        (pod("d-launcher-12345", metadata={"labels": {"training.kubeflow.org/job-role": "launcher"}}), "launcher-0"),
        (pod("d-master-x", metadata={"labels": {"chainerjob.kubeflow.org/name": "d"}}), "d-master-x"),
    ],
)
def test_what_replicas_of_other_makes_are_called(one: dict[str, Any], title: str) -> None:
    assert replica(one).title == title


def test_a_running_replica() -> None:
    one = replica(pod(state={"running": {"startedAt": "2026-01-02T03:04:05Z"}}))
    assert (one.title, one.phase, one.start, one.finish, one.exit_code) == (
        "worker-0",
        "Running",
        "2026-01-02T03:04:05Z",
        "",
        None,
    )
    assert one.waiting is None
    assert one.stuck is None
    assert seconds_between(one.start, one.finish, NOW) == 25


def test_a_restarted_replica_keeps_the_exit_code_of_its_last_run() -> None:
    one = replica(pod(restarts=2, state={"waiting": {"reason": "CrashLoopBackOff", "message": "m"}}, last=ended(3)))
    assert (one.restarts, one.exit_code, one.waiting) == (2, 3, ("CrashLoopBackOff", "m"))
    assert one.stuck is None
    assert one.containers[0].has_log


def test_what_only_the_user_can_solve_is_told_from_what_passes() -> None:
    image = replica(pod(phase="Pending", state={"waiting": {"reason": "ErrImagePull", "message": "no such image"}}))
    assert image.stuck == ("ErrImagePull", "no such image")
    start = ended(128, "StartError", message='exec: "nope": not found')
    again = replica(pod(state={"waiting": {"reason": "CrashLoopBackOff"}}, last=start))
    assert again.stuck == ("StartError", 'exec: "nope": not found')
    creating = replica(pod(phase="Pending", state={"waiting": {"reason": "ContainerCreating"}}))
    assert creating.stuck is None
    assert not creating.containers[0].has_log


def test_an_unschedulable_pod_says_why() -> None:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "too little memory"}
    one = replica(pod(phase="Pending", conditions=[condition]))
    assert one.waiting == ("Unschedulable", "too little memory")


def _failed(name: str, second: int, **more: Any) -> Replica:
    return replica(pod(name, "Failed", state={"terminated": ended(1, second=second, **more)}))


def test_the_replica_that_failed_first_is_blamed() -> None:
    others = [_failed("digits-worker-1", 22), replica(pod())]
    assert blame([*others, _failed("digits-worker-2", 21)]) == "worker-2 ended with exit code 1"
    oom = replica(pod("digits-ps-0", "Failed", state={"terminated": ended(137, "OOMKilled", second=1)}))
    assert blame([*others, oom]) == "ps-0 ended with exit code 137 (OOMKilled)"
    assert blame([replica(pod())]) == ""


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("TFJob j failed: it was active for too long.", "TFJob j failed: it was active for too long"),
        ("TFJob j is not valid: spec: Required value", "TFJob j is not valid: spec: Required value"),
        (
            "TFJob j has failed because 1 Worker replica(s) failed.",
            "TFJob j failed: TFJob j has failed because 1 Worker replica(s) failed; worker-1 ended with exit code 1",
        ),
        ("", "TFJob j failed: worker-1 ended with exit code 1"),
    ],
)
def test_a_failure_is_told_once(message: str, expected: str) -> None:
    assert output.failure("TFJob j", Outcome(False, "TFJobFailed", message), [_failed("j-worker-1", 22)]) == expected


def test_a_failure_without_any_word() -> None:
    assert output.failure("Job j", Outcome(False, "Why"), []) == "Job j failed: Why"
    assert output.failure("Job j", Outcome(False), []) == "Job j failed: no reason was given"


def test_a_condition_is_told_with_the_jobs_title_once() -> None:
    assert output.story("TFJob j", "TFJob j is suspended.") == "TFJob j is suspended."
    assert output.story("Job j", "suspended by its user") == "Job j: suspended by its user"


def _plain(text: str, *codes: str) -> str:
    return text


def test_the_summary_fits_a_screen_and_aligns() -> None:
    done = replica(pod(phase="Succeeded", state={"terminated": ended(0)}))
    served = replica(pod("digits-ps-0", state={"running": {"startedAt": "2026-01-02T03:04:05Z"}}))
    lines = output.summary("TFJob digits", Outcome(True), [done, served], frozenset({served.uid}), NOW, _plain)
    assert lines[0] == "TFJob digits succeeded in 15 s"
    assert lines[2].split() == ["REPLICA", "PHASE", "START", "TIME", "RESTARTS", "EXIT", "CODE"]
    assert lines[3].split()[:2] == ["ps-0", "Stopped"]
    assert lines[4].split()[0::5] == ["worker-0", "0"] or lines[4].split()[:2] == ["worker-0", "Succeeded"]
    many = [replica(pod(f"digits-worker-{n}", "Succeeded", state={"terminated": ended(0)})) for n in range(100)]
    failed = _failed("digits-worker-100", 20)
    lines = output.summary("TFJob big", Outcome(False), [*many, failed], frozenset(), NOW, _plain)
    assert len(lines) < 25
    assert any(line.startswith("worker-100") for line in lines)
    assert lines[-1] == "... 101 replicas: 1 failed and 100 succeeded"


def test_replicas_are_named_as_short_as_is_clear() -> None:
    workers = [replica(pod(f"digits-worker-{n}")) for n in (2, 0, 1)]
    assert output.titles([*workers, replica(pod("digits-ps-0"))]) == "ps-0 and worker-0 to worker-2"
    assert output.titles(workers[:2]) == "worker-0 and worker-2"


def test_the_most_telling_reason_to_wait_is_shown() -> None:
    creating = replica(pod(phase="Pending", state={"waiting": {"reason": "ContainerCreating"}}))
    building = {"waiting": {"reason": "ContainerCreating", "message": "building image x: 12 of 40 packages"}}
    one = replica(pod("digits-ps-0", "Pending", state=building))
    live, told = output.waiting([creating, one], 0)
    assert live == "ps-0: building image x: 12 of 40 packages"
    assert told == "building image x: 12 of 40 packages"
    crashed = pod(phase="Running", state={"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}})
    assert output.waiting([replica(crashed)], 0) == (
        "worker-0: CrashLoopBackOff: back-off 10s",
        "CrashLoopBackOff: back-off 10s",
    )
    assert output.waiting([creating], 0) == ("worker-0: ContainerCreating", "")
    assert output.waiting([replica(pod())], 0) == ("1 of 1 replicas running", "")
    assert output.waiting([], 0)[0] == "waiting for replicas"


def test_a_log_line_is_one_line_of_a_terminal() -> None:
    assert output.log_text("10%\r50%\r100%") == "100%"
    assert output.log_text("text\r") == "text"
    assert output.log_text("\x1b[31mred\x1b[0m\x07\ttab") == "\x1b[31mred\x1b[0m\ttab"


def of_a_set(name: str, count: str = "1", job: str = "0") -> dict[str, Any]:
    labels = {
        "jobset.sigs.k8s.io/jobset-name": "digits",
        "jobset.sigs.k8s.io/replicatedjob-name": "node",
        "jobset.sigs.k8s.io/replicatedjob-replicas": count,
        "jobset.sigs.k8s.io/job-index": job,
        "job-name": f"digits-node-{job}",
    }
    one = pod("digits-node-0", metadata={"name": name, "labels": labels})
    one["metadata"]["annotations"] = {"batch.kubernetes.io/job-completion-index": "1"}
    return one


def test_pods_of_job_sets_belong_to_their_training_job_and_have_short_names() -> None:
    assert replica(of_a_set("digits-node-0-1-x7k2p")).title == "node-1"
    assert replica(of_a_set("digits-node-2-1-x7k2p", "3", "2")).title == "node-2-1"
    metadata = {"name": "digits", "namespace": "default", "uid": "u"}
    for kind, theirs in (("TrainJob", True), ("JobSet", True), ("TFJob", False)):
        assert belongs(of_a_set("digits-node-0-1-x7k2p"), {"kind": kind, "metadata": metadata}) is theirs
