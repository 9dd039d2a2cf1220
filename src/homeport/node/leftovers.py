"""What is found of pods that are gone when a node starts: sandboxes that still run, directories, secrets in memory."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from homeport.node import journal, volumes
from homeport.node.runtime import Runtime, Sandbox, SandboxError

_log = logging.getLogger(__name__)
_AGAIN_SECONDS, _LONGEST_AGAIN_SECONDS = 1.0, 300.0


class Leftovers:
    """`keep` keeps what is to be kept of a pod's directory."""

    def __init__(self, runtime: Runtime, keep: Callable[[Path], Awaitable[None]]) -> None:
        self._runtime = runtime
        self._keep = keep
        self._gpus: dict[str, tuple[str, ...]] = {}
        """Those of pods that may still run, by the pods' uids."""

    def gpus(self) -> Iterator[str]:
        """The uuids of GPUs that nobody may get yet."""
        return (uuid for uuids in self._gpus.values() for uuid in uuids)

    def see(self, sandbox: Sandbox) -> None:
        """A sandbox has no pod; :meth:`end` is for later."""
        left = journal.load(Path(sandbox.directory))
        if left is not None:
            self._gpus[sandbox.uid] = tuple(uuid for uuids in left.devices.values() for uuid in uuids)

    async def end(self, sandbox: Sandbox) -> None:
        """End a sandbox without a pod, and remove what the pod has left."""
        await insist(sandbox.destroy, f"the sandbox of a pod that is gone ({sandbox.uid}) could not be ended")
        self._gpus.pop(sandbox.uid, None)
        await self.sweep(Path(sandbox.directory))

    async def sweep(self, path: Path) -> None:
        """Remove what a pod has left: its directory, and before it what that one speaks for. Its logs may be kept."""
        await self._keep(path)
        memory = volumes.VolumePlaces(path, path.name).memory
        if memory.exists():
            await self.take_away(memory)
        await self.take_away(path)

    async def take_away(self, path: Path) -> None:
        """Remove a tree."""
        await insist(lambda: self._runtime.remove(str(path)), f"{path} could not be removed")


async def insist(work: Callable[[], Awaitable[None]], failure: str) -> None:
    """Do it again and again until it succeeds: what is in the way, such as a helper that is being started anew, may be
    gone by then, and nobody tells. The log has the first failure, in those words."""
    delay = _AGAIN_SECONDS
    while True:
        try:
            await work()
            return
        except (SandboxError, OSError) as error:
            if delay == _AGAIN_SECONDS:
                _log.warning("%s: %s. It is tried again", failure, error)
        await asyncio.sleep(delay)
        delay = min(2 * delay, _LONGEST_AGAIN_SECONDS)
