"""Manifests that the end-to-end tests share: small, and with nothing to download."""

from __future__ import annotations

from typing import Any

import yaml

IMAGE = "homeport/base"
"""The machine's own programs: nothing is built for it."""


def pod(name: str, script: str, *, restart: str = "Never", image: str = IMAGE, command: list[str] | None = None) -> str:
    container = {"name": "main", "image": image, "command": command or ["sh", "-c", script]}
    spec = {"restartPolicy": restart, "terminationGracePeriodSeconds": 1, "containers": [container]}
    return yaml.safe_dump({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})


def tfjob(
    name: str,
    script: str = "echo hello from $HOSTNAME",
    *,
    workers: int = 2,
    restart: str = "Never",
    image: str = IMAGE,
    command: list[str] | None = None,
    **run_policy: Any,
) -> str:
    """A TFJob whose workers run a shell script."""
    container = {"name": "tensorflow", "image": image, "command": command or ["sh", "-c", script]}
    template = {"spec": {"terminationGracePeriodSeconds": 1, "containers": [container]}}
    worker = {"replicas": workers, "restartPolicy": restart, "template": template}
    spec = {"successPolicy": "AllWorkers", "runPolicy": run_policy, "tfReplicaSpecs": {"Worker": worker}}
    job = {"apiVersion": "kubeflow.org/v1", "kind": "TFJob", "metadata": {"name": name}, "spec": spec}
    return yaml.safe_dump(job)
