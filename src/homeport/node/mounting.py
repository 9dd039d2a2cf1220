"""One pod's volumes: set up, and brought up to date when what they show changes or their tokens are due."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from homeport.kube import meta
from homeport.kube.core.claims import claim_names
from homeport.kube.errors import HomeportError
from homeport.kube.meta import Object
from homeport.node import emptydirs, volumes
from homeport.node.claims import Claimed, resolve
from homeport.node.following import Followed
from homeport.node.host import Host
from homeport.node.payload import Giving
from homeport.node.references import Ref, Sources, Unresolved
from homeport.node.runtime import SandboxError
from homeport.node.tokens import Tokens

RENEWAL_RETRY = 10.0
"""Seconds between two attempts to renew a pod's tokens."""
_RENEWAL_WAIT = 24 * 3600.0


class Mounts:
    """`renew` is called when something in the volumes is not as it should be any more: what they show has changed, or a
    token is due for a successor. It asks for :meth:`bring_up_to_date`, and where that fails for :meth:`renew_in`."""

    def __init__(
        self,
        host: Host,
        pod: Object,
        directory: Path,
        *,
        sources: Callable[[set[Ref]], Awaitable[Sources]],
        renew: Callable[[], None],
    ) -> None:
        self.places = volumes.VolumePlaces(directory, meta.uid(pod))
        self._host = host
        self._sources = sources
        self._renew = renew
        self._tokens = Tokens(host.client)
        self._followed = Followed(host.following, meta.namespace(pod), renew)
        self._timer: asyncio.TimerHandle | None = None

    async def set_up(self, pod: Object) -> None:
        """Make the volumes of `pod` ready. Raises MountError and what the API raises."""
        if meta.spec(pod).get("volumes"):
            self.places = replace(self.places, claims=await self._claims(pod))
            await self._write(pod, volumes.set_up)
            await self._give_to_group(pod, volumes.GROUPED)

    async def _claims(self, pod: Object) -> Mapping[str, Claimed]:
        found: dict[str, Claimed] = {}
        for volume, (claim, is_ephemeral) in claim_names(pod).items():
            try:
                found[volume] = await resolve(self._host.client, pod, claim, is_ephemeral=is_ephemeral)
            except Unresolved as error:
                raise volumes.MountError(volume, str(error), error.waits_for) from error
        return found

    async def bring_up_to_date(self, pod: Object) -> None:
        """Have the volumes that show objects, fields and tokens show them as they are now. Raises as `set_up`; what can
        be shown is, all the same."""
        await self._write(pod, volumes.bring_up_to_date)
        await self._give_to_group(pod, volumes.CONTENT)

    async def _give_to_group(self, pod: Object, kinds: Iterable[str]) -> None:
        """Volumes of these kinds, to the pod's ``fsGroup``."""
        context = meta.spec(pod).get("securityContext") or {}
        group = context.get("fsGroup")
        if group is None:
            return
        for name, kind, path in volumes.paths(pod, self.places):
            if kind in kinds:
                # What the node writes itself is given anew with each change; all else may be large.
                lazily = kind not in volumes.CONTENT and context.get("fsGroupChangePolicy") == "OnRootMismatch"
                try:
                    await self._host.runtime.give(
                        str(path), group, read_only=kind in volumes.CONTENT, only_if_root_differs=lazily
                    )
                except SandboxError as error:
                    raise volumes.MountError(name, f"applyFSGroup failed for vol {name}: {error}") from error

    async def clear_memory(self) -> None:
        """Remove what lies in the machine's memory of the pod's volumes, once it has gone. Raises SandboxError."""
        memory = self.places.memory
        await asyncio.to_thread(shutil.rmtree, memory, ignore_errors=True)
        if memory.exists():  # of users that only the runtime may remove
            await self._host.runtime.remove(str(memory))

    async def free_memory(self, pod: Object) -> None:
        """The pod has ended: what its own volumes in memory hold is needed no more, however long its object stays.
        Raises SandboxError."""
        for name, source in emptydirs.empty_dirs(pod):
            if emptydirs.is_memory(source):
                await self._host.runtime.remove(str(self.places.of(name)))

    def _giving(self, pod: Object) -> Giving:
        """Gives files that are about to be shown to the pod's user and its ``fsGroup``; for the thread that writes
        them."""
        group: Any = (meta.spec(pod).get("securityContext") or {}).get("fsGroup")
        loop, runtime = asyncio.get_running_loop(), self._host.runtime

        def wait(giving: Coroutine[Any, Any, None], what: str) -> None:
            try:
                asyncio.run_coroutine_threadsafe(giving, loop).result()
            except SandboxError as error:
                raise HomeportError(f"{what} failed: {error}") from error

        def to_user(path: Path, user: int) -> None:
            wait(runtime.give_file(str(path), user), "chown")

        def to_group(path: Path) -> None:
            wait(runtime.give(str(path), group, read_only=True, only_if_root_differs=False), "applyFSGroup")

        return Giving(to_user, None if group is None else to_group)

    async def _write(self, pod: Object, write: Callable[[volumes.VolumePlaces, Sources, Giving], None]) -> None:
        refs = volumes.references(pod)
        self._followed.begin(refs)
        sources = await self._sources(refs)
        sources = replace(sources, tokens=await self._tokens.get(pod, self._host.now()))
        try:
            await asyncio.to_thread(write, self.places, sources, self._giving(pod))
        finally:
            found = {ref: obj for ref, obj in sources.objects.items() if obj is not None}
            immutable = [ref for ref, obj in found.items() if obj.get("immutable")]
            self._followed.finish({ref: meta.resource_version(obj) for ref, obj in found.items()}, immutable)
            if self._tokens.due is not None:
                self.renew_in((self._tokens.due - self._host.now()).total_seconds())

    def renew_in(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        # A clock that was put back must not keep a token from being replaced.
        wait = min(max(seconds, RENEWAL_RETRY), _RENEWAL_WAIT)
        self._timer = asyncio.get_running_loop().call_later(wait, self._renew)

    def clock_stepped(self) -> None:
        """The machine's clock has been set: tokens that are shown get successors now, not when their old time comes."""
        if self._tokens.due is not None:
            self._tokens.distrust()
            self._renew()

    def cancel(self) -> None:
        """Renew nothing more."""
        if self._timer is not None:
            self._timer.cancel()
        self._followed.close()
