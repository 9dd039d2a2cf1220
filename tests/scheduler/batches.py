"""Nodes, groups and pods for the tests of the batch scheduler, and a world in which its decisions come true."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec.structs import replace

from homeport.scheduler.batch.configuration import Configuration, PluginOption
from homeport.scheduler.batch.decide import Cache, decide
from homeport.scheduler.batch.decisions import Decisions
from homeport.scheduler.batch.model import Carried, Group, GroupPhase, Queue, Shape, Snapshot, Task, TaskStatus
from homeport.scheduler.interpod import Rules
from homeport.scheduler.model import Demand, Node

GPU = "nvidia.com/gpu"


def node(name: str, cpu: int = 4, memory: int = 16, gpu: int = 0, pods: int = 110, **more: Any) -> Node:
    amounts = {"cpu": cpu * 1000, "memory": memory << 30, "pods": pods, **({GPU: gpu} if gpu else {})}
    return Node(name, allocatable=amounts, **more)


def nodes(count: int, **more: Any) -> list[Node]:
    return [node(f"n{index}", **more) for index in range(count)]


def configuration(*actions: str, plugins: Iterable[str] = (), first: Iterable[str] = (), **more: Any) -> Configuration:
    """Volcano's own, but for what is given; `plugins` replace the second tier."""
    stock = Configuration()
    tiers = stock.tiers
    if plugins:
        tiers = (tiers[0], tuple(map(PluginOption, plugins)))
    if first:
        tiers = (tuple(map(PluginOption, first)), *tiers[1:])
    return replace(stock, actions=actions or stock.actions, tiers=tiers, **more)


