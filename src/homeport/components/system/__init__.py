"""What a bare cluster already has: the life cycle of namespaces, garbage collection by owner reference, the default
service accounts and the secrets of their tokens, certificates for approved requests, the endpoints of services and the
service by which pods find the API server, the rules of aggregated roles, the life of nodes and the end of pods whose
node has gone or is tainted, disruption budgets, autoscalers, volumes and their claims, and the expiry of events.

These work on objects of every kind at once, so they are no `Controller`: `runnables` makes them, and the platform runs
each one next to the informers. A real cluster has its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol

from homeport.client.client import Client
from homeport.clock import utc_now
from homeport.components.system.accounts import NamespaceAccounts
from homeport.components.system.api import ApiPlace, KubernetesService
from homeport.components.system.autoscaling.controller import Autoscalers
from homeport.components.system.certificates import CertificateRequests, SignRequest
from homeport.components.system.clusterroles import ClusterRoleAggregation
from homeport.components.system.disruption.controller import DisruptionBudgets
from homeport.components.system.endpoints.controller import ServiceEndpoints
from homeport.components.system.endpoints.mirror import EndpointsMirror
from homeport.components.system.events import TTL, EventExpiry
from homeport.components.system.garbage import GarbageCollector
from homeport.components.system.monitor import Monitor
from homeport.components.system.namespaces import NamespaceLifecycle
from homeport.components.system.nodes import NodeLifecycle, TaintEviction
from homeport.components.system.pods import PodCleanup
from homeport.components.system.storage import DefaultClass, EphemeralVolumes, InUseProtection, VolumeBinder
from homeport.components.system.token_secrets import Sign, TokenSecrets
from homeport.control.controller import Controller
from homeport.control.events import EventRecorder
from homeport.control.informer import Informers
from homeport.kube.kind import Kind

KINDS: tuple[Kind, ...] = ()
"""All kinds that it works on are built in (``homeport.kube.core``)."""
CONTROLLERS: tuple[Controller, ...] = ()


class Runnable(Protocol):
    """Runs until cancelled; `ready` is set once it works."""

    @property
    def name(self) -> str: ...
    @property
    def ready(self) -> asyncio.Event: ...

    async def run(self) -> None: ...


async def run(
    client: Client,
    informers: Informers,
    *,
    recorder: EventRecorder | None = None,
    now: Callable[[], datetime] = utc_now,
    ca_pem: str = "",
    api: ApiPlace | None = None,
    sign: Sign | None = None,
    event_ttl: timedelta = TTL,
    sign_request: SignRequest | None = None,
    ready: asyncio.Event | None = None,
) -> None:
    """Run everything of this component until cancelled. `ready` is set once all of it works. The rest as `runnables`;
    without a `recorder`, an own one."""
    events = recorder if recorder is not None else EventRecorder(client, "system", now=now)
    parts = runnables(
        client,
        informers,
        events,
        now=now,
        ca_pem=ca_pem,
        api=api,
        sign=sign,
        sign_request=sign_request,
        event_ttl=event_ttl,
    )
    async with asyncio.TaskGroup() as group:
        if recorder is None:
            group.create_task(events.run(), name="system events")
        for part in parts:
            group.create_task(part.run(), name=part.name)
        for part in parts:
            await part.ready.wait()
        if ready is not None:
            ready.set()


def runnables(
    client: Client,
    informers: Informers,
    recorder: EventRecorder,
    *,
    now: Callable[[], datetime],
    ca_pem: str = "",
    api: ApiPlace | None = None,
    sign: Sign | None = None,
    sign_request: SignRequest | None = None,
    event_ttl: timedelta = TTL,
) -> tuple[Runnable, ...]:
    """Everything of this component. Call it last of all that share `informers`: whole objects that others follow are
    not followed a second time. `ca_pem`: what pods shall trust, in PEM. `api`: where they reach the API server, None if
    they can't. `sign`: makes the tokens of secrets that hold one; None: there are none. `sign_request`: makes
    certificates; None: requests wait for a signer of somebody else. `event_ttl`: how long events are kept."""
    monitor = Monitor(client, informers)
    return (
        NamespaceLifecycle(client, informers, monitor, now=now),
        NamespaceAccounts(client, informers, ca_pem=ca_pem),
        *(() if api is None else (KubernetesService(client, informers, place=api),)),
        *(() if sign is None else (TokenSecrets(client, informers, sign=sign, ca_pem=ca_pem),)),
        *(() if sign_request is None else (CertificateRequests(client, informers, sign=sign_request, now=now),)),
        ServiceEndpoints(client, informers),
        EndpointsMirror(client, informers),
        ClusterRoleAggregation(client, informers),
        GarbageCollector(client, monitor, recorder),
        PodCleanup(client, informers, now=now),
        NodeLifecycle(client, informers, monitor, recorder, now=now),
        TaintEviction(client, informers, recorder, now=now),
        DisruptionBudgets(client, informers, recorder, now=now),
        Autoscalers(client, informers, recorder, now=now),
        VolumeBinder(client, informers, recorder),
        InUseProtection(client, informers),
        EphemeralVolumes(client, informers, recorder),
        DefaultClass(client),
        EventExpiry(client, informers, now=now, ttl=event_ttl),
        monitor,
    )
