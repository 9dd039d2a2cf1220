"""The pod group of a job."""

from __future__ import annotations

from collections.abc import Mapping

from homeport.components.volcano.job import shape
from homeport.components.volcano.job.pods import group_name
from homeport.components.volcano.job.shape import Task
from homeport.kube import meta
from homeport.kube.meta import Object
from homeport.kube.scheduling import VOLCANO_POD_GROUP, amounts, names


def pod_group(job: Object, startable: Mapping[str, bool], priorities: Mapping[str, int]) -> Object:
    """The group. `startable`: by task, whether what it depends on is ready. `priorities`: of priority classes.

    A task that waits for another one is not counted until then: its pods do not exist, so a gang that needs them could
    never be whole (upstream: the open question in ``mutate_job.go``).
    """
    spec, tasks = meta.spec(job), shape.tasks(job)
    counted = [task for task in tasks if startable[task.name]]
    least = spec.get("minAvailable") or 0
    if len(counted) < len(tasks):
        least = min(least, sum(task.least for task in counted))
    wanted: Object = {
        "minMember": least,
        "minTaskMember": {task.name: task.least for task in counted},
        "queue": spec.get("queue") or names.DEFAULT_QUEUE,
    }
    if resources := _resources(counted, least, priorities):
        wanted["minResources"] = resources
    if spec.get("priorityClassName"):
        wanted["priorityClassName"] = spec["priorityClassName"]
    if topology := spec.get("networkTopology"):
        wanted["networkTopology"] = dict(topology)
    if policies := [_sub_group(task) for task in counted if task.spec.get("partitionPolicy")]:
        wanted["subGroupPolicy"] = policies
    metadata: Object = {"name": group_name(job)}
    if annotations := {k: v for k, v in meta.annotations(job).items() if not k.startswith("kubectl.kubernetes.io/")}:
        metadata["annotations"] = annotations
    if meta.labels(job):
        metadata["labels"] = dict(meta.labels(job))
    return {
        "apiVersion": VOLCANO_POD_GROUP.api_version,
        "kind": VOLCANO_POD_GROUP.kind,
        "metadata": metadata,
        "spec": wanted,
    }


def _resources(tasks: list[Task], least: int, priorities: Mapping[str, int]) -> Object:
    """What the gang needs (upstream: ``calcPGMinResources``): of each task what it needs at least, and then more of
    them, the important ones first, until there are enough; with fewer than all need at least, the important ones."""
    ranked = sorted(tasks, key=lambda task: -priorities.get(task.pod.get("priorityClassName") or "", 0))
    if least < sum(task.least for task in tasks):
        return amounts.needed(((task.pod, task.replicas) for task in ranked), least)
    more = [(task.pod, task.replicas - task.least) for task in ranked]
    return amounts.needed([*((task.pod, task.least) for task in ranked), *more], least)


def _sub_group(task: Task) -> Object:
    partition = task.spec["partitionPolicy"]
    policy: Object = {
        "name": task.name,
        "subGroupSize": partition["partitionSize"],
        "minSubGroups": partition.get("minPartitions") or 0,
        "labelSelector": {"matchLabels": {shape.TASK_SPEC: task.name}},
        "matchLabelKeys": [shape.PARTITION_ID],
    }
    if partition.get("networkTopology"):
        policy["networkTopology"] = dict(partition["networkTopology"])
    return policy
