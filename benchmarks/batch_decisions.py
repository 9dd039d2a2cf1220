"""How many pods a second the batch scheduler's decision function places: no API, no waiting, one core.

    python -m benchmarks.batch_decisions [--quick]

Shapes as in public benchmarks of batch schedulers: jobs x pods on 1,000 nodes, as gangs and pod by pod, and 50,000 pods
on 5,000 nodes. `again` is a second cycle in which nothing has changed, `one` one in which a single pod has ended.
"""

from __future__ import annotations

import argparse
import time

from msgspec.structs import replace

from homeport.scheduler.batch.configuration import Configuration
from homeport.scheduler.batch.decide import Cache, decide
from homeport.scheduler.batch.decisions import Decisions
from homeport.scheduler.batch.model import Group, GroupPhase, Shape, Snapshot, Task, TaskStatus
from homeport.scheduler.model import Demand, Node

_SHAPES = ((1000, 10_000, 1), (1000, 500, 20), (1000, 20, 500), (1000, 1, 10_000), (5000, 2500, 20), (5000, 5, 10_000))


def snapshot(nodes: int, jobs: int, pods: int, *, gang: bool) -> Snapshot:
    amounts = {"cpu": 32_000, "memory": 256 << 30, "pods": 110}
    shape = Shape("default", Demand(requests=(("cpu", 1000), ("memory", 2 << 30))))
    return Snapshot(
        nodes=tuple(Node(f"node-{index:05}", allocatable=amounts) for index in range(nodes)),
        shapes={0: shape},
        groups=tuple(
            Group(
                f"job-{job}",
                "default",
                f"job-{job}",
                min_member=pods if gang else 1,
                phase=GroupPhase.INQUEUE,
                tasks=tuple(
                    Task(f"{job}-{pod}", "default", f"job-{job}-{pod}", 0, TaskStatus.PENDING, index=pod)
                    for pod in range(pods)
                ),
            )
            for job in range(jobs)
        ),
    )


def _timed(given: Snapshot, cache: Cache) -> tuple[float, Decisions]:
    start = time.process_time()
    decisions = decide(given, Configuration(), 1000.0, cache)
    return time.process_time() - start, decisions


def _after(given: Snapshot, decisions: Decisions) -> Snapshot:
    where = {bind.task: bind.node for bind in decisions.binds}
    groups = tuple(
        replace(
            group,
            phase=GroupPhase.RUNNING,
            tasks=tuple(replace(task, status=TaskStatus.RUNNING, node=where[task.uid]) for task in group.tasks),
        )
        for group in given.groups
    )
    return replace(given, groups=groups, carried=decisions.carried)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of everything")
    part = 10 if parser.parse_args().quick else 1
    print(f"{'nodes':>6} {'jobs':>6} {'pods':>6} {'gang':>5} {'pods/s':>9} {'again':>9} {'one':>9}")
    for nodes, jobs, pods in _SHAPES:
        if jobs >= pods:
            jobs //= part
        else:
            pods //= part
        for gang in (True, False):
            cache = Cache()
            given = snapshot(nodes // part, jobs, pods, gang=gang)
            seconds, decisions = _timed(given, cache)
            assert len(decisions.binds) == jobs * pods
            settled = _after(given, decisions)
            _timed(settled, cache)
            again, _ = _timed(settled, cache)
            first, *others = settled.groups
            ended = replace(first.tasks[0], status=TaskStatus.SUCCEEDED)
            changed = replace(settled, groups=(replace(first, tasks=(ended, *first.tasks[1:])), *others))
            one, _ = _timed(changed, cache)
            print(
                f"{nodes // part:>6} {jobs:>6} {pods:>6} {'yes' if gang else 'no':>5} {jobs * pods / seconds:>9,.0f}"
                f" {again * 1e3:>6.1f} ms {one * 1e3:>6.1f} ms"
            )


if __name__ == "__main__":
    main()
