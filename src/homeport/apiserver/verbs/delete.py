"""``DELETE`` of one object and of a collection."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from homeport.apiserver.admission import DELETE, attributes_of
from homeport.apiserver.context import Api, Call
from homeport.apiserver.deletion import DeleteOptions, check_preconditions, delete_options, mark, warning
from homeport.apiserver.encoding import decode_body, encode, object_response
from homeport.apiserver.listing import list_options, page
from homeport.apiserver.offload import at, takes_long
from homeport.apiserver.rendering import render_transient, render_written
from homeport.apiserver.verbs.update import ATTEMPTS, head
from homeport.apiserver.versions import object_of, shown_one, stored
from homeport.apiserver.writing import commit, modified
from homeport.kube.errors import NotFound, object_details
from homeport.kube.meta import Object
from homeport.kube.wire import Response
from homeport.store.protocol import Conflicting, Delete, Put, Record

RETURN_OBJECT = frozenset(
    {
        "/persistentvolumeclaims",
        "/persistentvolumes",
        "/pods",
        "/podtemplates",
        "/resourcequotas",
        "/serviceaccounts",
        "/services",
        "resource.k8s.io/deviceclasses",
        "resource.k8s.io/resourceclaims",
        "resource.k8s.io/resourceclaimtemplates",
        "resource.k8s.io/resourceslices",
        "storage.k8s.io/csidrivers",
        "storage.k8s.io/csinodes",
        "storage.k8s.io/storageclasses",
        "storage.k8s.io/volumeattachments",
    }
)
"""Kinds whose removal answers with the object; for all others it is a ``Status`` (typed clients insist on either)."""


def _read_options(call: Call) -> tuple[Object, DeleteOptions]:
    """The options as sent, for webhooks, and as understood."""
    body: Object = {}
    if call.request.body.strip():
        body = decode_body(call.request.headers.get("content-type"), call.request.body).object
    options = delete_options(body, call.query)
    if words := warning(call.served, options):
        call.warnings.append(words)
    return body, options


async def delete(api: Api, call: Call) -> Response:
    body, options = _read_options(call)
    return await admit_and_delete(api, call, head(api, call), options, body, call.info.name)


async def admit_and_delete(
    api: Api, call: Call, record: Record, options: DeleteOptions, sent: Object, name: str
) -> Response:
    """Delete the object of `record`, or mark it, if admission lets it. Raises Conflict, and what admission raises.

    Where admission waits for a webhook and somebody else writes meanwhile, all of it is done once more.
    """
    newest: Record | None = record
    for _ in range(ATTEMPTS):
        if newest is None:
            raise NotFound.of(call.served.group, call.served.resource.plural, record.key.name)
        off = takes_long(call.served, len(newest.value))
        obj = await at(off, object_of, call.served, await shown_one(call.served, newest))
        check_preconditions(call.served, obj, options)
        attributes = attributes_of(call, DELETE, None, obj, name=name)
        attributes.delete_options = sent
        attributes.dry_run |= options.dry_run
        await api.admission.admit(attributes)
        seen, newest = newest.revision, api.store.head(record.key)
        if newest is not None and newest.revision == seen:
            return await delete_record(api, call, newest, options, obj)
    raise modified(call, record.key.name)


async def delete_record(
    api: Api, call: Call, record: Record, options: DeleteOptions, obj: Object, *, along: Sequence[Put] = ()
) -> Response:
    """Delete the object `obj` of `record`, the newest state, or mark it. `along` is written with it or not at all.
    Raises Conflict."""
    served = call.served
    check_preconditions(served, obj, options)
    outcome = mark(served, obj, options, api.now())
    status = 202 if not outcome.remove and options.accepts else 200
    if options.dry_run:
        if outcome.remove and served.key not in RETURN_OBJECT:
            return _success(call, obj)
        return render_transient(api, call, outcome.object, status)
    if outcome.remove:
        try:
            gone = Delete(record.key, record.revision, await stored(served, outcome.object))
            removed = await commit(api, gone, along=along)
        except Conflicting as error:
            raise modified(call, record.key.name) from error
        return await render_written(api, call, removed) if served.key in RETURN_OBJECT else _success(call, obj)
    if not outcome.changed and not along and record.revision <= api.store.revision:
        return await render_written(api, call, record, status)
    try:
        marked = Put(record.key, await stored(served, outcome.object), record.revision)
        written = await commit(api, marked, along=along)
    except Conflicting as error:
        raise modified(call, record.key.name) from error
    return await render_written(api, call, written, status)


def _success(call: Call, obj: Object) -> Response:
    resource = call.served.resource
    details = object_details(resource.group, resource.plural, obj["metadata"]["name"])
    return object_response(encode(_status({**details, "uid": obj["metadata"].get("uid", "")})), call.form)


def _status(details: dict[str, str]) -> Object:
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


async def delete_collection(api: Api, call: Call) -> Response:
    """Delete everything that the selectors choose. What is deleted by others meanwhile counts as deleted."""
    sent, options = _read_options(call)
    found = await page(api, call, list_options(api, call))
    newest = (api.store.head(record.key) for record in found.records)
    # Together, so that they share commits.
    # Upstream's attributes have no name here either.
    work = (admit_and_delete(api, call, record, options, sent, "") for record in newest if record is not None)
    for result in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(result, BaseException) and not isinstance(result, NotFound):
            raise result
    resource = call.served.resource
    details = object_details(resource.group, resource.plural)
    return object_response(encode(_status(details)), call.form)
