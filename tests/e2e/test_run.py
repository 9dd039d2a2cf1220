"""`homeport run` as users call it."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml
from machinery import Kubectl, MakeKubectl, RunningPlatform, homeport, read_rest, read_until, start_homeport
from scenes import IMAGE, pod, tfjob


@pytest.fixture
def kubectl(shared_platform: RunningPlatform, make_kubectl: MakeKubectl) -> Kubectl:
    return make_kubectl(shared_platform)


@pytest.fixture
def run(shared_platform: RunningPlatform, tmp_path: Path):  # type: ignore[no-untyped-def]
    """``run(manifest, *options)``: its result, when it has ended."""

    def call(manifest: str, *options: str):  # type: ignore[no-untyped-def]
        file = tmp_path / "job.yaml"
        file.write_text(manifest)
        return homeport("run", file, "--data-dir", shared_platform.directory.path, *options, timeout=120)

    return call


def test_logs_of_all_replicas_then_a_summary(run, kubectl: Kubectl) -> None:  # type: ignore[no-untyped-def]
    done = run(tfjob("run-well", "for i in 1 2 3; do echo step $i; done", workers=3))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    for worker in range(3):
        told = [line for line in lines if line.startswith(f"[worker-{worker}] ")]
        assert told == [f"[worker-{worker}] step {n}" for n in (1, 2, 3)]
    at = next(n for n, line in enumerate(lines) if line.startswith("TFJob run-well succeeded in "))
    assert [line.split()[:2] for line in lines[at + 3 :]] == [[f"worker-{n}", "Succeeded"] for n in range(3)]
    assert all(line.split()[-2:] == ["0", "0"] for line in lines[at + 3 :])
    assert "TFJob run-well created" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    kubectl("delete", "tfjob", "run-well")


def test_a_job_that_has_ended_is_run_anew(run, kubectl: Kubectl) -> None:  # type: ignore[no-untyped-def]
    first = run(tfjob("run-twice"))
    uid = kubectl("get", "tfjob", "run-twice", "-o", "jsonpath={.metadata.uid}")
    second = run(tfjob("run-twice"))
    assert (first.returncode, second.returncode) == (0, 0)
    assert second.stdout.count("hello from run-twice-worker-0") == 1
    assert kubectl("get", "tfjob", "run-twice", "-o", "jsonpath={.metadata.uid}") != uid
    kubectl("delete", "tfjob", "run-twice")


def test_a_failing_replica_is_named_with_its_exit_code(run, kubectl: Kubectl) -> None:  # type: ignore[no-untyped-def]
    script = "[ $HOSTNAME = run-badly-worker-1 ] && exit 7; sleep 60"
    done = run(tfjob("run-badly", script, cleanPodPolicy="Running"))
    assert done.returncode == 1
    assert "TFJob run-badly failed: " in done.stderr
    assert "container tensorflow exited with code 7" in done.stderr
    assert re.search(r"^worker-1 +Failed .* 7$", done.stdout, re.MULTILINE)
    kubectl("delete", "tfjob", "run-badly")


def test_a_replica_that_keeps_crashing_ends_at_the_backoff_limit(run, kubectl: Kubectl) -> None:  # type: ignore[no-untyped-def]
    done = run(tfjob("run-crash", "echo boom; exit 1", workers=1, restart="OnFailure", backoffLimit=1))
    assert done.returncode == 1
    assert done.stdout.count("[worker-0] boom") >= 2
    assert "[worker-0] restarted (1, exit code 1)" in done.stderr
    kubectl("delete", "tfjob", "run-crash")


def test_an_image_that_does_not_exist(run, kubectl: Kubectl) -> None:  # type: ignore[no-untyped-def]
    done = run(tfjob("run-image", image="nobody/has-this:v9"))
    assert done.returncode == 1
    assert "TFJob run-image can't go on: worker-" in done.stderr
    assert "nobody/has-this:v9" in done.stderr
    assert "kubectl delete tfjobs.kubeflow.org run-image" in done.stderr
    kubectl("delete", "tfjob", "run-image")


def test_a_command_that_is_not_there(run, kubectl: Kubectl) -> None:  # type: ignore[no-untyped-def]
    done = run(tfjob("run-command", restart="OnFailure", command=["/no/such/program"]))
    assert done.returncode == 1
    assert "/no/such/program" in done.stderr
    kubectl("delete", "tfjob", "run-command")


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        (("spec", "tfReplicaSpecss"), {}, ".spec.tfReplicaSpecss: field not declared in schema"),
        (("spec", "runPolicy"), {"backoffLimit": "many"}, "spec.runPolicy.backoffLimit"),
        (("metadata", "name"), "Not_Valid", "metadata.name"),
        (("kind",), "TFJobb", "did you mean TFJob"),
    ],
    ids=["field", "type", "name", "kind"],
)
def test_what_the_server_refuses_is_told_and_nothing_is_stored(  # type: ignore[no-untyped-def]
    run, kubectl: Kubectl, place: tuple[str, ...], value: object, expected: str
) -> None:
    bad = yaml.safe_load(tfjob("run-refused"))
    inner = bad
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "run-refused"}}
    done = run(yaml.safe_dump_all([config, bad]))
    assert done.returncode == 1
    assert expected in done.stderr
    assert "job.yaml, document 2" in done.stderr
    assert "Traceback" not in done.stderr
    assert "NotFound" in kubectl("get", "configmap", "run-refused", check=False)


def test_a_python_program_on_several_replicas(
    shared_platform: RunningPlatform, kubectl: Kubectl, tmp_path: Path
) -> None:
    program = tmp_path / "count.py"
    program.write_text("import os, sys\nprint(os.environ['PROCESS_ID'], *sys.argv[1:])\nsys.exit('3' in sys.argv)\n")
    options = ["--framework", "jax", "--image", IMAGE, "--replicas", "2", "--data-dir", shared_platform.directory.path]
    done = homeport("run", program, *options, "--", "--steps", "2", timeout=120)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert sorted(lines[:2]) == [f"[worker-{n}] {n} --steps 2" for n in (0, 1)]
    assert "JAXJob count succeeded in " in done.stdout
    again = homeport("run", program, *options, "--", "--steps", "3", timeout=120)
    assert again.returncode == 1
    assert "container jax exited with code 1" in again.stderr
    kubectl("delete", "jaxjob/count", "--cascade=foreground")
    assert "NotFound" in kubectl("get", "configmap/count-program", check=False)


def test_a_pod_by_itself(run, kubectl: Kubectl) -> None:  # type: ignore[no-untyped-def]
    done = run(pod("run-pod", "echo out; echo err >&2; exit 0"))
    assert done.returncode == 0, done.stderr
    assert {line for line in done.stdout.splitlines() if line.startswith("[")} == {"[run-pod] out", "[run-pod] err"}
    kubectl("delete", "pod", "run-pod")


def test_a_timeout_leaves_the_job_running(run, kubectl: Kubectl) -> None:  # type: ignore[no-untyped-def]
    done = run(tfjob("run-long", "echo started; sleep 300", workers=1), "--timeout", "4s")
    assert done.returncode == 124
    assert "[worker-0] started" in done.stdout
    assert "the job goes on" in done.stderr
    assert kubectl("get", "pod", "run-long-worker-0", "-o", "jsonpath={.status.phase}") == "Running"
    kubectl("delete", "tfjob", "run-long")


def test_ctrl_c_leaves_the_job_running_and_it_can_be_followed_again(
    shared_platform: RunningPlatform, kubectl: Kubectl, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    file = tmp_path / "job.yaml"
    file.write_text(_waits_for(go))
    arguments = ("run", file, "--data-dir", shared_platform.directory.path)
    first = start_homeport(*arguments)
    read_until(first, "[worker-0] started")
    first.send_signal(signal.SIGINT)
    lines, code = read_rest(first)
    assert code == 130
    assert any("the job goes on" in line for line in lines)
    second = start_homeport(*arguments)
    read_until(second, "[worker-0] started")
    go.touch()
    lines, code = read_rest(second)
    assert code == 0, lines
    assert "[worker-0] went on" in lines
    kubectl("delete", "tfjob", "run-again")


def _one_of_each_make() -> tuple[str, dict[str, list[str]]]:
    """Jobs whose pods others own than the job itself, and what their replicas print, by the job's name."""

    def template(container: str, script: str) -> dict[str, Any]:
        return {
            "template": {"spec": {"containers": [{"name": container, "image": IMAGE, "command": ["sh", "-c", script]}]}}
        }

    trains = {"numNodes": 2, "image": IMAGE, "command": ["sh", "-c", "echo node $PET_NODE_RANK"]}
    roles = {
        "Launcher": template("mpi", "echo launches"),
        "Worker": {"replicas": 1, **template("mpi", "echo works")},
    }
    made = (
        ("trainer.kubeflow.org/v1alpha1", "TrainJob", {"runtimeRef": {"name": "torch-distributed"}, "trainer": trains}),
        ("kubeflow.org/v2beta1", "MPIJob", {"runPolicy": {"cleanPodPolicy": "Running"}, "mpiReplicaSpecs": roles}),
        ("kubeflow.org/v1alpha1", "ChainerJob", {"master": template("chainer", "echo chains")}),
    )
    jobs = [
        {"apiVersion": version, "kind": kind, "metadata": {"name": f"run-{kind.lower()}"}, "spec": spec}
        for version, kind, spec in made
    ]
    told = {
        "run-trainjob": ["[run-trainjob/node-0] node 0", "[run-trainjob/node-1] node 1"],
        "run-mpijob": ["[run-mpijob/launcher-0] launches", "[run-mpijob/worker-0] works"],
        "run-chainerjob": ["] chains"],
    }
    return yaml.safe_dump_all(jobs), told


