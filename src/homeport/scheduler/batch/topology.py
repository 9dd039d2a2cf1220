"""Keeps a gang within one part of the network: the smallest that has room for all of it.

HyperNodes are tried from the lowest tier up (upstream: ``pkg/scheduler/actions/allocate``, ``hard`` topologies); of one
tier the fullest that still has room is taken, so that bigger parts stay whole for bigger gangs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from homeport.scheduler.batch.axis import Mask
from homeport.scheduler.batch.gangs import make_whole
from homeport.scheduler.batch.model import HyperNode, NetworkTopology
from homeport.scheduler.batch.state import GroupState

if TYPE_CHECKING:
    from homeport.scheduler.batch.session import Session


def make_whole_near(session: Session, group: GroupState, wanted: NetworkTopology) -> bool:
    """Members that run already bind the gang to where they are."""
    held = {task.node for task in group.group.tasks if task.status.holds}
    considered = [
        hypernode
        for hypernode in session.snapshot.hypernodes
        if (wanted.highest_tier is None or hypernode.tier <= wanted.highest_tier) and held <= hypernode.nodes
    ]
    masks = {hypernode.name: _mask(session, hypernode) for hypernode in considered}
    idle = {name: int(session.idle[mask].sum(axis=0)[1:].sum()) for name, mask in masks.items()}
    for hypernode in sorted(considered, key=lambda each: (each.tier, idle[each.name], each.name)):
        if make_whole(session, group, masks[hypernode.name], later=False):
            return True
    if not wanted.hard:
        return make_whole(session, group)
    tiers = "" if wanted.highest_tier is None else f" up to tier {wanted.highest_tier}"
    group.refusal = f"no hyperNode{tiers} has room for the whole group"
    return False


def _mask(session: Session, hypernode: HyperNode) -> Mask:
    mask: Mask = np.zeros(len(session.ledger.nodes), bool)
    mask[[session.ledger.index[name] for name in hypernode.nodes if name in session.ledger.index]] = True
    return mask
