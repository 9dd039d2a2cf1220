"""Handing writes to the store, with its errors put into the API's words."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import contextmanager

from homeport.apiserver import sizes
from homeport.apiserver.context import Api, Call, Follower
from homeport.kube.errors import ApiError, Conflict, ServiceUnavailable, StorageFull
from homeport.kube.meta import Object
from homeport.store.protocol import Delete, Full, Key, Oversized, Put, Record, Unavailable


async def commit(api: Api, operation: Put | Delete, *, trims: bool = False, along: Sequence[Put] = ()) -> Record:
    """Write and wait until it is durable. Raises Conflicting at once, StorageFull or ServiceUnavailable later.

    With `trims`, an object that is too large to be stored is stored without its managed fields, if that is enough;
    raises ApiError if it is not.

    `along` is written in the same transaction: what other objects say of this one. So are quotas; raises Forbidden if
    one does not have enough left.

    Some kinds change what the server does: a CRD, a webhook. Those that follow them have heard of a write before it is
    answered, even if the client does not wait for the answer.
    """
    follower = api.followers.get(operation.key.resource)
    if follower is not None:
        return await asyncio.shield(asyncio.ensure_future(_commit_followed(api, operation, follower, trims, along)))
    try:
        return (await _written(api, operation, trims, along))[0]
    except (Full, Unavailable) as error:
        raise _refused(error) from error


def _written(api: Api, operation: Put | Delete, trims: bool, along: Sequence[Put]) -> Awaitable[list[Record]]:
    """Nothing waits between looking at the quotas and writing."""
    try:
        return api.store.write(*api.quotas.booked(operation), *along)
    except Oversized as error:
        assert isinstance(operation, Put), "only puts have a limit"
        return api.store.write(*api.quotas.booked(sizes.fitting(operation, error.size, trims=trims)), *along)


@contextmanager
def stored() -> Iterator[None]:
    """Puts what the store says of a disk that refuses writes into the API's words: StorageFull, ServiceUnavailable."""
    try:
        yield
    except (Full, Unavailable) as error:
        raise _refused(error) from error


def _refused(error: Full | Unavailable) -> ApiError:
    words = f"nothing was stored: {error}"
    return StorageFull(words) if isinstance(error, Full) else ServiceUnavailable(words, retry_after=1)


async def _commit_followed(
    api: Api, operation: Put | Delete, follower: Follower, trims: bool, along: Sequence[Put]
) -> Record:
    with stored():
        record, *_ = await _written(api, operation, trims, along)
    follower(record, deleted=isinstance(operation, Delete))
    return record


def rehearse(api: Api, operation: Put | Delete) -> None:
    """What `commit` may refuse, without writing: for dry runs. Raises Forbidden."""
    api.quotas.booked(operation)


def key_of(call: Call, obj: Object) -> Key:
    """Where the store keeps `obj`."""
    metadata = obj["metadata"]
    return Key(call.served.key, metadata.get("namespace", "") if call.served.namespaced else "", metadata["name"])


def modified(call: Call, name: str) -> Conflict:
    """Somebody else wrote the object first."""
    return Conflict.modified(call.served.group, call.served.resource.plural, name)


def wants_dry_run(call: Call) -> bool:
    """Whether the query has ``dryRun``, whose value has been checked (:mod:`homeport.apiserver.options`)."""
    return bool(call.query) and any(key == "dryRun" and value for key, value in call.request.query)
