"""The examples, with the real frameworks, as a user runs them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from machinery import REPOSITORY, Kubectl, MakeKubectl, RunningPlatform, homeport, read_rest, read_until, start_homeport

EXAMPLES = REPOSITORY / "examples"
BUILD_SECONDS = 600.0
"""The first use of an image downloads a framework."""


@pytest.fixture
def kubectl(shared_platform: RunningPlatform, make_kubectl: MakeKubectl) -> Kubectl:
    return make_kubectl(shared_platform)


def accuracy(lines: list[str]) -> float:
    found = re.search(r"test accuracy ([0-9.]+) on 360 images", "\n".join(lines))
    assert found, "\n".join(lines)
    return float(found[1])


def test_the_demo_trains_tensorflow_on_a_server_and_three_workers(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    done = homeport("demo", "--data-dir", directory, timeout=BUILD_SECONDS)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stdout + done.stderr
    assert accuracy(lines) > 0.85
    assert "[ps-0] serving variables as ps 0" in lines
    # Each worker took part in one training: none did most of the steps, and together they did all.
    steps = [int(n) for n in re.findall(r"done: (\d+) of 1500 steps ran here", done.stdout)]
    assert len(steps) == 3
    assert min(steps) > 100
    assert 1500 <= sum(steps) <= 1510
    assert any(line.startswith("TFJob digits succeeded in ") for line in lines)
    assert lines[-1].startswith("It reads handwritten digits now: test accuracy ")
    assert homeport("status", "--data-dir", directory).returncode == 1, "the demo stops what it started"


def test_pytorch_trains_on_a_master_and_a_worker(shared_platform: RunningPlatform, kubectl: Kubectl) -> None:
    """With kubectl alone, as on any cluster."""
    kubectl("apply", "-f", str(EXAMPLES / "02-pytorchjob.yaml"))
    kubectl(
        "wait",
        "--for=condition=Succeeded",
        f"--timeout={BUILD_SECONDS:.0f}s",
        "pytorchjob/digits-ddp",
        timeout=BUILD_SECONDS + 10,
    )
    master = kubectl("logs", "digits-ddp-master-0").splitlines()
    worker = kubectl("logs", "digits-ddp-worker-0").splitlines()
    assert accuracy(master) > 0.85
    assert "training on 719 of 1437 images as rank 0 of 2" in master
    assert "training on 719 of 1437 images as rank 1 of 2" in worker
    kubectl("delete", "pytorchjob", "digits-ddp")


@pytest.mark.parametrize(
    ("file", "kind", "name", "pod", "told"),
    [
        (
            "03-xgboostjob.yaml",
            "xgboostjob",
            "digits-trees",
            "master-0",
            "training on 479 of 1437 images as rank 0 of 3",
        ),
        (
            "04-paddlejob.yaml",
            "paddlejob",
            "digits-paddle",
            "worker-0",
            "training on 718 of 1437 images as rank 0 of 2",
        ),
        ("05-jaxjob.yaml", "jaxjob", "digits-jax", "worker-0", "images as process 0 of 2, 2 devices"),
        ("06-mpijob.yaml", "mpijob", "digits-mpi", "launcher", "as rank 1 of 2 on digits-mpi-worker-1"),
        ("07-mpijob-ssh.yaml", "mpijob", "digits-ssh", "job/", "as rank 1 of 2 on digits-ssh-worker-1"),
        ("08-pytorchjob-fsdp.yaml", "pytorchjob", "digits-fsdp", "master-0", "0 of 2, with 2405 of 4810 parameters"),
        ("09-tfjob-mirrored.yaml", "tfjob", "digits-mirrored", "worker-0", "of 1437 images as worker 0 of 2"),
    ],
)
def test_each_framework_trains(kubectl: Kubectl, file: str, kind: str, name: str, pod: str, told: str) -> None:
    kubectl("apply", "-f", str(EXAMPLES / file))
    wait = ["wait", "--for=condition=Succeeded", f"--timeout={BUILD_SECONDS:.0f}s", f"{kind}/{name}"]
    kubectl(*wait, timeout=BUILD_SECONDS + 10)
    log = kubectl("logs", f"job/{name}-launcher" if pod == "job/" else f"{name}-{pod}").splitlines()
    assert accuracy(log) > 0.85
    assert any(told in line for line in log)
    kubectl("delete", kind, name, "--cascade=foreground")


def test_tensorflow_trains_under_a_coordinator_until_the_evaluator_is_content(kubectl: Kubectl) -> None:
    """ParameterServerStrategy: the chief's end is the job's, which takes workers and parameter servers away."""
    file = str(EXAMPLES / "11-tfjob-coordinated.yaml")
    kubectl("apply", "-f", file)
    job = "tfjob/digits-coordinated"
    kubectl("wait", "--for=condition=Succeeded", f"--timeout={BUILD_SECONDS:.0f}s", job, timeout=BUILD_SECONDS + 10)
    log = kubectl("logs", "digits-coordinated-chief-0").splitlines()
    assert "coordinates 2 workers" in log
    assert accuracy(log) > 0.85
    assert log[-1].endswith("says the evaluator")
    kubectl.described(job, words=["Chief replica 0 finished"])
    kubectl("delete", "-f", file)


def test_the_platform_is_killed_during_training(shared_platform: RunningPlatform, tmp_path: Path) -> None:
    """Training goes on without the platform; what follows it loses no line and learns the result."""
    manifest = (EXAMPLES / "01-tfjob.yaml").read_text().replace("--training_steps=1500", "--training_steps=6000")
    file = tmp_path / "job.yaml"
    file.write_text(manifest)
    platform = shared_platform  # it has the image; killed, it is started again
    following = start_homeport("run", file, "--data-dir", platform.directory.path)
    lines = read_until(following, "loss", timeout=BUILD_SECONDS)
    platform.kill()
    lines += read_until(following, "does not answer")
    platform.start()
    rest, code = read_rest(following, timeout=300)
    lines += rest
    assert code == 0, "\n".join(lines)
    assert accuracy(lines) > 0.85
    for worker in range(3):
        told = [line for line in lines if line.startswith(f"[worker-{worker}]")]
        steps = [int(found[1]) for line in told if (found := re.search(r"step +(\d+) ", line))]
        assert steps == sorted(set(steps)), "a line was lost or came twice"
        mine = next(int(found[1]) for line in told if (found := re.search(r"done: (\d+) of", line)))
        assert len(steps) == mine // 100
