"""The rules of queues and of the groups that wait in them, in the words of Volcano's webhooks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from homeport.components.volcano.queues import CLOSED, OPEN
from homeport.kube import meta, quantity
from homeport.kube.admission import Refusal, World
from homeport.kube.meta import Object
from homeport.kube.scheduling import VOLCANO_QUEUE, names

_HIERARCHY, _WEIGHTS = "volcano.sh/hierarchy", "volcano.sh/hierarchy-weights"


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
    pods = _pods(world.get(VOLCANO_QUEUE.resource, "", parent))
    if pods and not _children(parent, world):
        text = f"because it has allocated Pods: {pods}"
        raise Refusal(f"queue {parent} cannot be the parent queue of queue {meta.name(new)} {text}")


def judge_removal(queue: Object, world: World) -> None:
    """``Hook.remove`` of queues. (That its pods keep a queue is an option of Volcano's webhook, and always so here, but
    for one that is Closed: no group is left in it, and what its status counts are pods on their way out.)"""
    name = meta.name(queue)
    if name in (names.DEFAULT_QUEUE, names.ROOT_QUEUE):
        raise Refusal(f"`{name}` queue can not be deleted")
    pods = _pods(queue)
    if pods and meta.status(queue).get("state") != CLOSED:
        raise Refusal(f"queue {name} cannot be deleted because it has allocated Pods: {pods}")
    children = _children(name, world)
    if children:
        told = f"{len(children)} child queues: {', '.join(children)}"
        raise Refusal(f"queue {name} can not be deleted because it has {told}")


def _pods(queue: Object | None) -> int:
    """How many pods have been given a place, as its status tells."""
    return int(quantity.parse((meta.status(queue or {}).get("allocated") or {}).get("pods") or "0"))


def _children(name: str, world: World) -> list[str]:
    queues = world.find(VOLCANO_QUEUE.resource, "")
    return [meta.name(other) for other in queues if meta.spec(other).get("parent") == name]


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
