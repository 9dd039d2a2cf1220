"""Pods of a job that belong onto one node, by what the job says of its tasks (upstream: ``task-topology``, where such a
set of pods is called a bucket)."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np
from numpy.typing import NDArray

from homeport.kube.scheduling.names import TASK_AFFINITY, TASK_ANTI_AFFINITY, TASK_ORDER
from homeport.scheduler.batch.axis import Scores, Table, Vector
from homeport.scheduler.batch.model import Task

_SELF_ANTI, _AFFINE, _SELF_AFFINE, _ANTI = 4, 3, 2, 1
"""What weighs more in the order of tasks."""


class Wishes(msgspec.Struct, frozen=True):
    """What a job says of its tasks."""

    roles: tuple[str, ...]
    """Those that are named together with others, or alone."""
    affinity: tuple[tuple[int, ...], ...]
    """Of each role for each: 1, they had better be together, -1 apart, 0 neither (or both)."""
    apart: tuple[tuple[bool, ...], ...]
    """Of each role for each: whether they had better be apart."""
    ranks: Mapping[str, tuple[int, int]]
    """The place of each role in the order that is wished for, and how much weighs what is said of it."""


def parse(annotations: Mapping[str, str], known: frozenset[str]) -> Wishes | None:
    """The annotations of a group whose pods have these roles; None if they say nothing. As upstream, all of them count
    as not given if one names a role that there is not, or one twice."""
    given = {key: annotations[key] for key in (TASK_AFFINITY, TASK_ANTI_AFFINITY, TASK_ORDER) if key in annotations}
    if not given:
        return None
    together, apart = (_sets(given.get(key)) for key in (TASK_AFFINITY, TASK_ANTI_AFFINITY))
    order = given.get(TASK_ORDER, "").split(",") if TASK_ORDER in given else []
    for names in (*together, *apart, order):
        named = [name for name in names if name]
        if len(set(named)) != len(named) or not known.issuperset(named):
            return None
    weight: dict[str, int] = {}
    for sets, several, alone in ((together, _AFFINE, _SELF_AFFINE), (apart, _ANTI, _SELF_ANTI)):
        for names in sets:
            for name in filter(None, names):
                weight[name] = max(weight.get(name, 0), several if len(names) > 1 else alone)
    roles = tuple(sorted(weight))
    near, far = _pairs(together), _pairs(apart)
    places = {name: len(order) - place for place, name in enumerate(order)}
    return Wishes(
        roles,
        tuple(tuple(((one, two) in near) - ((one, two) in far) for two in roles) for one in roles),
        tuple(tuple((one, two) in far for two in roles) for one in roles),
        {role: (places.get(role, 0), weight[role]) for role in roles},
    )


def _sets(text: str | None) -> list[list[str]]:
    return [names.split(",") for names in text.split(";")] if text is not None else []


def _pairs(sets: list[list[str]]) -> set[tuple[str, str]]:
    """Of a set of one role: that role with itself; else each with each other."""
    return {(one, two) for names in sets for one in names for two in names if (one != two) == (len(names) > 1)}


class Bucket:
    """`tasks`: those that have no node, in the order in which they are placed; `nodes`: how many are on each node."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.tasks: dict[str, Task] = {}
        self.nodes: dict[int, int] = {}
        self.size = 0
        """With those that have a node."""