def test_jobs_whose_pods_belong_to_others_are_followed(run, kubectl: Kubectl) -> None:  # type: ignore[no-untyped-def]
    manifests, told = _one_of_each_make()
    done = run(manifests)
    assert done.returncode == 0, done.stdout + done.stderr
    for name, lines in told.items():
        mine = sorted(line for line in done.stdout.splitlines() if line.startswith(f"[{name}/"))
        assert [line[-len(end) :] for line, end in zip(mine, lines, strict=True)] == lines
        assert f" {name} succeeded in " in done.stdout
    alone = yaml.safe_dump(next(job for job in yaml.safe_load_all(manifests) if job["kind"] == "ChainerJob"))
    assert "] chains" in run(alone).stdout  # by a watch of its own pods
    kubectl("delete", *(f"{name.removeprefix('run-')}/{name}" for name in told))


def _waits_for(go: Path) -> str:
    """A job that goes on once a file exists on the host."""
    job = yaml.safe_load(
        tfjob("run-again", "echo started; until [ -e /signal/go ]; do sleep 0.1; done; echo went on", workers=1)
    )
    template = job["spec"]["tfReplicaSpecs"]["Worker"]["template"]["spec"]
    template["containers"][0]["volumeMounts"] = [{"name": "signal", "mountPath": "/signal"}]
    template["volumes"] = [{"name": "signal", "hostPath": {"path": str(go.parent)}}]
    return yaml.safe_dump(job)


def test_without_a_platform_one_is_started_for_the_duration(tmp_path: Path) -> None:
    file = tmp_path / "pod.yaml"
    file.write_text(pod("alone", "echo here I am"))
    directory = tmp_path / "data"
    done = homeport("run", file, "--data-dir", directory, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "[alone] here I am" in done.stdout
    assert "The platform has been stopped" in done.stderr
    assert homeport("status", "--data-dir", directory).returncode == 1


def test_doctor_has_an_opinion_on_everything(tmp_path: Path) -> None:
    done = homeport("doctor", "--data-dir", tmp_path / "data")
    assert done.returncode in (0, 1)
    for name in ("Python", "Namespaces", "Disk", "uv", "API port", "kubectl"):
        assert re.search(rf"^(ok|!!|NO)  {name} ", done.stdout, re.MULTILINE), done.stdout
    assert not (tmp_path / "data").exists()
