"""What a job's pod was: written beside its logs before its object can go, so that they can be kept with the job
whenever the platform is killed.

The object of a pod goes when the node deletes it, when somebody deletes a pod that has ended, or when one is deleted by
force. In the last case it is written as soon as the node hears of it: what ends the platform within those milliseconds
costs the logs.
"""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from homeport.kube import meta
from homeport.kube.meta import Object

_log = logging.getLogger(__name__)
_NAME = "tale.json"
_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
SET_NAME = "jobset.sigs.k8s.io/jobset-name"
CONTAINERS = ("initContainers", "containers", "ephemeralContainers")


class Tale(msgspec.Struct, frozen=True):
    pod: Object


def is_job(kind: str) -> bool:
    """Whether objects of this kind are jobs, which come to an end and have pods."""
    return (kind.endswith("Job") and kind != "CronJob") or kind == "JobSet"


def is_of_job(pod: Object) -> bool:
    """Whether a pod may belong to a job, as far as it says itself."""
    owner = meta.controller_of(pod)
    return (owner is not None and is_job(owner["kind"])) or bool(meta.labels(pod).get(SET_NAME))


def told(pod: Object, status: Object) -> Object:
    """The pod as it ended, without what nobody asks for any more; never a variable, which may be a secret."""
    metadata = {key: value for key, value in meta.metadata(pod).items() if key != "managedFields"}
    if _APPLIED in meta.annotations(pod):
        metadata["annotations"] = {key: value for key, value in meta.annotations(pod).items() if key != _APPLIED}
    spec = meta.spec(pod)
    result: Object = {"nodeName": spec.get("nodeName") or ""}
    for group in CONTAINERS:
        if spec.get(group):
            result[group] = [{key: one[key] for key in ("name", "image") if key in one} for one in spec[group]]
    return {"metadata": metadata, "spec": result, "status": status}


def read(directory: Path) -> Object | None:
    """The pod whose directory it is; None if nothing was written, or nothing that can be read."""
    try:
        return msgspec.json.decode((directory / _NAME).read_bytes(), type=Tale).pod
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        _log.warning("%s can't be read, and the logs beside it are not kept: %s", directory / _NAME, error)
        return None


class Teller:
    """Writes one pod's, in its `directory`, if the pod is a job's."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._written: Object | None = None

    def tell(self, pod: Object, status: Object) -> None:
        """Write it unless it is there as it is. Trouble is logged only: the disk is full, most likely."""
        if status == self._written or not is_of_job(pod) or not self._directory.is_dir():
            return
        self._written = status
        temporary = self._directory / f".{_NAME}"
        try:
            temporary.write_bytes(msgspec.json.encode(Tale(told(pod, status))))
            temporary.rename(self._directory / _NAME)
        except OSError as error:
            title = f"{meta.namespace(pod)}/{meta.name(pod)}"
            _log.warning("what pod %s was can't be written: if the platform ends now, its logs go: %s", title, error)
