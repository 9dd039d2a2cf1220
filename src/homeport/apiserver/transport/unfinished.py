"""The bodies of requests that have begun and not ended, of all connections of a server.

A body is kept until it is whole, before anybody knows who sends it. Each is bounded, and so is its time; but many
connections may each hold one back just before its end. So there is a bound on all of them together, and the oldest give
way: a client that means it has sent its body by then.
"""

from __future__ import annotations

from collections.abc import Callable


class Unfinished:
    """Sizes of bodies, by whoever gives one up when it is called."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._sizes: dict[Callable[[], None], int] = {}
        """In the order in which the bodies began."""
        self.total = 0

    def hold(self, give_up: Callable[[], None], size: int) -> None:
        """The body of `give_up` has `size` bytes by now. What is too much is given up, the oldest first: that may be
        this one."""
        self.total += size - self._sizes.get(give_up, 0)
        self._sizes[give_up] = size
        while self.total > self._most:
            oldest = next(iter(self._sizes))
            self.release(oldest)
            oldest()

    def release(self, give_up: Callable[[], None]) -> None:
        """The body has ended, or there is none."""
        self.total -= self._sizes.pop(give_up, 0)
