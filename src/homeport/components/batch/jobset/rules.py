"""Defaults and rules of job sets (upstream: ``pkg/webhooks/jobset_webhook.go``).

Of what upstream has behind feature gates that are off, elastic job sets are taken (``ElasticJobSet``); restarts in
place and of single jobs are not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from homeport.components.batch.jobset import children, shape
from homeport.kube import field, meta, names
from homeport.kube.core import rules
from homeport.kube.errors import FieldError
from homeport.kube.meta import Object

_MOST_PODS = 2**31 - 1
_MANAGER_LENGTH = 63
_RULE_NAME = re.compile(r"[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?", re.ASCII)
_RULE_LENGTH = 128
_CLAIM_LENGTH = 253
_REASONS = (
    "BackoffLimitExceeded",
    "DeadlineExceeded",
    "FailedIndexes",
    "MaxFailedIndexesExceeded",
    "PodFailurePolicy",
)
_FIXED = ("network", "successPolicy", "failurePolicy", "startupPolicy", "volumeClaimPolicies")
"""What never changes once it is set; on a real cluster the definition's own rules say so."""
_GATED = "feature gate is disabled"
_CHANGEABLE = (
    ("metadata", "annotations"),
    ("metadata", "labels"),
    ("spec", "nodeSelector"),
    ("spec", "tolerations"),
    ("spec", "schedulingGates"),
)
"""Of the pod templates of a job set that is suspended."""
_DRAWN = "xxxxx"
"""Stands for what the server adds to a generated name."""


def prepare(new: Object, old: Object | None) -> Object:
    spec = new.get("spec")
    if old is not None or not isinstance(spec, dict):
        return new
    result = dict(spec)
    result.setdefault("successPolicy", {"operator": "All"})
    result.setdefault("startupPolicy", {"startupPolicyOrder": "AnyOrder"})
    network = result.setdefault("network", {})
    if isinstance(network, dict):
        result["network"] = {"enableDNSHostnames": True, "publishNotReadyAddresses": True, **network}
    if isinstance(spec.get("replicatedJobs"), list):
        result["replicatedJobs"] = [_group(group) for group in spec["replicatedJobs"]]
    policy = spec.get("failurePolicy")
    if isinstance(policy, dict) and isinstance(policy.get("rules"), list):
        named = [_named(rule, index) for index, rule in enumerate(policy["rules"])]
        result["failurePolicy"] = {**policy, "rules": named}
    if isinstance(spec.get("volumeClaimPolicies"), list):
        retained = {"retentionPolicy": {"whenDeleted": "Delete"}}
        result["volumeClaimPolicies"] = [
            {**retained, **policy} if isinstance(policy, dict) else policy for policy in spec["volumeClaimPolicies"]
        ]
    return {**new, "spec": result}


def _group(group: Any) -> Any:
    job = _at(group, "template", "spec")
    pod = _at(job, "template", "spec")
    if not isinstance(job, dict) or not isinstance(pod, dict):
        return group
    filled = {"completionMode": "Indexed", **job}
    filled["template"] = {**job["template"], "spec": {"restartPolicy": "OnFailure", **pod}}
    return {**group, "template": {**group["template"], "spec": filled}}


def _at(value: Any, *path: str) -> Any:
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _named(rule: Any, index: int) -> Any:
    return rule if not isinstance(rule, dict) or rule.get("name") else {**rule, "name": f"failurePolicyRule{index}"}


