"""Defaults and rules of leader-worker sets (upstream: ``pkg/webhooks/leaderworkerset_webhook.go``)."""

from __future__ import annotations

from collections.abc import Iterator

from homeport.components.workloads.amounts import scaled
from homeport.components.workloads.leaderworker import shape
from homeport.kube import field, meta
from homeport.kube.core import workload_validation
from homeport.kube.errors import FieldError
from homeport.kube.meta import Object

_MOST_PODS = 2**31 - 1
_ROLLING = "spec.rolloutStrategy.rollingUpdateConfiguration"
_SUBGROUP = "spec.leaderWorkerTemplate.SubGroupPolicy.subGroupSize"


def prepare(new: Object, old: Object | None) -> Object:
    spec = new.get("spec")
    if not isinstance(spec, dict):
        return new
    result = dict(spec)
    template = spec.get("leaderWorkerTemplate")
    if isinstance(template, dict) and template.get("restartPolicy") == "Default":
        result["leaderWorkerTemplate"] = {**template, "restartPolicy": "None"}
    strategy = result.setdefault("rolloutStrategy", {})
    if isinstance(strategy, dict):
        rolling = strategy.get("rollingUpdateConfiguration")
        if rolling is None:
            rolling = {"maxUnavailable": 1, "maxSurge": 0, "partition": 0}
        result["rolloutStrategy"] = {"type": "RollingUpdate", **strategy, "rollingUpdateConfiguration": rolling}
    network = result.setdefault("networkConfig", {})
    if isinstance(network, dict) and network.get("subdomainPolicy") is None:
        result["networkConfig"] = {**network, "subdomainPolicy": "Shared"}
    return {**new, "spec": result}


def validate(new: Object, old: Object | None) -> Iterator[FieldError]:
    replicas, size = shape.replicas(new), shape.size(new)
    if replicas < 0:
        yield field.invalid("spec.replicas", replicas, "replicas must be equal or greater than 0")
    if size < 1:
        yield field.invalid("spec.leaderWorkerTemplate.size", size, "size must be equal or greater than 1")
    if replicas * size > _MOST_PODS:
        words = f"the product of replicas and worker replicas must not exceed {_MOST_PODS}"
        yield field.invalid("spec.replicas", replicas, words)
    yield from _rollout(shape.rolling(new), replicas)
    policy = shape.template(new).get("subGroupPolicy")
    alone = meta.annotations(new).get(shape.SUBGROUP_EXCLUSIVE)
    if policy is not None:
        yield from _subgroups(policy, size)
    elif alone is not None:
        words = "cannot have subgroup-exclusive-topology without subGroupSize set"
        yield field.invalid(f"metadata.annotations.{shape.SUBGROUP_EXCLUSIVE}", alone, words)
    if old is not None:
        yield from _fixed(policy, shape.template(old).get("subGroupPolicy"))


def _rollout(rolling: Object, replicas: int) -> Iterator[FieldError]:
    errors: list[FieldError] = []
    missing, more = rolling.get("maxUnavailable", 1), rolling.get("maxSurge", 0)
    for path, value in ((f"{_ROLLING}.maxUnavailable", missing), (f"{_ROLLING}.maxSurge", more)):
        errors += workload_validation.int_or_percent(path, value)
        errors += workload_validation.not_more_than_all(path, value)
    yield from errors
    partition = rolling.get("partition") or 0
    if partition < 0:
        yield field.invalid(f"{_ROLLING}.partition", partition, "must be greater than or equal to 0")
    if errors or not replicas:
        return
    if not scaled(missing, replicas, up=False) and not scaled(more, replicas, up=True):
        yield field.invalid(f"{_ROLLING}.maxUnavailable", missing, "must not be 0 when `maxSurge` is 0")


def _subgroups(policy: Object, size: int) -> Iterator[FieldError]:
    of_each = policy.get("subGroupSize")
    if of_each is None:
        yield field.required(_SUBGROUP)
        return
    if of_each < 1:
        yield field.invalid(_SUBGROUP, of_each, "subGroupSize must be equal or greater than 1")
        return
    if size % of_each and (size - 1) % of_each:
        yield field.invalid(_SUBGROUP, of_each, "size or size - 1 must be divisible by subGroupSize")
    if size < of_each:
        yield field.invalid(_SUBGROUP, of_each, "subGroupSize cannot be larger than size")
    if policy.get("subGroupPolicyType") == "LeaderExcluded" and (size - 1) % of_each:
        words = "size-1 must be divisible by subGroupSize when using LeaderExcluded"
        yield field.invalid(_SUBGROUP, of_each, words)


def _fixed(now: Object | None, before: Object | None) -> Iterator[FieldError]:
    if now is not None and before is not None:
        if now.get("subGroupSize") != before.get("subGroupSize"):
            yield field.invalid(_SUBGROUP, now.get("subGroupSize"), "field is immutable")
    elif now is not None:
        words = "cannot enable subGroupSize after the lws is already created"
        yield field.invalid(_SUBGROUP, now.get("subGroupSize"), words)
    elif before is not None:
        yield field.invalid(_SUBGROUP, before.get("subGroupSize"), "cannot remove subGroupSize after enabled")
