"""Why a group waits, as lines for people: plain numbers. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from homeport.scheduler.batch.decisions import Decisions, Explanation
from homeport.scheduler.batch.groups import is_bytes
from homeport.scheduler.batch.model import Amounts, Group, GroupPhase, QueueState, Snapshot, TaskStatus
from homeport.scheduler.model import CPU, PODS

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")


class Wanted(NamedTuple):
    """What is asked about: a job, group or pod."""

    name: str
    kind: str = ""
    """As it was given; empty for any."""
    known: frozenset[tuple[str, str]] = frozenset()
    """The kinds (API group, kind) that this names, of those that are known. None of them: it may be a job's all the
    same."""

    def means(self, group: str, kind: str) -> bool:
        if not self.kind:
            return True
        return (group, kind) in self.known if self.known else kind.lower() == self.kind.lower()


def find_groups(snapshot: Snapshot, wanted: Wanted, namespace: str) -> list[Group]:
    """The groups of a job: by the group's own name, its owner's or a pod's."""
    found = []
    for group in snapshot.groups:
        if group.namespace != namespace:
            continue
        owner_kind, _, owner = group.owner.partition(" ")
        is_owner = owner == f"{namespace}/{wanted.name}" and wanted.means(group.owner_group, owner_kind)
        is_group = group.name == wanted.name and wanted.means(group.kind.rpartition("/")[0], "PodGroup")
        is_pod = wanted.means("", "Pod") and any(task.name == wanted.name for task in group.tasks)
        if is_owner or is_group or is_pod:
            found.append(group)
    return found


def title(group: Group) -> str:
    return group.owner or f"{'PodGroup' if group.kind != 'v1' else 'pod'} {group.namespace}/{group.name}"


def tell(snapshot: Snapshot, decisions: Decisions, group: Group, now: float) -> Iterator[str]:
    """Why this group waits, or that it doesn't."""
    explanation = decisions.explanations.get(group.key)
    ready = sum(task.status.ready for task in group.tasks)
    running = sum(task.status is TaskStatus.RUNNING for task in group.tasks)
    if not any(queue.name == group.queue for queue in snapshot.queues):
        yield f'{title(group)} waits: its queue "{group.queue}" does not exist (homeport queue create {group.queue}).'
        return
    if explanation is None:
        if group.phase is GroupPhase.COMPLETED:
            yield f"{title(group)} is completed."
        elif any(bind.group == group.key for bind in decisions.binds):
            yield f"{title(group)} has places for all that it needs: its pods are being bound."
        else:
            yield f"{title(group)} does not wait: {ready} of {group.min_member} needed pods have nodes, {running} run."
        return
    yield f"{title(group)} waits ({group.phase.value}): {ready} of {group.min_member} needed pods have nodes."
    yield from _numbers(snapshot, explanation, now)


def _numbers(snapshot: Snapshot, explanation: Explanation, now: float) -> Iterator[str]:
    if explanation.reason:
        yield f"  Reason:  {explanation.reason}"
    needed = explanation.needed
    yield f"  Needs:   {amounts(needed)}"
    yield f"  Idle:    {amounts({key: explanation.idle.get(key, 0) for key in needed})} on all nodes together"
    titles = {group.key: title(group) for group in snapshot.groups}
    for key, held in explanation.holders:
        shown = {resource: amount for resource, amount in held.items() if amount}
        yield f"  Held by: {titles.get(key, key)}: {amounts(shown)}"
    if explanation.queue:
        yield f"  Queue:   {_queue(snapshot, explanation)}"
    if explanation.place:
        yield f"  Place:   {explanation.place} of {explanation.line} in line of queue {explanation.queue}"
    if explanation.queue_deserved:
        deserved = {key: amount for key, amount in explanation.queue_deserved.items() if amount and key != PODS}
        if deserved:
            yield f"  Share:   {explanation.share:.0%} of what the queue deserves now ({amounts(deserved)})"
    if explanation.waiting_since is not None and now > explanation.waiting_since:
        yield f"  Since:   {round(now - explanation.waiting_since)} s"


def _queue(snapshot: Snapshot, explanation: Explanation) -> str:
    """Of what is needed or used."""
    used = {key: amount for key, amount in explanation.queue_allocated.items() if amount}
    limit = {
        key: amount
        for key, amount in explanation.queue_limit.items()
        if amount and (key in used or explanation.needed.get(key))
    }
    state = next((queue.state for queue in snapshot.queues if queue.name == explanation.queue), QueueState.OPEN)
    name = explanation.queue if state is QueueState.OPEN else f"{explanation.queue} ({state.value})"
    text = f"{name}: has {amounts(used)}"
    text += f"; may have {amounts(limit)}" if limit else "; no limit"
    if state is QueueState.OPEN:
        return text
    return f"{text}. It takes nobody until it is opened (homeport queue open {explanation.queue})"


def amounts(found: Amounts) -> str:
    """``2 cpu, 4 GiB memory, 1 nvidia.com/gpu``."""
    parts = [f"{_amount(key, amount)} {key}" for key, amount in sorted(found.items()) if key != PODS]
    return ", ".join(parts) or "nothing"


def _amount(resource: str, amount: int) -> str:
    if resource == CPU:
        return f"{amount / 1000:.3f}".rstrip("0").rstrip(".")
    if not is_bytes(resource):
        return str(amount)
    power = min(max(abs(amount).bit_length() - 1, 0) // 10, len(_UNITS) - 1)
    return f"{amount / (1 << 10 * power):.1f}".removesuffix(".0") + f" {_UNITS[power]}"
