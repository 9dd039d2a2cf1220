"""``GET`` of a collection. The answer is joined from the records' own bytes, a few at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from homeport.apiserver import tables
from homeport.apiserver.answers import JSON
from homeport.apiserver.context import Api, Call
from homeport.apiserver.encoding import encode, object_response
from homeport.apiserver.listing import Page, list_options, page
from homeport.apiserver.rendering import renderer
from homeport.apiserver.versions import object_of
from homeport.kube.wire import Response

CHUNK = 64
"""Objects that are joined at a time: one buffer for a whole list costs several times as much (memory that is asked for
and given back, TLS records that are built at once)."""
_TURN = 256
"""Objects that are rendered before others get their turn."""
_PLAIN_TURN = 4096
"""The same for objects that are written as they are stored: nothing is done but to look at them."""
_END = b"]}\n"


async def list_objects(api: Api, call: Call) -> Response:
    options = list_options(api, call)
    form = call.form
    found = await page(api, call, options)
    if form.convert == "Table":
        return await _table(api, call, found)
    kind, version = call.served.list_kind, call.served.api_version
    if form.convert:
        kind, version = "PartialObjectMetadataList", f"meta.k8s.io/{form.version}"
    head = encode({"kind": kind, "apiVersion": version, "metadata": _list_meta(found)})
    render = renderer(call.served, form)
    start = head[:-1] + b',"items":['
    if len(found.records) <= CHUNK or form.media != "json":
        body = start + b",".join([render(record) for record in found.records]) + b"]}\n"
        return object_response(body, form)
    pieces: list[bytes] = []
    turn = _TURN if form.convert else _PLAIN_TURN
    for at in range(0, len(found.records), turn):
        pieces += [render(record) for record in found.records[at : at + turn]]
        await asyncio.sleep(0)
    return _streamed(start, pieces)


async def _table(api: Api, call: Call, found: Page) -> Response:
    """All rows in one table; made a few at a time, so that nobody waits for a long one."""
    form = call.form
    include = tables.include_object(call.query.get("includeObject", ""))
    now = api.now()
    pieces: list[bytes] = []
    start = b""
    for at in range(0, max(1, len(found.records)), CHUNK):
        objects = [object_of(call.served, record) for record in found.records[at : at + CHUNK]]
        table = tables.table(call.served, objects, form, include, now, _list_meta(found), headers=not at)
        rows = table.pop("rows")
        if not at:
            start = encode(table)[:-1] + b',"rows":['
        pieces += map(encode, rows)
        if len(found.records) > CHUNK:
            await asyncio.sleep(0)
    if len(pieces) <= CHUNK or form.media != "json":
        return object_response(start + b",".join(pieces) + b"]}\n", form)
    return _streamed(start, pieces)


def _streamed(start: bytes, pieces: Sequence[bytes]) -> Response:
    size = len(start) + sum(map(len, pieces)) + len(pieces) - 1 + len(_END)
    return Response(200, {"content-type": JSON, "content-length": str(size)}, _chunks(start, pieces))


async def _chunks(start: bytes, pieces: Sequence[bytes]) -> AsyncIterator[bytes]:
    yield start
    last = len(pieces)
    for at in range(0, last, CHUNK):
        part = [*pieces[at : at + CHUNK]]
        if at + CHUNK < last:
            part.append(b"")  # a comma behind the others, without copying the whole chunk for it
        else:
            part[-1] += _END
        yield b",".join(part)
        await asyncio.sleep(0)  # A reader that is as fast as this writer must not keep others waiting.


def _list_meta(found: Page) -> dict[str, str | int]:
    meta: dict[str, str | int] = {"resourceVersion": str(found.revision)}
    if found.token:
        meta["continue"] = found.token
        if found.remaining is not None:
            meta["remainingItemCount"] = found.remaining
    return meta
