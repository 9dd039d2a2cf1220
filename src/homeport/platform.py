"""The composition root: which parts there are, in which order they start, and how they find each other.

Parts start in the order of :data:`PARTS` and stop in the reverse order. Each is an asynchronous context manager that
yields one line about itself once it is ready. Pods are no part of this: they outlive the platform.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import os
import platform as machine
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from typing import IO, TYPE_CHECKING, Any, Literal

import uvloop

from homeport import __version__, examples
from homeport.apiserver import flowcontrol, http, pki, tokens
from homeport.apiserver.admission import priority
from homeport.apiserver.aggregation import authentication
from homeport.apiserver.aggregation.remote import Identity
from homeport.apiserver.authn import AUTHENTICATED_GROUP, BearerTokens, ClientCertificates, TokenAuthenticator
from homeport.apiserver.authz import MASTERS
from homeport.apiserver.health import Check, Unhealthy
from homeport.apiserver.identity.accounts import ServiceAccounts
from homeport.apiserver.identity.keys import SigningKey
from homeport.apiserver.node import LogOptions, Session, Wanted
from homeport.apiserver.rbac.bootstrap import bootstrap
from homeport.apiserver.server import ApiServer
from homeport.client import kubeconfig
from homeport.client.client import Client
from homeport.client.local import LocalTransport
from homeport.components import system, training
from homeport.control import definitions
from homeport.control.informer import Informers
from homeport.control.manager import Manager
from homeport.datadir import HOST, PREFERRED_PORT, DataDir, Endpoint
from homeport.kube import core, meta
from homeport.kube.errors import ApiError, Permanent, ServiceUnavailable
from homeport.kube.meta import Object
from homeport.kube.wire import User
from homeport.node import runtime
from homeport.node.process import ProcessRuntime
from homeport.settings import DEFAULTS, ApiSettings
from homeport.store.protocol import StoreError
from homeport.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from homeport.apiserver.audit.auditor import Auditor
    from homeport.node.agent import Agent

log = logging.getLogger("homeport.platform")

LOG_BYTES = 10 << 20
"""A log of this size makes room for a new one; one old one is kept."""
CONTEXT = "homeport"
"""Name of the kubeconfig's context."""
SYSTEM_USER = User("system:homeport", (MASTERS, AUTHENTICATED_GROUP))


