"""PodGroups of every kind and Queues, as the scheduler sees them. Pure."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from homeport.kube import durations, meta, quantity
from homeport.kube.kind import Resource
from homeport.kube.meta import (
    Object,
    controller_of,
    metadata,
    name,
    namespace,
    parse_time,
    spec,
    status,
)
from homeport.kube.scheduling import hypernodes
from homeport.scheduler.batch import membership
from homeport.scheduler.batch.model import (
    DEFAULT_QUEUE,
    Amounts,
    Group,
    GroupPhase,
    HyperNode,
    NetworkTopology,
    Queue,
    QueueState,
)
from homeport.scheduler.model import CPU

_log = logging.getLogger(__name__)
_SLA = "sla-waiting-time"
_HIERARCHY, _WEIGHTS = "volcano.sh/hierarchy", "volcano.sh/hierarchy-weights"
_PREEMPTABLE = "volcano.sh/preemptable"
_BYTES = ("memory", "ephemeral-storage", "hugepages-")
_READ = "volcano.sh/"
"""How the annotations begin that plug-ins read."""
_PHASES = {phase.value: phase for phase in GroupPhase} | {
    # The coscheduling plug-in's own.
    "Scheduling": GroupPhase.INQUEUE,
    "PreScheduling": GroupPhase.INQUEUE,
    "Scheduled": GroupPhase.RUNNING,
    "Finished": GroupPhase.COMPLETED,
}


def parse_group(resource: Resource, obj: Object, priority: int) -> Group:
    """The group without its pods. What can't be understood counts as not given; the log says so."""
    wanted, notes = spec(obj), meta.annotations(obj)
    gang = (wanted.get("schedulingPolicy") or {}).get("gang") or {}
    least = gang.get("minCount") if resource == membership.IN_TREE else wanted.get("minMember")
    waits = resource == membership.VOLCANO
    roles = wanted.get("minTaskMember") or {}
    if sum(roles.values()) > (least or 0):
        roles = {}  # upstream (``CheckTaskReady``): who needs fewer in all minds no longer which they are
    return Group(
        key=membership.group_key(resource, namespace(obj), name(obj)),
        namespace=namespace(obj),
        name=name(obj),
        kind=resource.api_version,
        queue=wanted.get("queue") or DEFAULT_QUEUE,
        min_member=least or 0 if waits else least or 1,
        min_task_member=roles,
        min_resources=amounts(wanted.get("minResources"), obj),
        priority=priority,
        phase=_PHASES.get(status(obj).get("phase") or "", GroupPhase.PENDING),
        created=seconds(metadata(obj).get("creationTimestamp")),
        owner=owner_words(obj),
        owner_group=owner_group(obj),
        user=namespace(obj),
        preemptable=flag(notes.get(_PREEMPTABLE)),
        waits=waits,
        sla_seconds=_duration(notes.get(_SLA)),
        hierarchy=notes.get(_HIERARCHY) or "",
        network=_network(wanted.get("networkTopology")),
        annotations={key: value for key, value in notes.items() if key.startswith(_READ)},
    )


def parse_queue(obj: Object) -> Queue:
    wanted, notes = spec(obj), meta.annotations(obj)
    state = status(obj).get("state") or QueueState.OPEN.value
    known = {one.value: one for one in QueueState}
    return Queue(
        name=name(obj),
        weight=wanted.get("weight") or 1,
        priority=wanted.get("priority") or 0,
        state=known.get(state, QueueState.UNKNOWN),
        parent=wanted.get("parent") or "",
        capability=amounts(wanted.get("capability"), obj),
        deserved=amounts(wanted.get("deserved"), obj),
        guarantee=amounts((wanted.get("guarantee") or {}).get("resource"), obj),
        reclaimable=wanted.get("reclaimable") is not False,
        fifo=wanted.get("dequeueStrategy") == "fifo",
        hierarchy=notes.get(_HIERARCHY) or "",
        hierarchy_weights=notes.get(_WEIGHTS) or "",
        created=seconds(metadata(obj).get("creationTimestamp")),
    )


def parse_hypernodes(found: Mapping[str, Object], nodes: Mapping[str, Mapping[str, str]]) -> tuple[HyperNode, ...]:
    """By name. `nodes`: the labels of each."""
    return tuple(
        HyperNode(one, spec(found[one]).get("tier") or 0, members, spec(found[one]).get("tierName") or "")
        for one, members in sorted(hypernodes.nodes_of(found, nodes).items())
    )


def owner_words(obj: Object) -> str:
    """The controlling owner, for people: ``TFJob team-a/mnist``. Empty without one."""
    owner = controller_of(obj)
    return f"{owner['kind']} {namespace(obj)}/{owner['name']}" if owner is not None else ""


def owner_group(obj: Object) -> str:
    """The API group of the controlling owner."""
    owner = controller_of(obj)
    return str(owner.get("apiVersion") or "").rpartition("/")[0] if owner is not None else ""


def amounts(quantities: Mapping[str, Any] | None, obj: Object) -> Amounts | None:
    """Thousandths of a CPU, whole units of anything else; None for nothing at all."""
    if not quantities:
        return None
    found: dict[str, int] = {}
    for resource, value in quantities.items():
        resource = resource.removeprefix("requests.")
        try:
            found[resource] = quantity.milli(value) if resource == CPU else quantity.whole(value)
        except ValueError as error:
            _log.warning("%s %s: %s: %s", obj.get("kind"), name(obj), resource, error)
    return found


def quantities(found: Amounts) -> dict[str, str]:
    """As a status has them."""
    return {resource: as_text(resource, amount) for resource, amount in sorted(found.items()) if amount}


def as_text(resource: str, amount: int) -> str:
    """A quantity in its usual form: ``500m``, ``4Gi``."""
    if resource == CPU:
        return quantity.to_text(Decimal(amount) / 1000)
    return quantity.to_text(Decimal(amount), "binary" if is_bytes(resource) else "decimal")


def is_bytes(resource: str) -> bool:
    return resource.startswith(_BYTES)


def seconds(text: str | None) -> float:
    """Since 1970; 0 for no time."""
    return parse_time(text).timestamp() if text else 0.0


def flag(text: str | None) -> bool | None:
    return text == "true" if text in ("true", "false") else None


def _duration(text: str | None) -> float | None:
    if not text:
        return None
    try:
        return durations.seconds(text)
    except ValueError as error:
        _log.warning("annotation %s: %s", _SLA, error)
        return None


def _network(wanted: Mapping[str, Any] | None) -> NetworkTopology | None:
    """As upstream (``IsHardTopologyMode``), without a highest tier nothing is ruled out."""
    if not wanted:
        return None
    highest, named = wanted.get("highestTierAllowed"), wanted.get("highestTierName") or ""
    is_hard = wanted.get("mode") != "soft" and (highest is not None or bool(named))
    return NetworkTopology(is_hard, highest, named)
