"""Figures of training in a job's status, as its program's log has them."""

from __future__ import annotations

from pathlib import Path

import pytest
from figures import apply, check_event_files_are_read_on, pod, pytorchjob, status, values
from machinery import Kubectl, MakeKubectl, RunningPlatform


@pytest.fixture
def kubectl(shared_platform: RunningPlatform, make_kubectl: MakeKubectl) -> Kubectl:
    return make_kubectl(shared_platform)


def test_figures_of_a_job_while_it_runs_and_at_its_end(kubectl: Kubectl, tmp_path: Path) -> None:
    script = """
    echo 'Epoch 1/2 loss=0.5 accuracy=0.25'
    while [ ! -e /dev/shm/on ]; do sleep 0.1; done
    echo 'Epoch 2/2 loss=nan accuracy: 75%'
    """
    silent = pytorchjob("silent", "echo loss=1", "off")
    chosen = pytorchjob("chosen", "echo 'loss=1 quality is 3'", "Quality=quality is [0-9]+")
    apply(kubectl, tmp_path, pytorchjob("told", script), silent, chosen)
    running = status(kubectl, "pytorchjob/told", lambda found: bool(found.get("trainingMetrics")))
    assert values(running) == {"epoch": "1", "loss": "0.5", "accuracy": "0.25"}
    assert [each["epoch"] for each in running["trainingMetrics"][1:]] == [1, 1]
    assert running["conditions"][-1]["type"] == "Running"
    kubectl("exec", "told-master-0", "--", "touch", "/dev/shm/on")
    ended = status(kubectl, "pytorchjob/told", lambda found: values(found).get("epoch") == "2")
    assert values(ended) == {"epoch": "2", "loss": "NaN", "accuracy": "0.75"}
    ended = status(kubectl, "pytorchjob/told", lambda found: found["conditions"][-1]["type"] == "Succeeded")
    assert values(ended) == {"epoch": "2", "loss": "NaN", "accuracy": "0.75"}
    assert values(status(kubectl, "pytorchjob/chosen", lambda found: bool(values(found)))) == {"quality": "3"}
    quiet = status(kubectl, "pytorchjob/silent", lambda found: "completionTime" in found)
    assert values(quiet) == {}
    kubectl("delete", "pytorchjobs", "told", "silent", "chosen")


WRITER = """
apiVersion: homeport.dev/v1alpha1
kind: Image
metadata: {name: board-writer}
names: [tests/board-writer]
packages: ["tensorboardX==2.*"]
"""
PROGRAM = """
import os, time
from tensorboardX import SummaryWriter
with SummaryWriter("/logs/run") as writer:
    writer.add_scalar("Loss/train", 0.5, 1)
    writer.flush()
    while not os.path.exists("/dev/shm/on"):
        time.sleep(0.1)
    writer.add_scalar("Loss/train", 0.25, 2)
"""


def test_figures_of_event_files(kubectl: Kubectl, shared_platform: RunningPlatform, tmp_path: Path) -> None:
    """With a writer of TensorBoard's own kind, which writes its last figures when the program ends."""
    images = shared_platform.directory.path / "images"
    images.mkdir(exist_ok=True)
    (images / "board-writer.yaml").write_text(WRITER)
    job = pytorchjob("board", "", "off")
    job["metadata"]["annotations"]["homeport.dev/tensorboard-dir"] = "/logs"
    spec = job["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["spec"]
    main = {"image": "tests/board-writer", "command": ["python", "-c", PROGRAM]}
    spec["containers"][0] |= {**main, "volumeMounts": [{"name": "logs", "mountPath": "/logs"}]}
    spec["volumes"] = [{"name": "logs", "emptyDir": {}}]
    homeless = pytorchjob("homeless", "sleep 1000", "off")
    homeless["metadata"]["annotations"]["homeport.dev/tensorboard-dir"] = "/logs"
    try:
        apply(kubectl, tmp_path, job, homeless)
        running = status(
            kubectl, "pytorchjob/board", lambda found: bool(found.get("trainingMetrics")), 600
        )  # built first
        assert values(running) == {"step": "1", "loss/train": "0.5"}
        kubectl("exec", "board-master-0", "--", "touch", "/dev/shm/on")
        ended = status(kubectl, "pytorchjob/board", lambda found: values(found).get("step") == "2")
        assert values(ended) == {"step": "2", "loss/train": "0.25"}
        words = "/logs of container pytorch is not on a volume: mount one there, such as an emptyDir"
        kubectl.described("pytorchjob", "homeless", words=[words])
    finally:
        (images / "board-writer.yaml").unlink()
    kubectl("delete", "pytorchjobs", "board", "homeless")


def test_event_files_are_read_on_by_the_next_platform(
    platform: RunningPlatform, make_kubectl: MakeKubectl, tmp_path: Path
) -> None:
    def restart() -> None:
        platform.kill()
        platform.start()

    check_event_files_are_read_on(make_kubectl(platform), tmp_path, restart)


def test_figures_of_a_trainjob(kubectl: Kubectl, tmp_path: Path) -> None:
    script = "echo 'epoch 3/4 - loss: 0.125'; while [ ! -e /dev/shm/on ]; do sleep 0.1; done"
    template = {
        "metadata": {"labels": {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}},
        "spec": {"backoffLimit": 0, "template": pod(script, "node")},
    }
    runtime = {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainingRuntime",
        "metadata": {"name": "measured", "labels": {"trainer.kubeflow.org/framework": "plain"}},
        "spec": {
            "mlPolicy": {"numNodes": 1},
            "template": {"spec": {"replicatedJobs": [{"name": "node", "template": template}]}},
        },
    }
    job = {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "metadata": {"name": "measured"},
        "spec": {"runtimeRef": {"kind": "TrainingRuntime", "name": "measured"}},
    }
    apply(kubectl, tmp_path, runtime, job)
    told = status(kubectl, "trainjob/measured", lambda found: bool(found.get("trainerStatus")))["trainerStatus"]
    assert told["metrics"] == [{"name": "epoch", "value": "3"}, {"name": "loss", "value": "0.125"}]
    assert told["progressPercentage"] == 50
    kubectl("delete", "trainjob", "measured")
    kubectl("delete", "trainingruntime", "measured")
