"""Queues: the two that every cluster has, and their states (upstream: ``pkg/controllers/queue``).

The queues below a closed one are closed and opened with it, but for those that somebody closed by themselves: an
annotation on those that are closed with it tells the two apart, as upstream. It is written before a queue is closed and
taken back after it has been opened, so that whatever is cut off in between is taken up again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

from homeport.client.client import Client
from homeport.components.volcano import orders
from homeport.control.cache import Change
from homeport.control.controller import Desired, Note, Observed, Patch
from homeport.control.informer import Informers
from homeport.control.loop import KeyedLoop
from homeport.kube import meta
from homeport.kube.errors import AlreadyExists
from homeport.kube.meta import Object
from homeport.kube.scheduling import VOLCANO_QUEUE, names

OPEN, CLOSED, CLOSING, UNKNOWN = "Open", "Closed", "Closing", "Unknown"
SHUT = (CLOSING, CLOSED)
_OPEN_IT, _CLOSE_IT = _ORDERS = "OpenQueue", "CloseQueue"

_ALWAYS = {names.ROOT_QUEUE: False, names.DEFAULT_QUEUE: True}
"""The queues that are always there, and whether what they lend can be taken back."""


async def install(client: Client) -> None:
    """Make the queues that are always there, if they are missing."""
    for name in _ALWAYS:
        await _make(client, name)


async def keep(client: Client, informers: Informers) -> None:
    """Make them, and again if they are deleted, until cancelled: for a cluster on which no hook keeps them."""
    loop: KeyedLoop[str] = KeyedLoop("queues that are always there", partial(_make, client))

    def changed(change: Change) -> None:
        if change.new is None and meta.name(change.object) in _ALWAYS:
            loop.queue.add(meta.name(change.object))

    queues = informers.get(VOLCANO_QUEUE.resource)
    queues.subscribe(changed)
    try:
        for name in _ALWAYS:
            loop.queue.add(name)
        await loop.run()
    finally:
        queues.unsubscribe(changed)


async def _make(client: Client, name: str) -> None:
    try:
        await client.create(VOLCANO_QUEUE.resource, VOLCANO_QUEUE.new(name, spec={"reclaimable": _ALWAYS[name]}))
    except AlreadyExists:
        return


def sync(observed: Observed) -> Desired:
    """The state of a queue, and of those right below it; the scheduler writes the rest of its status."""
    queue = observed.parent
    if meta.is_deleting(queue):
        return Desired()
    below = _below(queue, observed.related.get("Queue", {}).values())
    changes: Object = {}
    if meta.name(queue) != names.ROOT_QUEUE and not meta.spec(queue).get("parent"):
        changes["spec"] = {"parent": names.ROOT_QUEUE}
    commands = orders.waiting(observed)[:1]
    action, notes = "", list[Note]()
    if commands:
        action, note = _ordered(queue, commands[0])
        notes.append(note)
        if action and _is_marked(queue):
            changes["metadata"] = _mark(False)
    before = state_of(queue)
    after = state(before, action, bool(observed.related.get("PodGroup")))
    return Desired(
        status=None if after == before else {**meta.status(queue), "state": after},
        removed=tuple(commands),
        notes=tuple(notes),
        patches=(*((Patch(queue, changes),) if changes else ()), *below),
    )


def state_of(queue: Object) -> str:
    """Empty until the controller has seen it."""
    return str(meta.status(queue).get("state") or "")


def queue_above(queue: Object) -> tuple[tuple[str, str], ...]:
    """``Related.key`` of queues: the one that it is part of."""
    if meta.name(queue) == names.ROOT_QUEUE:
        return ()
    return (("", meta.spec(queue).get("parent") or names.ROOT_QUEUE),)


def has_turned(old: Object, new: Object) -> bool:
    """``Related.matters`` of queues."""
    return (state_of(old), _is_marked(old)) != (state_of(new), _is_marked(new))


def _ordered(queue: Object, command: Object) -> tuple[str, Note]:
    """What a command has a queue do, if anything, and what is said of it."""
    action = str(command.get("action") or "")
    why = orders.why_not(queue, command, _ORDERS)
    if not why and action == _CLOSE_IT and meta.name(queue) == names.ROOT_QUEUE:
        why = f"Command {action}: the queue {names.ROOT_QUEUE} is never closed; close those below it"
    if not why and action == _OPEN_IT and state_of(queue) in SHUT and _is_marked(queue):
        why = f"Command {action}: it is closed with its parent queue {queue_above(queue)[0][1]}, and opened with it"
    if why:
        return "", Note("Warning", "CommandIgnored", why)
    text = f"Start to execute command {action}, and clean it up to make sure executed not more than once."
    return action, Note("Normal", "CommandIssued", text)


def _below(queue: Object, children: Iterable[Object]) -> Iterator[Patch]:
    """What the state of a queue changes in those that are part of it: one thing of each at a time."""
    for child in children:
        is_shut, marked = state_of(child) in SHUT, _is_marked(child)
        if meta.is_deleting(child):
            continue
        if state_of(queue) not in SHUT:
            if marked:
                yield _turned(child, OPEN) if is_shut else _marked(child, False)
        elif not is_shut:
            yield _turned(child, CLOSING) if marked else _marked(child, True)


def _turned(queue: Object, state: str) -> Patch:
    return Patch(queue, {"status": {"state": state}}, "status")


def _marked(queue: Object, value: bool) -> Patch:
    return Patch(queue, {"metadata": _mark(value)})


def _is_marked(queue: Object) -> bool:
    return meta.annotations(queue).get(names.CLOSED_BY_PARENT) == "true"


def _mark(value: bool) -> Object:
    return {"annotations": {names.CLOSED_BY_PARENT: str(value).lower()}}


def state(before: str, action: str, has_groups: bool) -> str:
    """The state that follows."""
    if action == _OPEN_IT:
        return OPEN
    if action == _CLOSE_IT:
        return CLOSING if has_groups and before != CLOSED else CLOSED
    if before in ("", OPEN):
        return OPEN
    if before == CLOSED:
        return CLOSED
    if before == CLOSING:
        return CLOSING if has_groups else CLOSED
    return UNKNOWN
