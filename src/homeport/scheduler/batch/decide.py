"""The way in: one cycle of the batch scheduler."""

from __future__ import annotations

from collections.abc import Callable

from homeport.scheduler.batch.actions.allocate import allocate
from homeport.scheduler.batch.actions.backfill import backfill
from homeport.scheduler.batch.actions.enqueue import enqueue
from homeport.scheduler.batch.actions.preempt import preempt
from homeport.scheduler.batch.actions.reclaim import reclaim
from homeport.scheduler.batch.configuration import Configuration
from homeport.scheduler.batch.decisions import Decisions
from homeport.scheduler.batch.ledger import Ledger
from homeport.scheduler.batch.model import Snapshot
from homeport.scheduler.batch.outcome import Outcome
from homeport.scheduler.batch.plugins.base import Plugin
from homeport.scheduler.batch.plugins.binpack import Binpack
from homeport.scheduler.batch.plugins.capacity import Capacity
from homeport.scheduler.batch.plugins.conformance import Conformance
from homeport.scheduler.batch.plugins.drf import Drf
from homeport.scheduler.batch.plugins.fair_share import FairShare
from homeport.scheduler.batch.plugins.gang import Gang
from homeport.scheduler.batch.plugins.network_topology import NetworkTopologyAware
from homeport.scheduler.batch.plugins.nodeorder import NodeOrder
from homeport.scheduler.batch.plugins.overcommit import Overcommit
from homeport.scheduler.batch.plugins.predicates import Predicates
from homeport.scheduler.batch.plugins.priority import Priority
from homeport.scheduler.batch.plugins.proportion import Proportion
from homeport.scheduler.batch.plugins.sla import Sla
from homeport.scheduler.batch.plugins.task_topology import TaskTopology
from homeport.scheduler.batch.session import Session

ACTIONS: dict[str, Callable[[Session], None]] = {
    "enqueue": enqueue,
    "allocate": allocate,
    "backfill": backfill,
    "preempt": preempt,
    "reclaim": reclaim,
}
"""By the names of the configuration. What is not in here is passed over."""

_MAKERS: tuple[type[Plugin], ...] = (
    Binpack,
    Capacity,
    Conformance,
    Drf,
    FairShare,
    Gang,
    NetworkTopologyAware,
    NodeOrder,
    Overcommit,
    Predicates,
    Priority,
    Proportion,
    Sla,
    TaskTopology,
)
PLUGINS: dict[str, type[Plugin]] = {maker.name: maker for maker in _MAKERS}


class Cache:
    """What cycles after each other share to be faster. Deciding with it and without gives the same."""

    def __init__(self) -> None:
        self.ledger = Ledger()


def decide(
    snapshot: Snapshot, configuration: Configuration, now: float, cache: Cache | None = None, *, explains: bool = True
) -> Decisions:
    """What to do. Deterministic; `cache` is one that only this caller uses, for snapshots that follow each other.

    Without `explains` there are no explanations, each of which looks at all who hold something.
    """
    ledger = (cache or Cache()).ledger
    ledger.update(snapshot)
    session = Session(snapshot, configuration, now, ledger, PLUGINS)
    for action in configuration.actions:
        if action in ACTIONS:
            ACTIONS[action](session)
    return Outcome(session, explains=explains).decisions()