class World:
    """Time goes by when it is told to. Pods run as soon as they are bound, and for `lasts` seconds (None: for ever)."""

    def __init__(
        self, nodes: Iterable[Node], config: Configuration | None = None, queues: Iterable[Queue] = ()
    ) -> None:
        self.nodes = list(nodes)
        self.config = config or Configuration()
        self.queues = list(queues)
        self.groups: dict[str, Group] = {}
        self.shapes: dict[int, Shape] = {}
        self.loose: dict[str, tuple[Task, ...]] = {}
        self.now = 1000.0
        self.carried = Carried()
        self.cache = Cache()
        self.decisions = Decisions()
        self.lasts: dict[str, float] = {}
        self.evictions = 0
        self.more: dict[str, Any] = {}

    # What there is.

    def shape(self, rules: Rules | None = None, refused: str = "", **amounts: int) -> int:
        requests = {"cpu": amounts.get("cpu", 0) * 1000, GPU: amounts.get("gpu", 0), "memory": amounts.get("memory", 0)}
        demand = Demand(requests=tuple(sorted((name, amount) for name, amount in requests.items() if amount)))
        return self.shape_of(Shape("default", demand, rules, refused=refused))

    def shape_of(self, shape: Shape) -> int:
        for key, known in self.shapes.items():
            if known == shape:
                return key
        self.shapes[len(self.shapes)] = shape
        return len(self.shapes) - 1

    def tasks(self, name: str, count: int, shape: int, role: str = "worker", **more: Any) -> tuple[Task, ...]:
        return tuple(
            Task(
                f"{name}-{role}-{i}",
                "default",
                f"{name}-{role}-{i}",
                shape,
                TaskStatus.PENDING,
                role=role,
                index=i,
                **more,
            )
            for i in range(count)
        )

    def add(
        self,
        name: str,
        count: int = 1,
        *,
        cpu: int = 1,
        gpu: int = 0,
        lasts: float | None = None,
        pods: bool = True,
        task: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> Group:
        """A group of `count` equal pods, all of which it needs unless `min_member` says otherwise."""
        shape = self.shape(cpu=cpu, gpu=gpu)
        minimum = more.get("min_member", count)
        more.setdefault("min_resources", {"cpu": cpu * 1000 * minimum, **({GPU: gpu * minimum} if gpu else {})})
        group = Group(
            name,
            "default",
            name,
            tasks=self.tasks(name, count, shape, **(task or {})) if pods else (),
            created=self.now,
            **{"min_member": count, **more},
        )
        if lasts is not None:
            self.lasts[name] = lasts
        self.groups[name] = group
        return group

    def snapshot(self) -> Snapshot:
        return Snapshot(
            nodes=tuple(self.nodes),
            shapes=dict(self.shapes),
            queues=tuple(self.queues),
            groups=tuple(self.groups.values()),
            loose=self.loose,
            carried=self.carried,
            **self.more,
        )

    # What happens.

    def cycle(self) -> Decisions:
        """Decide once, and have it come true."""
        self.decisions = decisions = decide(self.snapshot(), self.config, self.now, self.cache)
        self.carried = decisions.carried
        bound = {bind.task: bind.node for bind in decisions.binds}
        evicted = {eviction.task for eviction in decisions.evictions}
        nominated = {each.task: each.node for each in decisions.nominations}
        self.evictions += len(evicted)
        for key, group in list(self.groups.items()):
            outcome = decisions.groups.get(key)
            changed = [self._next(task, bound, evicted, nominated) for task in group.tasks]
            phase = outcome.phase if outcome is not None else group.phase
            if phase is not group.phase or any(new is not old for new, old in zip(changed, group.tasks, strict=True)):
                self.groups[key] = replace(group, phase=phase, tasks=tuple(changed))
        return decisions

    def _next(self, task: Task, bound: Mapping[str, str], evicted: set[str], nominated: Mapping[str, str]) -> Task:
        if task.uid in bound:
            assert task.status is TaskStatus.PENDING
            return replace(task, status=TaskStatus.RUNNING, node=bound[task.uid], started=self.now, nominated="")
        if task.uid in evicted:
            assert task.status.holds
            return replace(task, status=TaskStatus.RELEASING)
        if task.uid in nominated:
            return replace(task, nominated=nominated[task.uid])
        return task

    def pass_time(self, seconds: float) -> None:
        """Pods end whose time is up; those that leave have gone, and their jobs make others in their stead."""
        self.now += seconds
        for key, group in list(self.groups.items()):
            lasts = self.lasts.get(key)
            changed = []
            for task in group.tasks:
                new = task
                if task.status is TaskStatus.RELEASING:
                    new = replace(
                        task, uid=f"{task.uid}+", status=TaskStatus.PENDING, node="", started=0.0, nominated=""
                    )
                elif task.status is TaskStatus.RUNNING and lasts is not None and self.now >= task.started + lasts:
                    new = replace(task, status=TaskStatus.SUCCEEDED)
                changed.append(new)
            if any(new is not old for new, old in zip(changed, group.tasks, strict=True)):
                self.groups[key] = replace(group, tasks=tuple(changed))

    def settle(self, cycles: int = 6, seconds: float = 1.0) -> Decisions:
        for _ in range(cycles):
            self.cycle()
            self.pass_time(seconds)
        return self.decisions

    def lose(self, name: str, count: int = 1) -> None:
        """Pods of a group are gone, with new ones in their stead that wait."""
        group = self.groups[name]
        left, tasks = count, []
        for task in group.tasks:
            if left and task.status.holds:
                left -= 1
                task = replace(task, uid=f"{task.uid}+", status=TaskStatus.PENDING, node="", started=0.0)
            tasks.append(task)
        self.groups[name] = replace(group, tasks=tuple(tasks))

    # What is the case.

    def running(self, name: str) -> int:
        return sum(task.status is TaskStatus.RUNNING for task in self.groups[name].tasks)

    def where(self, name: str) -> list[str]:
        return [task.node for task in self.groups[name].tasks if task.status.holds]

    def phase(self, name: str) -> GroupPhase:
        return self.groups[name].phase

    def message(self, name: str) -> str:
        return self.decisions.groups[name].conditions[0].message

    def used(self) -> dict[str, dict[str, int]]:
        """What is taken of each node, by resource."""
        found: dict[str, dict[str, int]] = {node.name: {} for node in self.nodes}
        for group in self.groups.values():
            for task in group.tasks:
                if task.status.holds and task.node in found:
                    taken = found[task.node]
                    taken["pods"] = taken.get("pods", 0) + 1
                    for resource, amount in self.shapes[task.shape].demand.requests:
                        taken[resource] = taken.get(resource, 0) + amount
        return found