class Buckets:
    """`tasks`: of one group; `places`: of those that have a node where; `vectors`: what each asks for, `units`: how
    much of it weighs as much; `nodes`: how many there are."""

    def __init__(
        self,
        wishes: Wishes,
        tasks: list[Task],
        places: Mapping[str, int],
        vectors: Mapping[str, Vector],
        units: Scores,
        nodes: int,
    ) -> None:
        self.wishes = wishes
        self._role = {role: number for number, role in enumerate(wishes.roles)}
        self._apart = np.array(wishes.apart, np.int64)
        self.of: dict[str, Bucket] = {}
        """By uid."""
        self._at: Table = np.zeros((nodes, len(self._role)), np.int64)
        """How many of each role are on each node."""
        self.all: list[Bucket] = []
        self._fill([task for task in tasks if task.role in self._role], places, vectors, units)
        self.largest = max((bucket.size for bucket in self.all), default=0)
        self.order = {
            uid: (-len(bucket.tasks), bucket.index, *self._rank(task))
            for bucket in self.all
            for uid, task in bucket.tasks.items()
        }
        """By uid, of those that have no node: the larger bucket first, then the older."""

    def _rank(self, task: Task) -> tuple[int, int]:
        order, weight = self.wishes.ranks[task.role]
        return -order, -weight

    def _fill(self, tasks: list[Task], places: Mapping[str, int], vectors: Mapping[str, Vector], units: Scores) -> None:
        """Those on a node are one bucket; each other goes where it is wanted most, of those to the emptiest."""
        affinity = np.array(self.wishes.affinity, np.int64)
        counts: NDArray[np.int64] = np.zeros((16, len(self._role)), np.int64)
        loads: Scores = np.zeros(16)
        of_place: dict[int, Bucket] = {}
        bound = [task for task in tasks if task.uid in places]
        free = [task for task in tasks if task.uid not in places]
        free.sort(key=lambda task: (self._rank(task), task.role, task.index, task.name))
        for task in (*bound, *free):
            role, place = self._role[task.role], places.get(task.uid)
            chosen: Bucket | None = None
            if place is not None:
                chosen = of_place.get(place)
            elif self.all:
                wanted = counts[: len(self.all)] @ affinity[role]
                if (most := wanted.max()) >= 0:
                    best = np.flatnonzero(wanted == most)
                    chosen = self.all[int(best[loads[best].argmin()])]
            if chosen is None:
                chosen = Bucket(len(self.all))
                self.all.append(chosen)
                if len(self.all) > len(loads):
                    counts, loads = np.concatenate([counts, counts * 0]), np.concatenate([loads, loads * 0])
            if place is not None:
                of_place[place] = chosen
            else:
                chosen.tasks[task.uid] = task
                loads[chosen.index] += float(vectors[task.uid] @ units)
            counts[chosen.index, role] += 1
            chosen.size += 1
            self.of[task.uid] = chosen
            if place is not None:
                self._count(task, chosen, place, 1)

    def move(self, task: Task, place: int, sign: int) -> None:
        """It has been given a node (1), or no longer has it (-1)."""
        bucket = self.of.get(task.uid)
        if bucket is None:
            return
        self._count(task, bucket, place, sign)
        if sign > 0:
            bucket.tasks.pop(task.uid, None)
        elif not task.status.holds:
            bucket.tasks[task.uid] = task

    def _count(self, task: Task, bucket: Bucket, place: int, sign: int) -> None:
        bucket.nodes[place] = bucket.nodes.get(place, 0) + sign
        self._at[place, self._role[task.role]] += sign

    def scores(self, task: Task, room: Table, vectors: Mapping[str, Vector]) -> Scores | None:
        """How well the pod goes to each node: how many of its bucket are there, less those that it had better be apart
        from, and how many of the rest still have room beside it. None: it is in no bucket."""
        bucket = self.of.get(task.uid)
        if bucket is None:
            return None
        scores: Scores = -(self._at @ self._apart[self._role[task.role]]).astype(np.float64)
        for place, count in bucket.nodes.items():
            scores[place] += count
        rest = [vectors[uid] for uid in bucket.tasks if uid != task.uid]
        sums = np.cumsum([vectors[task.uid], *rest], axis=0)
        return np.where((room >= sums[0]).all(axis=1), scores + _fitting(sums, room), 0.0)


def _fitting(sums: Table, room: Table) -> NDArray[np.int64]:
    """How many of the sums, which only grow, each node has room for."""
    low: NDArray[np.int64] = np.zeros(len(room), np.int64)
    high: NDArray[np.int64] = np.full(len(room), len(sums), np.int64)
    while (low < high).any():
        middle = (low + high) // 2
        fits = (sums[np.minimum(middle, len(sums) - 1)] <= room).all(axis=1) & (low < high)
        low, high = np.where(fits, middle + 1, low), np.where(fits, high, np.minimum(high, middle))
    return low
