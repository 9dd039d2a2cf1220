"""What acts on objects: the controllers and the scheduler."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from homeport.apiserver import pki
from homeport.apiserver.health import Check
from homeport.components import batch, system, training, workloads
from homeport.components.system.api import ApiPlace
from homeport.control import definitions, measures
from homeport.control.manager import Manager
from homeport.kube.errors import ApiError
from homeport.platform.kinds import KINDS

if TYPE_CHECKING:
    from homeport.platform import Platform

log = logging.getLogger(__name__)


@asynccontextmanager
async def controllers(platform: Platform) -> AsyncIterator[str]:
    from homeport.node import clockwatch  # an API server alone starts without the parts that it lacks
    from homeport.node.agent import API_PORT

    declared = (*system.CONTROLLERS, *workloads.CONTROLLERS, *batch.CONTROLLERS, *training.CONTROLLERS)
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
        platform.background("clock", clockwatch.watch(lambda _: None, manager.look_again), endless=False),
        platform.background("definitions", _install_definitions(platform), endless=False),
    ):
        await platform.wait_for(basics)
        await platform.wait_for(manager.ready)
        platform.api.components["controller-manager"] = Check("controllers", _runs)
        yield ", ".join(controller.name for controller in training.CONTROLLERS)


async def _install_definitions(platform: Platform) -> None:
    await platform.started.wait()  # Checking large schemas takes longer than starting anything else here.
    try:
        await definitions.install(platform.client, KINDS)
    except ApiError as error:
        # Nothing here needs them; the next start tries again.
        log.warning("the kinds could not be shown as CustomResourceDefinitions: %s", error)
    platform.settled.set()


@asynccontextmanager
async def scheduler(platform: Platform) -> AsyncIterator[str]:
    from homeport.scheduler.binder import Scheduler  # as above

    binder = Scheduler(platform.client, informers=platform.informers)
    async with platform.background("scheduler", binder.run()):
        await platform.wait_for(binder.ready)
        platform.api.components["scheduler"] = Check("scheduler", _runs)
        yield "default-scheduler"


async def _runs() -> None:
    """Of a part of the platform: if it ends, all of it does."""
