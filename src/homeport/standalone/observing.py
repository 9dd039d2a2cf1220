"""What the batch scheduler would see and decide now, worked out beside whatever runs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import msgspec

from homeport.client.client import Client
from homeport.client.http import HttpTransport
from homeport.clock import utc_now
from homeport.control.informer import Informers
from homeport.kube import core
from homeport.kube.errors import NotFound, Permanent
from homeport.scheduler.batch import membership, telling
from homeport.scheduler.batch.cluster import Cluster
from homeport.scheduler.batch.configfile import KEY, Unreadable, parse
from homeport.scheduler.batch.configuration import Configuration
from homeport.scheduler.batch.model import Carried
from homeport.scheduler.batch.replay import Recording, load, replay, report, save
from homeport.scheduler.batch.settings import NAME as CONFIG_MAP
from homeport.scheduler.batch.settings import NAMESPACE as CONFIG_NAMESPACE
from homeport.scheduler.ledger import Ledger
from homeport.standalone import asked, ungrouped
from homeport.standalone.scheduling import read_configuration, served


async def why(job: str, namespace: str | None, kubeconfig: Path | None, context: str | None) -> list[str]:
    """Lines on why a job waits (``KIND/NAME`` or the name alone). Raises Permanent where there is no such job."""
    wanted = asked.parse(job)
    transport = HttpTransport.from_kubeconfig(kubeconfig, context)
    async with Client(transport, field_manager="homeport-why") as client:
        recording = await look(client)
        place = namespace or transport.access.namespace
        groups = telling.find_groups(recording.snapshot, wanted, place)
        told = {(group.owner_group, group.owner.partition(" ")[0]) for group in groups}
        for each in await ungrouped.sets_of(client, wanted, place):
            groups += telling.find_groups(recording.snapshot, each, place)
            told.add(ungrouped.DEPLOYMENT)
        others = await ungrouped.tell(client, wanted, place, told if groups else None)
    if not groups and not others:
        unknown = f"; known kinds: {', '.join(asked.names())}" if wanted.kind and not wanted.known else ""
        raise Permanent(f'there is no job, pod group or pod "{job}" in namespace "{place}"{unknown}')
    decisions, _ = replay(recording)
    found = {group.key: group for group in groups}
    return [
        *(
            line
            for group in found.values()
            for line in telling.tell(recording.snapshot, decisions, group, recording.now)
        ),
        *others,
    ]


def saved(path: Path, kubeconfig: Path | None, context: str | None) -> str:
    """Save what a cluster shows; what to say of it."""
    recording = asyncio.run(_look_at(kubeconfig, context))
    save(path, recording)
    nodes, groups = len(recording.snapshot.nodes), len(recording.snapshot.groups)
    return f"{path}: {nodes} nodes, {groups} groups (homeport scheduler replay {path})"


def replayed(path: Path, configuration: Path | None) -> Iterator[str]:
    """What is decided about what was saved, under another configuration if one is given."""
    recording = load(path)
    if configuration is not None:
        recording = msgspec.structs.replace(recording, configuration=read_configuration(configuration))
    decisions, seconds = replay(recording)
    yield from report(recording, decisions, seconds)


async def _look_at(kubeconfig: Path | None, context: str | None) -> Recording:
    async with Client(HttpTransport.from_kubeconfig(kubeconfig, context), field_manager="homeport-save") as client:
        return await look(client)


async def look(client: Client) -> Recording:
    """The cluster as the platform's scheduler would see it now."""
    groups, queues = await served(client, membership.POD_GROUPS), await served(client, membership.QUEUES)
    informers = Informers(client)
    ledger = Ledger(client, informers)
    cluster = Cluster(
        ledger,
        informers,
        lambda: None,
        groups=groups,
        queues=queues,
        hypernodes=await served(client, membership.HYPER_NODES),
        plain_groups=membership.VOLCANO in groups,
    )
    running = asyncio.ensure_future(informers.run())
    try:
        synced = asyncio.ensure_future(cluster.synced())
        await asyncio.wait({running, synced}, return_when=asyncio.FIRST_COMPLETED)
        await synced
        return Recording(cluster.snapshot(Carried()), utc_now().timestamp(), await _configuration(client))
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def _configuration(client: Client) -> Configuration:
    try:
        found = await client.get(core.CONFIG_MAP.resource, CONFIG_MAP, CONFIG_NAMESPACE)
    except NotFound:
        return Configuration()
    try:
        return parse((found.get("data") or {}).get(KEY) or "")
    except Unreadable as error:
        raise Permanent(f"ConfigMap {CONFIG_NAMESPACE}/{CONFIG_MAP}: {KEY}: {error}") from error
