"""The pods that are there, for those who ask for company or want none. Costs nothing while nobody does."""

from __future__ import annotations

from collections.abc import Iterator

from homeport.scheduler.batch.ledger import Ledger
from homeport.scheduler.batch.model import Snapshot, Task, TaskStatus
from homeport.scheduler.company import Company, Resident
from homeport.scheduler.model import Pod


class Neighbours:
    def __init__(self, snapshot: Snapshot, ledger: Ledger) -> None:
        self._snapshot = snapshot
        self._ledger = ledger
        self._some_mind = any(shape.rules is not None for shape in snapshot.shapes.values())
        self._companies: dict[tuple[object, ...], Company] = {}
        self._come: dict[str, Resident] = {}
        """Who has been placed in this cycle, by uid."""
        self._gone: set[str] = set()
        """Who has been evicted in it."""
        self._keys = sorted(self._label_keys()) if self._some_mind else []

    def relevant(self, task: Task) -> tuple[object, ...]:
        """What others, and its own rules, may mind of the pod beyond its shape."""
        return tuple(task.labels.get(key) for key in self._keys)

    def company(self, sample: Task) -> Company | None:
        """All others as such a pod sees them, from now on kept up to date. None if neither side minds."""
        if not self._some_mind:
            return None
        key = (sample.shape, *self.relevant(sample))
        found = self._companies.get(key)
        if found is None:
            nodes = {node.name: node for node in self._ledger.nodes}
            nobody = self._pod(sample, uid="")
            found = Company(nobody, nodes, self._residents(), self._snapshot.namespaces)
            self._companies[key] = found
        return found

    def count(self, task: Task, place: int, sign: int, *, expected: bool = False) -> None:
        """A pod is placed (1), or goes (-1)."""
        if not self._some_mind:
            return
        resident = Resident(self._ledger.nodes[place].name, self._pod(task), expected=expected)
        if task.status.holds:
            (self._gone.discard if sign > 0 else self._gone.add)(task.uid)
        elif sign > 0:
            self._come[task.uid] = resident
        else:
            del self._come[task.uid]
        for company in self._companies.values():
            company.count(resident, sign)

    def _residents(self) -> Iterator[Resident]:
        for tasks in (*self._snapshot.loose.values(), *(group.tasks for group in self._snapshot.groups)):
            for task in tasks:
                if task.status.holds and task.uid not in self._gone:
                    yield Resident(task.node, self._pod(task), leaving=task.status is TaskStatus.RELEASING)
        yield from self._come.values()

    def _pod(self, task: Task, uid: str | None = None) -> Pod:
        shape = self._snapshot.shapes[task.shape]
        return Pod(
            namespace=task.namespace,
            name=task.name,
            uid=task.uid if uid is None else uid,
            priority=task.priority,
            created="",
            demand=shape.demand,
            labels=task.labels,
            rules=shape.rules,
        )

    def _label_keys(self) -> set[str]:
        """The labels that any rule speaks of."""
        found: set[str] = set()
        for shape in self._snapshot.shapes.values():
            if shape.rules is None:
                continue
            terms = (*shape.rules.affinity, *shape.rules.anti_affinity, *(p.term for p in shape.rules.preferences))
            for selector in (*(term.selector for term in terms), *(each.selector for each in shape.rules.spread)):
                found.update(requirement.key for requirement in selector.requirements)
        return found
