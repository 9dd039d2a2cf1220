"""Writing slices and Endpoints, and waiting until the caches show it: what is decided next is decided from them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from homeport.client.client import Client
from homeport.components.system.endpoints.slices import Plan
from homeport.control.informer import Informer
from homeport.kube import core
from homeport.kube.errors import Forbidden, NotFound
from homeport.kube.kind import Kind
from homeport.kube.meta import Object, name, namespace, resource_version, uid

_PARALLEL = 8


class Writer:
    """Of objects of one kind, whose informer is `informer`."""

    def __init__(self, client: Client, kind: Kind, informer: Informer) -> None:
        self._client = client
        self._resource = kind.resource
        self._informer = informer

    async def write(self, create: Sequence[Object] = (), update: Sequence[Object] = ()) -> None:
        """Returns once the informer's cache shows it. Raises ApiError, but not where the namespace is about to go."""
        limit = asyncio.Semaphore(_PARALLEL)

        async def one(obj: Object, *, is_new: bool) -> int:
            async with limit:
                if is_new:
                    written = await self._create(obj)
                else:
                    written = await self._client.replace(self._resource, obj)
                return int(resource_version(written)) if written is not None else 0

        work = [one(obj, is_new=True) for obj in create] + [one(obj, is_new=False) for obj in update]
        results = await asyncio.gather(*work, return_exceptions=True)
        newest = max((result for result in results if isinstance(result, int)), default=0)
        if newest:
            shown = asyncio.Event()
            self._informer.when(newest, shown.set)
            await shown.wait()
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _create(self, obj: Object) -> Object | None:
        try:
            return await self._client.create(self._resource, obj)
        except NotFound:
            return None  # the namespace has gone
        except Forbidden as error:
            if "being terminated" in error.message:
                return None
            raise

    async def delete(self, objects: Sequence[Object]) -> None:
        for obj in objects:
            try:
                await self._client.delete(self._resource, name(obj), namespace(obj), uid=uid(obj))
            except NotFound:
                continue

    async def carry_out(self, plan: Plan) -> None:
        await self.write(plan.create, plan.update)
        await self.delete(plan.delete)


def slices(client: Client, informer: Informer) -> Writer:
    return Writer(client, core.ENDPOINT_SLICE, informer)
