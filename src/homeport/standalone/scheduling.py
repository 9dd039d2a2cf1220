"""The batch scheduler as a process of its own on any cluster, beside the schedulers that it has."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from homeport import __version__, loops
from homeport.client.client import Client
from homeport.client.http import HttpTransport
from homeport.control.events import EventRecorder
from homeport.control.informer import Informers
from homeport.control.leader import LeaderElector
from homeport.kube import core
from homeport.kube.errors import Forbidden, NotFound, Permanent
from homeport.kube.kind import Resource
from homeport.kube.meta import Object, spec
from homeport.kube.scheduling import names
from homeport.node import inotify
from homeport.scheduler.batch import membership
from homeport.scheduler.batch.configfile import Unreadable, parse, passed_over
from homeport.scheduler.batch.configuration import Configuration
from homeport.scheduler.batch.decide import ACTIONS, PLUGINS
from homeport.scheduler.batch.measures import Measures
from homeport.scheduler.batch.runner import BatchScheduler
from homeport.scheduler.batch.settings import ConfigMapSettings
from homeport.standalone import deployment, serving
from homeport.standalone.manifests import NAMESPACE
from homeport.standalone.running import Election as Election

_log = logging.getLogger(__name__)
NAME = "homeport-scheduler"
"""Of the account, its roles and bindings, and the lease."""
_RBAC = "rbac.authorization.k8s.io"
Report = Callable[[str], None]


class Options(msgspec.Struct, frozen=True):
    kubeconfig: Path | None = None
    context: str | None = None
    names: tuple[str, ...] = (membership.HOMEPORT,)
    """The values of ``schedulerName`` to serve."""
    configuration: Path | None = None
    """A ``volcano-scheduler.conf``, read again when it changes. None: the ConfigMap, where there is one."""
    namespace: str = NAMESPACE
    """Of the Lease."""
    election: Election | None = Election()
    """None: this is the only process of these names."""
    address: str = "127.0.0.1"
    metrics_port: int | None = 8081
    """None: no probes and no metrics. 0: any free port."""


def run(options: Options, report: Report) -> int:
    """Run until a signal; the exit status. Raises HomeportError for what the user can mend."""
    form = logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    to_terminal = logging.StreamHandler()
    to_terminal.setFormatter(form)
    logging.getLogger().addHandler(to_terminal)
    logging.getLogger().setLevel(logging.INFO)
    return loops.run(_run(options, report))


async def _run(options: Options, report: Report) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    transport = HttpTransport.from_kubeconfig(options.kubeconfig, options.context)
    report(f"Homeport {__version__}: scheduler of {', '.join(options.names)} on {transport.access.server}")
    async with Client(transport, field_manager=NAME) as client:
        working = asyncio.ensure_future(Process(client, options, report).run())
        stopping = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                await working
        finally:
            for task in (working, stopping):
                task.cancel()
            await asyncio.gather(working, stopping, return_exceptions=True)
    report("Stopped")
    return 0


class Process:
    """One process that schedules. `client` reaches the cluster."""

    def __init__(self, client: Client, options: Options, report: Report) -> None:
        self._client = client
        self._options = options
        self._report = report
        self._lease = lease_name(options.names)
        self._leads = False
        self._elector: LeaderElector | None = None
        self._scheduler: BatchScheduler | None = None
        self._measures = Measures()
        self.metrics = serving.registry(self._lease, lambda: self._leads)
        self.metrics.add(*self._measures.families())

    async def run(self) -> None:
        """Schedule until cancelled: while this process holds the Lease, if there is an election. Raises HomeportError
        for what the user can mend."""
        async with self._observed():
            if self._options.election is None:
                await self._work()
                return
            times = self._options.election
            self._elector = LeaderElector(
                self._client,
                self._options.namespace,
                self._lease,
                f"{socket.gethostname()}_{os.getpid()}_{os.urandom(4).hex()}",
                lease_seconds=times.lease,
                renew=times.renew,
                retry=times.retry,
            )
            await self._elector.run(self._work)

    @asynccontextmanager
    async def _observed(self) -> AsyncIterator[None]:
        options = self._options
        if options.metrics_port is None:
            yield
            return
        handler = serving.observing(self.metrics, self._waits_for)
        async with serving.listening(handler, options.address, options.metrics_port) as port:
            self._report(f"Metrics and probes: http://{options.address}:{port}/metrics, /healthz, /livez, /readyz")
            yield

    def _waits_for(self) -> str:
        """Who waits for the lease is ready: it reads nothing before it leads. Who may not have it never leads."""
        if self._elector is not None and self._elector.refusal:
            return self._elector.refusal
        if self._leads and not (self._scheduler is not None and self._scheduler.ready.is_set()):
            return "it leads, and has not seen all nodes, pods and groups yet"
        return ""

    async def _work(self) -> None:
        self._report(f"Leading: pods of {', '.join(self._options.names)}")
        self._leads = True
        try:
            await self._schedule()
        finally:
            self._leads, self._scheduler = False, None

    async def _schedule(self) -> None:
        client, options = self._client, self._options
        groups, queues = await served(client, membership.POD_GROUPS), await served(client, membership.QUEUES)
        informers, recorder = Informers(client), EventRecorder(client, membership.HOMEPORT)
        self._scheduler = scheduler = BatchScheduler(
            client,
            informers=informers,
            recorder=recorder,
            groups=groups,
            queues=queues,
            hypernodes=await served(client, membership.HYPER_NODES),
            takes=taker(options.names),
            empty_groups=names.VOLCANO in options.names,
            measures=self._measures,
            plain_groups=membership.VOLCANO in groups and names.VOLCANO in options.names,
        )
        async with asyncio.TaskGroup() as group:
            group.create_task(informers.run(), name="informers")
            group.create_task(recorder.run(), name="events")
            if options.configuration is not None:
                scheduler.configure(read_configuration(options.configuration))
                group.create_task(_reread(options.configuration, scheduler.configure), name="configuration")
            else:
                settings = ConfigMapSettings(informers, recorder, scheduler.configure, actions=ACTIONS, plugins=PLUGINS)
                await settings.synced.wait()
            group.create_task(scheduler.run(), name="scheduler")


def lease_name(scheduler_names: Iterable[str]) -> str:
    """Schedulers of different names lead side by side."""
    found = sorted(scheduler_names)
    return NAME if found == [membership.HOMEPORT] else f"{NAME}-{'-'.join(found)}"


def taker(scheduler_names: Iterable[str]) -> Callable[[Object], bool]:
    """Takes pods by their scheduler's name alone: what names none is the cluster's own scheduler's, group or not."""
    wanted = frozenset(scheduler_names)
    return lambda pod: (spec(pod).get("schedulerName") or "") in wanted


