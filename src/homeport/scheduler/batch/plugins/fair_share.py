"""Who has used least lately is first: shares between users over time, and not just of what they hold now.

What a user's groups hold counts as their dominant share of the cluster, for as long as they hold it; what was used one
half-life ago counts half. What is used is carried from cycle to cycle (:attr:`~..model.Carried.usage`).
"""

from __future__ import annotations

import numpy as np

from homeport.scheduler.batch.configuration import PluginOption
from homeport.scheduler.batch.model import Group
from homeport.scheduler.batch.plugins.arguments import number
from homeport.scheduler.batch.plugins.base import Key, Plugin
from homeport.scheduler.batch.session import Session
from homeport.scheduler.batch.state import GroupState
from homeport.scheduler.model import PODS

_FORGOTTEN = 1e-3
"""Share times seconds: less is not worth being carried on."""


class FairShare(Plugin):
    """Argument ``fair-share.half-life``: seconds, an hour unless given."""

    name = "fair-share"
    numbers = ("fair-share.half-life",)

    def __init__(self, session: Session, option: PluginOption) -> None:
        super().__init__(session, option)
        half_life = max(number(option.arguments, "fair-share.half-life", 3600.0), 1.0)
        carried = session.snapshot.carried
        elapsed = max(session.now - carried.measured, 0.0) if carried.measured else 0.0
        left = 0.5 ** (elapsed / half_life)
        used = {user: usage * left for user, usage in carried.usage.items()}
        if elapsed:
            total = np.maximum(session.total, 1)
            held: dict[str, np.ndarray[tuple[int], np.dtype[np.int64]]] = {}
            for facts in session.ledger.facts.values():
                if facts.group.queue in session.queues and facts.allocated.any():
                    user = _user(facts.group)
                    held[user] = held.get(user, session.axis.zero()) + facts.allocated
            for user, amounts in held.items():
                parts = amounts / total * (session.total > 0)
                parts[session.axis.index[PODS]] = 0.0
                used[user] = used.get(user, 0.0) + float(parts.max()) * elapsed
        session.usage = {user: usage for user, usage in used.items() if usage > _FORGOTTEN}

    def job_order(self, group: GroupState) -> Key:
        return self.session.usage.get(_user(group.group), 0.0)


def _user(group: Group) -> str:
    return group.user or group.namespace