def validate(new: Object, old: Object | None) -> Iterator[FieldError]:
    yield from _one_order(new)
    if old is not None:
        yield from _update(new, old)
        return
    spec, groups = meta.spec(new), shape.groups(new)
    name = meta.name(new) or (meta.metadata(new).get("generateName") or "") + _DRAWN
    if groups and groups[0].get("dependsOn"):
        words = "DependsOn can't be set for the first ReplicatedJob"
        yield field.invalid("spec.replicatedJobs[0].dependsOn", groups[0]["dependsOn"], words)
    yield from _subdomain((spec.get("network") or {}).get("subdomain"))
    manager = spec.get("managedBy")
    if manager is not None:
        yield from rules.domain_path("spec.managedBy", manager)
        if len(manager) > _MANAGER_LENGTH:
            yield field.too_long("spec.managedBy", _MANAGER_LENGTH)
    known: set[str] = set()
    for index, group in enumerate(groups):
        yield from _replicated_job(f"spec.replicatedJobs[{index}]", group, name, known)
    for index, target in enumerate((spec.get("successPolicy") or {}).get("targetReplicatedJobs") or ()):
        if target not in known:
            words = f"invalid replicatedJob name '{target}' does not appear in .spec.ReplicatedJobs"
            yield field.invalid(f"spec.successPolicy.targetReplicatedJobs[{index}]", target, words)
    if spec.get("failurePolicy"):
        yield from _failure_policy("spec.failurePolicy", spec["failurePolicy"], known)
    if spec.get("coordinator"):
        yield from _coordinator(new, name)
    yield from _claims(new, name)


def _one_order(job_set: Object) -> Iterator[FieldError]:
    policy = meta.spec(job_set).get("startupPolicy") or {}
    depends = any(group.get("dependsOn") is not None for group in shape.groups(job_set))
    if depends and policy.get("startupPolicyOrder") == "InOrder":
        yield field.invalid("spec", "object", "StartupPolicy and DependsOn APIs are mutually exclusive")


def _subdomain(value: str | None) -> Iterator[FieldError]:
    if not value:
        return
    for message in names.dns1123_subdomain(value):
        yield field.invalid("spec.network.subdomain", value, message)
    for message in names.dns1035_label(value):
        words = ".spec.network.subdomain is too long, must be less than 63 characters"
        yield field.invalid("spec.network.subdomain", value, words if _is_length(message) else message)


def _is_length(message: str) -> bool:
    return message == names.too_many_characters(63)


def _replicated_job(path: str, group: Object, owner: str, known: set[str]) -> Iterator[FieldError]:
    name, count, job = group["name"], shape.replicas(group), meta.spec(group["template"])
    known.add(name)
    parallelism = job.get("parallelism")
    if (1 if parallelism is None else parallelism) * count > _MOST_PODS:
        words = f"the product of replicas and parallelism must not exceed {_MOST_PODS} for replicatedJob '{name}'"
        yield field.invalid(f"{path}.replicas", count, words)
    for message in names.dns1035_label(shape.group_name(group)):
        words = ".spec.replicatedJob[].groupName is too long, must be less than 63 characters"
        yield field.invalid(f"{path}.groupName", shape.group_name(group), words if _is_length(message) else message)
    longest = shape.job_name(owner, name, count - 1)
    for message in names.dns1035_label(longest):
        words = "JobSet name is too long, job names generated for this JobSet will exceed 63 characters"
        yield field.invalid(f"{path}.name", longest, words if _is_length(message) else message)
    completions = job.get("completions")
    if job.get("completionMode") == "Indexed" and completions is not None:
        for message in names.dns1035_label(f"{longest}-{completions - 1}-abcde"):
            words = "JobSet name is too long, pod names generated for this JobSet will exceed 63 characters"
            yield field.invalid(f"{path}.name", longest, words if _is_length(message) else message)
    for dependency in group.get("dependsOn") or ():
        if dependency["name"] not in known:
            words = f"replicatedJob: {name} cannot depend on replicatedJob: {dependency['name']}"
            yield field.invalid(f"{path}.dependsOn", dependency["name"], words)


