"""Job sets, decided from what is seen of their jobs, and refused in JobSet's words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from hashlib import sha1
from typing import Any

import pytest

from homeport.components.batch import JOB_SET, JOB_SET_KIND
from homeport.control.controller import Note, Observed
from homeport.control.diff import merged, plan
from homeport.control.freeze import freeze
from homeport.control.testing import check_conformance, observed
from homeport.kube import meta
from homeport.kube.meta import Object

KEY = "jobset.sigs.k8s.io/"


def group(name: str, *, completions: int | None = 1, pod: Object | None = None, **fields: Any) -> Object:
    spec: Object = {"template": {"spec": pod or {"containers": [{"name": "c", "image": "x"}]}}}
    if completions is not None:
        spec |= {"completions": completions, "parallelism": completions}
    return {"name": name, "replicas": 1, "groupName": "default", "template": {"spec": spec}, **fields}


def job_set(*groups: Object, name: str = "train", **spec: Any) -> Object:
    new = {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": {"name": name, "namespace": "team", "uid": "u-1", "creationTimestamp": "2026-01-01T12:00:00Z"},
        "spec": {"replicatedJobs": list(groups), **spec},
    }
    return JOB_SET_KIND.prepare(new, None)


def errors(*groups: Object, name: str = "train", **spec: Any) -> str:
    return "; ".join(map(str, JOB_SET_KIND.validate(job_set(*groups, name=name, **spec), None)))


class World:
    """Carries out what is desired; the test plays the jobs."""

    def __init__(self, *groups: Object, **spec: Any) -> None:
        self.set = job_set(*groups, **spec)
        assert not list(JOB_SET_KIND.validate(self.set, None))
        self.children: dict[str, dict[str, Object]] = {"Job": {}, "Service": {}, "PersistentVolumeClaim": {}}
        self.now = datetime(2026, 1, 1, 12, tzinfo=UTC)
        self.events: list[Note] = []
        self.others: list[Object] = []
        self.requeue_after: float | None = None
        self.is_deleted = False
        self.deleted: list[str] = []

    @property
    def jobs(self) -> dict[str, Object]:
        return self.children["Job"]

    @property
    def status(self) -> Object:
        return meta.status(self.set)

    def count(self, name: str) -> Object:
        return next(entry for entry in self.status["replicatedJobsStatus"] if entry["name"] == name)

    def condition(self, type: str) -> Object:
        return dict(meta.find_condition(self.status.get("conditions"), type) or {})

    def settle(self) -> World:
        for _ in range(10):
            seen = Observed(freeze(self.set), freeze(self.children), {"PersistentVolumeClaim": {}}, self.now)
            desired = JOB_SET.sync(seen)
            todo = plan(JOB_SET, seen, desired)
            self.requeue_after, self.is_deleted = desired.requeue_after, desired.delete_parent
            self.events += desired.notes
            self.others = list(desired.others)
            if not (todo.creates or todo.deletes or todo.patches or todo.status):
                return self
            self.set = merged(self.set, {"status": todo.status or {}})
            for write in todo.creates:
                self.children[write.object["kind"]][meta.name(write.object)] = write.object
            for change in todo.patches:
                name = meta.name(change.object)
                self.jobs[name] = merged(self.jobs[name], change.patch)
            for deletion in todo.deletes:
                self.deleted.append(meta.name(deletion.object))
                del self.children[deletion.object["kind"]][meta.name(deletion.object)]
        raise AssertionError("the controller doesn't come to rest")

    def play(self, name: str, **status: Any) -> World:
        self.jobs[name] = {**self.jobs[name], "status": status}
        return self.settle()

    def end(self, name: str, type: str, reason: str = "", message: str = "") -> World:
        ended = {"type": type, "status": "True", "reason": reason, "message": message}
        return self.play(name, conditions=[{**ended, "lastTransitionTime": meta.timestamp(self.now)}])


def test_what_a_job_set_is_made_of() -> None:
    w = World(group("driver"), group("worker", completions=2, replicas=2, groupName="work")).settle()
    assert sorted(w.jobs) == ["train-driver-0", "train-worker-0", "train-worker-1"]
    job = w.jobs["train-worker-1"]
    marks = {
        KEY + "jobset-name": "train",
        KEY + "jobset-uid": "u-1",
        KEY + "replicatedjob-name": "worker",
        KEY + "replicatedjob-replicas": "2",
        KEY + "global-replicas": "3",
        KEY + "job-index": "1",
        KEY + "job-global-index": "2",
        KEY + "job-key": sha1(b"team/train-worker-1", usedforsecurity=False).hexdigest(),
        KEY + "restart-attempt": "0",
        KEY + "group-name": "work",
        KEY + "group-replicas": "2",
        KEY + "job-group-index": "1",
    }
    assert meta.labels(job) == meta.annotations(job) == marks
    template = meta.spec(job)["template"]
    assert meta.labels(template) == meta.annotations(template) == marks
    assert meta.spec(template)["subdomain"] == "train"
    assert meta.spec(template)["restartPolicy"] == "OnFailure"
    assert meta.spec(job)["completionMode"] == "Indexed"
    assert meta.spec(job)["suspend"] is False
    service = w.children["Service"]["train"]
    assert service["spec"] == {
        "clusterIP": "None",
        "selector": {KEY + "jobset-name": "train"},
        "publishNotReadyAddresses": True,
    }
    assert [entry["name"] for entry in w.status["replicatedJobsStatus"]] == ["worker", "driver"]
    assert w.status["restarts"] == 0


def test_it_succeeds_with_all_its_jobs() -> None:
    w = World(group("a"), group("b")).settle()
    w.play("train-a-0", active=1, ready=1)
    assert w.count("a") == {"name": "a", "ready": 1, "succeeded": 0, "failed": 0, "active": 1, "suspended": 0}
    w.end("train-a-0", "Complete")
    assert not w.condition("Completed")
    w.end("train-b-0", "Complete")
    assert w.condition("Completed") == {
        "type": "Completed",
        "status": "True",
        "reason": "AllJobsCompleted",
        "message": "jobset completed successfully",
        "lastTransitionTime": "2026-01-01T12:00:00Z",
    }
    assert w.status["terminalState"] == "Completed"
    assert [(note.type, note.reason) for note in w.events] == [("Normal", "AllJobsCompleted")]


def test_it_succeeds_with_any_of_some() -> None:
    policy = {"operator": "Any", "targetReplicatedJobs": ["a"]}
    w = World(group("a", replicas=2), group("b"), successPolicy=policy).settle()
    w.end("train-b-0", "Complete")
    assert "terminalState" not in w.status
    w.end("train-a-1", "Complete")
    assert w.status["terminalState"] == "Completed"
    assert w.deleted == ["train-a-0"], "what still runs is ended"
    assert sorted(w.jobs) == ["train-a-1", "train-b-0"]


def test_it_fails_with_its_first_job() -> None:
    w = World(group("a"), group("b")).settle()
    w.end("train-a-0", "Failed", "BackoffLimitExceeded")
    assert w.condition("Failed")["reason"] == "FailedJobs"
    words = "jobset failed due to one or more job failures (first failed job: train-a-0)"
    assert w.condition("Failed")["message"] == words
    assert (w.events[-1].type, w.events[-1].reason, w.events[-1].message) == ("Warning", "FailedJobs", words)
    assert w.status["terminalState"] == "Failed"
    assert w.deleted == ["train-b-0"]


def test_restarts_up_to_a_limit() -> None:
    w = World(group("a"), group("b"), failurePolicy={"maxRestarts": 1}).settle()
    w.end("train-a-0", "Failed")
    assert sorted(w.deleted) == ["train-a-0", "train-b-0"]
    assert {meta.labels(job)[KEY + "restart-attempt"] for job in w.jobs.values()} == {"1"}
    assert (w.status["restarts"], w.status["restartsCountTowardsMax"]) == (1, 1)
    assert w.condition("RestartingJobSet")["reason"] == "DefaultFailurePolicy"
    words = "applying RestartJobSet failure policy action (first failed job: train-a-0)"
    assert Note("Warning", "RestartJobSetFailurePolicyAction", words) in w.events
    for name in ("train-a-0", "train-b-0"):
        w.play(name, active=1, ready=1)
    assert w.condition("RestartingJobSet")["status"] == "False"
    assert w.condition("RestartingJobSet")["reason"] == "JobsReady"
    w.end("train-b-0", "Failed")
    assert w.condition("Failed")["reason"] == "ReachedMaxRestarts"
    assert "(first failed job: train-b-0)" in w.condition("Failed")["message"]


def test_the_first_rule_that_is_met_counts() -> None:
    rules = [
        {"name": "fatal", "action": "FailJobSet", "onJobFailureReasons": ["PodFailurePolicy"]},
        {
            "name": "host",
            "action": "RestartJobSetAndIgnoreMaxRestarts",
            "targetReplicatedJobs": ["b"],
            "onJobFailureMessagePatterns": ["maint.*"],
        },
    ]
    w = World(group("a"), group("b"), failurePolicy={"maxRestarts": 0, "rules": rules}).settle()
    w.end("train-b-0", "Failed", "BackoffLimitExceeded", "host maintenance")
    assert w.status["restarts"] == 1
    assert "restartsCountTowardsMax" not in w.status
    assert w.condition("RestartingJobSet")["reason"] == "FailurePolicy_host"
    w.end("train-a-0", "Failed", "PodFailurePolicy")
    assert w.condition("Failed")["reason"] == "FailJobSetFailurePolicyAction"
    assert w.condition("RestartingJobSet")["reason"] == "JobSetFailed"


def test_no_new_job_before_the_last_old_one_has_gone() -> None:
    policy = {"maxRestarts": 3, "restartStrategy": "BlockingRecreate"}
    w = World(group("a"), group("b"), failurePolicy=policy).settle()
    going = {"deletionTimestamp": "2026-01-01T12:00:00Z"}
    w.jobs["train-b-0"]["metadata"] |= going
    w.end("train-a-0", "Failed")
    assert sorted(w.jobs) == ["train-b-0"]
    del w.jobs["train-b-0"]
    w.settle()
    assert sorted(w.jobs) == ["train-a-0", "train-b-0"]


@pytest.mark.parametrize(("status", "reached"), [("Ready", {"ready": 1}), ("Complete", None)])
def test_jobs_that_depend_on_others(status: str, reached: Any) -> None:
    w = World(group("a"), group("b", dependsOn=[{"name": "a", "status": status}])).settle()
    assert sorted(w.jobs) == ["train-a-0"]
    if reached:
        w.play("train-a-0", **reached)
    else:
        w.end("train-a-0", "Complete")
    assert sorted(w.jobs) == ["train-a-0", "train-b-0"]


def test_jobs_in_order() -> None:
    w = World(group("a"), group("b"), startupPolicy={"startupPolicyOrder": "InOrder"}).settle()
    assert sorted(w.jobs) == ["train-a-0"]
    assert w.condition("StartupPolicyInProgress")["status"] == "True"
    w.play("train-a-0", ready=1)
    assert sorted(w.jobs) == ["train-a-0", "train-b-0"]
    w.play("train-b-0", ready=1)
    assert w.condition("StartupPolicyCompleted")["reason"] == "InOrderStartupPolicyCompleted"
    assert w.condition("StartupPolicyInProgress")["status"] == "False"


def test_suspending_and_resuming() -> None:
    w = World(group("a"), suspend=True).settle()
    assert meta.spec(w.jobs["train-a-0"])["suspend"] is True
    assert w.condition("Suspended")["reason"] == "SuspendedJobs"
    assert w.count("a")["suspended"] == 1
    template = meta.spec(w.set)["replicatedJobs"][0]["template"]["spec"]["template"]
    template["spec"]["nodeSelector"] = {"pool": "fast"}
    w.set["spec"]["suspend"] = False
    w.settle()
    spec = meta.spec(w.jobs["train-a-0"])
    assert spec["suspend"] is False
    assert spec["template"]["spec"]["nodeSelector"] == {"pool": "fast"}
    assert w.condition("Suspended")["status"] == "False"
    assert [note.reason for note in w.events] == ["SuspendedJobs", "ResumeJobs"]
    # Once more, after it has run: the job's start is taken back first, so that its template may change.
    w.set["spec"]["suspend"] = True
    w.play("train-a-0", startTime="2026-01-01T12:00:00Z")
    template["spec"]["nodeSelector"] = {"pool": "slow"}
    w.set["spec"]["suspend"] = False
    w.settle()
    assert "startTime" not in meta.status(w.jobs["train-a-0"])
    assert meta.spec(w.jobs["train-a-0"])["suspend"] is False
    assert meta.spec(w.jobs["train-a-0"])["template"]["spec"]["nodeSelector"] == {"pool": "slow"}


def test_jobs_grow_and_shrink_with_their_set() -> None:
    w = World(group("a", completions=2, replicas=2), group("b")).settle()
    scale(w.set, 4)
    w.settle()
    for name in ("train-a-0", "train-a-1"):
        assert size_of(w.jobs[name]) == (4, 4)
    assert size_of(w.jobs["train-b-0"]) == (1, 1)
    # What has succeeded is left alone, and a suspended one is changed, too.
    w.end("train-a-0", "Complete")
    w.set["spec"]["suspend"] = True
    scale(w.set, 1)
    w.settle()
    assert size_of(w.jobs["train-a-0"]) == (4, 4)
    assert size_of(w.jobs["train-a-1"]) == (1, 1)
    assert meta.spec(w.jobs["train-a-1"])["suspend"] is True


def test_a_restart_ends_with_the_newest_size() -> None:
    w = World(group("a", completions=2), failurePolicy={"maxRestarts": 1}).settle()
    scale(w.set, 3)
    w.end("train-a-0", "Failed")
    assert w.deleted == ["train-a-0"]
    assert size_of(w.jobs["train-a-0"]) == (3, 3)


def scale(job_set: Object, pods: int) -> None:
    job = job_set["spec"]["replicatedJobs"][0]["template"]["spec"]
    job |= {"parallelism": pods, "completions": pods}


def size_of(job: Object) -> tuple[int, int]:
    return meta.spec(job)["parallelism"], meta.spec(job)["completions"]


def test_a_time_to_live() -> None:
    w = World(group("a"), ttlSecondsAfterFinished=30).settle()
    w.end("train-a-0", "Complete")
    assert w.requeue_after == 30
    w.now += timedelta(seconds=30)
    w.settle()
    assert w.is_deleted


def test_claims_that_jobs_share() -> None:
    mounted = {"containers": [{"name": "c", "image": "x", "volumeMounts": [{"name": "data", "mountPath": "/d"}]}]}
    templates = [{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}]
    w = World(group("a", pod=mounted), group("b"), volumeClaimPolicies=[{"templates": templates}]).settle()
    assert list(w.children["PersistentVolumeClaim"]) == ["data-train"]
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "data-train"}}]
    assert meta.spec(w.jobs["train-a-0"])["template"]["spec"]["volumes"] == volumes
    assert "volumes" not in meta.spec(w.jobs["train-b-0"])["template"]["spec"]
    kept = {"templates": templates, "retentionPolicy": {"whenDeleted": "Retain"}}
    w = World(group("a", pod=mounted), volumeClaimPolicies=[kept]).settle()
    assert not w.children["PersistentVolumeClaim"]
    assert [meta.name(claim) for claim in w.others] == ["data-train"]


def test_one_of_another_controller_is_left_alone() -> None:
    w = World(group("a"), managedBy="kueue.x-k8s.io/multikueue").settle()
    assert not w.jobs
    assert not w.status


def test_the_coordinator_is_known_to_all() -> None:
    chosen = {"replicatedJob": "a", "jobIndex": 0, "podIndex": 1}
    w = World(group("a", completions=2), group("b"), coordinator=chosen, network={"subdomain": "net"}).settle()
    assert meta.labels(w.jobs["train-b-0"])[KEY + "coordinator"] == "train-a-0-1.net"
    assert list(w.children["Service"]) == ["net"]


def test_the_rules_of_every_controller() -> None:
    for parent in (
        job_set(group("a"), group("b", dependsOn=[{"name": "a", "status": "Ready"}])),
        job_set(group("a"), suspend=True),
        job_set(group("a"), group("b"), startupPolicy={"startupPolicyOrder": "InOrder"}),
    ):
        check_conformance(JOB_SET, observed(JOB_SET, parent))


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"managedBy": "nothing"}, "spec.managedBy: Invalid value"),
        ({"network": {"subdomain": "No_Name"}}, "spec.network.subdomain: Invalid value"),
        ({"successPolicy": {"operator": "All", "targetReplicatedJobs": ["z"]}}, "invalid replicatedJob name 'z'"),
        ({"failurePolicy": {"rules": [{"action": "RestartJob"}]}}, "not allowed when RestartJob feature gate"),
        ({"failurePolicy": {"restartStrategy": "InPlaceRestart"}}, "InPlaceRestart feature gate is disabled"),
        (
            {
                "failurePolicy": {
                    "rules": [{"name": "x", "action": "FailJobSet"}, {"name": "x", "action": "FailJobSet"}]
                }
            },
            "rules with indices [0 1] all have the same name 'x'",
        ),
        (
            {"failurePolicy": {"rules": [{"name": "x", "action": "FailJobSet", "onJobFailureReasons": ["Y"]}]}},
            "invalid job failure reason 'Y' in failure policy is not a recognized job failure reason",
        ),
        ({"coordinator": {"replicatedJob": "z"}}, "coordinator replicatedJob z does not exist"),
        ({"coordinator": {"replicatedJob": "a", "jobIndex": 3}}, "coordinator job index 3 is invalid"),
        ({"coordinator": {"replicatedJob": "a", "podIndex": 3}}, "coordinator pod index 3 is invalid"),
        ({"name": "x" * 60}, "JobSet name is too long, job names generated for this JobSet will exceed 63 characters"),
        ({"name": "x" * 55}, "JobSet name is too long, pod names generated for this JobSet will exceed 63 characters"),
    ],
)
def test_what_is_refused(spec: Any, told: str) -> None:
    assert told in errors(group("a"), **spec)


def test_dependencies_that_are_refused() -> None:
    assert "DependsOn can't be set for the first" in errors(group("a", dependsOn=[{"name": "a", "status": "Ready"}]))
    told = errors(group("a"), group("b", dependsOn=[{"name": "c", "status": "Ready"}]), group("c"))
    assert "replicatedJob: b cannot depend on replicatedJob: c" in told


def test_what_may_change_while_suspended() -> None:
    old = job_set(group("a"), suspend=True)
    new = merged(old, {})
    changed = group("a", pod={"containers": [{"name": "c", "image": "x"}], "nodeSelector": {"pool": "fast"}})
    new["spec"] = {**old["spec"], "replicatedJobs": job_set(changed)["spec"]["replicatedJobs"]}
    assert not list(JOB_SET_KIND.validate(new, old))
    running = {**old, "spec": {**old["spec"], "suspend": False}}
    new["spec"] = {**new["spec"], "suspend": False}
    assert "field is immutable" in str(next(iter(JOB_SET_KIND.validate(new, running))))
    other = job_set(group("a", pod={"containers": [{"name": "c", "image": "y"}]}), suspend=True)
    assert "field is immutable" in str(next(iter(JOB_SET_KIND.validate(other, old))))


def test_what_never_changes() -> None:
    old = job_set(group("a"), failurePolicy={"maxRestarts": 1})
    new = job_set(group("a"), failurePolicy={"maxRestarts": 2})
    told = "; ".join(map(str, JOB_SET_KIND.validate(new, old)))
    assert told == 'spec.failurePolicy: Invalid value: "object": Value is immutable'
    assert not list(JOB_SET_KIND.validate(job_set(group("a"), failurePolicy={"maxRestarts": 1}, suspend=True), old))


@pytest.mark.parametrize(
    ("size", "mode", "ended", "told"),
    [
        ((3, 3), "Indexed", "", ""),
        ((1, 1), "Indexed", "Suspended", ""),
        (
            (3, 2),
            "Indexed",
            "",
            "template.spec.completions: Invalid value: 2: completions must be equal to",
        ),
        ((0, 0), "Indexed", "", "template.spec.parallelism: Invalid value: 0: must be greater than or equal to 1"),
        ((None, 3), "Indexed", "", "template.spec.parallelism: Invalid value: null: must be greater than"),
        ((3, 3), "Indexed", "Completed", "cannot change parallelism or completions when JobSet is in a terminal state"),
        ((3, 3), "Indexed", "Failed", "cannot change parallelism or completions when JobSet is in a terminal state"),
        ((3, 3), "NonIndexed", "", "spec.replicatedJobs: Invalid value"),
    ],
)
def test_the_pods_of_indexed_jobs_may_become_more_or_fewer(size: Any, mode: str, ended: str, told: str) -> None:
    old, new = (job_set(group("a", completions=2)) for _ in range(2))
    for each in (old, new):
        each["spec"]["replicatedJobs"][0]["template"]["spec"]["completionMode"] = mode
    if ended:
        old["status"] = new["status"] = {"conditions": [{"type": ended, "status": "True"}]}
    job = new["spec"]["replicatedJobs"][0]["template"]["spec"]
    job |= {"parallelism": size[0], "completions": size[1]}
    errors = "; ".join(map(str, JOB_SET_KIND.validate(new, old)))
    assert told in errors
    assert bool(told) == bool(errors)
    # And nothing else changes with it.
    job["template"] = {"spec": {"containers": [{"name": "c", "image": "y"}]}}
    assert "field is immutable" in "; ".join(map(str, JOB_SET_KIND.validate(new, old)))


def test_names_of_more_pods_have_to_fit() -> None:
    name = "t" * 51
    old, new = job_set(group("a", completions=9), name=name), job_set(group("a", completions=11), name=name)
    assert "pod names generated for this JobSet will exceed 63" in "; ".join(map(str, JOB_SET_KIND.validate(new, old)))


def test_there_is_one_order() -> None:
    second = group("b", dependsOn=[{"name": "a", "status": "Ready"}])
    told = errors(group("a"), second, startupPolicy={"startupPolicyOrder": "InOrder"})
    assert told == 'spec: Invalid value: "object": StartupPolicy and DependsOn APIs are mutually exclusive'
