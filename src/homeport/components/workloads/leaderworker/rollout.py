"""How far a rollout of groups goes in one step: the partition and the size of the leaders' stateful set (upstream:
``rollingUpdateParameters`` in ``leaderworkerset_controller.go``).

The leaders' set is updated from its highest number down to the partition. While groups are replaced there may be more
of them than wanted, `shape.surge`; these extra ones have the highest numbers, so they are the first with the new
template, and go last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from homeport.components.workloads.leaderworker import shape
from homeport.kube import meta
from homeport.kube.core import pod_state
from homeport.kube.meta import Object


class Group(NamedTuple):
    """What is seen of one group."""

    ready: bool
    updated: bool


class Step(NamedTuple):
    partition: int
    replicas: int


def groups(
    leader_worker_set: Object, count: int, leaders: Mapping[int, Object], workers: Mapping[str, Object], revision: str
) -> list[Group]:
    """The groups with the numbers below `count`. `leaders` are by number, `workers` (stateful sets) by name."""
    alone = shape.size(leader_worker_set) == 1
    found = (group(leaders.get(number), workers, revision, alone=alone) for number in range(count))
    return [each or Group(ready=False, updated=False) for each in found]


def group(leader: Object | None, workers: Mapping[str, Object], revision: str, *, alone: bool) -> Group | None:
    """None without a leader, or without the workers that belong to it (if it is not `alone`)."""
    if leader is None:
        return None
    ready, updated = _is_running(leader), shape.revision_of(leader) == revision
    if alone:
        return Group(ready, updated)
    own = workers.get(meta.name(leader))
    if own is None or (meta.controller_of(own) or {}).get("uid") != meta.uid(leader):
        return None
    return Group(ready and is_complete(own), updated and shape.revision_of(own) == revision)


def _is_running(pod: Object) -> bool:
    return meta.status(pod).get("phase") == "Running" and pod_state.is_ready(pod)


def is_complete(stateful_set: Object) -> bool:
    """Whether all its pods are available and of one revision."""
    status, wanted = meta.status(stateful_set), meta.spec(stateful_set).get("replicas")
    return (1 if wanted is None else wanted) == (status.get("availableReplicas") or 0) and status.get(
        "currentRevision"
    ) == status.get("updateRevision")


def step(leader_worker_set: Object, leaders: Object | None, states: Sequence[Group], *, changed: bool) -> Step:
    """The next step. `leaders` is the stateful set as it is, None before it is made, and `states` are its groups;
    `changed`: the template is one that it has not been given yet."""
    partition, replicas = _step(leader_worker_set, leaders, states, changed)
    return Step(max(partition, shape.partition(leader_worker_set)), replicas)


def _step(leader_worker_set: Object, leaders: Object | None, states: Sequence[Group], changed: bool) -> Step:
    wanted = shape.replicas(leader_worker_set)
    if leaders is None:
        return Step(0, wanted)
    present = present_replicas(leaders)
    if changed:
        # Nothing is replaced before the extra groups have been asked for.
        return Step(min(wanted, present), wanted if present < wanted else _with_surge(leader_worker_set, wanted))
    partition = present_partition(leaders)
    if (not partition and present == wanted) or present < wanted:
        return Step(partition, wanted)
    unready = sum(not (each.ready and each.updated) for each in states[:wanted]) + max(wanted - len(states), 0)
    replicas = _with_surge(leader_worker_set, unready, states)
    burst = wanted + shape.surge(leader_worker_set)
    if meta.annotations(leaders).get(shape.REPLICAS) != str(wanted):
        return Step(min(partition, burst), replicas)
    at_once = shape.unavailable(leader_worker_set) + shape.surge(leader_worker_set) - (burst - present)
    return Step(_partition(states, present, at_once, partition), replicas)


def present_replicas(leaders: Object) -> int:
    count = meta.spec(leaders).get("replicas")
    return 1 if count is None else int(count)


def present_partition(leaders: Object) -> int:
    strategy = meta.spec(leaders).get("updateStrategy") or {}
    return int((strategy.get("rollingUpdate") or {}).get("partition") or 0)


def _with_surge(leader_worker_set: Object, unready: int, states: Sequence[Group] = ()) -> int:
    """How many groups there should be: as many extra ones as the unready ones call for."""
    wanted, surge = shape.replicas(leader_worker_set), shape.surge(leader_worker_set)
    if unready > surge:
        return wanted + surge
    unavailable = shape.unavailable(leader_worker_set)
    count = wanted + max(unready - unavailable, 0)
    # The highest go first, whether or not those below are ready: none may go that stands in for them.
    most = min(len(states), wanted + surge)
    while count < most and sum(each.ready for each in states[:count]) < wanted - unavailable:
        count += 1
    return count


def _partition(states: Sequence[Group], present: int, at_once: int, before: int) -> int:
    """Not below what is done already, except over groups that are lost anyway: not ready, or updated."""
    done = 0
    for each in reversed(states):
        if not (each.ready and each.updated):
            break
        done += 1
    lowest = max(present - done - at_once, 0)
    partition = lowest + sum(not each.ready for each in states[:lowest])
    for number in range(min(partition, present - 1), lowest - 1, -1):
        if states[number].ready and not states[number].updated:
            break
        partition = number
    return min(partition, before)
