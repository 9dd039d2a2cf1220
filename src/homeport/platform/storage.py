"""The first parts: the data directory, which one platform at a time has, and the store in it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from homeport.kube.errors import Permanent
from homeport.node import choice
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
    try:
        platform.runtime = choice.choose(
            place.node, platform.settings.node, service_cidr=str(platform.settings.services.network)
        )
        yield str(place.path)
    finally:
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
