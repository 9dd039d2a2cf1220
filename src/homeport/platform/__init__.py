"""The composition root: which parts there are, in which order they start, and how they find each other.

Parts start in the order of :data:`PARTS` and stop in the reverse order. Each is an asynchronous context manager that
yields one line about itself once it is ready, and leaves on the :class:`Platform` what later parts need. Pods are no
part of this: they outlive the platform. :mod:`homeport.platform.running` runs all of it until a signal comes.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from importlib import import_module
from typing import IO, TYPE_CHECKING, Any

from homeport.datadir import DataDir
from homeport.kube.errors import Permanent
from homeport.settings import DEFAULTS, ApiSettings

if TYPE_CHECKING:
    from homeport.apiserver.identity.accounts import ServiceAccounts
    from homeport.apiserver.server import ApiServer
    from homeport.client.client import Client
    from homeport.control.informer import Informers
    from homeport.node.choice import Choice, PodRuntime
    from homeport.platform.node import NodeLink
    from homeport.store.sqlite import SqliteStore

log = logging.getLogger(__name__)


class PartFailed(Permanent):
    """A part of the platform ended that should not."""


class Platform:
    """One platform on one data directory.

    ``async with Platform(directory) as platform`` starts every part and stops it again; pods go on. `client` speaks to
    the API server in process, `directory.kubeconfig` is how everybody else reaches it. `parts` is the beginning of
    :data:`PARTS` that is started: all of it, or :data:`API_PARTS` for an API server alone.
    """

    def __init__(
        self,
        directory: DataDir,
        *,
        port: int | None = None,
        settings: ApiSettings = DEFAULTS,
        report: Callable[[str], None] = lambda line: None,
        parts: Sequence[tuple[str, Part]] | None = None,
    ) -> None:
        self.directory = directory
        self.port = port
        self.settings = settings
        self._report = report
        self._parts = PARTS if parts is None else parts
        self._stack = AsyncExitStack()
        self._failed: asyncio.Future[None] | None = None
        self.started = asyncio.Event()
        """Set once every part is ready: what nobody waits for begins then."""
        self.settled = asyncio.Event()
        """Set once that has been done, too."""

    # What the parts make, in the order of PARTS.
    lock: IO[str]
    runtime: PodRuntime
    """Of a platform that acts."""
    runtime_starts: asyncio.Task[None] | None
    """The start of the node's helpers, which are processes of their own: begun at once, awaited by the node."""
    choice: Choice
    """Which runtime that is, and why."""
    store: SqliteStore
    api: ApiServer
    accounts: ServiceAccounts
    url: str
    port_served: int
    serve: Callable[[socket.socket], Awaitable[None]]
    """Serve the API on one more listening socket."""
    client: Client
    informers: Informers
    node: NodeLink

    @property
    def acts(self) -> bool:
        """Whether it does more than to store and serve objects: then it has a runtime."""
        return any(name not in _API for name, _ in self._parts)

    @property
    def has_node(self) -> bool:
        """Whether a node is among its parts."""
        return any(name == NODE for name, _ in self._parts)

    async def __aenter__(self) -> Platform:
        self._failed = asyncio.get_running_loop().create_future()
        async with AsyncExitStack() as stack:
            for name, part in self._parts:
                begin = time.monotonic()
                detail = await stack.enter_async_context(part(self))
                self._report(f"  {name:<12} {detail:<56} {1000 * (time.monotonic() - begin):5.0f} ms")
            self._stack = stack.pop_all()
        self.started.set()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()

    async def wait_for(self, event: asyncio.Event) -> None:
        """Wait for `event`. Raises PartFailed if a part of the platform ends before, which none should."""
        assert self._failed is not None, "the platform has not been started"
        waiting = asyncio.ensure_future(event.wait())
        try:
            await asyncio.wait((waiting, self._failed), return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        if self._failed.done() and not event.is_set():
            await self._failed

    @asynccontextmanager
    async def background(
        self, name: str, work: Coroutine[Any, Any, Any], *, endless: bool = True
    ) -> AsyncIterator[None]:
        """Run `work` as long as the part lives. An error in it, or its end if it is `endless`, fails the platform:
        nothing dies in silence."""

        def ended(task: asyncio.Task[Any]) -> None:
            if task.cancelled() or self._failed is None or self._failed.done():
                return
            error = task.exception()
            if error is None and not endless:
                return
            log.error("%s ended", name, exc_info=error)
            self._failed.set_exception(PartFailed(f"{name}: {error or 'it ended'}. The log is {self.directory.log}."))
            self._failed.exception()  # whoever waits hears of it; if nobody does, the log has it

        task = asyncio.get_running_loop().create_task(work, name=name)
        task.add_done_callback(ended)
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


Part = Callable[[Platform], AbstractAsyncContextManager[str]]


def _part(module: str, name: str) -> Part:
    """A part of a module of this package, which is imported when it is the part's turn: so that the node's helpers
    start meanwhile, and an API server alone doesn't wait for what it lacks."""

    @asynccontextmanager
    async def part(platform: Platform) -> AsyncIterator[str]:
        begin: Part = getattr(import_module(f"homeport.platform.{module}"), name)
        async with begin(platform) as detail:
            yield detail

    return part


NODE = "node"
_API = frozenset({"data", "store", "api server"})
"""What an API server alone has."""
PARTS: tuple[tuple[str, Part], ...] = (
    ("data", _part("storage", "directory")),
    ("store", _part("storage", "store")),
    ("api server", _part("serving", "api_server")),
    ("controllers", _part("control", "controllers")),
    ("scheduler", _part("control", "scheduler")),
    (NODE, _part("node", "node")),
)
API_PARTS = PARTS[: 1 + [name for name, _ in PARTS].index("api server")]
"""The API server alone: objects are stored and served, and nothing acts on them."""
