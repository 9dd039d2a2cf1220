"""`homeport logs` as users call it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
import yaml
from machinery import Kubectl, MakeKubectl, RunningPlatform, homeport, read_rest, read_until, start_homeport
from scenes import IMAGE, tfjob

T = TypeVar("T")


def until(look: Callable[[], T], seconds: float = 60) -> T:
    """What `look` says once that is something."""
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end
        time.sleep(0.1)
    return found


@pytest.fixture
def kubectl(shared_platform: RunningPlatform, make_kubectl: MakeKubectl) -> Kubectl:
    return make_kubectl(shared_platform)


@pytest.fixture
def logs(shared_platform: RunningPlatform):  # type: ignore[no-untyped-def]
    def call(*words: str):  # type: ignore[no-untyped-def]
        return homeport("logs", *words, *call.place, timeout=120)  # type: ignore[attr-defined]

    call.place = ("--data-dir", shared_platform.directory.path)  # type: ignore[attr-defined]
    return call


def apply(kubectl: Kubectl, directory: Path, manifest: str) -> None:
    file = directory / "job.yaml"
    file.write_text(manifest)
    kubectl("apply", "-f", str(file))


def trainjob(name: str, script: str) -> str:
    """A TrainJob of two nodes that run a shell script, and its runtime."""
    container = {"name": "node", "image": IMAGE, "command": ["sh", "-c", script]}
    pod = {"spec": {"terminationGracePeriodSeconds": 1, "containers": [container]}}
    job = {
        "metadata": {"labels": {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}},
        "spec": {"backoffLimit": 0, "template": pod},
    }
    group = {"name": "node", "template": job}
    runtime = {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainingRuntime",
        "metadata": {"name": name, "labels": {"trainer.kubeflow.org/framework": "plain"}},
        "spec": {"mlPolicy": {"numNodes": 2}, "template": {"spec": {"replicatedJobs": [group]}}},
    }
    train_job = {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "metadata": {"name": name},
        "spec": {"runtimeRef": {"kind": "TrainingRuntime", "name": name}},
    }
    return yaml.safe_dump_all([runtime, train_job])


def test_a_jobs_logs_merged_and_in_part(kubectl: Kubectl, logs, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    apply(kubectl, tmp_path, tfjob("told", "for text in one two; do echo $text; sleep 0.5; done"))
    followed = logs("told", "--follow")
    assert followed.returncode == 0, followed.stderr
    assert sorted(followed.stdout.splitlines()) == [f"[worker-{n}] {text}" for n in (0, 1) for text in ("one", "two")]
    stamped = []
    for n in (0, 1):
        log = kubectl("logs", f"told-worker-{n}", "--timestamps")
        stamped += [(stamp, f"[worker-{n}] {text}") for stamp, text in (line.split() for line in log.splitlines())]
    assert logs("tfjob/told").stdout.splitlines() == [text for _, text in sorted(stamped)]
    assert logs("told", "--replica", "worker-1", "--tail", "1").stdout == "[worker-1] two\n"
    assert logs("told", "--since", "1h", "--replica", "told-worker-0").stdout.split()[1::2] == ["one", "two"]
    wrong = logs("told", "--replica", "ps")
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert "There are worker-0 and worker-1" in wrong.stderr
    assert "there is no job nothing in namespace default" in logs("nothing").stderr
    kubectl("delete", "tfjob", "told")


def test_logs_are_followed_across_a_restart(kubectl: Kubectl, logs, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    script = "echo begin; if [ -e /dev/shm/again ]; then echo well; else touch /dev/shm/again; exit 3; fi"
    apply(kubectl, tmp_path, tfjob("restarted", script, workers=1, restart="OnFailure"))
    followed = logs("restarted", "-f")
    assert followed.stdout.splitlines() == [f"[worker-0] {text}" for text in ("begin", "begin", "well")]
    assert logs("restarted").stdout == followed.stdout
    assert logs("restarted", "--previous").stdout == "[worker-0] begin\n"
    kubectl("delete", "tfjob", "restarted")


def test_logs_of_deleted_pods_are_kept_with_the_job(kubectl: Kubectl, logs, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """cleanPodPolicy takes all pods away; a killed worker is replaced under its name before."""
    script = "echo begin $HOSTNAME; while [ ! -e /dev/shm/never ]; do sleep 0.1; done"
    job = tfjob("cleaned", script, workers=1, cleanPodPolicy="All")
    apply(kubectl, tmp_path, job)
    kubectl("wait", "--for=condition=Running", "--timeout=60s", "tfjob/cleaned", timeout=70)
    until(lambda: logs("cleaned").stdout)
    first = kubectl("get", "pod", "cleaned-worker-0", "-o", "jsonpath={.metadata.uid}")
    kubectl("delete", "pod", "cleaned-worker-0", "--wait=true")
    lines = until(lambda: (found := logs("cleaned").stdout.splitlines())[1:] and found)
    assert lines == ["[worker-0] begin cleaned-worker-0"] * 2
    assert logs("cleaned", "--attempt", "1").stdout == "[worker-0] begin cleaned-worker-0\n"
    query = f"/api/v1/namespaces/default/pods/cleaned-worker-0/log?podUID={first}&tailLines=1"
    assert kubectl("get", "--raw", query) == "begin cleaned-worker-0\n"
    kubectl("exec", "cleaned-worker-0", "--", "touch", "/dev/shm/never", check=False)  # may end with it
    kubectl("wait", "--for=condition=Succeeded", "--timeout=60s", "tfjob/cleaned", timeout=70)
    until(lambda: kubectl("get", "pods", "-l", "training.kubeflow.org/job-name=cleaned", "-o", "name") == "" or None)
    until(lambda: len(logs("cleaned").stdout.splitlines()) == 2 or None)
    told = homeport("history", "cleaned", *logs.place, timeout=60).stdout  # type: ignore[attr-defined]
    assert told.startswith("TFJob cleaned, created ")
    assert [line.split()[:4] for line in told.splitlines()[-2:]] == [
        ["worker-0", number, "cleaned-worker-0", "(gone)"] for number in "12"
    ]
    assert told.splitlines()[-1].endswith("Succeeded")
    kubectl("delete", "tfjob", "cleaned")
    until(lambda: "cleaned" not in kubectl("get", "endedpods", "-o", "name"))


def test_following_goes_on_in_the_pod_that_takes_a_killed_ones_place(
    kubectl: Kubectl, shared_platform: RunningPlatform, tmp_path: Path
) -> None:
    script = "echo begin; while [ ! -e /dev/shm/never ]; do sleep 0.1; done; echo end"
    apply(kubectl, tmp_path, tfjob("replaced", script, workers=1, restart="ExitCode"))
    process = start_homeport("logs", "replaced", "-f", "--data-dir", shared_platform.directory.path)
    try:
        read_until(process, "[worker-0] begin")
        kubectl("delete", "pod", "replaced-worker-0", "--grace-period=0", "--force")
        read_until(process, "[worker-0] begin")
        kubectl("exec", "replaced-worker-0", "--", "touch", "/dev/shm/never", check=False)  # may end with it
        lines, code = read_rest(process)
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
    assert (lines.count("[worker-0] end"), lines.count("[worker-0] begin"), code) == (1, 0, 0)
    kubectl("delete", "tfjob", "replaced")


def test_a_failed_trainjob_says_why_and_shows_its_logs(kubectl: Kubectl, logs, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    script = "if [ $JOB_COMPLETION_INDEX = 1 ]; then echo no such data set; exit 7; fi; sleep 60"
    apply(kubectl, tmp_path, trainjob("badly", script))
    kubectl("wait", "--for=condition=Failed", "--timeout=60s", "trainjob/badly", timeout=70)
    message = kubectl("get", "trainjob", "badly", "-o", "jsonpath={.status.conditions[?(@.type=='Failed')].message}")
    assert "container node exited with code 7: no such data set" in message
    assert "container node exited with code 7: no such data set" in kubectl("describe", "trainjob", "badly")
    # The job tried it in place, and took its pods with it: their logs outlive them, with the job.
    kept = until(lambda: logs("badly").stdout)
    assert set(kept.splitlines()) == {"[node-1] no such data set"}
    kubectl("delete", "trainjob/badly", "trainingruntime/badly")


def test_a_trainjobs_nodes_have_short_names(kubectl: Kubectl, logs, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    apply(kubectl, tmp_path, trainjob("well", "echo node $JOB_COMPLETION_INDEX; sleep 1"))
    assert sorted(logs("well", "--follow").stdout.splitlines()) == ["[node-0] node 0", "[node-1] node 1"]
    assert logs("trainjob/well", "--replica", "node-1").stdout == "[node-1] node 1\n"
    kubectl("delete", "trainjob/well", "trainingruntime/well")
