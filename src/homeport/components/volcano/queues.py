"""Queues: the two that every cluster has, their states (upstream: ``pkg/controllers/queue/state``), and the rules of
queues and of the groups that wait in them, in the words of Volcano's webhooks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from homeport.client.client import Client
from homeport.components.volcano import orders
from homeport.control.cache import Change
from homeport.control.controller import Desired, Note, Observed
from homeport.control.informer import Informers
from homeport.control.loop import KeyedLoop
from homeport.kube import meta, quantity
from homeport.kube.admission import Refusal, World
from homeport.kube.errors import AlreadyExists
from homeport.kube.meta import Object
from homeport.kube.scheduling import VOLCANO_QUEUE, names

OPEN, CLOSED, CLOSING, UNKNOWN = "Open", "Closed", "Closing", "Unknown"
_HIERARCHY, _WEIGHTS = "volcano.sh/hierarchy", "volcano.sh/hierarchy-weights"


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
    """The state of a queue; the scheduler writes the rest of its status."""
    queue = observed.parent
    if meta.is_deleting(queue):
        return Desired()
    commands = orders.waiting(observed)
    action = str(commands[0].get("action") or "") if commands else ""
    before = str(meta.status(queue).get("state") or "")
    after = state(before, action, bool(observed.related.get("PodGroup")))
    notes: tuple[Note, ...] = ()
    if commands:
        text = f"Start to execute command {action}, and clean it up to make sure executed not more than once."
        notes = (Note("Normal", "CommandIssued", text),)
    status = None if after == before else {**meta.status(queue), "state": after}
    return Desired(status=status, removed=tuple(commands[:1]), notes=notes)


def state(before: str, action: str, has_groups: bool) -> str:
    """The state that follows."""
    if action == "OpenQueue":
        return OPEN
    if action == "CloseQueue":
        return CLOSING if has_groups and before != CLOSED else CLOSED
    if before in ("", OPEN):
        return OPEN
    if before == CLOSED:
        return CLOSED
    if before == CLOSING:
        return CLOSING if has_groups else CLOSED
    return UNKNOWN


def judge(new: Object, old: Object | None, world: World) -> None:
    """``Hook.validate`` of queues."""
    if old is not None and meta.spec(new) == meta.spec(old) and meta.annotations(new) == meta.annotations(old):
        return
    errors = [*_amounts(meta.spec(new)), *_hierarchy(new, world)]
    if errors:
        raise Refusal(errors[0] if len(errors) == 1 else f"[{', '.join(errors)}]")
    parent, before = meta.spec(new).get("parent") or "", meta.spec(old or {}).get("parent") or ""
    if parent in ("", names.ROOT_QUEUE) or (old is not None and parent == before):
        return
    if parent == meta.name(new):
        raise Refusal(f"queue {parent} cannot use itself as parent")
    seen = {meta.name(new)}
    above: str = parent
    while above not in ("", names.ROOT_QUEUE):
        found = world.get(VOLCANO_QUEUE.resource, "", above)
        if found is None:
            text = f'queue.scheduling.volcano.sh "{above}" not found'
            raise Refusal(f"failed to get parent queue of queue {meta.name(new)}: {text}")
        if above in seen:
            raise Refusal(f"queue {meta.name(new)} cannot be below itself: {above}")
        seen.add(above)
        above = meta.spec(found).get("parent") or ""


def judge_removal(queue: Object, world: World) -> None:
    """``Hook.remove`` of queues. (That its pods keep a queue is an option of Volcano's webhook, and always so here, but
    for one that is Closed: no group is left in it, and what its status counts are pods on their way out.)"""
    name = meta.name(queue)
    if name in (names.DEFAULT_QUEUE, names.ROOT_QUEUE):
        raise Refusal(f"`{name}` queue can not be deleted")
    pods = quantity.parse((meta.status(queue).get("allocated") or {}).get("pods") or "0")
    if pods and meta.status(queue).get("state") != CLOSED:
        raise Refusal(f"queue {name} cannot be deleted because it has allocated Pods: {int(pods)}")
    children = [
        meta.name(other) for other in world.find(VOLCANO_QUEUE.resource, "") if meta.spec(other).get("parent") == name
    ]
    if children:
        told = f"{len(children)} child queues: {', '.join(children)}"
        raise Refusal(f"queue {name} can not be deleted because it has {told}")


def _amounts(spec: Mapping[str, Any]) -> Iterator[str]:
    """Guarantee <= deserved <= capability."""
    capability, deserved = spec.get("capability") or {}, spec.get("deserved") or {}
    guarantee = (spec.get("guarantee") or {}).get("resource") or {}
    lists = (("capability", capability), ("deserved", deserved), ("guarantee.resource", guarantee))
    for path, amounts in lists:
        for name, amount in amounts.items():
            if quantity.parse(amount) < 0:
                at = f"requestBody.spec.{path}.{name}"
                yield f'{at}: Invalid value: "{amount}": must be greater than or equal to 0'
    for name, amount in guarantee.items():
        at, least = f"requestBody.spec.deserved.{name}", f"guarantee[{name}]={amount}"
        if name not in deserved:
            yield f'{at}: Invalid value: "<nil>": deserved[{name}] must be >= {least}'
        elif quantity.parse(deserved[name]) < quantity.parse(amount):
            own = deserved[name]
            yield f'{at}: Invalid value: "{own}": deserved[{name}]={own} must be >= {least}'
    for name, amount in deserved.items():
        if name in capability and quantity.parse(amount) > quantity.parse(capability[name]):
            at = f"requestBody.spec.deserved.{name}"
            most = f"capability[{name}]={capability[name]}"
            yield f'{at}: Invalid value: "{amount}": deserved[{name}]={amount} must be <= {most}'


def _hierarchy(queue: Object, world: World) -> Iterator[str]:
    annotations = meta.annotations(queue)
    path, weights = annotations.get(_HIERARCHY) or "", annotations.get(_WEIGHTS) or ""
    if not path and not weights:
        return
    at = "requestBody.metadata.annotations"
    if len(path.split("/")) != len(weights.split("/")):
        yield f'{at}: Invalid value: "{path}": {_HIERARCHY} must have the same length with {_WEIGHTS}'
        return
    for weight in weights.split("/"):
        try:
            number = float(weight)
        except ValueError:
            yield f'{at}: Invalid value: "{weights}": {weight} in the {weights} is invalid number'
            return
        if not number > 0:
            yield f'{at}: Invalid value: "{weights}": {weight} in the {weights} must be larger than 0'
            return
    for other in world.find(VOLCANO_QUEUE.resource, ""):
        theirs = meta.annotations(other).get(_HIERARCHY) or ""
        if meta.name(other) != meta.name(queue) and theirs.startswith(path + "/"):
            text = f"{path} is not allowed to be in the sub path of {theirs} of queue {meta.name(other)}"
            yield f'{at}: Invalid value: "{path}": {text}'
            return


def judge_group(new: Object, old: Object | None, world: World) -> None:
    """``Hook.validate`` of pod groups."""
    spec = meta.spec(new)
    told = []
    name = spec.get("queue") or names.DEFAULT_QUEUE
    queue = world.get(VOLCANO_QUEUE.resource, "", name)
    if queue is None and name != names.DEFAULT_QUEUE:  # which is made when the platform has started
        told.append(f'unable to find queue: queue.scheduling.volcano.sh "{name}" not found')
    elif (found := meta.status(queue or {}).get("state") or OPEN) != OPEN:
        text = "can only submit PodGroup to queue with state `Open`, queue"
        told.append(f"{text} `{name}` status is `{found}`.")
    simultaneous = "must not specify 'highestTierAllowed' and 'highestTierName' in networkTopology simultaneously."
    if _has_both(spec.get("networkTopology")):
        told.append(simultaneous)
    for policy in spec.get("subGroupPolicy") or ():
        if _has_both(policy.get("networkTopology")):
            told.append(f"in subGroupPolicy '{policy.get('name') or ''}': {simultaneous}")
            break
    if told:
        raise Refusal("; ".join(told))


def _has_both(topology: Mapping[str, Any] | None) -> bool:
    return bool(topology and topology.get("highestTierAllowed") is not None and topology.get("highestTierName"))
