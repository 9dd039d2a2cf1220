"""The two shapes of ``mpijobs.kubeflow.org``: the Training Operator's ``v1`` and the MPI operator's ``v2beta1``.

Both are one resource to Kubernetes, kept as ``v1``. Each job belongs to the version that it was written in, whose
controller runs it; an annotation says which if another version shows it, and keeps what only its own can say. On a
cluster there is one operator or the other, and no such annotation.
"""

from __future__ import annotations

import msgspec

from homeport.components.training.kinds import GROUP, VERSION
from homeport.kube import meta
from homeport.kube.kind import Conversion, Resource
from homeport.kube.meta import Object

V1 = Resource(GROUP, VERSION, "mpijobs", "MPIJob")
V2BETA1 = Resource(GROUP, "v2beta1", "mpijobs", "MPIJob")
WRITTEN = "kubeflow.org/mpijob-written-as"
"""Annotation of a job that is shown in the other version than its own: which that is, and what only that one says."""
_ONLY_V1 = ("cleanPodPolicy", "mainContainer")
_ONLY_V2BETA1 = ("runLauncherAsWorker", "sshAuthMountPath", "launcherCreationPolicy", "mpiImplementation")


def written_in(job: Object) -> str:
    """The version that a job was written in; empty if it is the one that shows it."""
    return str(_record(job).get("version") or "")


def _record(job: Object) -> Object:
    try:
        found = msgspec.json.decode(meta.annotations(job).get(WRITTEN) or "{}")
    except msgspec.DecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def show(job: Object) -> Object:
    """A stored job (v1) in this version."""
    return _turned(job, "v2beta1", "v1", _ONLY_V1)


def store(job: Object) -> Object:
    """A job of this version as it is stored: as one of v1."""
    return _turned(job, "v1", "v2beta1", _ONLY_V2BETA1)


def _turned(job: Object, into: str, out_of: str, lost: tuple[str, ...]) -> Object:
    """The job in the version `into`, which has not the fields that would be `lost`."""
    spec, record = job.get("spec"), _record(job)
    others = {key: value for key, value in meta.annotations(job).items() if key != WRITTEN}
    if isinstance(spec, dict):
        kept = {key: value for key, value in spec.items() if key not in lost}
        if record.get("version") == into:  # it comes home
            spec = {**kept, **(record.get("spec") or {})}
        else:
            own = {key: spec[key] for key in lost if key in spec}
            others[WRITTEN] = msgspec.json.encode({"version": out_of, "spec": own}).decode()
            spec = kept
    metadata = {key: value for key, value in meta.metadata(job).items() if key != "annotations"}
    result = {**job, "metadata": {**metadata, "annotations": others} if others else metadata}
    return {**result, "spec": spec} if "spec" in job else result


CONVERSION = Conversion(V1, show, store)
