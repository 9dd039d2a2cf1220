"""A client that lives through restarts of the platform, and a view of objects that does too."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from homeport.client.client import Client
from homeport.client.http import HttpTransport
from homeport.client.transport import Unreachable
from homeport.kube import meta
from homeport.kube.errors import ApiError, Expired, HomeportError
from homeport.kube.kind import Resource
from homeport.kube.meta import Object

FIELD_MANAGER = "homeport-run"
_FIRST_DELAY = 0.05
_LONGEST_DELAY = 1.0


class Connection:
    """`client` reaches the API server of `kubeconfig`; whoever loses it awaits `lost` and tries again.

    The kubeconfig is read anew when it has changed: a platform may come back on another port. `tell` hears True when
    the server stops answering and False when it is back.
    """

    def __init__(
        self, kubeconfig: Path | None, context: str | None = None, *, tell: Callable[[bool], None] = lambda away: None
    ) -> None:
        self._kubeconfig = kubeconfig
        self._context = context
        self._tell = tell
        self._away = False
        self._delay = _FIRST_DELAY
        self._stamp = self._read_stamp()
        self._former: list[Client] = []
        self.client = self._open()

    @property
    def namespace(self) -> str:
        """Where objects without a namespace go."""
        transport = self.client.transport
        return transport.access.namespace if isinstance(transport, HttpTransport) else "default"

    async def __aenter__(self) -> Connection:
        return self

    async def __aexit__(self, *_: object) -> None:
        for client in (*self._former, self.client):
            await client.close()

    async def lost(self, error: HomeportError) -> None:
        """Wait before the next try. Raises `error` again if trying won't help."""
        if not is_temporary(error):
            raise error
        if not self._away:
            self._away = True
            self._tell(True)
        await asyncio.sleep(self._delay)
        self._delay = min(self._delay * 2, _LONGEST_DELAY)
        stamp = self._read_stamp()
        if stamp != self._stamp:
            self._stamp = stamp
            self._former.append(self.client)
            self.client = self._open()

    def found(self) -> None:
        """An exchange worked."""
        self._delay = _FIRST_DELAY
        if self._away:
            self._away = False
            self._tell(False)

    def _open(self) -> Client:
        transport = HttpTransport.from_kubeconfig(self._kubeconfig, self._context)
        return Client(transport, field_manager=FIELD_MANAGER)

    def _read_stamp(self) -> tuple[int, int] | None:
        try:
            stat = self._kubeconfig.stat() if self._kubeconfig else None
        except OSError:
            return None
        return (stat.st_mtime_ns, stat.st_ino) if stat else None


def is_temporary(error: HomeportError) -> bool:
    """Whether the same request may work a moment later: the server is away, starting, busy or full."""
    return isinstance(error, Unreachable) or (isinstance(error, ApiError) and (error.code >= 500 or error.code == 429))


async def mirror(
    connection: Connection,
    resource: Resource,
    namespace: str,
    deliver: Callable[[Object, bool], None],
    *,
    labels: str = "",
    fields: str = "",
    listed: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Deliver every object and every change of it, ``True`` for one that has gone, until cancelled.

    Nothing is missed while the server is away: afterwards the difference is delivered. A state that came and went
    meanwhile is not; `listed` is awaited each time that all objects were listed and delivered, to look for it. Raises
    what can't be waited out (Forbidden, ...).
    """
    known: dict[str, Object] = {}

    def came(obj: Object) -> None:
        before = known.get(meta.uid(obj))
        if before is None or meta.resource_version(before) != meta.resource_version(obj):
            known[meta.uid(obj)] = obj
            deliver(obj, False)

    def gone(obj: Object) -> None:
        if known.pop(meta.uid(obj), None) is not None:
            deliver(obj, True)

    while True:
        try:
            listing = await connection.client.list(resource, namespace, labels=labels, fields=fields)
            connection.found()
            present = {meta.uid(obj) for obj in listing.items}
            for obj in [obj for uid, obj in known.items() if uid not in present]:
                gone(obj)
            for obj in listing.items:
                came(obj)
            if listed is not None:
                await listed()
            version = listing.resource_version
            while True:
                began = asyncio.get_running_loop().time()
                watch = connection.client.watch(
                    resource, namespace, resource_version=version, labels=labels, fields=fields
                )
                async with watch as events:
                    connection.found()
                    async for type, obj in events:
                        version = meta.resource_version(obj) or version
                        if type == "DELETED":
                            gone(obj)
                        elif type != "BOOKMARK":
                            came(obj)
                if asyncio.get_running_loop().time() - began < _LONGEST_DELAY:
                    await asyncio.sleep(_LONGEST_DELAY)  # a server that stops ends its watches at once
        except Expired:
            continue
        except HomeportError as error:
            await connection.lost(error)
