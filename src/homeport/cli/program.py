"""A Python program as a job of several replicas: the manifests that ``homeport run train.py`` makes.

The program's files travel in a config map, so that nothing has to be built. What needs more than that has an image.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from homeport.cli.manifests import Manifest
from homeport.kube.errors import Permanent
from homeport.kube.meta import Object

MOST = 1 << 20
"""Bytes that a config map holds."""
_PLACE = "/app"
_GPU = "nvidia.com/gpu"
_LONGEST_NAME = 40


@dataclass(frozen=True, slots=True)
class Program:
    """What to run, and how."""

    path: str = ""
    """A file; or empty for `module`."""
    module: str = ""
    """A module of the working directory, as ``python -m`` takes it."""
    arguments: Sequence[str] = ()
    framework: str = "python"
    replicas: int = 1
    gpus: int = 0
    """Of each replica."""
    name: str = ""
    image: str = ""
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Framework:
    image: str
    make: Callable[[Program, Object], Object]
    """From a program and its pod's spec to the job's kind and spec."""
    container: str = "main"
    launcher: Sequence[str] = ()
    """What starts the program, after ``python -u``."""


def manifests(program: Program) -> list[Manifest]:
    """The config map and the job. Raises Permanent for a program that can't be sent."""
    files = _files(program)
    size = sum(len(text.encode()) for text in files.values())
    if size > MOST:
        raise Permanent(
            f"{_title(program)} has {size:,} bytes, and a config map holds {MOST:,}: put it into an image (homeport "
            "build) and write a manifest"
        )
    name = _name(program)
    source = f"{name}-program"
    keys = {path: f"{number}-{Path(path).name}" for number, path in enumerate(files)}
    config_map = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": source},
        "data": {keys[path]: text for path, text in files.items()},
    }
    framework = FRAMEWORKS[program.framework]
    what = ["-m", program.module] if program.module else [f"{_PLACE}/{Path(program.path).name}"]
    container: Object = {
        "name": framework.container,
        "image": program.image or framework.image,
        "command": ["python3", "-u", *framework.launcher, *what, *map(_literal, program.arguments)],
        "workingDir": _PLACE,
        "volumeMounts": [{"name": "program", "mountPath": _PLACE}],
    }
    if program.env:
        container["env"] = [{"name": key, "value": value} for key, value in program.env.items()]
    if program.gpus:
        container["resources"] = {"limits": {_GPU: str(program.gpus)}}
    items = [{"key": key, "path": path} for path, key in keys.items()]
    pod: Object = {
        "containers": [container],
        "volumes": [{"name": "program", "configMap": {"name": source, "items": items}}],
    }
    job = framework.make(program, pod) | {"metadata": {"name": name}}
    return [Manifest(config_map, _title(program), goes_with=job["kind"]), Manifest(job, _title(program))]


def _title(program: Program) -> str:
    return program.path or f"module {program.module}"


def _literal(argument: str) -> str:
    """So that Kubernetes puts no variable into it."""
    return argument.replace("$(", "$$(")


def _name(program: Program) -> str:
    text = program.name or (Path(program.path).stem if program.path else program.module)
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:_LONGEST_NAME].strip("-") or "program"


def _files(program: Program) -> dict[str, str]:
    """Path within the program's directory -> content. Of a module's package, all Python files."""
    if program.path:
        path = Path(program.path)
        return {path.name: _text(path)}
    top = Path(program.module.partition(".")[0])
    if top.is_dir():
        inside = sorted(path for path in top.rglob("*.py") if not any(part.startswith(".") for part in path.parts))
        if inside:
            return {path.as_posix(): _text(path) for path in inside}
    alone = top.with_suffix(".py")
    if not alone.is_file():
        raise Permanent(f"there is no module {program.module} here: neither {top}/ with Python files nor {alone}")
    return {alone.name: _text(alone)}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise Permanent(f"{path}: {(error.strerror or str(error)).lower()}") from error
    except UnicodeDecodeError as error:
        raise Permanent(f"{path}: not UTF-8 text: {error}") from error


# The jobs. A program is run once and its exit code counts: no replica is restarted, and with one all end.


def _replicated(
    kind: str, replicas_field: str, leader: str = "", **more: object
) -> Callable[[Program, Object], Object]:
    """A training job: all replicas Workers, or the first one of the type `leader`."""

    def make(program: Program, pod: Object) -> Object:
        counts = {leader: 1, "Worker": program.replicas - 1} if leader else {"Worker": program.replicas}
        replicas = {
            type: {"replicas": count, "restartPolicy": "Never", "template": {"spec": pod}}
            for type, count in counts.items()
            if count
        }
        processes = {"nprocPerNode": str(max(program.gpus, 1))} if kind == "PyTorchJob" else {}
        spec = {"runPolicy": {"cleanPodPolicy": "Running"}, replicas_field: replicas, **processes, **more}
        return {"apiVersion": "kubeflow.org/v1", "kind": kind, "spec": spec}

    return make


def _indexed(program: Program, pod: Object) -> Object:
    """A plain job, whose replicas have their number in ``JOB_COMPLETION_INDEX``."""
    spec = {
        "completions": program.replicas,
        "parallelism": program.replicas,
        "completionMode": "Indexed",
        "backoffLimit": 0,
        "template": {"spec": {**pod, "restartPolicy": "Never"}},
    }
    return {"apiVersion": "batch/v1", "kind": "Job", "spec": spec}


FRAMEWORKS: Mapping[str, _Framework] = {
    "python": _Framework("python:3", _indexed),
    "torch": _Framework(
        "pytorch/pytorch:latest",
        _replicated("PyTorchJob", "pytorchReplicaSpecs", "Master"),
        "pytorch",
        ("-m", "torch.distributed.run"),
    ),
    "tensorflow": _Framework(
        "tensorflow/tensorflow:latest",
        _replicated("TFJob", "tfReplicaSpecs", successPolicy="AllWorkers"),
        "tensorflow",
    ),
    "jax": _Framework("ghcr.io/nvidia/jax:jax", _replicated("JAXJob", "jaxReplicaSpecs"), "jax"),
    "xgboost": _Framework(
        "ghcr.io/kubeflow/trainer/xgboost-runtime:latest",
        _replicated("XGBoostJob", "xgbReplicaSpecs", "Master"),
        "xgboost",
    ),
    "paddle": _Framework(
        "paddlepaddle/paddle:latest",
        _replicated("PaddleJob", "paddleReplicaSpecs"),
        "paddle",
        ("-m", "paddle.distributed.launch"),
    ),
}
