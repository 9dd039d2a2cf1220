"""Training jobs whose number of nodes may change while they train.

The names are those of Kubeflow Trainer 2.0 and 2.1 (``mlPolicy.torch.elasticPolicy``) and of what is proposed for a
release to come (KEP-2903: also in the job's ``trainer``). As proposed, the job set is scaled (JobSet's KEP-463), which
scales the job of the nodes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

import msgspec

from homeport.components.trainer import names
from homeport.components.trainer.draft import Draft, Unbuildable
from homeport.control.freeze import thaw
from homeport.kube import core, field, meta
from homeport.kube.errors import FieldError
from homeport.kube.meta import Object

PATH = "spec.trainer.elasticPolicy"
AUTOSCALER = core.HORIZONTAL_POD_AUTOSCALER.kind
GRACE = 30.0
"""Seconds for which other nodes are waited for once node 0 has succeeded. torchrun ends on no node before the processes
of all have; a node that came later, in place of one that was lost, finds nobody to meet any more, and would fail."""
_ENDED = ("Completed", "Failed")
_INDEX = "batch.kubernetes.io/job-completion-index"
_JOB_SET = "jobset.sigs.k8s.io/"
_ATTEMPT = _JOB_SET + "restart-attempt"


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


def size(job_set: Object, nodes: str) -> int | None:
    """How many nodes a job set has; None: it has ended. `nodes`: the replicated job that trains."""
    if any(meta.is_condition_true(job_set, type) for type in _ENDED):
        return None
    groups = (group for group in meta.spec(job_set).get("replicatedJobs") or () if group["name"] == nodes)
    return next((meta.spec(group["template"]).get("parallelism") or 1 for group in groups), None)


def resized(job_set: Object, nodes: str, count: int) -> Object:
    """The change that gives a job set `count` nodes. `nodes`: see `size`."""
    groups: list[Object] = thaw(meta.spec(job_set).get("replicatedJobs") or [])
    for group in groups:
        if group["name"] == nodes:
            group["template"]["spec"]["parallelism"] = group["template"]["spec"]["completions"] = count
    return {"spec": {"replicatedJobs": groups}}


def ending(job_set: Object, pods: Iterable[Object], nodes: str, now: datetime) -> tuple[int, float] | None:
    """If node 0 has succeeded: how many nodes have, from the first on, and the seconds for which the others are still
    waited for. `pods`: the job set's; `nodes`: see `size`."""
    attempt = str(meta.status(job_set).get("restarts") or 0)
    done: dict[str, Object] = {}
    for pod in pods:
        labels = meta.labels(pod)
        ours = labels.get(f"{_JOB_SET}replicatedjob-name") == nodes and labels.get(_ATTEMPT, attempt) == attempt
        if ours and has_succeeded(pod):
            done[meta.annotations(pod).get(_INDEX) or ""] = pod
    if "0" not in done:
        return None
    row = next(count for count in range(1, len(done) + 1) if str(count) not in done)
    return row, GRACE - (now - _ended(done["0"], now)).total_seconds()


def has_succeeded(pod: Object) -> bool:
    return bool(meta.status(pod).get("phase") == "Succeeded")


def has_ended_first(old: Object, new: Object) -> bool:
    """Whether a pod's change is that a node 0 has succeeded."""
    return meta.annotations(new).get(_INDEX) == "0" and has_succeeded(new) and not has_succeeded(old)


def _ended(pod: Object, now: datetime) -> datetime:
    states = (each.get("state") or {} for each in meta.status(pod).get("containerStatuses") or ())
    times = [state["terminated"]["finishedAt"] for state in states if (state.get("terminated") or {}).get("finishedAt")]
    return max(map(meta.parse_time, times), default=now)


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
