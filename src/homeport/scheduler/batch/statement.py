"""A transaction: what has been done in it is undone as a whole, in reverse, or stands as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from homeport.scheduler.batch.model import Task
from homeport.scheduler.batch.state import GroupState, Victim

if TYPE_CHECKING:
    from homeport.scheduler.batch.session import Session


class Statement:
    """Takes effect in the session at once, so that the next look sees it. Who drops it without :meth:`rollback` has
    committed."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._done: list[Victim | tuple[GroupState, Task]] = []
        self.victims: list[Victim] = []

    def place(self, group: GroupState, task: Task, place: int, *, later: bool = False) -> None:
        self._session.place(group, task, place, later=later)
        self._done.append((group, task))

    def evict(self, victim: Victim) -> None:
        self._session.evict(victim)
        self._done.append(victim)
        self.victims.append(victim)

    def __bool__(self) -> bool:
        """Whether anything has been done."""
        return bool(self._done)

    def mark(self) -> int:
        """For :meth:`rollback`: up to here."""
        return len(self._done)

    def rollback(self, mark: int = 0) -> None:
        while len(self._done) > mark:
            done = self._done.pop()
            if isinstance(done, Victim):
                self._session.unevict(done)
                self.victims.pop()
            else:
                self._session.unplace(*done)
