"""Run controllers against a cluster in the foreground, until a signal.

Any number of processes may run for one cluster: all of them answer the cluster's webhooks and probes, and the one that
holds the Lease acts. The others have complete caches meanwhile, and act at once when it is theirs.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from homeport import __version__, loops
from homeport.client.client import Client
from homeport.client.http import HttpTransport
from homeport.components import progress, trainer
from homeport.control import definitions, measures, webhooks
from homeport.control.controller import Controller
from homeport.control.informer import Informer, Informers
from homeport.control.leader import LeaderElector
from homeport.control.manager import Manager
from homeport.kube.admission import Hook
from homeport.kube.errors import Forbidden, HomeportError, Permanent
from homeport.kube.kind import Resource
from homeport.kube.meta import Object
from homeport.kube.wire import Handler
from homeport.standalone import certificates, releases, serving
from homeport.standalone.manifests import NAME, NAMESPACE
from homeport.standalone.parts import Part, hooks, kinds, reporting, resources, takes_reports
from homeport.standalone.usable import is_served, missing_of, refused, until_served, usable

_log = logging.getLogger(__name__)
_LOOK = 3600.0
"""Seconds between two looks at the webhooks' certificate. By the clock: what expires tells nobody."""
_MISSING = 60.0
"""Seconds between two looks whether the cluster knows a kind that it lacked at the start."""
Report = Callable[[str], None]


class Election(msgspec.Struct, frozen=True):
    """Seconds, as kube-controller-manager's flags ``--leader-elect-*`` have them."""

    lease: float = 15.0
    renew: float = 10.0
    retry: float = 2.0


class Options(msgspec.Struct, frozen=True):
    parts: tuple[Part, ...]
    kubeconfig: Path | None = None
    context: str | None = None
    namespace: str = NAMESPACE
    """Where the Lease and the webhooks' certificate are."""
    election: Election | None = Election()
    """None: this is the only process, and leads."""
    address: str = "127.0.0.1"
    metrics_port: int | None = 8080
    """None: no probes and no metrics. 0: any free port."""
    webhook_port: int = 9443
    webhook_url: str = ""
    """Where the cluster reaches `webhook_port`: ``https://HOST:PORT``; empty with `webhook_service`, or for none."""
    webhook_service: str = ""
    """The service of `namespace` that leads there."""
    install: bool = False
    """Whether to make the definitions of the kinds that are missing, before anything else."""

    @property
    def webhook_place(self) -> str:
        """The URL by which the cluster's pods reach the webhooks' server."""
        return f"https://{self.webhook_host}" if self.webhook_service else self.webhook_url.rstrip("/")

    @property
    def webhook_host(self) -> str:
        """The name or address by which the cluster knows the webhooks' server; empty: there are no webhooks."""
        if self.webhook_service:
            return f"{self.webhook_service}.{self.namespace}.svc"
        return urlsplit(self.webhook_url).hostname or ""


def run(options: Options, report: Report) -> int:
    """Run until a signal; the exit status. Raises HomeportError for what the user can mend."""
    form = logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    to_terminal = logging.StreamHandler()
    to_terminal.setFormatter(form)
    logging.getLogger().addHandler(to_terminal)
    logging.getLogger().setLevel(logging.INFO)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    return loops.run(_run(options, report))


async def _run(options: Options, report: Report) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    transport = HttpTransport.from_kubeconfig(options.kubeconfig, options.context)
    report(f"Homeport {__version__}: {', '.join(part.name for part in options.parts)} on {transport.access.server}")
    async with Client(transport, field_manager=NAME) as client:
        if options.install:
            release = await releases.of_cluster(client)
            await definitions.install(client, kinds(options.parts), partial(releases.suited, release=release))
            await until_served(client, [kind.resource for kind in kinds(options.parts)])
        working = asyncio.ensure_future(_again_and_again(client, options, report))
        stopping = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                await working
        finally:
            stopping.cancel()
            working.cancel()
            await asyncio.gather(working, stopping, return_exceptions=True)
    report("Stopped")
    return 0


