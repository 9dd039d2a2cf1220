"""Makes a gang whole within one part of the network: the smallest that has room for all of it.

HyperNodes are tried from the lowest tier up (upstream: ``pkg/scheduler/actions/allocate``, ``hard`` topologies), of one
tier those first that plugins prefer; without a say, the fullest that still has room, so that bigger parts stay whole
for bigger gangs.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from homeport.scheduler.batch.gangs import make_whole, place
from homeport.scheduler.batch.model import NetworkTopology, Task
from homeport.scheduler.batch.network import Network, reach
from homeport.scheduler.batch.plan import Plan
from homeport.scheduler.batch.state import GroupState
from homeport.scheduler.batch.statement import Statement

if TYPE_CHECKING:
    from homeport.scheduler.batch.session import Session


def make_whole_near(session: Session, group: GroupState, wanted: NetworkTopology) -> bool:
    """Members that run already bind the gang to where they are."""
    network = session.network
    if network is None:
        return make_whole(session, group) if not wanted.hard else _refuse(group, "the cluster has no hyperNode")
    group.refusal = group.event = ""
    allowed = network.allowed(wanted)
    if wanted.hard and not len(allowed):
        return _refuse(group, f"there is no hyperNode {_up_to(wanted)}")
    around = session.stand(network, group).around(allowed)
    if wanted.hard and not around:
        return _refuse(group, f"its pods have no hyperNode {_up_to(wanted)} in common")
    rooms = _rooms(session, network, group)
    lacking = group.group.min_member - group.ready - group.pipelined
    ranks = session.votes.hypernode_order(group, network)
    order = sorted(
        around, key=lambda number: (network.tiers[number], -ranks[number], rooms[number], network.domains[number].name)
    )
    for number in order:
        if rooms[number] < lacking:
            continue
        if make_whole(session, group, network.masks[number], later=False):
            return True
        if group.event:
            return False  # it is the queue that may not have more
    if not wanted.hard:
        return make_whole(session, group)
    for number in order if session.some_leave else ():
        if make_whole(session, group, network.masks[number]):
            return True
        if group.event:
            return False
    roomiest = max(order, key=lambda number: rooms[number])
    most = int(min(rooms[roomiest], lacking))
    group.schedulable = group.ready + group.pipelined + most
    name = network.domains[roomiest].name
    numbers = f"of {len(order)} that may have it, {name} has most, for {most} of the {lacking} pods that it needs"
    return _refuse(group, f"no hyperNode {_up_to(wanted)} has room for the whole group: {numbers}")


def place_near(session: Session, statement: Statement, group: GroupState, task: Task, plan: Plan) -> str:
    """Give one more pod of a group that is whole a place now, as near to the others as may be; or say why there is
    none."""
    why = "no hyperNode that has the group's other pods may have more of them"
    for within in reach(session, group):
        why = place(session, statement, group, task, plan, within, later=False)
        if not why or group.event:
            break
    return why


def _refuse(group: GroupState, why: str) -> bool:
    group.refusal = why
    group.refused_tasks.clear()
    group.refused_tasks.update(dict.fromkeys((task.uid for task in group.facts.pending), why))
    return False


def _up_to(wanted: NetworkTopology) -> str:
    if wanted.highest_tier_name:
        return f'up to tier "{wanted.highest_tier_name}"'
    return "" if wanted.highest_tier is None else f"up to tier {wanted.highest_tier}"


def _rooms(session: Session, network: Network, group: GroupState) -> NDArray[np.int64]:
    """At most how many of its pods have room in each hyper node now."""
    counts: Counter[int] = Counter()
    plans: dict[int, Plan] = {}
    for task in session.waiting(group):
        plan = session.plan(task)
        counts[id(plan)] += 1
        plans[id(plan)] = plan
    found: NDArray[np.int64] = np.zeros(len(network.domains), np.int64)
    for key, plan in plans.items():
        found += np.minimum(network.sums(plan.rooms()), counts[key])
    return found