def _bind(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen(1024)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def bind(wanted: int | None, last: int | None) -> socket.socket:
    """The API server's socket: the port asked for; else the last one (kubeconfigs stay true), 6443, or a free one."""
    if wanted is not None:
        try:
            return _bind(wanted)
        except OSError as error:
            reason = {errno.EADDRINUSE: "it is in use", errno.EACCES: "ports below 1024 need root"}
            raise Permanent(
                f"port {wanted} can't be served: {reason.get(error.errno or 0, error.strerror)}. "
                "Leave out --port to have a free one chosen."
            ) from error
    for port in (last, PREFERRED_PORT):
        if port is not None:
            try:
                return _bind(port)
            except OSError:
                log.info("port %d is in use", port)
    return _bind(0)


KINDS = (*core.KINDS, *system.KINDS, *training.KINDS)


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

    # What the parts make, in the order of PARTS.
    lock: IO[str]
    runtime: ProcessRuntime
    store: SqliteStore
    api: ApiServer
    accounts: ServiceAccounts
    url: str
    port_served: int
    serve: Callable[[socket.socket], Awaitable[None]]
    """Serve the API on one more listening socket."""
    client: Client
    informers: Informers
    node: _Node

    async def __aenter__(self) -> Platform:
        self._failed = asyncio.get_running_loop().create_future()
        async with AsyncExitStack() as stack:
            for name, part in self._parts:
                begin = time.monotonic()
                detail = await stack.enter_async_context(part(self))
                self._report(f"  {name:<12} {detail:<56} {1000 * (time.monotonic() - begin):5.0f} ms")
            self._stack = stack.pop_all()
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


# The parts.


class _Node:
    """What the API server asks of the node. That is a later part, so the agent comes when it is there."""

    def __init__(self) -> None:
        self.agent: Agent | None = None

    def _ready(self) -> Agent:
        if self.agent is None:
            raise ServiceUnavailable("the node is not ready yet: try again in a moment", retry_after=1)
        return self.agent

    async def logs(self, pod: Object, container: str, options: LogOptions) -> AsyncIterator[bytes]:
        return await self._ready().logs(pod, container, options)

    async def summary(self) -> Object:
        return await self._ready().summary()

    async def dial(self, address: str, port: int) -> socket.socket:
        return await self._ready().dial(address, port)

    async def connect(self, pod: Object, port: int) -> socket.socket:
        return await self._ready().connect(pod, port)

    def check_running(self, pod: Object, container: str) -> None:
        self._ready().check_running(pod, container)

    async def execute(self, pod: Object, container: str, command: Sequence[str], wanted: Wanted) -> Session:
        return await self._ready().execute(pod, container, command, _streams(wanted))

    async def attach(self, pod: Object, container: str, wanted: Wanted) -> Session:
        return await self._ready().attach(pod, container, _streams(wanted))


def _streams(wanted: Wanted) -> runtime.Wanted:
    return runtime.Wanted(wanted.stdin, wanted.stdout, wanted.stderr, wanted.tty)


@asynccontextmanager
async def _directory(platform: Platform) -> AsyncIterator[str]:
    directory = platform.directory
    directory.create()
    platform.lock = directory.lock()
    platform.runtime = ProcessRuntime(directory.node, hidden=(directory.path,))
    try:
        yield str(directory.path)
    finally:
        platform.lock.close()


@asynccontextmanager
async def _store(platform: Platform) -> AsyncIterator[str]:
    try:
        store = SqliteStore.open(platform.directory.database)
    except StoreError as error:
        raise Permanent(str(error)) from error
    platform.store = store
    try:
        yield _count(sum(store.count(resource) for resource in store.resources()), "object")
    finally:
        await store.close()


@asynccontextmanager
async def _api_server(platform: Platform) -> AsyncIterator[str]:
    directory = platform.directory
    # Pods reach the server at the gateway of their network.
    authority = pki.ensure(directory.pki, addresses=(platform.runtime.gateway,))
    token = tokens.ensure(directory.pki / "admin.token")
    static = tokens.StaticTokens({token: tokens.ADMIN})
    chosen = platform.settings.accounts
    accounts = platform.accounts = ServiceAccounts(
        platform.store,
        SigningKey(directory.pki / "service-account.key"),
        issuer=chosen.issuer,
        audiences=chosen.audiences,
        longest=chosen.longest,
        extend=chosen.extend,
    )
    platform.node = _Node()
    try:
        await bootstrap(platform.store, datetime.now(UTC), KINDS)
        await authentication.bootstrap(
            platform.store,
            datetime.now(UTC),
            client_ca_pem=authority.ca.read_text(),
            front_proxy_ca_pem=authority.front_proxy_ca.read_text(),
        )
    except StoreError as error:
        # Nobody gets more for it, and what runs goes on; the next start tries again.
        log.warning("the default roles and what extra API servers read could not be written: %s", error)
    await priority.bootstrap(platform.store, datetime.now(UTC))
    await flowcontrol.bootstrap(platform.store, datetime.now(UTC))
    platform.api = ApiServer(
        platform.store,
        KINDS,
        authenticators=(
            BearerTokens((static, accounts, *_oidc(platform.settings)), accounts.audiences),
            ClientCertificates(),
        ),
        accounts=accounts,
        auditor=_auditor(platform.settings),
        node=platform.node,
        front_proxy=Identity(authority.front_proxy, authority.front_proxy_key),
    )
    await platform.api.aggregation.start()
    await platform.api.priority.start()
    platform.api.restorable = directory.staged
    former = directory.endpoint()
    listener = bind(platform.port, former.port if former else None)
    port = listener.getsockname()[1]
    context = pki.server_context(authority)
    server = await http.serve(platform.api, listener, context)
    platform.serve = lambda another: server.listen(another, context)
    endpoint = Endpoint(os.getpid(), HOST, port, meta.timestamp(datetime.now(UTC)), __version__)
    platform.url, platform.port_served = endpoint.url, port
    document = kubeconfig.document(
        CONTEXT,
        server=endpoint.url,
        ca_pem=authority.ca.read_bytes(),
        token=token,
        certificate_pem=authority.admin.read_bytes(),
        key_pem=authority.admin_key.read_bytes(),
    )
    kubeconfig.write(directory.kubeconfig, document)
    directory.write_endpoint(endpoint)
    platform.client = Client(LocalTransport(platform.api.handle, SYSTEM_USER))
    platform.informers = Informers(platform.client)
    platform.api.health.add(Check("informer-sync", lambda: _informers_synced(platform.informers), live=False))
    try:
        async with platform.background("informers", platform.informers.run()):
            yield endpoint.url
    finally:
        await server.close()
        await platform.api.close()


async def _informers_synced(informers: Informers) -> None:
    if waiting := informers.waiting:
        raise Unhealthy(f"{len(waiting)} informers not started yet: {waiting}")


def _oidc(settings: ApiSettings) -> Sequence[TokenAuthenticator]:
    if settings.oidc is None:
        return ()
    from homeport.apiserver.identity.oidc import OidcTokens  # few platforms have a provider

    return (OidcTokens(settings.oidc),)


def _auditor(settings: ApiSettings) -> Auditor | None:
    if settings.audit is None:
        return None
    from homeport.apiserver.audit.opening import open_auditor  # few platforms keep an audit log

    return open_auditor(settings.audit)


@asynccontextmanager
async def _controllers(platform: Platform) -> AsyncIterator[str]:
    from homeport.node.agent import API_PORT  # an API server alone starts without the parts that it lacks

    controllers = (*system.CONTROLLERS, *training.CONTROLLERS)
    manager = Manager(platform.client, controllers, informers=platform.informers)
    basics = asyncio.Event()
    authority = pki.paths(platform.directory.pki).ca.read_text()
    api = (platform.runtime.gateway, API_PORT)
    async with (
        platform.background(
            "system",
            system.run(
                platform.client,
                platform.informers,
                ca_pem=authority,
                api=api,
                sign=platform.accounts.issue_legacy,
                ready=basics,
            ),
        ),
        platform.background("controllers", manager.run()),
        platform.background("definitions", _install_definitions(platform.client), endless=False),
    ):
        await platform.wait_for(basics)
        await platform.wait_for(manager.ready)
        yield ", ".join(controller.name for controller in training.CONTROLLERS)


async def _install_definitions(client: Client) -> None:
    try:
        await definitions.install(client, KINDS)
    except ApiError as error:
        # Nothing here needs them; the next start tries again.
        log.warning("the kinds could not be shown as CustomResourceDefinitions: %s", error)


@asynccontextmanager
async def _scheduler(platform: Platform) -> AsyncIterator[str]:
    from homeport.scheduler.binder import Scheduler  # as above

    scheduler = Scheduler(platform.client, informers=platform.informers)
    async with platform.background("scheduler", scheduler.run()):
        await platform.wait_for(scheduler.ready)
        yield "default-scheduler"


@asynccontextmanager
async def _node(platform: Platform) -> AsyncIterator[str]:
    from homeport.node.agent import Agent  # as above
    from homeport.node.images import ImageStore

    directory = platform.directory
    images = ImageStore(directory.images, directories=examples.images())
    name = machine.node().lower()
    agent = Agent(
        platform.client,
        platform.runtime,
        images,
        node_name=name,
        data_dir=directory.node,
        informers=platform.informers,
        own_api=(HOST, platform.port_served),
        serve_api=platform.serve,
    )
    try:
        async with platform.background("node", agent.run()):
            await platform.wait_for(agent.ready)
            platform.node.agent = agent
            yield f"NOT READY: {agent.problem}" if agent.problem else name
    finally:
        await images.close()


Part = Callable[[Platform], AbstractAsyncContextManager[str]]

PARTS: tuple[tuple[str, Part], ...] = (
    ("data", _directory),
    ("store", _store),
    ("api server", _api_server),
    ("controllers", _controllers),
    ("scheduler", _scheduler),
    ("node", _node),
)
API_PARTS = PARTS[: 1 + [name for name, _ in PARTS].index("api server")]
"""The API server alone: objects are stored and served, and nothing acts on them."""


# Running it.


def settle_memory() -> None:
    """Tell the garbage collector what a server's objects are like, once it has started.

    What start-up made lives as long as the process: no need to look through it at each collection. What requests make
    goes with them, without help; collections that come with every other request find nothing but requests that wait for
    the disk, and cost a tenth of the time that creating a pod takes.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 20, 20)


def log_to(directory: DataDir) -> None:
    """Send the log to the data directory; warnings and errors to the terminal too, if there is one."""
    directory.create()
    file = RotatingFileHandler(directory.log, maxBytes=LOG_BYTES, backupCount=1, delay=True)
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(file)
    root.setLevel(logging.INFO)
    if sys.stderr.isatty():
        terminal = logging.StreamHandler()
        terminal.setLevel(logging.WARNING)
        terminal.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
        root.addHandler(terminal)
    logging.getLogger("asyncio").setLevel(logging.WARNING)


def run(
    directory: DataDir,
    *,
    port: int | None,
    settings: ApiSettings = DEFAULTS,
    report: Callable[[Literal["line", "ready", "error"], str], None],
    begin: float,
) -> int:
    """Run a platform until a signal ends it. The exit status: 0 after a signal, 1 if a part failed.

    `begin` is the monotonic time at which the user's command started.
    """
    return uvloop.run(_run(directory, port, settings, report, begin))


async def _run(
    directory: DataDir,
    port: int | None,
    settings: ApiSettings,
    report: Callable[[Literal["line", "ready", "error"], str], None],
    begin: float,
) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    report("line", f"Homeport {__version__}")
    platform = Platform(directory, port=port, settings=settings, report=lambda line: report("line", line))
    async with platform:
        settle_memory()
        report("ready", _welcome(directory, time.monotonic() - begin))
        try:
            await platform.wait_for(stop)
        except PartFailed as error:
            report("error", f"a part of the platform failed: {error}")
            return 1
        running = await _running_pods(platform.client)
    goes_on = f". Running on: {_count(running, 'pod')} (`homeport up` picks them up, `homeport down` ends them)"
    report("line", "Stopped" + (goes_on if running else ""))
    return 0


async def _running_pods(client: Client) -> int:
    pods = await client.list(core.POD.resource)
    return sum(meta.status(pod).get("phase") == "Running" for pod in pods.items)


def _welcome(directory: DataDir, seconds: float) -> str:
    return (
        f"Ready after {seconds:.1f} s. Use it with:\n"
        f"  export KUBECONFIG={directory.kubeconfig}\n"
        "  kubectl get nodes\n"
        f"Log: {directory.log}"
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