async def served(client: Client, resources: Iterable[Resource]) -> tuple[Resource, ...]:
    """Those that the cluster knows. Raises Permanent if this account may not read one of them."""
    found = []
    for resource in resources:
        try:
            await client.list(resource, limit=1)
        except NotFound:
            _log.info("the cluster doesn't know %s", resource.qualified)
        except Forbidden as error:
            raise Permanent(f"{error.message}. The rights it needs are in `homeport scheduler manifests`.") from error
        else:
            found.append(resource)
    return tuple(found)


def read_configuration(path: Path) -> Configuration:
    """Raises Permanent for a file that can't be read."""
    try:
        found = parse(path.read_bytes(), actions=ACTIONS, plugins=PLUGINS)
    except OSError as error:
        raise Permanent(f"{path} can't be read: {error.strerror}") from error
    except Unreadable as error:
        raise Permanent(f"{path}: {error}") from error
    for told in passed_over(found, actions=ACTIONS, plugins=PLUGINS):
        _log.warning("%s: %s", path, told)
    return found


async def _reread(path: Path, changed: Callable[[Configuration], None]) -> None:
    """Whenever the file is written, or another one gets its name: a mounted ConfigMap changes like that."""
    watches = inotify.watches()
    try:
        while True:
            try:
                descriptor = os.open(path, os.O_RDONLY)
            except OSError as error:
                _log.warning("%s can't be read: %s; the last configuration stays in force", path, error.strerror)
                return
            try:
                with watches.watch(descriptor) as written:
                    try:  # what was written before it was watched is no news
                        changed(read_configuration(path))
                    except Permanent as error:
                        _log.warning("%s; the last configuration stays in force", error)
                    await written.wait()
            finally:
                os.close(descriptor)
    finally:
        watches.close()


def manifests(
    namespace: str = NAMESPACE, image: str = "", scheduler_names: Iterable[str] = (membership.HOMEPORT,)
) -> Iterator[Object]:
    """The account in its namespace, and the rights that a scheduler needs: no more than that. `image`: also a
    Deployment of this image, which has Homeport in it, for pods of these names."""
    yield core.NAMESPACE.new(namespace)
    yield core.SERVICE_ACCOUNT.new(NAME, namespace)
    yield core.CLUSTER_ROLE.new(NAME, rules=list(_rules()))
    yield core.CLUSTER_ROLE_BINDING.new(NAME, roleRef=_role("ClusterRole"), subjects=[_subject(namespace)])
    leases = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"]}
    here = [{**leases, "verbs": ["create", "get", "update"]}]
    yield core.ROLE.new(NAME, namespace, rules=here)
    yield core.ROLE_BINDING.new(NAME, namespace, roleRef=_role("Role"), subjects=[_subject(namespace)])
    if image:
        yield _deployment(namespace, image, tuple(scheduler_names))


def _deployment(namespace: str, image: str, scheduler_names: tuple[str, ...]) -> Object:
    command = [
        "homeport", "scheduler", f"--scheduler-name={','.join(scheduler_names)}", f"--namespace={namespace}",
        "--bind-address=0.0.0.0", f"--metrics-port={deployment.PORT}",
    ]  # fmt: skip
    container = {"name": "scheduler", "image": image, "command": command}
    return deployment.deployment(lease_name(scheduler_names), namespace, 2, NAME, container)


def _rules() -> Iterator[Object]:
    read = ["get", "list", "watch"]

    def rule(group: str, resources: list[str], verbs: list[str]) -> Object:
        return {"apiGroups": [group], "resources": resources, "verbs": verbs}

    yield rule("", ["configmaps", "namespaces", "nodes"], read)
    yield rule("", ["persistentvolumeclaims", "persistentvolumes"], [*read, "update"])
    yield rule("", ["pods"], [*read, "delete"])
    yield rule("", ["pods/binding"], ["create"])
    yield rule("", ["pods/status"], ["patch"])
    yield rule("", ["events"], ["create", "list", "patch"])
    yield rule("storage.k8s.io", ["storageclasses"], read)
    yield rule("scheduling.k8s.io", ["priorityclasses"], read)
    for resource in membership.POD_GROUPS:
        yield rule(resource.group, ["podgroups"], [*read, "patch"])
        yield rule(resource.group, ["podgroups/status"], ["patch"])
    for resource in membership.QUEUES:
        yield rule(resource.group, ["queues"], read)
        yield rule(resource.group, ["queues/status"], ["patch"])
    for resource in membership.HYPER_NODES:
        yield rule(resource.group, [resource.plural], read)


def _role(kind: str) -> Object:
    return {"apiGroup": _RBAC, "kind": kind, "name": NAME}


def _subject(namespace: str) -> Object:
    return {"kind": "ServiceAccount", "name": NAME, "namespace": namespace}
