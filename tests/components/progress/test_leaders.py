"""Whose log is read."""

from __future__ import annotations

import pytest

from homeport.components.progress.leaders import leader
from homeport.kube.meta import Object

OURS, SETS = "training.kubeflow.org/", "jobset.sigs.k8s.io/"


def pod(labels: dict[str, str], kind: str = "", *containers: str) -> Object:
    owner = {"apiVersion": "kubeflow.org/v1", "kind": kind, "name": "digits", "uid": "1", "controller": True}
    return {
        "metadata": {"name": "p", "namespace": "n", "labels": labels, "ownerReferences": [owner] if kind else []},
        "spec": {"containers": [{"name": name} for name in containers or ("a", "b")]},
    }


def replica(type: str, index: int = 0, role: str = "") -> dict[str, str]:
    labels = {f"{OURS}job-name": "digits", f"{OURS}replica-type": type, f"{OURS}replica-index": str(index)}
    return labels | ({f"{OURS}job-role": role} if role else {})


def of_set(group: str, index: int = 0) -> dict[str, str]:
    return {
        f"{SETS}jobset-name": "digits",
        f"{SETS}replicatedjob-name": group,
        f"{SETS}job-index": "0",
        "batch.kubernetes.io/job-completion-index": str(index),
    }


LAUNCHER = {f"{OURS}job-name": "digits", f"{OURS}operator-name": "mpi-operator", f"{OURS}job-role": "launcher"}


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (pod(replica("master", role="master"), "PyTorchJob", "x", "pytorch"), ("pytorchjobs", "v1", "pytorch")),
        (pod(replica("worker"), "PyTorchJob"), None),
        (pod(replica("worker", role="master"), "JAXJob"), ("jaxjobs", "v1", "a")),
        (pod(replica("master", role="master"), "PaddleJob"), None),
        (pod(replica("worker"), "PaddleJob", "paddle"), ("paddlejobs", "v1", "paddle")),
        (pod(replica("worker", 1), "PaddleJob"), None),
        (pod(replica("tuner"), "MXJob", "mxnet"), ("mxjobs", "v1", "mxnet")),
        (pod(LAUNCHER, ""), ("mpijobs", "v2beta1", "a")),
        (pod(of_set("node"), "", "sidecar", "node"), ("trainjobs", "v1alpha1", "node")),
        (pod(of_set("node", 1)), None),
        (pod(of_set("launcher"), "", "node"), ("trainjobs", "v1alpha1", "node")),
        (pod(of_set("dataset-initializer")), None),
        (pod({}, "ReplicaSet"), None),
    ],
)
def test_the_pod_that_leads(found: Object, wanted: tuple[str, str, str] | None) -> None:
    of = leader(found)
    assert (of and (of.resource.plural, of.resource.version, of.container)) == wanted
    assert of is None or (of.namespace, of.job, of.pod) == ("n", "digits", "p")
