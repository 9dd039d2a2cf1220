"""The image files that come with Homeport: which names they answer to, and that their environments work."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest

from homeport.node.imagefile import STOCK
from homeport.node.images import ImageStore

NAMES = {
    "base": "busybox alpine:3.20 alpine:3.10 ubuntu:24.04 ubuntu:jammy debian:12 registry.k8s.io/busybox:1.29",
    "python": "python:3 python:alpine3.6 ghcr.io/kubeflow/katib/simple-pbt:latest",
    "python3.11": "python:3.11-slim",
    # The examples of the training operator (releases 0.5 to 1.9), of Trainer 2 and of Katib (0.12 to 0.19).
    "tensorflow": "tensorflow/tensorflow:2.5.0 homeport/tensorflow gcr.io/kubeflow-ci/tf-dist-mnist-test:1.0"
    " kubeflow/tf-dist-mnist-test:latest gcr.io/kubeflow-ci/tf-mnist-with-summaries:1.0"
    " kubeflow/tf-mnist-with-summaries:latest kubeflow/tf-distributed-worker:latest"
    " kubeflow/tf-multi-worker-strategy:latest kubeflowimages/multi_worker_strategy:v20200522-2a5b081c"
    " gcr.io/kubeflow-examples/distributed_worker:v20181031-513e107c"
    " docker.io/kubeflowkatib/tf-mnist-with-summaries:v0.17.0 ghcr.io/kubeflow/katib/tf-mnist-with-summaries:latest"
    " docker.io/kubeflowkatib/enas-cnn-cifar10-gpu:v1beta1-45c5727 ghcr.io/kubeflow/katib/enas-cnn-cifar10-cpu:latest",
    "pytorch": "pytorch/pytorch:2.5.0-cuda12.4-cudnn9-runtime pytorch/pytorch:2.13.0-cuda13.0-cudnn9-runtime"
    " homeport/pytorch kubeflow/pytorch-dist-mnist:latest gcr.io/kubeflow-ci/pytorch-dist-sendrecv-test:1.0"
    " kubeflow/pytorch-dist-sendrecv-test:latest kubeflow/pytorch-elastic-example-echo:1.0.0"
    " kubeflow/pytorch-elastic-example-imagenet:1.0.0-sigterm docker.io/kubeflowkatib/pytorch-mnist:v1beta1-45c5727"
    " docker.io/kubeflowkatib/pytorch-mnist-cpu:v0.17.0 ghcr.io/kubeflow/katib/pytorch-mnist-cpu:latest"
    " docker.io/kubeflowkatib/darts-cnn-cifar10:v0.13.0 ghcr.io/kubeflow/katib/darts-cnn-cifar10-gpu:latest",
    "jax": "docker.io/kubeflow/jaxjob-simple:latest docker.io/kubeflow/jaxjob-dist-spmd-mnist:latest"
    " docker.io/sandipanify/jaxjob-spmd-mnist:latest nvcr.io/nvidia/jax:25.10-py3"
    " us-docker.pkg.dev/cloud-tpu-images/jax-ai-image/tpu:latest",
    "xgboost": "docker.io/kubeflow/xgboost-dist-iris:latest docker.io/kubeflow/xgboost-dist-rabit-test:latest"
    " docker.io/merlintang/xgboost-dist-iris:1.1 kubeflow/lightgbm-dist-py-test:1.0"
    " ghcr.io/kubeflow/katib/xgboost-lightgbm:1.0 docker.io/kubeflowkatib/xgboost-lightgbm:1.0"
    " ghcr.io/kubeflow/trainer/xgboost-runtime",
    "paddlepaddle": "registry.baidubce.com/paddlepaddle/paddle:2.4.0rc0-cpu"
    " registry.baidubce.com/paddlepaddle/paddle:2.4.0rc0-gpu-cuda11.2-cudnn8.1-trt8.0 paddlepaddle/paddle:3.0.0",
    "torchtune": "ghcr.io/kubeflow/trainer/torchtune-trainer homeport/torchtune",
    "openmpi": "mpioperator/mpi-pi:openmpi mpioperator/base:v0.8.2",
    "mpich": "mpioperator/mpi-pi:mpich",
    "intelmpi": "mpioperator/mpi-pi:intel mpioperator/intel:v0.8.2",
    "ray": "rayproject/ray:latest-py311-cpu docker.io/rayproject/ray:2.46.0 homeport/ray",
    "kubectl-delivery": "mpioperator/kubectl-delivery:latest mpioperator/kubectl-delivery:0.2.3",
}

WORKS = {
    "homeport/jax": "import jax; print(jax.jit(lambda x: x + 1)(1))",
    "homeport/xgboost": "import numpy, xgboost, lightgbm; "
    "print(2 * int(xgboost.DMatrix(numpy.ones((1, 1))).num_row()))",
    "homeport/paddlepaddle": "import paddle; print((paddle.to_tensor([1]) + 1).item())",
    "homeport/openmpi": "from mpi4py import MPI; print(MPI.COMM_WORLD.allreduce(1))",
    "homeport/mpich": "from mpi4py import MPI; print(MPI.COMM_WORLD.allreduce(1))",
}
"""Each prints 2. TensorFlow's and PyTorch's environments are built by the tests of training jobs."""


@pytest.mark.parametrize(("image", "name"), [(image, name) for image, names in NAMES.items() for name in names.split()])
def test_names_of_kubeflow_and_of_everybody(tmp_path: Path, image: str, name: str) -> None:
    found = ImageStore(tmp_path / "images", cache=tmp_path / "cache").find(name)
    assert (found.name, found.path.parent) == (image, STOCK)


@pytest.mark.slow
@pytest.mark.parametrize("name", WORKS)
def test_environments_are_built_and_work(tmp_path: Path, name: str) -> None:
    image = asyncio.run(ImageStore(tmp_path / "images", cache=tmp_path / "cache").prepare(name))
    assert image.root.environment is not None
    binaries = Path(image.root.environment) / "bin"
    environ = {**image.config.env, "PATH": f"{binaries}:/usr/bin:/bin", "HOME": str(tmp_path)}
    command = [str(binaries / "python"), "-c", WORKS[name]]
    if (binaries / "mpirun").exists():
        command = [str(binaries / "mpirun"), "-n", "2", *command]
        if name == "homeport/openmpi":
            environ |= {"PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=300, check=False)
    # What two processes print at the same time may come before the end of either's line.
    assert (done.returncode, set("".join(done.stdout.split()))) == (0, {"2"}), done.stderr
