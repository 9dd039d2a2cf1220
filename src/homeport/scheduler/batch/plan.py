"""Where pods of one class go best, looked at once and then kept up to date as nodes fill."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from homeport.scheduler.assign import PORTS_REASON
from homeport.scheduler.batch.axis import Indexes, Mask, Scores
from homeport.scheduler.batch.model import Shape, Task
from homeport.scheduler.company import Company
from homeport.scheduler.model import PODS

if TYPE_CHECKING:
    from homeport.scheduler.batch.session import Session

PODS_REASON = "node(s) pod number exceeded"
ALL_UNAVAILABLE = "all nodes are unavailable"

_FEW = 4
"""So many nodes are looked at one by one faster than together."""


Near = Callable[[Mask], Scores]
"""Scores for each node, given those that there are to choose from."""


class Plan:
    """One class of pods: those of a shape, and with the same labels as far as anybody cares. `sample`: one of them."""

    def __init__(self, session: Session, sample: Task) -> None:
        self._session = session
        self.sample = sample
        self.shape: Shape = session.snapshot.shapes[sample.shape]
        self.vector = session.ledger.vector(sample.shape)
        self.rows = np.flatnonzero(self.vector)
        self.wants = self.vector[self.rows]
        self._wanted = list(zip(self.rows.tolist(), self.wants.tolist(), strict=True))
        self.suitable, self.unsuitable = session.ledger.mask(self.shape.demand)
        if not session.checks_nodes:
            self.suitable, self.unsuitable = np.ones(len(session.ledger.nodes), bool), Counter()
        if self.shape.refused:
            self.suitable = np.zeros(len(session.ledger.nodes), bool)
        self.company: Company | None = session.company(sample)
        self._soft = self.company is not None and _has_preferences(self.shape)
        self._scores: Scores | None = None
        self._seen = 0
        self._epoch = -1
        self._room: tuple[int, int] = (-1, 0)
        self._words: tuple[int, str] = (-1, "")

    def best(self, within: Mask | None = None, near: Near | None = None) -> int:
        """The place of the best node that has room now; -1: none has. `near`: what more there is to say."""
        scores = self._current()
        if within is not None:
            scores = np.where(within, scores, -np.inf)
        if near is not None:
            scores = scores + near(scores != -np.inf)
        if not len(scores):
            return -1
        if self.company is not None:
            return self._best_company(scores, self.company)
        place = int(scores.argmax())
        return place if scores[place] != -np.inf else -1

    def best_later(self, within: Mask | None = None) -> int:
        """The place of the best node that will have room once those have gone that are going; -1: none will."""
        fitting = self._fitting(self._session.future)
        if within is not None:
            fitting &= within
        places = np.flatnonzero(fitting)
        if not len(places):
            return -1
        scores = np.full(len(fitting), -np.inf)
        scores[places] = self._session.scores(self, places)
        return self._best_company(scores, self.company) if self.company is not None else int(scores.argmax())

    def fits(self, place: int) -> bool:
        """Whether this node has room for one now."""
        if self._current()[place] == -np.inf:
            return False
        return self.company is None or self.company.refusal(self._session.ledger.nodes[place]) is None

    def refuses(self, place: int) -> bool:
        """Whether this node is none for such pods, however much there is left."""
        if not self.suitable[place] or self._session.blocked[place]:
            return True
        if self.company is None:
            return False
        refusal = self.company.refusal(self._session.ledger.nodes[place])
        return refusal is not None and refusal.lasting

    def room(self) -> int:
        """At most how many have room now, all nodes together."""
        moment = self._session.moment
        if self._room[0] != moment:
            self._room = moment, int(self._count_room()[1].sum())
        return self._room[1]

    def rooms(self) -> NDArray[np.int64]:
        """At most how many have room now on each node."""
        found: NDArray[np.int64] = np.zeros(len(self.suitable), np.int64)
        places, counts = self._count_room()
        found[places] = counts
        return found

    def words(self) -> str:
        """Why one more fits nowhere (upstream: ``FitErrors.Error``)."""
        moment = self._session.moment
        if self._words[0] != moment:
            self._words = moment, self._reasons()
        return self._words[1]

    def words_when_full(self) -> str:
        """Why no more than :meth:`room` fit."""
        return self._reasons(full=True)

    def _current(self) -> Scores:
        session = self._session
        if self._scores is None or self._epoch != session.epoch:
            self._scores = np.full(len(session.ledger.nodes), -np.inf)
            self._look(np.flatnonzero(self.suitable & ~session.blocked))
            self._epoch = session.epoch
        elif self._seen < len(session.log):
            changed = session.log[self._seen :]
            if len(changed) <= _FEW:
                for place in dict.fromkeys(changed):
                    self._look_at(place)
            else:
                places = np.unique(np.array(changed, np.intp))
                self._scores[places] = -np.inf
                self._look(places[self.suitable[places] & ~session.blocked[places]])
        self._seen = len(session.log)
        return self._scores

    def _look(self, places: Indexes) -> None:
        session = self._session
        fitting = (session.free[places[:, None], self.rows] >= self.wants).all(axis=1)
        if session.checks_nodes and self.shape.demand.ports:
            fitting &= self._ports_free(places)
        places = places[fitting]
        assert self._scores is not None
        if len(places):
            self._scores[places] = session.scores(self, places)

    def _look_at(self, place: int) -> None:
        """The same for one node."""
        session = self._session
        assert self._scores is not None
        fits = self.suitable[place] and not session.blocked[place]
        if fits:
            room = session.free[place]
            fits = all(room[row] >= wanted for row, wanted in self._wanted)
        if fits and session.checks_nodes and self.shape.demand.ports:
            fits = bool(self._ports_free(np.array([place]))[0])
        self._scores[place] = session.scores(self, place) if fits else -np.inf

    def _ports_free(self, places: Indexes) -> Mask:
        taken = self._session.ports
        wanted = self.shape.demand.ports
        return np.array(
            [
                not any(port.clashes(other) for other in +taken.get(int(place), Counter()) for port in wanted)
                for place in places
            ],
            bool,
        )

    def _fitting(self, table: np.ndarray[tuple[int, int], np.dtype[np.int64]]) -> Mask:
        fitting: Mask = self.suitable & ~self._session.blocked
        fitting &= (table[:, self.rows] >= self.wants).all(axis=1)
        if self._session.checks_nodes and self.shape.demand.ports:
            fitting &= self._ports_free(np.arange(len(fitting)))
        return fitting

    def _best_company(self, scores: Scores, company: Company) -> int:
        """The others are asked about one node after the other, the best first."""
        nodes = self._session.ledger.nodes
        if self._soft:
            places = [int(p) for p in np.flatnonzero(scores != -np.inf) if company.refusal(nodes[p]) is None]
            if not places:
                return -1
            session = self._session
            preferred = company.scores(
                [nodes[place] for place in places], affinity=session.affinity_weight, spread=session.spread_weight
            )
            return max(places, key=lambda place: (scores[place] + preferred[nodes[place].name], -place))
        for place in np.argsort(-scores, kind="stable").tolist():
            if scores[place] == -np.inf:
                return -1
            if company.refusal(nodes[place]) is None:
                return int(place)
        return -1

    def _count_room(self) -> tuple[Indexes, NDArray[np.int64]]:
        """The places of the nodes that will do, and how many each has room for."""
        session = self._session
        places = np.flatnonzero(self.suitable & ~session.blocked)
        counts = (session.free[places[:, None], self.rows] // self.wants).min(axis=1)
        np.maximum(counts, 0, out=counts)
        if session.checks_nodes and self.shape.demand.ports:
            counts = np.minimum(counts, 1)
        return places, counts

    def _reasons(self, *, full: bool = False) -> str:
        session = self._session
        total = len(session.ledger.nodes)
        if self.shape.refused:
            return f"0/{total} nodes are unavailable: {self.shape.refused}."
        reasons: Counter[str] = Counter(self.unsuitable)
        reserved = int((self.suitable & session.blocked).sum())
        if reserved:
            reasons[f"node(s) are kept for {session.blocked_for}"] += reserved
        places = np.flatnonzero(self.suitable & ~session.blocked)
        free = session.free[places[:, None], self.rows]
        if full:
            free = free - np.maximum((free // self.wants).min(axis=1), 0)[:, None] * self.wants
        short = free < self.wants
        for row, count in zip(self.rows.tolist(), short.sum(axis=0).tolist(), strict=True):
            if count:
                resource = session.axis.resources[row]
                reasons[PODS_REASON if resource == PODS else f"Insufficient {resource}"] += count
        left = places[~short.any(axis=1)]
        if session.checks_nodes and self.shape.demand.ports and len(left):
            unclaimed = self._ports_free(left)
            reasons[PORTS_REASON] += int((~unclaimed).sum())
            left = left[unclaimed]
        if self.company is not None:
            for place in left.tolist():
                refusal = self.company.refusal(session.ledger.nodes[place])
                if refusal is not None:
                    reasons[refusal.reason] += 1
        listed = ", ".join(sorted(f"{count} {reason}" for reason, count in reasons.items() if count))
        return f"0/{total} nodes are unavailable: {listed}." if listed else ALL_UNAVAILABLE


def _has_preferences(shape: Shape) -> bool:
    rules = shape.rules
    return rules is not None and (bool(rules.preferences) or any(not spread.hard for spread in rules.spread))
