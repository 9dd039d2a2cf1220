"""``POST /restore``: put the state of a backup in the place of the present one, while everything runs.

The backup lies where the owner of the data directory has put it; a request says only that it is to be used. It becomes
one write, of what differs: whoever watches hears of each object as of any other change, so that no cache of this
server, of the controllers or of the node has to be thrown away, and revisions go on as ever.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from homeport.apiserver.answers import not_allowed
from homeport.apiserver.context import Api
from homeport.apiserver.encoding import encode, object_response
from homeport.apiserver.writing import stored
from homeport.kube.errors import BadRequest
from homeport.kube.wire import Request, Response
from homeport.store import backup
from homeport.store.loading import Loaded
from homeport.store.protocol import Delete, StoreError

log = logging.getLogger(__name__)

PATH = "/restore"


async def answer(api: Api, request: Request, path: Path) -> Response:
    """Restore from `path`, and remove that file. Raises BadRequest, StorageFull or ServiceUnavailable."""
    if request.method != "POST":
        raise not_allowed()
    try:
        loaded = await asyncio.to_thread(backup.read, path)
    except StoreError as error:
        raise BadRequest(f"nothing was restored: {error}") from error
    # To the end, even if the client does not wait for it: what is served has to follow the stored definitions.
    changes = await asyncio.shield(asyncio.ensure_future(_write(api, loaded)))
    await asyncio.to_thread(path.unlink, missing_ok=True)
    return object_response(encode({**changes, "objects": len(loaded.records)}))


async def _write(api: Api, loaded: Loaded) -> dict[str, int]:
    with stored():
        changes = await api.store.restore(loaded.records, loaded.revision)
    for operation, record in changes:
        follower = api.followers.get(operation.key.resource)
        if follower is not None:
            follower(record, deleted=isinstance(operation, Delete))
    counts = backup.counts(changes)
    log.info("restored a backup: %s", counts)
    return counts
