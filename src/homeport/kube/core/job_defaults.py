"""Defaults of jobs and cron jobs that depend on other fields (upstream: ``pkg/apis/batch/v1/defaults.go``)."""

from __future__ import annotations

from typing import Any

from homeport.kube.core.pod_defaults import default_template, mapped, replaced
from homeport.kube.core.workload_defaults import template_labels, with_labels
from homeport.kube.meta import Object

_BACKOFF_LIMIT = 6
_NO_LIMIT = 2**31 - 1
UID_LABELS = ("batch.kubernetes.io/controller-uid", "controller-uid")
NAME_LABELS = ("batch.kubernetes.io/job-name", "job-name")


def prepare_job(new: Object, old: Object | None) -> Object:
    """A job with its defaults; on create also with the labels and the selector that tell its pods from all others."""
    spec = new.get("spec")
    result = new if old is not None else {**new, "status": {}}
    if not isinstance(spec, dict):
        return result
    labels = template_labels(spec)
    changed = _job_spec(spec)
    if old is None and changed.get("manualSelector") is not True:
        changed = _with_selector(changed, new.get("metadata"))
    # A template without labels of its own gives the generated ones: upstream defaults once more when it reads a job
    # from its store.
    labels = labels or template_labels(changed)
    result = replaced(result, {} if changed is spec else {"spec": changed})
    return with_labels(result, labels) if labels and isinstance(result.get("metadata"), dict) else result


def prepare_cron_job(new: Object, old: Object | None) -> Object:
    result = new if old is not None else {**new, "status": {}}
    spec = new.get("spec")
    job = spec.get("jobTemplate") if isinstance(spec, dict) else None
    inner = job.get("spec") if isinstance(job, dict) else None
    if not isinstance(spec, dict) or not isinstance(job, dict) or not isinstance(inner, dict):
        return result
    # The jobs get the rest of their defaults when they are made.
    changed = _with_template(inner)
    changed = {key: value for key, value in changed.items() if key not in ("completionMode", "suspend")} | {
        key: inner[key] for key in ("completionMode", "suspend") if key in inner
    }
    return replaced(result, {} if changed == inner else {"spec": {**spec, "jobTemplate": {**job, "spec": changed}}})


def _with_template(spec: Object) -> Object:
    template = spec.get("template")
    changed = default_template(template) if isinstance(template, dict) else template
    return spec if changed is template else {**spec, "template": changed}


def _job_spec(spec: Object) -> Object:
    spec = _with_template(spec)
    changes: Object = {}
    if spec.get("parallelism") is None:
        changes["parallelism"] = 1
        if spec.get("completions") is None:
            changes["completions"] = 1
    if spec.get("backoffLimit") is None:
        changes["backoffLimit"] = _BACKOFF_LIMIT if spec.get("backoffLimitPerIndex") is None else _NO_LIMIT
    if spec.get("manualSelector") is None:
        changes["manualSelector"] = False
    policy = spec.get("podFailurePolicy")
    if not spec.get("podReplacementPolicy"):
        changes["podReplacementPolicy"] = "TerminatingOrFailed" if policy is None else "Failed"
    if isinstance(policy, dict):
        found = mapped(policy.get("rules"), _rule)
        if found is not policy.get("rules"):
            changes["podFailurePolicy"] = {**policy, "rules": found}
    return replaced(spec, changes)


def _rule(rule: Object) -> Object:
    def pattern(item: Object) -> Object:
        return item if item.get("status") else {**item, "status": "True"}

    found = mapped(rule.get("onPodConditions"), pattern)
    return rule if found is rule.get("onPodConditions") else {**rule, "onPodConditions": found}


def _with_selector(spec: Object, metadata: Any) -> Object:
    """Labels by which a job knows its pods: its UID and name. A label that the user set to something else stays, and is
    refused by validation. A job that has yet to get its name (``generateName``) has to wait."""
    template = spec.get("template")
    if not isinstance(template, dict) or not isinstance(metadata, dict) or not metadata.get("name"):
        return spec
    inner = template.get("metadata") or {}
    own = inner.get("labels") or {} if isinstance(inner, dict) else None
    if not isinstance(own, dict):
        return spec
    uid, name = metadata.get("uid") or "", metadata["name"]
    labels = {**dict.fromkeys(UID_LABELS, uid), **dict.fromkeys(NAME_LABELS, name), **own}
    result = {**spec, "template": {**template, "metadata": {**inner, "labels": labels}}}
    if spec.get("selector") is None:
        result["selector"] = {"matchLabels": {UID_LABELS[0]: uid}}
    return result
