"""Training jobs whose number of nodes may change while they train.

The names are those of Kubeflow Trainer 2.0 and 2.1 (``mlPolicy.torch.elasticPolicy``) and of what is proposed for a
release to come (KEP-2903: also in the job's ``trainer``). As proposed, the job set is scaled (JobSet's KEP-463), which
scales the job of the nodes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from homeport.components.trainer import names
from homeport.components.trainer.draft import Draft, PodSet, Unbuildable
from homeport.control.freeze import thaw
from homeport.kube import core, field, meta
from homeport.kube.errors import FieldError
from homeport.kube.meta import Object

PATH = "spec.trainer.elasticPolicy"
AUTOSCALER = core.HORIZONTAL_POD_AUTOSCALER.kind
_ENDED = ("Completed", "Failed")
_JOB_SET = "jobset.sigs.k8s.io/"


class Elastic(msgspec.Struct, frozen=True):
    """The policy that a job goes by: its own, where it says nothing the runtime's."""

    least: int
    most: int
    """The nodes that there may be."""
    max_restarts: int | None
    """How often torchrun starts its processes anew after one has failed."""
    metrics: list[Object]
    """What an autoscaler goes by (``autoscaling/v2`` MetricSpec); it is made if there are any."""

    def fitted(self, nodes: int) -> int:
        """The number of nodes within the limits that is nearest to `nodes`."""
        return min(max(nodes, self.least), self.most)


def merged(of_runtime: Any, of_job: Any) -> Object | None:
    """The policy in effect, as an object; None: there is none. The parts may be of any form still."""
    parts = [part for part in (of_runtime, of_job) if isinstance(part, dict)]
    return {"minNodes": 1, **{key: value for part in parts for key, value in part.items()}} if parts else None


def of_runtime(runtime: Object) -> Object | None:
    """The policy of a runtime."""
    policy: Object | None = ((meta.spec(runtime).get("mlPolicy") or {}).get("torch") or {}).get("elasticPolicy")
    return policy


def elastic(draft: Draft) -> Elastic | None:
    """The policy of the job; None: it is not elastic. Raises Unbuildable for a policy that `complaints` are about."""
    found = merged(draft.policy("torch").get("elasticPolicy"), draft.trainer.get("elasticPolicy"))
    if found is None or not draft.has_policy("torch"):
        return None
    wrong = next(complaints(draft), None)
    if wrong is not None:
        raise Unbuildable(str(wrong))
    return Elastic(found["minNodes"], found["maxNodes"], found.get("maxRestarts"), list(found.get("metrics") or ()))


def complaints(draft: Draft) -> Iterator[FieldError]:
    """What is wrong with the policy of a job, taken together with its runtime."""
    own = draft.trainer.get("elasticPolicy")
    found = merged(draft.policy("torch").get("elasticPolicy"), own)
    if found is None:
        return
    if not draft.has_policy("torch"):
        yield field.forbidden(PATH, "only runtimes for PyTorch (spec.mlPolicy.torch) can train with changing nodes")
        return
    least, most = found["minNodes"], found.get("maxNodes")
    if most is None:
        words = "the most nodes there may be; the runtime's spec.mlPolicy.torch.elasticPolicy doesn't say"
        yield field.required(f"{PATH}.maxNodes", words)
    elif most < least:
        yield field.invalid(f"{PATH}.maxNodes", most, f"must not be less than minNodes ({least})")
    pods = draft.trainer_set
    mode = "Indexed" if pods is None else meta.spec(pods.group["template"]).get("completionMode", "Indexed")
    if mode != "Indexed":
        words = f"the pods of an elastic job's nodes must have indexes: completionMode is {mode} in the runtime"
        yield field.invalid("spec.runtimeRef", meta.spec(draft.job).get("runtimeRef"), words)


def completed(job: Object, stored: Object | None, runtime: Object | None) -> Object:
    """The job with the whole policy, and with its number of nodes: what scales a job looks at the job alone.

    What is `stored` stays as it is, also if a client that knows no such field leaves it out. `job` may be of any form.
    """
    spec = job.get("spec")
    if not isinstance(spec, dict):
        return job
    trainer = spec.get("trainer") or {}
    if not isinstance(trainer, dict):
        return job
    if stored is not None:
        former = meta.spec(stored).get("trainer") or {}
        kept = {key: former[key] for key in ("elasticPolicy", "numNodes") if key in former}
        filled = {**kept, **{key: value for key, value in trainer.items() if value is not None}}
        is_same = filled == trainer or "elasticPolicy" not in former
        return job if is_same else {**job, "spec": {**spec, "trainer": filled}}
    policy = merged(of_runtime(runtime or {}), trainer.get("elasticPolicy"))
    if policy is None:
        return job
    filled = {**trainer, "elasticPolicy": policy}
    least, most = policy["minNodes"], policy.get("maxNodes")
    if trainer.get("numNodes") is None and isinstance(least, int) and isinstance(most, int):
        usual = (meta.spec(runtime or {}).get("mlPolicy") or {}).get("numNodes") or least
        filled["numNodes"] = min(max(usual, least), most)
    return {**job, "spec": {**spec, "trainer": filled}}


def only_scaled(new: Object, old: Object) -> bool:
    """Whether nothing but the number of nodes changes in a job."""
    return _without_size(new) == _without_size(old)


def _without_size(job: Object) -> Object:
    trainer = meta.spec(job).get("trainer") or {}
    kept = {key: value for key, value in trainer.items() if key != "numNodes"}
    return {**meta.spec(job), "trainer": kept}


# -- what the controller makes of it


def resized(job_set: Object, nodes: PodSet) -> tuple[int, Object] | None:
    """How many nodes a job set that goes on has, and the change that makes them as many as `nodes`; None: they are."""
    if any(meta.is_condition_true(job_set, type) for type in _ENDED):
        return None
    groups: list[Object] = thaw(meta.spec(job_set).get("replicatedJobs") or [])
    for group in groups:
        job = group["template"].get("spec") or {}
        if group["name"] == nodes.name and job.get("parallelism") != nodes.count:
            before = job.get("parallelism") or 1
            job["parallelism"] = job["completions"] = nodes.count
            return before, {"spec": {"replicatedJobs": groups}}
    return None


def selector(job: str, nodes: str) -> str:
    """Which pods are nodes of a job. `nodes`: the replicated job that trains."""
    return f"{_JOB_SET}jobset-name={job},{_JOB_SET}replicatedjob-name={nodes}"


def present(pods: Iterable[Object], nodes: str) -> int:
    """How many nodes there are, of a job's `pods`. `nodes`: see `selector`."""
    return sum(
        meta.labels(pod).get(f"{_JOB_SET}replicatedjob-name") == nodes
        and not meta.is_deleting(pod)
        and not core.has_ended(pod)
        for pod in pods
    )


def autoscaler(job: str, policy: Elastic) -> Object:
    """The autoscaler of a job with metrics, which has the job's name."""
    target = {"apiVersion": names.JOBS.api_version, "kind": names.JOBS.kind, "name": job}
    return {
        "apiVersion": core.HORIZONTAL_POD_AUTOSCALER.api_version,
        "kind": AUTOSCALER,
        "metadata": {"name": job},
        "spec": {
            "scaleTargetRef": target,
            "minReplicas": policy.least,
            "maxReplicas": policy.most,
            "metrics": policy.metrics,
        },
    }
