"""What is learnt about a request while it is served, beside what it says itself."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from datetime import datetime

from homeport.kube.wire import User


class Trail:
    """The facts about one request that its audit event will have."""

    __slots__ = ("annotations", "identified", "impersonated", "received", "user")

    def __init__(self, received: datetime) -> None:
        self.received = received
        self.user: User | None = None
        """Who sent it; None until that is known."""
        self.impersonated: User | None = None
        self.annotations: dict[str, str] = {}
        self.identified: Callable[[], None] = _nothing
        """To be called once `user` is known."""


def _nothing() -> None:
    return


current: ContextVar[Trail | None] = ContextVar("audit trail", default=None)


def annotate(key: str, value: str) -> None:
    """Note something about the request that is being served. The first note of a key stays, as upstream."""
    trail = current.get()
    if trail is not None:
        trail.annotations.setdefault(key, value)