async def _again_and_again(client: Client, options: Options, report: Report) -> None:
    """Begin anew when the cluster has learnt of a kind that was missing."""
    while True:
        try:
            await Process(client, options, report).run()
            return
        except News as news:
            report(f"{news}: starting anew")
        except Forbidden as error:
            raise refused(error) from error


class News(Exception):
    """The cluster knows more than it did at the start."""


class Process:
    """One process with controllers. `client` reaches the cluster."""

    def __init__(self, client: Client, options: Options, report: Report) -> None:
        self._client = client
        self._options = options
        self._report = report
        self._informers = Informers(client)
        self._leads = False
        self._hooks = hooks(options.parts) if options.webhook_host else ()
        self._parts = options.parts
        if options.webhook_host:
            self._parts = reporting(options.parts, trainer.Reporting(options.webhook_place, bundle=self._bundle))
        self._manager: Manager | None = None
        self._elector: LeaderElector | None = None
        self._keys: certificates.Keys | None = None
        self._followed: list[Informer] = []
        self.metrics = serving.registry(NAME, lambda: self._leads)

    async def run(self) -> None:
        """Until cancelled, or the lease is lost (Permanent). Raises News when the cluster knows more than it did, and
        HomeportError for what the user can mend."""
        try:
            await self._run()
        except BaseExceptionGroup as errors:
            raise _first(errors) from errors

    async def _run(self) -> None:
        missing = await missing_of(self._client, self._parts)
        controllers = usable(self._parts, missing)
        self._hooks = tuple([hook for hook in self._hooks if await self._is_answerable(hook)])
        # All is followed before this process leads: it can act at once then.
        wanted = {resource for controller in controllers for resource in resources(controller)}
        wanted |= {resource for hook in self._hooks for resource in hook.reads}
        self._followed = [self._informers.get(resource) for resource in wanted]
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
            group.create_task(self._informers.run(), name="informers")
            await stack.enter_async_context(self._observed())
            if self._hooks:
                await stack.enter_async_context(self._answering(group))
            group.create_task(self._look_for(missing), name="missing kinds")
            await self._informers.synced()
            await self._lead(controllers)

    async def _look_for(self, missing: frozenset[Resource]) -> None:
        """Definitions are none of this account's business: only asking tells of a new one."""
        while missing:
            await asyncio.sleep(_MISSING)
            try:
                found = [resource for resource in missing if await is_served(self._client, resource)]
            except HomeportError as error:
                _log.info("what is missing on the cluster could not be looked for: %s", error)
                continue
            if found:
                raise News(f"the cluster knows {', '.join(sorted(one.qualified for one in found))} now")

    async def _is_answerable(self, hook: Hook) -> bool:
        missing = [resource.qualified for resource in hook.reads if not await is_served(self._client, resource)]
        if missing:
            _log.warning("%s is left out: the cluster doesn't know %s", hook.name, ", ".join(missing))
        return not missing

    @asynccontextmanager
    async def _observed(self) -> AsyncIterator[None]:
        options = self._options
        if options.metrics_port is None:
            yield
            return
        handler = serving.observing(self.metrics, self._waits_for)
        async with serving.listening(handler, options.address, options.metrics_port) as port:
            self._report(f"Metrics and probes: http://{options.address}:{port}/metrics, /healthz, /readyz")
            yield

    def _waits_for(self) -> str:
        if self._elector is not None and self._elector.refusal:
            return self._elector.refusal
        if waiting := sorted(one.resource.qualified for one in self._followed if not one.synced.is_set()):
            return f"not seen yet: {', '.join(waiting)}"
        return "" if self._keys or not self._hooks else "no certificate for webhooks yet"

    @asynccontextmanager
    async def _answering(self, group: asyncio.TaskGroup) -> AsyncIterator[None]:
        options = self._options
        self._keys = await certificates.shared(self._client, options.namespace, options.webhook_host)
        context = self._keys.context()
        answering = webhooks.Answering(self._hooks, webhooks.CachedWorld(self._informers, self._hooks))
        handler: Handler = answering.handle
        if takes_reports(self._parts):
            handler = serving.first(trainer.progress_reports(self._client), handler)
        async with serving.listening(handler, options.address, options.webhook_port, context) as port:
            self._report(f"Webhooks: port {port}, for {options.webhook_host}")
            group.create_task(self._renew(context), name="certificate")
            yield

    async def _renew(self, context: ssl.SSLContext) -> None:
        while True:
            await asyncio.sleep(_LOOK)
            try:
                keys = await certificates.shared(self._client, self._options.namespace, self._options.webhook_host)
                if keys != self._keys:
                    keys.load(context)
                    self._keys = keys
                    if self._leads and self._manager is not None:
                        await self._register()
                        self._manager.sync_all()  # jobs were told by whom to believe this server
            except HomeportError as error:
                _log.warning("the webhooks' certificate could not be looked at: %s", error)

    def _bundle(self) -> str:
        return self._keys.bundle if self._keys is not None else ""

    async def _register(self) -> None:
        """Say to the cluster where webhooks are answered."""
        assert self._keys is not None
        bundle = certificates.encoded(self._keys)
        options = self._options

        def place(path: str) -> Object:
            if options.webhook_service:
                service = {"name": options.webhook_service, "namespace": options.namespace, "path": path}
                return {"service": service, "caBundle": bundle}
            return {"url": options.webhook_url.rstrip("/") + path, "caBundle": bundle}

        for configuration in webhooks.configurations(self._hooks, NAME, place):
            plural = f"{configuration['kind'].lower()}s"
            resource = Resource("admissionregistration.k8s.io", "v1", plural, configuration["kind"], namespaced=False)
            await self._client.apply(resource, configuration)

    async def _lead(self, controllers: Sequence[Controller]) -> None:
        election = self._options.election
        if election is None:
            await self._act(controllers)
            return
        self._elector = elector = LeaderElector(
            self._client,
            self._options.namespace,
            NAME,
            f"{socket.gethostname()}_{os.getpid()}_{os.urandom(4).hex()}",
            lease_seconds=election.lease,
            renew=election.renew,
            retry=election.retry,
        )
        lost = asyncio.Event()

        async def work() -> None:
            try:
                await self._act(controllers)
            except asyncio.CancelledError:
                lost.set()
                raise

        electing, losing = asyncio.ensure_future(elector.run(work)), asyncio.ensure_future(lost.wait())
        try:
            await asyncio.wait({electing, losing}, return_when=asyncio.FIRST_COMPLETED)
            if electing.done():
                await electing
            else:
                # As Kubernetes' own: what was learnt while leading is not gone on with later.
                raise Permanent(f"the lease {self._options.namespace}/{NAME} was lost; start again to wait for it")
        finally:
            for task in (electing, losing):
                task.cancel()
            await asyncio.gather(electing, losing, return_exceptions=True)

    async def _act(self, controllers: Sequence[Controller]) -> None:
        """What only one process does at a time."""
        if self._hooks:
            await self._register()
        self._manager = manager = Manager(self._client, controllers, informers=self._informers)
        self.metrics.add(*measures.families(manager))
        self._leads = True
        self._report(f"Leading: {', '.join(controller.name for controller in controllers)}")
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(manager.run(), name="controllers")
                await manager.ready.wait()
                if any(part.trains for part in self._parts):
                    group.create_task(progress.follow(self._client, self._informers), name="progress")
                for work in (work for part in self._parts for work in part.works):
                    group.create_task(work.run(self._client, self._informers), name=work.name)
        finally:
            self._leads = False


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """What ended a group: what the user can mend, if there is such a thing among it."""
    news, others = errors.split(News)
    mendable, others = (others or errors).split(HomeportError)
    found: BaseException = mendable or news or others or errors
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found
