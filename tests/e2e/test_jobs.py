"""Jobs, cron jobs and job sets on a platform that runs, by kubectl as people have it."""

from __future__ import annotations

import json
import time

import yaml
from machinery import Kubectl, MakeKubectl, RunningPlatform
from scenes import IMAGE

SHELL = ["sh", "-c"]


def job(name: str, command: str, **spec: object) -> str:
    container = {"name": "main", "image": IMAGE, "command": [*SHELL, command]}
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    wanted = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"template": template, **spec},
    }
    return yaml.safe_dump(wanted)


def status(kubectl: Kubectl, name: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(kubectl("get", "job", name, "-o", "json")).get("status", {})
    return found


def test_a_job_from_create_to_delete(any_kubectl: Kubectl) -> None:
    kubectl = any_kubectl
    assert kubectl("create", "job", "one", f"--image={IMAGE}", "--", "echo", "hello") == "job.batch/one created\n"
    assert kubectl("wait", "--for=condition=Complete", "--timeout=60s", "job/one", timeout=70)
    assert kubectl("logs", "job/one") == "hello\n"
    heading, row = kubectl("get", "jobs").splitlines()
    assert heading.split() == ["NAME", "STATUS", "COMPLETIONS", "DURATION", "AGE"]
    assert row.split()[:3] == ["one", "Complete", "1/1"]
    events = ["SuccessfulCreate", "Created pod: one-", "Completed", "Job completed"]
    kubectl.described("job", "one", words=["1 Succeeded", *events])
    kubectl("delete", "job", "one", "--cascade=foreground")
    assert kubectl("get", "jobs,pods", check=False).startswith("No resources found")


def test_orphans_are_free(any_kubectl: Kubectl) -> None:
    """Pods that are left behind lose the finalizer by which they were counted, and go when they are deleted."""
    kubectl = any_kubectl
    kubectl("apply", "-f", "-", stdin=job("left", "sleep 100"))
    kubectl("wait", "--for=jsonpath={.status.ready}=1", "--timeout=30s", "job/left")
    kubectl("delete", "job", "left", "--cascade=orphan")
    (pod,) = kubectl("get", "pods", "-l", "job-name=left", "-o", "name").split()
    kubectl("wait", "--for=jsonpath={.status.phase}=Running", "--timeout=30s", pod)
    kubectl("delete", pod, "--grace-period=1", "--timeout=30s")
    assert kubectl("get", "pods", check=False).startswith("No resources found")


def test_cron_jobs(any_kubectl: Kubectl) -> None:
    kubectl = any_kubectl
    made = kubectl("create", "cronjob", "nightly", f"--image={IMAGE}", "--schedule=0 3 * * *", "--", "echo", "again")
    assert made == "cronjob.batch/nightly created\n"
    heading, row = kubectl("get", "cronjobs").splitlines()
    assert heading.split()[:2] == ["NAME", "SCHEDULE"]
    assert row.split()[:6] == ["nightly", "0", "3", "*", "*", "*"]
    assert kubectl("create", "job", "now", "--from=cronjob/nightly") == "job.batch/now created\n"
    kubectl("wait", "--for=condition=Complete", "--timeout=60s", "job/now", timeout=70)
    assert kubectl("logs", "job/now") == "again\n"
    assert "0 3 * * *" in kubectl("describe", "cronjob", "nightly")
    refused = kubectl("create", "cronjob", "bad", f"--image={IMAGE}", "--schedule=0 25 * * *", check=False)
    assert 'spec.schedule: Invalid value: "0 25 * * *"' in refused
    # A moment that was missed while nobody looked is made up for.
    kubectl("patch", "cronjob", "nightly", "-p", '{"spec": {"schedule": "*/5 * * * *"}}')
    past = '{"status": {"lastScheduleTime": "2026-01-01T00:00:00Z"}}'
    kubectl("patch", "cronjob", "nightly", "--subresource=status", "--type=merge", "-p", past)
    kubectl("wait", "--for=jsonpath={.status.lastSuccessfulTime}", "--timeout=60s", "cronjob/nightly", check=False)
    deadline = time.monotonic() + 60
    while "SawCompletedJob" not in (described := kubectl("describe", "cronjob", "nightly")):
        assert time.monotonic() < deadline, described
        time.sleep(0.2)
    assert "TooManyMissedTimes" in described
    kubectl("delete", "cronjob", "nightly", "--cascade=foreground")
    assert kubectl("get", "jobs,pods", check=False).startswith("No resources found")


def group(name: str, command: str, pods: int = 1, **fields: object) -> dict[str, object]:
    pod = {"spec": {"containers": [{"name": "main", "image": IMAGE, "command": [*SHELL, command]}]}}
    return {
        "name": name,
        "template": {"spec": {"completions": pods, "parallelism": pods, "template": pod}},
        **fields,
    }


JOB_SET = yaml.safe_dump(
    {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": {"name": "train"},
        "spec": {
            "replicatedJobs": [
                group("driver", "sleep 3"),
                group(
                    "worker",
                    "getent hosts train-driver-0-0.train",
                    2,
                    replicas=2,
                    dependsOn=[{"name": "driver", "status": "Ready"}],
                ),
            ]
        },
    }
)


def test_a_job_set_whose_pods_know_each_other(any_kubectl: Kubectl) -> None:
    kubectl = any_kubectl
    kubectl("apply", "-f", "-", stdin=JOB_SET)
    kubectl("wait", "--for=condition=Completed", "--timeout=60s", "jobset/train", timeout=70)
    rows = [line.split() for line in kubectl("get", "jobs", "--no-headers").splitlines()]
    assert [row[0] for row in rows] == ["train-driver-0", "train-worker-0", "train-worker-1"]
    logs = kubectl("logs", "-l", "jobset.sigs.k8s.io/replicatedjob-name=worker", "--prefix=false")
    assert len(logs.splitlines()) == 4
    heading, row = kubectl("get", "jobset").splitlines()
    assert heading.split() == ["NAME", "TERMINALSTATE", "RESTARTS", "COMPLETED", "SUSPENDED", "AGE"]
    assert row.split()[:4] == ["train", "Completed", "0", "True"]
    kubectl("delete", "jobset", "train")
    kubectl("wait", "--for=delete", "--timeout=30s", "pods", "-l", "jobset.sigs.k8s.io/jobset-name=train", check=False)


def test_each_pod_is_counted_once_though_the_platform_is_killed(
    platform: RunningPlatform, make_kubectl: MakeKubectl
) -> None:
    kubectl = make_kubectl(platform)
    kubectl("apply", "-f", "-", stdin=job("many", "sleep 0.5", completions=16, parallelism=4))
    indexed = job("rows", "sleep 0.5", completions=16, parallelism=4, completionMode="Indexed")
    kubectl("apply", "-f", "-", stdin=indexed)
    for _ in range(3):
        time.sleep(1)
        platform.kill()
        platform.start()
    kubectl("wait", "--for=condition=Complete", "--timeout=90s", "job/many", "job/rows", timeout=100)
    for name in ("many", "rows"):
        found = status(kubectl, name)
        assert found["succeeded"] == 16
        assert "failed" not in found
        assert found["uncountedTerminatedPods"] == {}
        pods = json.loads(kubectl("get", "pods", "-l", f"job-name={name}", "-o", "json"))["items"]
        assert len(pods) == 16
        assert not any("finalizers" in pod["metadata"] for pod in pods)
    assert status(kubectl, "rows")["completedIndexes"] == "0-15"