def _failure_policy(path: str, policy: Object, known: set[str]) -> Iterator[FieldError]:
    if policy.get("restartStrategy") == "InPlaceRestart":
        words = f"InPlaceRestart restart strategy cannot be set when InPlaceRestart {_GATED}"
        yield field.invalid(f"{path}.restartStrategy", "InPlaceRestart", words)
    every = policy.get("rules") or []
    if any(rule["action"] in ("RestartJob", "RestartJobAndIgnoreMaxRestarts") for rule in every):
        words = "RestartJob and RestartJobAndIgnoreMaxRestarts failure policy actions are not allowed when RestartJob "
        yield field.forbidden(f"{path}.rules", words + _GATED)
        return
    places: dict[str, list[int]] = {}
    for index, rule in enumerate(every):
        at, name = f"{path}.rules[{index}]", rule["name"]
        places.setdefault(name, []).append(index)
        if not 1 <= len(name) <= _RULE_LENGTH:
            words = f"invalid failure policy rule name of length {len(name)}, the rule name must be at least 1 "
            yield field.invalid(
                f"{at}.name", name, words + f"characters long and at most {_RULE_LENGTH} characters long"
            )
        if not _RULE_NAME.fullmatch(name):
            words = (
                f"invalid failure policy rule name '{name}', a failure policy rule name must start with an alphabetic "
                "character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an "
                "alphanumeric character or '_'"
            )
            yield field.invalid(f"{at}.name", name, words)
        for target in rule.get("targetReplicatedJobs") or ():
            if target not in known:
                words = f"invalid replicatedJob name '{target}' in failure policy does not appear in "
                yield field.invalid(f"{at}.targetReplicatedJobs", target, words + ".spec.ReplicatedJobs")
        for reason in rule.get("onJobFailureReasons") or ():
            if reason not in _REASONS:
                words = (
                    f"invalid job failure reason '{reason}' in failure policy is not a recognized job failure reason"
                )
                yield field.invalid(f"{at}.onJobFailureReasons", reason, words)
    for name, indexes in places.items():
        if len(indexes) > 1:
            listed = " ".join(map(str, indexes))
            words = f"rule names are not unique, rules with indices [{listed}] all have the same name '{name}'"
            yield field.invalid(f"{path}.rules", name, words)


def _coordinator(job_set: Object, name: str) -> Iterator[FieldError]:
    path, chosen = "spec.coordinator", meta.spec(job_set)["coordinator"]
    group = next((each for each in shape.groups(job_set) if each["name"] == chosen["replicatedJob"]), None)
    if group is None:
        words = f"coordinator replicatedJob {chosen['replicatedJob']} does not exist"
        yield field.invalid(f"{path}.replicatedJob", chosen["replicatedJob"], words)
    else:
        yield from _coordinator_pod(path, chosen, group)
    label = shape.coordinator(job_set, name)
    problems = names.label_value(label)
    if problems:
        words = (
            f'spec will lead to invalid label value "{label}" for coordinator label "{shape.COORDINATOR}" '
            f"(long JobSet / ReplicatedJob / SubDomain name?): {', '.join(problems)}"
        )
        yield field.invalid(path, chosen, words)


def _coordinator_pod(path: str, chosen: Object, group: Object) -> Iterator[FieldError]:
    job, job_index, pod_index = meta.spec(group["template"]), chosen.get("jobIndex") or 0, chosen.get("podIndex") or 0
    if not 0 <= job_index < shape.replicas(group):
        words = f"coordinator job index {job_index} is invalid for replicatedJob {group['name']}"
        yield field.invalid(f"{path}.jobIndex", job_index, words)
    elif job.get("completions") is None or job.get("completionMode") != "Indexed":
        words = "job for coordinator pod must be indexed completion mode, and completions number must be set"
        yield field.invalid(path, chosen, words)
    elif not 0 <= pod_index < job["completions"]:
        words = f"coordinator pod index {pod_index} is invalid for replicatedJob {group['name']} job index {job_index}"
        yield field.invalid(f"{path}.podIndex", pod_index, words)


def _claims(job_set: Object, name: str) -> Iterator[FieldError]:
    taken: set[str] = set()
    for number, policy in enumerate(meta.spec(job_set).get("volumeClaimPolicies") or ()):
        for index, template in enumerate(policy.get("templates") or ()):
            path, own = f"spec.volumeClaimPolicies[{number}].templates[{index}]", meta.name(template)
            if meta.namespace(template):
                words = "namespace cannot be set for VolumeClaimPolicies templates"
                yield field.invalid(f"{path}.metadata.namespace", meta.namespace(template), words)
            if own in taken:
                words = "names must be unique for VolumeClaimPolicies template"
                yield field.invalid(f"{path}.name", own, words)
            taken.add(own)
            for message in names.dns1123_subdomain(own):
                yield field.invalid(f"{path}.name", own, message)
            if len(shape.claim_name(name, own)) > _CLAIM_LENGTH:
                yield field.invalid(f"{path}.name", own, "VolumeClaimPolicies template name is too long")
            yield from _mounted(shape.groups(job_set), own)


