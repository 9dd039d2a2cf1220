"""As many groups may be Inqueue as somewhat more than the whole cluster can hold (upstream: ``overcommit``)."""

from __future__ import annotations

import numpy as np

from homeport.scheduler.batch.configuration import PluginOption
from homeport.scheduler.batch.plugins.arguments import number
from homeport.scheduler.batch.plugins.base import ABSTAIN, YES, Plugin
from homeport.scheduler.batch.session import Session
from homeport.scheduler.batch.state import GroupState


class Overcommit(Plugin):
    name = "overcommit"
    numbers = ("overcommit-factor",)

    @classmethod
    def complaint(cls, argument: str, text: str) -> str:
        return super().complaint(argument, text) or ("has to be 1 or more; 1 is used" if float(text) < 1 else "")

    def __init__(self, session: Session, option: PluginOption) -> None:
        super().__init__(session, option)
        factor = max(number(option.arguments, "overcommit-factor", 1.2), 1.0)
        used = session.ledger.used.sum(axis=0)
        self._idle = (session.total * factor).astype(np.int64) - used
        """Beyond what is held; `session.inqueue` has been promised of it."""

    def job_enqueueable(self, group: GroupState) -> str | int:
        minimum = group.facts.minimum
        if minimum is None:
            return ABSTAIN
        short = (minimum > 0) & (self.session.inqueue + minimum > self._idle + self.session.yields(group))
        if not short.any():
            return YES
        names = ", ".join(f"overused {self.session.axis.resources[row]}" for row in np.flatnonzero(short))
        if self.session.may_reclaim(group):
            return ABSTAIN
        return f"resource in cluster is overused: {names}"
