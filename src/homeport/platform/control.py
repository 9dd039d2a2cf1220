"""What acts on objects: the controllers and the scheduler."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from homeport.apiserver import pki
from homeport.apiserver.health import Check
from homeport.components import batch, podgroups, progress, system, trainer, training, volcano, workloads
from homeport.components.system.api import ApiPlace
from homeport.control import definitions, measures
from homeport.control.manager import Manager
from homeport.kube.errors import ApiError
from homeport.platform.kinds import KINDS

if TYPE_CHECKING:
    from homeport.platform import Platform

log = logging.getLogger(__name__)
_API = "https://kubernetes.default.svc"
"""Where pods reach the API server."""


@asynccontextmanager
async def controllers(platform: Platform) -> AsyncIterator[str]:
    from homeport.node import clockwatch  # an API server alone starts without the parts that it lacks
    from homeport.node.agent import API_PORT

    platform.api.first = trainer.progress_reports(platform.client)
    declared = (
        *system.CONTROLLERS,
        *workloads.CONTROLLERS,
        *batch.CONTROLLERS,
        *training.controllers(_training_settings(platform)),
        *volcano.CONTROLLERS,
        *trainer.controllers(trainer.Settings(trainer.Reporting(_API))),
    )
    manager = Manager(platform.client, declared, informers=platform.informers)
    platform.api.metrics.add(*measures.families(manager))
    basics = asyncio.Event()
    authority = pki.paths(platform.directory.pki)
    api = ApiPlace(platform.settings.services.api_address, platform.runtime.gateway, API_PORT)
    async with (
        platform.background(
            "system",
            system.run(
                platform.client,
                platform.informers,
                ca_pem=authority.ca.read_text(),
                api=api,
                sign=platform.accounts.issue_legacy,
                event_ttl=timedelta(seconds=platform.settings.event_ttl),
                sign_request=partial(pki.sign_request, authority),
                ready=basics,
            ),
        ),
        platform.background("controllers", manager.run()),
        platform.background("progress", _follow_progress(platform, manager)),
        platform.background("plain pods' groups", podgroups.run(platform.client, platform.informers)),
        platform.background("clock", clockwatch.watch(lambda _: None, manager.look_again), endless=False),
        platform.background("definitions", _install_definitions(platform), endless=False),
        platform.background("training runtimes", _install_runtimes(platform), endless=False),
        platform.background("queues", _install_queues(platform), endless=False),
    ):
        await platform.wait_for(basics)
        await platform.wait_for(manager.ready)
        platform.api.components["controller-manager"] = Check("controllers", _runs)
        yield ", ".join(controller.name for controller in training.CONTROLLERS)


def _training_settings(platform: Platform) -> training.Settings:
    chosen = platform.directory.gang_scheduler(platform.settings.gang_scheduler)
    return msgspec.convert({"gang_scheduler": chosen}, training.Settings)


async def _install_definitions(platform: Platform) -> None:
    await platform.started.wait()  # Checking large schemas takes longer than starting anything else here.
    try:
        await definitions.install(platform.client, KINDS, maker=await asyncio.to_thread(definitions.program))
    except ApiError as error:
        # Nothing here needs them; the next start tries again.
        log.warning("the kinds could not be shown as CustomResourceDefinitions: %s", error)
    platform.settled.set()


async def _follow_progress(platform: Platform, manager: Manager) -> None:
    await manager.ready.wait()
    await progress.follow(platform.client, platform.informers)


async def _install_queues(platform: Platform) -> None:
    await platform.started.wait()
    from homeport.components.volcano import queues  # nobody waits for them

    try:
        await queues.install(platform.client)
    except ApiError as error:
        log.warning("the queues default and root could not be made, and will be at the next start: %s", error)


async def _install_runtimes(platform: Platform) -> None:
    await platform.started.wait()
    from homeport.components.trainer import stock  # nobody waits for it

    try:
        failed = await stock.install(platform.client)
    except ApiError as error:
        failed = [str(error)]
    for text in failed:
        log.warning("a training runtime could not be installed, and will be at the next start: %s", text)


@asynccontextmanager
async def scheduler(platform: Platform) -> AsyncIterator[str]:
    from homeport.scheduler.batch import lazy, membership  # as above
    from homeport.scheduler.binder import Scheduler
    from homeport.scheduler.ledger import Ledger

    ledger = Ledger(platform.client, platform.informers)
    binder = Scheduler(platform.client, informers=platform.informers, ledger=ledger, leave=membership.names_group)
    shown = platform.api.metrics
    batch = lazy.run(platform.client, platform.informers, ledger, held=binder.held, metrics=shown)
    async with platform.background("scheduler", binder.run()), platform.background("batch scheduler", batch):
        await platform.wait_for(binder.ready)
        platform.api.components["scheduler"] = Check("scheduler", _runs)
        yield "default-scheduler"


async def _runs() -> None:
    """Of a part of the platform: if it ends, all of it does."""
