"""Config maps and secrets that volumes show, each followed by one watch however many pods of the node show it.

As the kubelet does by default (``configMapAndSecretChangeDetectionStrategy: Watch``): an object is watched by its name,
only while a pod of the node shows it, and not once it is immutable.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping

from homeport.client.client import Client
from homeport.client.watch import WatchEvent
from homeport.control.reflector import Reflector
from homeport.kube import meta
from homeport.node.reading import RESOURCES
from homeport.node.references import Ref

_LINGERS = 30.0
"""Seconds that an object is watched after the last pod that showed it: the next one mostly shows the same, such as the
authority that every pod of the namespace has."""

Told = Callable[[Ref], None]
"""Hears that an object has come, has changed or is gone. Quick; does not raise."""


class _Followed(Reflector):
    """One object. `version` is its resourceVersion as last heard of, empty if there is none; None: nothing heard."""

    def __init__(self, client: Client, ref: Ref, namespace: str) -> None:
        super().__init__(client, RESOURCES[ref.kind], namespace=namespace, fields=f"metadata.name={ref.name}")
        self.ref = ref
        self.version: str | None = None
        self.told: list[Told] = []
        self.left: asyncio.TimerHandle | None = None
        """Runs once nobody follows it any more."""

    async def _list(self) -> str:
        listed = await self._client.list(self.resource, self.namespace, fields=self._fields)
        self._heard(meta.resource_version(listed.items[0]) if listed.items else "")
        return listed.resource_version

    def _take(self, event: WatchEvent) -> None:
        if event.type != "BOOKMARK":
            self._heard("" if event.type == "DELETED" else meta.resource_version(event.object))

    def _heard(self, version: str) -> None:
        if version == self.version:
            return
        self.version = version
        for told in tuple(self.told):
            told(self.ref)


class Following:
    """The objects that the pods of one node follow."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._followed: dict[tuple[str, Ref], tuple[_Followed, asyncio.Task[None]]] = {}

    def __len__(self) -> int:
        """How many objects pods follow."""
        return sum(bool(followed.told) for followed, _ in self._followed.values())

    def follow(self, namespace: str, ref: Ref, told: Told) -> None:
        """Have `told` hear of the object from now on."""
        key = (namespace, ref)
        if key not in self._followed:
            followed = _Followed(self._client, ref, namespace)
            task = asyncio.get_running_loop().create_task(followed.run(), name=f"{ref.kind} {namespace}/{ref.name}")
            self._followed[key] = followed, task
        followed = self._followed[key][0]
        if followed.left is not None:
            followed.left.cancel()
            followed.left = None
        followed.told.append(told)

    def leave(self, namespace: str, ref: Ref, told: Told, *, for_good: bool = False) -> None:
        """Have it hear no more. The watch ends some time after the last who follows, at once if it is `for_good`."""
        followed, _ = self._followed[namespace, ref]
        followed.told.remove(told)
        if not followed.told:
            wait = 0.0 if for_good else _LINGERS
            followed.left = asyncio.get_running_loop().call_later(wait, self._end, namespace, ref)

    def _end(self, namespace: str, ref: Ref) -> None:
        followed, task = self._followed[namespace, ref]
        if not followed.told:
            del self._followed[namespace, ref]
            task.cancel()

    def version(self, namespace: str, ref: Ref) -> str | None:
        """The resourceVersion as last heard of: empty if there is no such object, None if nobody knows yet."""
        found = self._followed.get((namespace, ref))
        return None if found is None else found[0].version

    def close(self) -> None:
        for followed, task in self._followed.values():
            if followed.left is not None:
                followed.left.cancel()
            task.cancel()
        self._followed.clear()


class Followed:
    """What one pod follows. `changed` is called when something that it shows is not as it was when it was read."""

    def __init__(self, following: Following, namespace: str, changed: Callable[[], None]) -> None:
        self._following = following
        self._namespace = namespace
        self._changed = changed
        self._read: dict[Ref, str | None] = {}
        """What the pod shows of each: the version that was read, None while it is being read."""
        self._before: dict[Ref, str | None] = {}
        """What had been heard of each before it was read."""
        self._settled: set[Ref] = set()
        """What is immutable."""

    def begin(self, refs: Iterable[Ref]) -> None:
        """Follow exactly these, which are about to be read."""
        wanted = set(refs) - self._settled
        for ref in self._read.keys() - wanted:
            self._leave(ref)
        for ref in wanted:
            if ref not in self._read:
                self._following.follow(self._namespace, ref, self._told)
            self._read[ref] = None
            self._before[ref] = self._following.version(self._namespace, ref)

    def finish(self, versions: Mapping[Ref, str], immutable: Iterable[Ref]) -> None:
        """They were read in these versions (empty: there is none), and the volumes show them now. What changed since is
        told at once; what can't change is followed no more."""
        for ref in immutable:
            self._settled.add(ref)
            if ref in self._read:
                self._leave(ref, for_good=True)
        for ref in self._read:
            self._read[ref] = versions.get(ref, "")
        if any(self._is_older(ref) for ref in self._read):
            self._changed()

    def close(self) -> None:
        for ref in list(self._read):
            self._leave(ref)

    def _leave(self, ref: Ref, *, for_good: bool = False) -> None:
        del self._read[ref]
        self._following.leave(self._namespace, ref, self._told, for_good=for_good)

    def _told(self, ref: Ref) -> None:
        if self._is_older(ref):
            self._changed()

    def _is_older(self, ref: Ref) -> bool:
        """Whether the pod shows something older than what was heard of since."""
        read, heard = self._read.get(ref), self._following.version(self._namespace, ref)
        if read is None or heard is None or heard == read:
            return False
        if read and heard:
            return int(heard) > int(read)  # what was read may be ahead of the watch
        return heard != self._before.get(ref)
