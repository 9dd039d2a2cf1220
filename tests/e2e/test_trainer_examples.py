"""The examples of Kubeflow Trainer v2, with the real frameworks, by kubectl alone."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import pytest
from machinery import REPOSITORY, Kubectl, MakeKubectl, RunningPlatform

sys.path.append(str(REPOSITORY / "tests" / "conformance" / "clients"))
from environments import python_with

PYTEST = ("pytest>=8.4", "pytest-asyncio>=1.1", "pytest-timeout>=2.4")
"""As where the client itself is tried: it is the same environment."""
EXAMPLES = REPOSITORY / "examples"
BUILD_SECONDS = 600.0
"""The first use of an image downloads a framework."""


@pytest.fixture
def kubectl(shared_platform: RunningPlatform, make_kubectl: MakeKubectl) -> Kubectl:
    return make_kubectl(shared_platform)


@pytest.mark.parametrize(
    ("file", "job", "told"),
    [
        ("20-trainjob-pytorch.yaml", "digits-torchrun", "training on 719 of 1437 images as rank 1 of 2"),
        ("21-trainjob-jax.yaml", "digits-jax", "images as process 1 of 2, 2 devices"),
        ("22-trainjob-mpi.yaml", "digits-mpirun", "as rank 1 of 2 on digits-mpirun-launcher-0-0"),
        ("23-trainjob-dataset.yaml", "digits-fetched", "Fetching pvc://digits/digits.csv"),
        ("24-trainjob-accelerate.yaml", "digits-accelerate", "23 batches as process 1 of 2"),
        pytest.param(
            *("25-trainjob-deepspeed.yaml", "digits-deepspeed", "23 batches as rank 1 of 2"),
            marks=pytest.mark.skipif(not shutil.which("g++"), reason="DeepSpeed compiles a part of itself with g++"),
        ),
        ("26-trainjob-tensor-parallel.yaml", "digits-tensor-parallel", "2410 weights here as rank 1 of 2"),
        ("28-trainjob-mlx.yaml", "digits-mlx", "training on 718 images as rank 1 of 2"),
    ],
)
def test_each_trains(kubectl: Kubectl, file: str, job: str, told: str) -> None:
    kubectl("apply", "-f", str(EXAMPLES / file))
    wait = ["wait", "--for=condition=Complete", f"--timeout={BUILD_SECONDS:.0f}s", f"trainjob/{job}"]
    kubectl(*wait, timeout=BUILD_SECONDS + 10)
    # Nodes that only serve a launcher go when it has finished, maybe between kubectl's list and its reading.
    log = kubectl("logs", "-l", f"jobset.sigs.k8s.io/jobset-name={job}", "--tail=-1", check=False)
    accuracy = re.search(r"test accuracy ([0-9.]+) on 360 images", log)
    assert accuracy, log
    assert float(accuracy[1]) > 0.85
    assert told in log
    kubectl("delete", "-f", str(EXAMPLES / file), "--cascade=foreground")


def test_torchtune_tunes_a_model_that_is_made_on_the_spot(kubectl: Kubectl) -> None:
    file = str(EXAMPLES / "29-trainjob-torchtune.yaml")
    kubectl("apply", "-f", file)
    wait = ["wait", "--for=condition=Complete", f"--timeout={BUILD_SECONDS:.0f}s", "trainjob/tiny-lora"]
    kubectl(*wait, timeout=BUILD_SECONDS + 10)
    log = kubectl("logs", "-l", "jobset.sigs.k8s.io/jobset-name=tiny-lora", "--tail=-1")
    assert re.search(r"1\|4\|Loss: [0-9.]+", log), log
    assert "/workspace/output/epoch_0/adapter_model.safetensors" in log
    kubectl("delete", "-f", file, "--cascade=foreground")


def test_a_function_trains_by_the_official_sdk(shared_platform: RunningPlatform) -> None:
    python = python_with("kubeflow", "kubeflow==0.5.0", "kubernetes==35.0.0", *PYTEST)
    done = subprocess.run(
        [str(python), str(EXAMPLES / "27-trainjob-function.py")],
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS,
        check=False,
        env={**os.environ, "KUBECONFIG": str(shared_platform.kubeconfig)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    accuracy = re.search(r"test accuracy ([0-9.]+) on 360 images", done.stdout)
    assert accuracy, done.stdout
    assert float(accuracy[1]) > 0.85
    assert "training as rank 0 of 2" in done.stdout
