"""What is left of pods that have no sandbox any more, or never got one: containers, volumes in memory, control groups.

A sandbox takes all of it along when it ends. Something is left where that was cut short: the platform was killed after
the containers had gone and before the group had, or an engine that was killed had made what it did not answer for. Of a
group nobody knows then: its place alone tells whose it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Collection

from homeport.node.engine import removing
from homeport.node.engine.api import EngineError
from homeport.node.engine.facts import Facts
from homeport.node.runtime import SandboxError

_LOG = logging.getLogger(__name__)
_AGAIN_SECONDS, _LONGEST_AGAIN_SECONDS = 0.5, 30.0


class Remains:
    """`in_use` says which pods have a sandbox, by their uids."""

    def __init__(self, in_use: Callable[[], Collection[str]]) -> None:
        self._in_use = in_use
        self._coming: set[str] = set()
        self._settled = asyncio.Lock()
        """Held while what is left is looked for and removed: no sandbox begins meanwhile."""
        self._is_swept = True
        self._sweeping: asyncio.Task[None] | None = None

    @contextlib.asynccontextmanager
    async def sparing(self, facts: Facts, uid: str) -> AsyncIterator[None]:
        """While a pod's sandbox is made, what it has is not left over. It is if that comes to nothing."""
        async with self._settled:
            self._coming.add(uid)
        try:
            yield
        except BaseException:
            self.sweep_soon(facts)
            raise
        finally:
            self._coming.discard(uid)

    async def sweep(self, facts: Facts) -> None:
        """Remove what is left. Raises EngineError or SandboxError."""
        async with self._settled:
            found = await removing.pods_of(facts)
            # Asked after the search, which may have found what ended meanwhile.
            spared = {*self._in_use(), *self._coming}
            for uid in found - spared:
                await removing.remove_pod(facts, uid)
            if facts.has_groups:
                await facts.net.ask_apart(op="ungroup-others", uids=sorted(spared))

    def sweep_soon(self, facts: Facts) -> None:
        """The same, again and again until it is done."""
        self._is_swept = False
        if self._sweeping is None:
            self._sweeping = asyncio.get_running_loop().create_task(self._sweep(facts))

    async def _sweep(self, facts: Facts) -> None:
        delay = _AGAIN_SECONDS
        while not self._is_swept:
            self._is_swept = True
            try:
                await self.sweep(facts)
            except (EngineError, SandboxError) as error:
                # The engine or the helper is being started anew, or is still at work on it, and nobody tells when.
                self._is_swept = False
                _LOG.warning("something of ended pods is left: %s; again in %g s", error, delay)
                await asyncio.sleep(delay)
                delay = min(2 * delay, _LONGEST_AGAIN_SECONDS)
        self._sweeping = None

    async def stop(self) -> None:
        """What is left then is found by the next :meth:`sweep`."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.wait([self._sweeping])
            self._sweeping = None
