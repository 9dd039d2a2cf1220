"""An elastic PyTorchJob loses a worker, grows and shrinks, and goes on from its last checkpoint: the real framework."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from machinery import REPOSITORY, MakeKubectl, RunningPlatform, read_rest, read_until, start_homeport

EXAMPLE = REPOSITORY / "examples" / "10-pytorchjob-elastic.yaml"
BUILD_SECONDS = 600.0
"""The first use of an image downloads a framework."""
MEMORY = {"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Mi"}}}
"""What calls for as many workers as there may be."""


@pytest.mark.slow
def test_workers_are_lost_and_come_and_go(
    shared_platform: RunningPlatform, make_kubectl: MakeKubectl, tmp_path: Path
) -> None:
    kubectl = make_kubectl(shared_platform)
    ends = "--epochs=100000, --enough=/checkpoints/enough"
    file = tmp_path / "job.yaml"
    file.write_text(EXAMPLE.read_text().replace("/digits.pt]", f"/digits.pt, {ends}]"))
    kubectl("apply", "-f", str(file))
    following = start_homeport("logs", "-f", "digits-elastic", "--data-dir", shared_platform.directory.path)
    told = read_until(following, "rank 0 of 2", BUILD_SECONDS)
    told += read_until(following, "epoch  5  loss", 120)

    # One is lost, and the autoscaler that metrics make calls for another besides.
    kubectl("delete", "pod", "digits-elastic-worker-1", "--force", "--grace-period=0")
    elastic = {"spec": {"elasticPolicy": {"metrics": [MEMORY]}}}
    kubectl("patch", "pytorchjob", "digits-elastic", "--type=merge", f"--patch={json.dumps(elastic)}")
    told += read_until(following, "rank 0 of 3", 240)
    told += read_until(following, "  loss ", 60)
    assert kubectl("get", "hpa", "digits-elastic", "-o", "jsonpath={.spec.maxReplicas}") == "3"

    # Without metrics it has gone, and people scale.
    elastic = {"spec": {"elasticPolicy": {"metrics": None}}}
    kubectl("patch", "pytorchjob", "digits-elastic", "--type=merge", f"--patch={json.dumps(elastic)}")
    kubectl("wait", "--for=delete", "hpa/digits-elastic", "--timeout=30s")
    kubectl("scale", "pytorchjob/digits-elastic", "--replicas=1")
    told += read_until(following, "rank 0 of 1", 240)
    kubectl("exec", "digits-elastic-worker-0", "--", "touch", "/checkpoints/enough")
    rest, _ = read_rest(following, 120)
    kubectl("wait", "--for=condition=Succeeded", "--timeout=30s", "pytorchjob/digits-elastic")

    text = "\n".join(told + rest)
    begun = [(int(epoch), int(size)) for epoch, size in re.findall(r"begins with epoch (\d+) as rank 0 of (\d)", text)]
    assert begun[0] == (1, 2)
    assert begun[1][0] >= 5, "not from the beginning"
    assert begun == sorted(begun, key=lambda one: one[0]), "and never back"
    epochs = {int(epoch) for epoch in re.findall(r"epoch +(\d+)  loss", text)}
    assert epochs == set(range(1, max(epochs) + 1))
    accuracy = re.search(r"test accuracy ([0-9.]+) on 360 images", text)
    assert accuracy, text
    assert float(accuracy[1]) > 0.85
    kubectl("delete", "-f", str(file))
