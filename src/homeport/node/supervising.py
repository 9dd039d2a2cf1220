"""What runtimes have in common whose pods have a supervisor each: they are found again by their records."""

from __future__ import annotations

import asyncio
import os

from homeport.node.networked import Networked
from homeport.node.runtime import Sandbox
from homeport.node.sandbox import registry
from homeport.node.supervised import Supervised


class Supervising(Networked):
    """`_directory` is the node's; `_sandboxes` are those that are known, by the uids of their pods."""

    _directory: str
    _sandboxes: dict[str, Supervised]

    @property
    def _registry(self) -> registry.Registry:
        return registry.Registry(os.path.join(self._directory, "sandboxes"))

    def _known(self, uid: str) -> Supervised | None:
        """The sandbox of a pod, if it is one that still runs."""
        known = self._sandboxes.get(uid)
        return known if known is not None and known.alive else None

    async def adopt(self) -> list[Sandbox]:
        entries = await asyncio.to_thread(self._registry.entries)
        for entry in entries:
            if self._known(entry.uid) is None:
                self._sandboxes[entry.uid] = await self._adopt(entry)
        return [self._sandboxes[entry.uid] for entry in entries if entry.uid in self._sandboxes]

    async def _adopt(self, entry: registry.Entry) -> Supervised:
        """The sandbox of a record, running or ended."""
        raise NotImplementedError

    def _forget(self, sandbox: Supervised) -> None:
        """It is no more; there may be another one of its pod."""
        if self._sandboxes.get(sandbox.uid) is sandbox:
            del self._sandboxes[sandbox.uid]

    def _let_go(self) -> None:
        """Leave all to themselves."""
        for sandbox in self._sandboxes.values():
            sandbox.detach()
        self._sandboxes.clear()