def _mounted(groups: list[Object], volume: str) -> Iterator[FieldError]:
    specs = [_at(group, "template", "spec", "template", "spec") or {} for group in groups]
    for number, spec in enumerate(specs):
        for index, entry in enumerate(spec.get("volumes") or ()):
            if entry.get("name") == volume:
                path = f"spec.replicatedJobs[{number}].template.spec.template.spec.volumes[{index}].name"
                words = f"volume name conflicts with VolumeClaimPolicy template name: {volume}"
                yield field.invalid(path, volume, words)
    if not any(children.mounts(spec, volume) for spec in specs):
        words = f"replicatedJob containers don't have a matching volumeMount: {volume} from VolumeClaimPolicies"
        yield field.invalid("spec.replicatedJobs", [group["name"] for group in groups], words)


def _update(new: Object, old: Object) -> Iterator[FieldError]:
    now, before = meta.spec(new), meta.spec(old)
    for name in _FIXED:
        if now.get(name) is not None and before.get(name) is not None and now[name] != before[name]:
            sort = "array" if isinstance(now[name], list) else "object"
            yield field.invalid(f"spec.{name}", sort, "Value is immutable")
    groups, former = shape.groups(new), {group["name"]: group for group in shape.groups(old)}
    yield from _scaled(new, old, former)
    groups = [_with_size_of(group, former.get(group["name"])) for group in groups]
    if now.get("suspend") or before.get("suspend"):
        groups = [_masked(group, former.get(group["name"])) for group in groups]
    if groups != shape.groups(old):
        yield field.invalid("spec.replicatedJobs", shape.groups(new), "field is immutable")
    if now.get("managedBy") != before.get("managedBy"):
        yield field.invalid("spec.managedBy", now.get("managedBy"), "field is immutable")


def _scaled(new: Object, old: Object, former: dict[str, Object]) -> Iterator[FieldError]:
    """The pods of indexed jobs may become more or fewer until the job set has ended (upstream: KEP-463)."""
    for index, group in enumerate(shape.groups(new)):
        path, job = f"spec.replicatedJobs[{index}].template.spec", meta.spec(group["template"])
        known = former.get(group["name"])
        if known is None or not shape.is_indexed(group) or shape.size(group) == shape.size(known):
            continue
        parallelism, completions = shape.size(group)
        if any(meta.is_condition_true(old, type) for type in ("Completed", "Failed")):
            words = "cannot change parallelism or completions when JobSet is in a terminal state (Completed or Failed)"
            yield field.forbidden(path, words)
        elif not parallelism or parallelism < 1:
            yield field.invalid(f"{path}.parallelism", parallelism, "must be greater than or equal to 1")
        elif completions != parallelism:
            words = "completions must be equal to parallelism for Elastic Indexed Jobs"
            yield field.invalid(f"{path}.completions", job.get("completions"), words)
        else:
            yield from _replicated_job(f"spec.replicatedJobs[{index}]", group, meta.name(new), set(former))


def _with_size_of(group: Object, former: Object | None) -> Object:
    """The group as if its jobs were as large as they were."""
    if former is None or not shape.is_indexed(group) or shape.size(group) == shape.size(former):
        return group
    job, was = dict(meta.spec(group["template"])), meta.spec(former["template"])
    for name in shape.SIZE:
        job.pop(name, None)
        if name in was:
            job[name] = was[name]
    return {**group, "template": {**group["template"], "spec": job}}


def _masked(group: Object, former: Object | None) -> Object:
    """The group as if what may change had not."""
    job, was = _at(group, "template", "spec"), _at(former, "template", "spec")
    if not isinstance(job, dict) or not isinstance(was, dict):
        return group
    template: Object = {
        key: dict(value) if isinstance(value, dict) else value for key, value in job["template"].items()
    }
    for part, name in _CHANGEABLE:
        known = _at(was, "template", part)
        inside = template.setdefault(part, {})
        if name in (known or {}):
            inside[name] = known[name]
        else:
            inside.pop(name, None)
        if not inside and known is None:
            del template[part]
    return {**group, "template": {**group["template"], "spec": {**job, "template": template}}}
