"""Which pod of a training job tells of its progress: the one that leads. By its labels and its owner, without a look
at the job."""

from __future__ import annotations

import msgspec

from homeport.kube import meta
from homeport.kube.kind import Resource
from homeport.kube.meta import Object

TRAIN_JOBS = Resource("trainer.kubeflow.org", "v1alpha1", "trainjobs", "TrainJob")
JOB_SETS = Resource("jobset.x-k8s.io", "v1alpha2", "jobsets", "JobSet")
_GROUP = "kubeflow.org"
_LABEL = "training.kubeflow.org/"
_JOB_SET = "jobset.sigs.k8s.io/"
_NODE, _LAUNCHER = "node", "launcher"
_INDEX = "batch.kubernetes.io/job-completion-index"
_MPI_JOBS = Resource(_GROUP, "v2beta1", "mpijobs", "MPIJob")
_ROLES_SERVE = frozenset({"PaddleJob", "MXJob"})
"""Kinds of which the pods that lead are parameter servers: the first of those that train tells of it."""
_CONTAINERS = {
    "TFJob": "tensorflow",
    "PyTorchJob": "pytorch",
    "XGBoostJob": "xgboost",
    "PaddleJob": "paddle",
    "JAXJob": "jax",
    "MXJob": "mxnet",
    "TrainJob": "node",
}


class Leader(msgspec.Struct, frozen=True):
    resource: Resource
    """Of the job."""
    namespace: str
    job: str
    pod: str
    container: str
    """The one that trains."""
    unless: str = ""
    """A replicated job whose pod leads rather, if the job set has one: under MPI the launcher writes, and nodes are
    silent."""


def leader(pod: Object) -> Leader | None:
    """The job that a pod leads; None: it leads none."""
    labels = meta.labels(pod)
    if _LABEL + "job-name" in labels:
        found = _of_operator(pod, labels)
    elif _JOB_SET + "jobset-name" in labels:
        found = _of_job_set(labels)
    else:
        return None
    if found is None:
        return None
    resource, job = found
    unless = _LAUNCHER if labels.get(_JOB_SET + "replicatedjob-name") == _NODE else ""
    return Leader(resource, meta.namespace(pod), job, meta.name(pod), _container(pod, resource.kind), unless)


def _of_operator(pod: Object, labels: Object) -> tuple[Resource, str] | None:
    job = str(labels[_LABEL + "job-name"])
    if labels.get(_LABEL + "job-role") == "launcher" and labels.get(_LABEL + "operator-name") == "mpi-operator":
        return _MPI_JOBS, job
    owner = meta.controller_of(pod)
    group, _, version = (owner or {}).get("apiVersion", "").partition("/")
    if not owner or group != _GROUP or labels.get(_LABEL + "replica-index") != "0":
        return None
    kind = owner["kind"]
    if kind in _ROLES_SERVE:
        leads = labels.get(_LABEL + "replica-type") in ("worker", "tuner")
    else:
        leads = labels.get(_LABEL + "job-role") == "master"
    return (Resource(group, version, f"{kind.lower()}s", kind), job) if leads else None


def _of_job_set(labels: Object) -> tuple[Resource, str] | None:
    """The job set of a training job has its name."""
    is_first = all(labels.get(label, "0") == "0" for label in (_JOB_SET + "job-index", _INDEX))
    if not is_first or labels.get(_JOB_SET + "replicatedjob-name") not in (_NODE, _LAUNCHER):
        return None
    return TRAIN_JOBS, str(labels[_JOB_SET + "jobset-name"])


def _container(pod: Object, kind: str) -> str:
    names = [str(each.get("name")) for each in meta.spec(pod).get("containers") or ()]
    wanted = _CONTAINERS.get(kind, "")
    return wanted if wanted in names else next(iter(names), "")
