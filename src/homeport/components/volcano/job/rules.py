"""Defaults and rules of Volcano jobs, in the words of Volcano's webhooks (``webhooks/admission/jobs``)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any

from homeport.components.volcano.job import plugins
from homeport.kube import meta, names
from homeport.kube.admission import Refusal, World
from homeport.kube.core import default_template, validate_template
from homeport.kube.meta import Object
from homeport.kube.scheduling import VOLCANO_QUEUE
from homeport.kube.scheduling import names as known

MAX_RETRY = 3
EVENTS = ("*", "PodFailed", "PodEvicted", "PodPending", "Unknown", "TaskCompleted", "TaskFailed", "JobUpdated")
ACTIONS = (
    "AbortJob",
    "RestartJob",
    "RestartTask",
    "RestartPod",
    "RestartPartition",
    "TerminateJob",
    "CompleteJob",
    "ResumeJob",
)
_CHANGEABLE = "job updates may not change fields other than `minAvailable`, `tasks[*].replicas under spec` and "
_TIERS = "must not specify 'highestTierAllowed' and 'highestTierName' in networkTopology simultaneously"


def prepare(new: Object, old: Object | None) -> Object:
    """``Kind.prepare``; what has not the right form is left alone."""
    spec = new.get("spec")
    if not isinstance(spec, dict) or not isinstance(spec.get("tasks") or [], list):
        return new
    tasks = [_prepared(index, task) for index, task in enumerate(spec.get("tasks") or ())]
    result = {**spec}
    result["queue"] = spec.get("queue") or known.DEFAULT_QUEUE
    result["schedulerName"] = spec.get("schedulerName") or known.VOLCANO
    result["maxRetry"] = spec.get("maxRetry") or MAX_RETRY
    if tasks:
        result["tasks"] = tasks
    if not spec.get("minAvailable"):
        result["minAvailable"] = sum(_number(task, "minAvailable") for task in tasks)
    if isinstance(given := spec.get("plugins"), dict):
        result["plugins"] = plugins.with_needed(given)
    return new if result == spec else {**new, "spec": result}


def _number(task: Any, key: str) -> int:
    value = task.get(key) if isinstance(task, dict) else None
    return value if isinstance(value, int) else 0


def _prepared(index: int, task: Any) -> Any:
    if not isinstance(task, dict):
        return task
    result = {**task, "name": task.get("name") or f"default{index}", "maxRetry": task.get("maxRetry") or MAX_RETRY}
    if task.get("minAvailable") is None:
        partition = task.get("partitionPolicy")
        size = _number(partition, "minPartitions") * _number(partition, "partitionSize")
        result["minAvailable"] = size or _number(task, "replicas")
    template = task.get("template")
    pod = template.get("spec") if isinstance(template, dict) else None
    if isinstance(template, dict) and isinstance(pod, dict) and pod.get("hostNetwork") and not pod.get("dnsPolicy"):
        result["template"] = {**template, "spec": {**pod, "dnsPolicy": "ClusterFirstWithHostNet"}}
    return result


def judge(new: Object, old: Object | None, world: World) -> Iterable[str]:
    """``Hook.validate``."""
    if old is not None and meta.spec(new) == meta.spec(old):
        return ()
    if old is None:
        queue = _queue(meta.spec(new)["queue"], world) if meta.spec(new).get("tasks") else ()
        text = complaint(new, queue)
    else:
        text = next(filter(None, _of_changed(new, old)), "").strip()
    if text:
        raise Refusal(text)
    return list(passed_over(new)) if old is None else ()


def passed_over(job: Object) -> Iterator[str]:
    """What is said of the tasks' places and names one that there is not, or one twice: as upstream, it is no reason to
    refuse the job, and all that is said of them counts for nothing."""
    tasks = {task["name"] for task in meta.spec(job).get("tasks") or ()}
    for key in (known.TASK_AFFINITY, known.TASK_ANTI_AFFINITY, known.TASK_ORDER):
        for named in meta.annotations(job).get(key, "").split(";"):
            seen: set[str] = set()
            for name in filter(None, named.split(",")):
                why = "there is no such task" if name not in tasks else "it is there twice" if name in seen else ""
                if why:
                    at = f'metadata.annotations[{key}]: "{name}"'
                    yield f"{at}: {why}; all volcano.sh/task-topology-* are passed over"
                seen.add(name)


def complaint(job: Object, of_queue: Iterable[str] = ()) -> str:
    """What is wrong with a new job, in one text; empty: nothing. `of_queue`: what is wrong with its queue."""
    return "".join(_of_new(job, of_queue)).strip()


def _of_new(job: Object, of_queue: Iterable[str]) -> Iterator[str]:
    spec = meta.spec(job)
    tasks: Sequence[Mapping[str, Any]] = spec.get("tasks") or ()
    if not tasks:
        yield "No task specified in job spec"
        return
    given: Mapping[str, Sequence[str] | None] = spec.get("plugins") or {}
    for plugin, role, name in plugins.leaders(given):
        if name not in [task["name"] for task in tasks]:
            yield f"The specified {plugin} {role} task was not found"
            return
    yield _tiers(spec.get("networkTopology"))
    seen: set[str] = set()
    for index, task in enumerate(tasks):
        if (task.get("minAvailable") or 0) > (task.get("replicas") or 0):
            yield f" 'minAvailable' is greater than 'replicas' in task: {task['name']}, job: {meta.name(job)};"
        if task["name"] in seen:
            yield f" duplicated task name {task['name']};"
            break
        seen.add(task["name"])
        yield from _policies(task.get("policies") or (), "spec.tasks.policies")
        pod = f"{meta.name(job)}-{task['name']}-{index}"
        if complaints := names.qualified_name(pod):
            yield f"create pod with name {pod} validate failed [{' '.join(complaints)}];"
        yield from _template(task, index)
        yield _partition(task, meta.name(job))
    if sum(task.get("replicas") or 0 for task in tasks) < spec["minAvailable"]:
        yield " job 'minAvailable' should not be greater than total replicas in tasks;"
    yield from _policies(spec.get("policies") or (), "spec.policies")
    for name in given:
        if name not in plugins.NAMES:
            yield f" unable to find job plugin: {name};"
        else:
            yield from plugins.complaints(name, given[name] or ())
    yield from _volumes(spec.get("volumes") or ())
    yield from of_queue
    if any(task.get("dependsOn") for task in tasks) and not _is_ordered(tasks):
        yield " job has dependencies between tasks, but doesn't form a directed acyclic graph(DAG);"


def _template(task: Mapping[str, Any], index: int) -> Iterator[str]:
    errors = validate_template(default_template(task.get("template") or {}), "template")
    told = [f"{error}. " for error in errors]
    if told:
        yield f"spec.task[{index}]." + "".join(told)


def _tiers(topology: Mapping[str, Any] | None) -> str:
    both = topology and topology.get("highestTierAllowed") is not None and topology.get("highestTierName")
    return _TIERS if both else ""


def _partition(task: Mapping[str, Any], job: str) -> str:
    policy = task.get("partitionPolicy")
    if not policy:
        return ""
    where = f"in task: {task['name']}, job: {job}"
    size, least = policy["partitionSize"], policy.get("minPartitions") or 0
    text = ""
    if (task.get("replicas") or 0) != policy["totalPartitions"] * size:
        text = f"'Replicas' are not equal to TotalPartitions*PartitionSize {where}"
    elif least and least * size != task.get("minAvailable"):
        text = f"'MinAvailable' is not equal to MinPartitions*PartitionSize {where}"
    return text + _tiers(policy.get("networkTopology"))


def _policies(policies: Sequence[Mapping[str, Any]], path: str) -> Iterator[str]:
    found = _policy_complaint(policies, path)
    if found:
        yield f"1 error occurred:\n\t* {found}\n\n"
        yield f" valid events are [{' '.join(EVENTS)}], valid actions are [{' '.join(ACTIONS)}];"


def _policy_complaint(policies: Sequence[Mapping[str, Any]], path: str) -> str:
    events: set[str] = set()
    codes: set[int] = set()
    for policy in policies:
        named = dict.fromkeys([*(policy.get("events") or ()), *([policy["event"]] if policy.get("event") else ())])
        code = policy.get("exitCode")
        if named and code is not None:
            return "must not specify event and exitCode simultaneously"
        if not named and code is None:
            return "either event and exitCode should be specified"
        action = policy.get("action") or ""
        for event in named:
            if event not in EVENTS:
                return f'{path}: Invalid value: "{event}": invalid policy event'
            if action not in ACTIONS:
                return f'{path}: Invalid value: "{action}": invalid policy action'
            if event in events:
                return f"duplicate event {event}  across different policy"
            events.add(event)
        if code == 0:
            return "0 is not a valid error code"
        if code is not None and code in codes:
            return f"duplicate exitCode {code}"
        if code is not None:
            codes.add(code)
    return "if there's * here, no other policy should be here" if "*" in events and len(events) > 1 else ""


def _volumes(volumes: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    seen: set[str] = set()
    for volume in volumes:
        name, claim = volume.get("volumeClaimName") or "", volume.get("volumeClaim")
        if volume["mountPath"] in seen:
            yield f" duplicated mountPath: {volume['mountPath']};"
        elif claim is None and not name:
            yield " either VolumeClaim or VolumeClaimName must be specified;"
        elif name and claim is not None:
            yield "conflict: If you want to use an existing PVC, just specify VolumeClaimName."
            yield "If you want to create a new PVC, you do not need to specify VolumeClaimName"
        elif name and (complaints := names.dns1123_subdomain(name)):
            yield f"invalid VolumeClaimName {name} : [{' '.join(complaints)}]"
        else:
            seen.add(volume["mountPath"])
            continue
        return


def _queue(name: str, world: World) -> Iterator[str]:
    if name == known.ROOT_QUEUE:
        yield " can not submit job to root queue;"
        return
    queue = world.get(VOLCANO_QUEUE.resource, "", name)
    if queue is None:
        if name != known.DEFAULT_QUEUE:  # which is made when the platform has started
            yield f' unable to find job queue: queue.scheduling.volcano.sh "{name}" not found;'
        return
    state = meta.status(queue).get("state") or "Open"
    if state != "Open":
        yield f" can only submit job to queue with state `Open`, queue `{name}` status is `{state}`;"
    children = sum(meta.spec(other).get("parent") == name for other in world.find(VOLCANO_QUEUE.resource, ""))
    if children:
        yield f" can only submit job to leaf queue, queue `{name}` has {children} child queues;"


def _is_ordered(tasks: Sequence[Mapping[str, Any]]) -> bool:
    known_tasks = {task["name"] for task in tasks}
    graph = {task["name"]: set((task.get("dependsOn") or {}).get("name") or ()) for task in tasks}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError:
        return False
    return all(before <= known_tasks for before in graph.values())


def _of_changed(new: Object, old: Object) -> Iterator[str]:
    spec, before = meta.spec(new), meta.spec(old)
    tasks = spec.get("tasks") or ()
    for task in tasks:
        if (task.get("minAvailable") or 0) > (task.get("replicas") or 0):
            yield f"'minAvailable' must be <= 'replicas' in task: {task['name']}"
        yield _partition(task, meta.name(new))
    if spec.get("minAvailable", 0) > sum(task.get("replicas") or 0 for task in tasks):
        yield "job 'minAvailable' must not be greater than total replicas"
    yield _tiers(spec.get("networkTopology"))
    if len(tasks) != len(before.get("tasks") or ()):
        yield "job updates may not add or remove tasks"
    if _fixed(spec) != _fixed(before):
        yield _CHANGEABLE + "`PriorityClassName`"


def _fixed(spec: Object) -> Object:
    """What may not change."""
    tasks = [
        {key: value for key, value in task.items() if key not in ("replicas", "minAvailable")}
        for task in spec.get("tasks") or ()
    ]
    changing = ("minAvailable", "priorityClassName", "tasks")
    return {"tasks": tasks} | {key: value for key, value in spec.items() if key not in changing}
