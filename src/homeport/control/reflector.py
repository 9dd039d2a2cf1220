"""Following a resource: list once, then watch, whatever goes wrong.

A reflector resumes where it stopped; when the history no longer reaches that far (410) it lists anew. Errors are waited
out with growing, jittered delays. What it does with objects is its subclasses' business: an `Informer` keeps them, a
`Follower` keeps none.
"""

from __future__ import annotations

import asyncio
import logging
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable

from homeport.client.client import Client
from homeport.client.partial import Meta
from homeport.client.watch import WatchEvent
from homeport.control.cache import Change
from homeport.kube.errors import ApiError, Expired, HomeportError, Timeout
from homeport.kube.kind import Resource
from homeport.kube.meta import Object

_log = logging.getLogger(__name__)
_FIRST_DELAY = 0.05
_LONGEST_DELAY = 30.0
_CALM = 5.0
"""Seconds of a watch after which earlier failures are forgotten even if nothing happened."""


class Reflector(ABC):
    """Lists and watches one resource. `run` it once."""

    def __init__(
        self,
        client: Client,
        resource: Resource,
        *,
        namespace: str = "",
        metadata_only: bool = False,
        fields: str = "",
    ) -> None:
        self.resource = resource
        self.namespace = namespace
        """Empty: of all namespaces."""
        self.attempted = asyncio.Event()
        """Set once a first list succeeded or failed: for those who can't wait for a resource that is broken."""
        self.lists = 0
        """How often everything was listed: once, if all goes well."""
        self._client = client
        self._metadata_only = metadata_only
        self._fields = fields
        self._resume = ""
        self._delay = _FIRST_DELAY

    @property
    def watching(self) -> bool:
        """Whether it hears of every change from here on: it has listed, and need not do so again."""
        return bool(self._resume)

    @abstractmethod
    async def _list(self) -> str:
        """Take in everything there is. Gives the revision to watch from."""

    @abstractmethod
    def _take(self, event: WatchEvent) -> None:
        """Take in one change, or a bookmark."""

    async def run(self) -> None:
        """List and watch until cancelled."""
        while True:
            try:
                if not self._resume:
                    self._resume = await self._list()
                    self.lists += 1
                    self.attempted.set()
                await self._watch()
            except Expired:
                _log.info("%s: the watch is too old to resume; listing anew", self.resource.qualified)
                self._resume = ""
                await self._pause_if_failing()
            except Timeout as error:
                # A revision from before the server's data was replaced: it has never heard of it.
                if "resource version" in str(error).lower():
                    self._resume = ""
                await self._pause(error)
            except HomeportError as error:
                await self._pause(error)
            except Exception as error:  # an object that can't be: start over rather than end everybody's view
                _log.exception("%s: the informer failed", self.resource.qualified)
                self._resume = ""
                await self._pause(HomeportError(f"{type(error).__name__}: {error}"))
            else:
                await self._pause_if_failing()

    async def _watch(self) -> None:
        """Follow until the server ends the stream."""
        loop = asyncio.get_running_loop()
        timeout = random.uniform(300, 600)  # many clients must not come back all at once
        started = loop.time()
        async with self._client.watch(
            self.resource,
            self.namespace,
            resource_version=self._resume,
            timeout=timeout,
            fields=self._fields,
            metadata_only=self._metadata_only,
        ) as events:
            async for event in events:
                if event.type not in ("DELETED", "BOOKMARK"):
                    self._delay = _FIRST_DELAY  # the watch gets on
                self._take(event)
                self._resume = (event.object.get("metadata") or {}).get("resourceVersion") or ""
        if loop.time() - started > _CALM:
            self._delay = _FIRST_DELAY

    async def _pause_if_failing(self) -> None:
        """A server that ends every watch at once must not be asked in a tight loop."""
        if self._delay != _FIRST_DELAY:
            await asyncio.sleep(self._delay * random.uniform(0.5, 1.5))
        self._delay = min(self._delay * 2, _LONGEST_DELAY)

    async def _pause(self, error: HomeportError) -> None:
        self.attempted.set()
        delay = self._delay * random.uniform(0.5, 1.5)
        after = error.retry_after if isinstance(error, ApiError) else None
        if after is not None:
            delay = max(delay, min(float(after), _LONGEST_DELAY))
        self._delay = min(self._delay * 2, _LONGEST_DELAY)
        level = logging.INFO if self._delay < 1 else logging.WARNING
        _log.log(level, "%s: %s; again in %.2g s", self.resource.qualified, error, delay)
        await asyncio.sleep(delay)


class Follower(Reflector):
    """Tells of every change to a resource's metadata and keeps none of it, however many objects there are.

    `told` hears of the objects of a list that `matter`, of every change from then on, and of the objects that it
    `remembers` (by uid) and that a later list no longer has. Its changes are ADDED or MODIFIED with the new state, or
    DELETED with the last one. None of the three waits or raises.
    """

    def __init__(
        self,
        client: Client,
        resource: Resource,
        told: Callable[[Change], None],
        *,
        matters: Callable[[Meta], bool],
        remembered: Callable[[], Iterable[tuple[str, Object]]],
    ) -> None:
        super().__init__(client, resource, metadata_only=True)
        self._told = told
        self._matters = matters
        self._remembered = remembered

    async def _list(self) -> str:
        # Asked before the server is: what is remembered while the list is on its way may be missing in it.
        missing: dict[str, Object] = dict(self._remembered())
        revision = ""

        def wanted(meta: Meta) -> bool:
            missing.pop(meta.uid, None)
            return self._matters(meta)

        async for page in self._client.pages(self.resource, wanted=wanted):
            revision = page.resource_version
            for obj in page.items:
                self._tell(Change("MODIFIED", None, obj))
        for obj in missing.values():
            self._tell(Change("DELETED", obj, None))
        return revision

    def _take(self, event: WatchEvent) -> None:
        type, obj = event
        if type == "DELETED":
            self._tell(Change("DELETED", obj, None))
        elif type != "BOOKMARK":
            self._tell(Change(type, None, obj))

    def _tell(self, change: Change) -> None:
        obj = change.object
        obj.setdefault("apiVersion", self.resource.api_version)
        obj.setdefault("kind", self.resource.kind)
        try:
            self._told(change)
        except Exception:
            _log.exception("%s: a handler failed on %s", self.resource.qualified, obj["metadata"].get("name"))
