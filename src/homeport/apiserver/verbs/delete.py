"""``DELETE`` of one object and of a collection."""

from __future__ import annotations

import asyncio

from homeport.apiserver.context import Api, Call
from homeport.apiserver.deletion import DeleteOptions, check_preconditions, delete_options, mark
from homeport.apiserver.encoding import decode_body, encode, object_response
from homeport.apiserver.listing import list_options, page
from homeport.apiserver.rendering import render_transient, render_written
from homeport.apiserver.verbs.update import head
from homeport.apiserver.versions import object_of, shown_one, stored
from homeport.apiserver.writing import commit, modified
from homeport.kube.errors import Forbidden, object_details
from homeport.kube.meta import Object
from homeport.kube.wire import Response
from homeport.store.protocol import Conflicting, Delete, Put, Record

_RETURN_OBJECT = frozenset(
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

_IMMORTAL = frozenset({"default", "kube-system", "kube-public"})
"""Namespaces that stay, whoever asks. Upstream: ``plugin/pkg/admission/namespace/lifecycle``."""


def _options(call: Call) -> DeleteOptions:
    body: Object = {}
    if call.request.body.strip():
        body = decode_body(call.request.headers.get("content-type"), call.request.body).object
    return delete_options(body, call.query)


async def delete(api: Api, call: Call) -> Response:
    return await delete_record(api, call, head(api, call), _options(call))


async def delete_record(api: Api, call: Call, record: Record, options: DeleteOptions) -> Response:
    """Delete the object of `record`, or mark it. Raises Conflict, Forbidden."""
    served = call.served
    if served.key == "/namespaces" and record.key.name in _IMMORTAL:
        raise Forbidden(
            f'namespaces "{record.key.name}" is forbidden: this namespace may not be deleted',
            details=object_details("", "namespaces", record.key.name),
        )
    obj = object_of(served, await shown_one(served, record))
    check_preconditions(served, obj, options)
    outcome = mark(served, obj, options, api.now())
    # Foreground deletion of an object that something holds back is "accepted"; others are "ok" (upstream's habit).
    status = 202 if not outcome.remove and options.policy == "Foreground" else 200
    if options.dry_run:
        if outcome.remove and served.key not in _RETURN_OBJECT:
            return _success(call, obj)
        return render_transient(api, call, outcome.object, status)
    if outcome.remove:
        try:
            removed = await commit(api, Delete(record.key, record.revision, await stored(served, outcome.object)))
        except Conflicting as error:
            raise modified(call, record.key.name) from error
        return await render_written(api, call, removed) if served.key in _RETURN_OBJECT else _success(call, obj)
    if not outcome.changed and record.revision <= api.store.revision:
        return await render_written(api, call, record, status)
    try:
        written = await commit(api, Put(record.key, await stored(served, outcome.object), record.revision))
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
    options = _options(call)
    found = await page(api, call, list_options(api, call))
    newest = (api.store.head(record.key) for record in found.records)
    # Together, so that they share commits.
    await asyncio.gather(*(delete_record(api, call, record, options) for record in newest if record is not None))
    resource = call.served.resource
    details = object_details(resource.group, resource.plural)
    return object_response(encode(_status(details)), call.form)
