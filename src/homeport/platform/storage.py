"""The first parts: the data directory, which one platform at a time has, and the store in it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from homeport.kube.errors import Permanent
from homeport.platform.words import counted
from homeport.store.protocol import StoreError
from homeport.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from homeport.platform import Platform


@asynccontextmanager
async def directory(platform: Platform) -> AsyncIterator[str]:
    place = platform.directory
    place.create()
    platform.lock = place.lock()
    platform.runtime_starts = None
    try:
        if platform.acts:
            from homeport.node import choice  # an API server alone runs nothing

            platform.runtime, platform.choice = choice.choose(
                place.node, platform.settings.node, service_cidr=str(platform.settings.services.network)
            )
        if platform.has_node:
            platform.runtime_starts = asyncio.get_running_loop().create_task(platform.runtime.start(), name="runtime")
            await asyncio.sleep(0)  # so that it begins before the next part keeps the loop
        yield str(place.path)
    finally:
        if (begun := platform.runtime_starts) is not None:
            begun.cancel()
            await asyncio.gather(begun, return_exceptions=True)
        platform.lock.close()


@asynccontextmanager
async def store(platform: Platform) -> AsyncIterator[str]:
    try:
        opened = SqliteStore.open(platform.directory.database)
    except StoreError as error:
        raise Permanent(str(error)) from error
    platform.store = opened
    try:
        yield counted(sum(opened.count(resource) for resource in opened.resources()), "object")
    finally:
        await opened.close()
