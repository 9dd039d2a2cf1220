"""Elastic jobs lose a worker, grow and shrink, and go on from their last checkpoint: the real framework."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from machinery import REPOSITORY, Kubectl, MakeKubectl, RunningPlatform, read_rest, read_until, start_homeport

EXAMPLES = REPOSITORY / "examples"
BUILD_SECONDS = 600.0
"""The first use of an image downloads a framework."""
MEMORY = {"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Mi"}}}
"""What calls for as many workers as there may be."""


class Training:
    """A job of an example, which trains until somebody says that it is enough, and its log."""

    def __init__(self, platform: RunningPlatform, kubectl: Kubectl, example: str, name: str, path: Path) -> None:
        ends = "--epochs=100000, --enough=/checkpoints/enough"
        self.kubectl, self.file = kubectl, path / "job.yaml"
        self.file.write_text((EXAMPLES / example).read_text().replace("/digits.pt]", f"/digits.pt, {ends}]"))
        kubectl("apply", "-f", str(self.file))
        self.following: subprocess.Popen[str]
        self.following = start_homeport("logs", "-f", name, "--data-dir", platform.directory.path)
        self.told: list[str] = []

    def until(self, text: str, timeout: float = 240) -> None:
        self.told += read_until(self.following, text, timeout)

    def is_enough(self, pod: str) -> None:
        """End the job, which has grown from its checkpoints and never gone back."""
        self.kubectl("exec", pod, "--", "touch", "/checkpoints/enough")
        rest, _ = read_rest(self.following, 120)
        text = "\n".join(self.told + rest)
        begun = [
            (int(epoch), int(size)) for epoch, size in re.findall(r"begins with epoch (\d+) as rank 0 of (\d)", text)
        ]
        assert begun[0] == (1, 2)
        assert begun[1][0] >= 5, "not from the beginning"
        assert begun == sorted(begun, key=lambda one: one[0]), "and never back"
        epochs = {int(epoch) for epoch in re.findall(r"epoch +(\d+)  loss", text)}
        assert epochs == set(range(1, max(epochs) + 1))
        accuracy = re.search(r"test accuracy ([0-9.]+) on 360 images", text)
        assert accuracy, text
        assert float(accuracy[1]) > 0.85


@pytest.mark.slow
def test_workers_are_lost_and_come_and_go(
    shared_platform: RunningPlatform, make_kubectl: MakeKubectl, tmp_path: Path
) -> None:
    kubectl = make_kubectl(shared_platform)
    training = Training(shared_platform, kubectl, "10-pytorchjob-elastic.yaml", "digits-elastic", tmp_path)
    training.until("rank 0 of 2", BUILD_SECONDS)
    training.until("epoch  5  loss", 120)

    # One is lost, and the autoscaler that metrics make calls for another besides.
    kubectl("delete", "pod", "digits-elastic-worker-1", "--force", "--grace-period=0")
    elastic = {"spec": {"elasticPolicy": {"metrics": [MEMORY]}}}
    kubectl("patch", "pytorchjob", "digits-elastic", "--type=merge", f"--patch={json.dumps(elastic)}")
    training.until("rank 0 of 3")
    training.until("  loss ", 60)
    assert kubectl("get", "hpa", "digits-elastic", "-o", "jsonpath={.spec.maxReplicas}") == "3"

    # Without metrics it has gone, and people scale.
    elastic = {"spec": {"elasticPolicy": {"metrics": None}}}
    kubectl("patch", "pytorchjob", "digits-elastic", "--type=merge", f"--patch={json.dumps(elastic)}")
    kubectl("wait", "--for=delete", "hpa/digits-elastic", "--timeout=30s")
    kubectl("scale", "pytorchjob/digits-elastic", "--replicas=1")
    training.until("rank 0 of 1")
    training.is_enough("digits-elastic-worker-0")
    kubectl("wait", "--for=condition=Succeeded", "--timeout=30s", "pytorchjob/digits-elastic")
    kubectl("delete", "-f", str(training.file))


@pytest.mark.slow
def test_nodes_are_lost_and_come_and_go(
    shared_platform: RunningPlatform, make_kubectl: MakeKubectl, tmp_path: Path
) -> None:
    kubectl = make_kubectl(shared_platform)
    training = Training(shared_platform, kubectl, "32-trainjob-elastic.yaml", "digits-nodes", tmp_path)
    training.until("rank 0 of 2", BUILD_SECONDS)
    training.until("epoch  5  loss", 120)

    # Somebody's autoscaler calls for another.
    autoscaler = tmp_path / "autoscaler.json"
    target = {"apiVersion": "trainer.kubeflow.org/v1alpha1", "kind": "TrainJob", "name": "digits-nodes"}
    spec = {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 3, "metrics": [MEMORY]}
    named = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "digits-nodes"}}
    autoscaler.write_text(json.dumps({**named, "spec": spec}))
    kubectl("apply", "-f", str(autoscaler))
    training.until("rank 0 of 3")
    training.until("  loss ", 60)
    assert kubectl("get", "trainjob", "digits-nodes", "-o", "jsonpath={.spec.trainer.numNodes}") == "3"
    kubectl("delete", "-f", str(autoscaler))
    assert "must be between" in kubectl("scale", "trainjob/digits-nodes", "--replicas=4", check=False)

    # One is lost, and people scale.
    nodes = "jobset.sigs.k8s.io/jobset-name=digits-nodes,batch.kubernetes.io/job-completion-index"
    kubectl("delete", "pod", "-l", f"{nodes}=1", "--force", "--grace-period=0")
    kubectl("scale", "trainjob/digits-nodes", "--replicas=1")
    training.until("rank 0 of 1")
    first = kubectl("get", "pod", "-l", f"{nodes}=0", "-o", "jsonpath={.items[*].metadata.name}")
    training.is_enough(first)
    kubectl("wait", "--for=condition=Complete", "--timeout=30s", "trainjob/digits-nodes")
    kubectl("delete", "-f", str(training.file))
