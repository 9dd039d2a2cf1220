"""The job set of a training job (upstream: ``plugins/jobset`` and its builder)."""

from __future__ import annotations

from homeport.components.trainer import names
from homeport.components.trainer.draft import Draft, PodSet, set_env, upsert, variable
from homeport.components.trainer.policies import policy_of
from homeport.components.trainer.progress import report_progress
from homeport.components.trainer.settings import Reporting
from homeport.kube import meta
from homeport.kube.meta import Object

COSCHEDULING_LABEL = "scheduling.x-k8s.io/pod-group"
VOLCANO_ANNOTATION = "scheduling.k8s.io/group-name"
_SOURCE = "initializer-source"
_CLAIMS = "/mnt/claims"
"""Where initializers look for the claims of ``pvc://``."""


def drawn(job: Object, runtime: Object, reporting: Reporting | None) -> Draft:
    """A draft with all that runtime and job ask for. Raises Unbuildable."""
    draft = Draft(job, runtime)
    policy_of(draft).enforce(draft)
    if draft.gang.get("coscheduling") is not None:
        draft.pod_labels[COSCHEDULING_LABEL] = draft.name
    if draft.gang.get("volcano") is not None:
        draft.pod_annotations[VOLCANO_ANNOTATION] = draft.name
    if reporting is not None:
        report_progress(draft, reporting)
    for pods in draft.sets:
        _finish(draft, pods)
    return draft


def objects(draft: Draft) -> tuple[Object, ...]:
    """What is made of a draft: the job set, and what the framework needs beside it."""
    spec = meta.spec(draft.job)
    if "suspend" in spec and spec["suspend"] is not None:
        draft.job_set["suspend"] = spec["suspend"]
    metadata: Object = {"name": draft.name}
    if draft.labels:
        metadata["labels"] = draft.labels
    if draft.annotations:
        metadata["annotations"] = draft.annotations
    job_set = {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": metadata,
        "spec": draft.job_set,
    }
    return (*policy_of(draft).objects(draft), job_set)


def _finish(draft: Draft, pods: PodSet) -> None:
    """The counts of a replicated job, and what the job wants otherwise than its runtime."""
    job = pods.group["template"].setdefault("spec", {})
    job["parallelism"] = job["completions"] = pods.count
    if pods.ancestor in names.CONTAINERS:
        pods.group["replicas"] = 1
    if pods.ancestor == names.DATASET:
        _initialize(pods, names.DATASET, draft.initializer.get("dataset"))
    elif pods.ancestor == names.MODEL:
        _initialize(pods, names.MODEL, draft.initializer.get("model"))
    elif pods.ancestor == names.TRAINER:
        _train(draft, pods)
    container = pods.container(names.NODE)
    if container is not None and (pods.ancestor == names.TRAINER or draft.trains(pods)) and draft.trainer.get("env"):
        set_env(container, draft.trainer["env"])
    for name in {names.NODE, names.CONTAINERS.get(pods.ancestor)}:
        found = pods.container(name) if name else None
        if found is not None:
            # So that the last lines of a failed container's log become its termination message, and the job's.
            found.setdefault("terminationMessagePolicy", "FallbackToLogsOnError")
    template = job.setdefault("template", {})
    if draft.pod_labels or draft.pod_annotations:
        about = template.setdefault("metadata", {})
        if draft.pod_labels:
            about["labels"] = {**(about.get("labels") or {}), **draft.pod_labels}
        if draft.pod_annotations:
            about["annotations"] = {**(about.get("annotations") or {}), **draft.pod_annotations}


def _train(draft: Draft, pods: PodSet) -> None:
    container, trainer = pods.container(names.NODE), draft.trainer
    if container is None:
        return
    if trainer.get("image") is not None:
        container["image"] = trainer["image"]
    if trainer.get("command") is not None:
        container["command"] = trainer["command"]
    if trainer.get("args") is not None:
        container["args"] = trainer["args"]


def _initialize(pods: PodSet, name: str, wanted: Object | None) -> None:
    container = pods.container(name)
    if container is None or wanted is None:
        return
    if wanted.get("storageUri") is not None:
        set_env(container, [variable("STORAGE_URI", wanted["storageUri"])])
        _mount_claim(pods, container, wanted["storageUri"])
    set_env(container, wanted.get("env") or ())
    if wanted.get("secretRef"):
        source = {"secretRef": {"name": wanted["secretRef"].get("name", "")}}
        upsert(container.setdefault("envFrom", []), [source])


def _mount_claim(pods: PodSet, container: Object, uri: str) -> None:
    """``pvc://CLAIM/PATH``: the initializer finds the claim where its image expects it."""
    scheme, _, rest = uri.partition("://")
    claim = rest.partition("/")[0]
    if scheme != "pvc" or not claim:
        return
    volume = {"name": _SOURCE, "persistentVolumeClaim": {"claimName": claim, "readOnly": True}}
    upsert(pods.pod.setdefault("volumes", []), [volume], "name")
    mount = {"name": _SOURCE, "mountPath": f"{_CLAIMS}/{claim}", "readOnly": True}
    upsert(container.setdefault("volumeMounts", []), [mount], "mountPath")
