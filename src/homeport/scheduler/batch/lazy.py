"""Starts the batch scheduler when there is something for it: before, it costs neither memory nor time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping

from homeport.client.client import Client
from homeport.control.cache import Change
from homeport.control.events import EventRecorder
from homeport.control.informer import Informers
from homeport.kube import core
from homeport.kube.kind import Resource
from homeport.metrics import Registry
from homeport.scheduler.batch import membership
from homeport.scheduler.ledger import Ledger

_log = logging.getLogger(__name__)


async def run(
    client: Client,
    informers: Informers,
    ledger: Ledger,
    *,
    groups: Iterable[Resource] = membership.POD_GROUPS,
    queues: Iterable[Resource] = membership.QUEUES,
    held: Callable[[], Mapping[str, Mapping[str, int]]] = dict,
    metrics: Registry | None = None,
) -> None:
    """Until cancelled. Waits for a pod that is the batch scheduler's, or for a group of any of these kinds. `metrics`:
    where to show what it does, from then on."""
    groups = tuple(groups)
    wanted = asyncio.Event()

    def pod_changed(change: Change) -> None:
        if change.new is not None and membership.is_ours(change.new):
            wanted.set()

    def group_changed(change: Change) -> None:
        wanted.set()

    followed = [(informers.get(core.POD.resource), pod_changed)]
    followed += [(informers.get(resource), group_changed) for resource in groups]
    for informer, handler in followed:
        informer.subscribe(handler)
    await wanted.wait()
    for informer, handler in followed:
        informer.unsubscribe(handler)
    # With it comes numpy: most platforms never need either.
    from homeport.scheduler.batch.decide import ACTIONS, PLUGINS
    from homeport.scheduler.batch.measures import Measures
    from homeport.scheduler.batch.runner import BatchScheduler
    from homeport.scheduler.batch.settings import ConfigMapSettings

    recorder, measures = EventRecorder(client, membership.HOMEPORT), Measures()
    if metrics is not None:
        metrics.add(*measures.families())
    scheduler = BatchScheduler(
        client,
        informers=informers,
        recorder=recorder,
        ledger=ledger,
        groups=groups,
        queues=queues,
        held=held,
        plain_groups=True,
        measures=measures,
    )
    settings = ConfigMapSettings(informers, recorder, scheduler.configure, actions=ACTIONS, plugins=PLUGINS)
    async with asyncio.TaskGroup() as group:
        group.create_task(recorder.run(), name="batch scheduler events")
        await settings.synced.wait()
        _log.info("the batch scheduler starts: there are groups, or pods that name it")
        group.create_task(scheduler.run(), name="batch scheduler")
