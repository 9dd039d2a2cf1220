"""One pod's volumes: set up, brought up to date, and their tokens renewed in time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from msgspec.structs import replace

from homeport.kube import meta
from homeport.kube.meta import Object
from homeport.node import volumes
from homeport.node.host import Host
from homeport.node.references import Ref, Sources
from homeport.node.tokens import Tokens

RENEWAL_RETRY = 10.0
"""Seconds between two attempts to renew a pod's tokens."""
_RENEWAL_WAIT = 24 * 3600.0


class Mounts:
    """`renew` is called when a token is due for a successor; it asks for :meth:`set_up`, or for :meth:`renew_in`."""

    def __init__(
        self,
        host: Host,
        directory: Path,
        uid: str,
        *,
        sources: Callable[[set[Ref]], Awaitable[Sources]],
        renew: Callable[[], None],
    ) -> None:
        self.places = volumes.VolumePlaces(directory, uid)
        self._host = host
        self._sources = sources
        self._renew = renew
        self._tokens = Tokens(host.client)
        self._timer: asyncio.TimerHandle | None = None

    async def set_up(self, pod: Object) -> None:
        """Make the volumes of `pod` ready or bring them up to date. Raises MountError and what the API raises."""
        if not meta.spec(pod).get("volumes"):
            return
        sources = await self._sources(volumes.references(pod))
        sources = replace(sources, tokens=await self._tokens.get(pod, self._host.now()))
        await asyncio.to_thread(volumes.set_up, self.places, sources)
        if self._tokens.due is not None:
            self.renew_in((self._tokens.due - self._host.now()).total_seconds())

    def renew_in(self, seconds: float) -> None:
        self.cancel()
        # A clock that was put back must not keep a token from being replaced.
        wait = min(max(seconds, RENEWAL_RETRY), _RENEWAL_WAIT)
        self._timer = asyncio.get_running_loop().call_later(wait, self._renew)

    def cancel(self) -> None:
        """Renew nothing more."""
        if self._timer is not None:
            self._timer.cancel()
