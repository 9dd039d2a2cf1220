"""Handing writes to the store, with its errors put into the API's words."""

from __future__ import annotations

import asyncio

from homeport.apiserver import definitions
from homeport.apiserver.context import Api, Call
from homeport.kube.errors import BadRequest, Conflict, ServiceUnavailable, StorageFull
from homeport.kube.meta import Object
from homeport.store.protocol import Delete, Full, Key, Put, Record, Unavailable


async def commit(api: Api, operation: Put | Delete) -> Record:
    """Write and wait until it is durable. Raises Conflicting at once, StorageFull or ServiceUnavailable later.

    A CRD changes what is served before its write is answered, even if the client does not wait for the answer.
    """
    if operation.key.resource == definitions.KEY:
        return await asyncio.shield(asyncio.ensure_future(_commit_definition(api, operation)))
    return await _commit(api, operation)


async def _commit(api: Api, operation: Put | Delete) -> Record:
    try:
        (record,) = await api.store.write(operation)
    except Full as error:
        raise StorageFull(f"nothing was stored: {error}") from error
    except Unavailable as error:
        raise ServiceUnavailable(f"nothing was stored: {error}", retry_after=1) from error
    return record


async def _commit_definition(api: Api, operation: Put | Delete) -> Record:
    record = await _commit(api, operation)
    api.definitions.committed(record, deleted=isinstance(operation, Delete))
    return record


def key_of(call: Call, obj: Object) -> Key:
    """Where the store keeps `obj`."""
    metadata = obj["metadata"]
    return Key(call.served.key, metadata.get("namespace", "") if call.served.namespaced else "", metadata["name"])


def modified(call: Call, name: str) -> Conflict:
    """Somebody else wrote the object first."""
    return Conflict.modified(call.served.group, call.served.resource.plural, name)


def wants_dry_run(call: Call) -> bool:
    """The query parameter ``dryRun``, of which there is one value. Raises BadRequest."""
    values = [value for key, value in call.request.query if key == "dryRun" and value]
    if any(value != "All" for value in values):
        raise BadRequest(f'dryRun: Unsupported value: "{values[0]}": supported values: "All"')
    return bool(values)
