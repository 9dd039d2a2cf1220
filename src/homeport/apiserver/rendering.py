"""Stored records to the bytes that a client asked for.

In the common case these are the record's own bytes (see :mod:`homeport.apiserver.versions` for the others).
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from homeport.apiserver import tables
from homeport.apiserver.context import Api, Call
from homeport.apiserver.encoding import Form, encode, object_response
from homeport.apiserver.resources import Served
from homeport.apiserver.versions import object_of, shown_one, value_of
from homeport.kube.errors import NotAcceptable
from homeport.kube.meta import Object
from homeport.kube.table import Printer
from homeport.kube.wire import Response
from homeport.store.protocol import Record

Render = Callable[[Record], bytes]


class _OnlyMetadata(msgspec.Struct):
    metadata: msgspec.Raw


_metadata = msgspec.json.Decoder(_OnlyMetadata)


def renderer(served: Served, form: Form) -> Render:
    """How one object of a list or a watch is written in JSON, but for tables. Raises NotAcceptable."""
    if form.convert == "":
        if (
            served.changed_at == 0
            and served.resource.version == served.storage_version
            and served.conversion is None
            and served.converter is None
        ):
            # No record can be in another form: skip looking.
            return _value
        return lambda record: value_of(served, record)
    if form.convert.startswith("PartialObjectMetadata"):
        head = f'{{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/{form.version}","metadata":'.encode()
        if served.conversion is not None:  # it may keep things in annotations
            return lambda record: b"%b%b}" % (head, _metadata.decode(value_of(served, record)).metadata)
        return lambda record: b"%b%b}" % (head, _metadata.decode(record.value).metadata)
    raise NotAcceptable(f"no object can be written as {form.convert}")


def _value(record: Record) -> bytes:
    return record.value


def render_object(api: Api, call: Call, record: Record) -> Response:
    """The answer with one stored object, in the request's version as far as a webhook has to convert it."""
    form = call.form
    if form.convert == "Table":
        return _table(api, call, object_of(call.served, record), form, 200)
    return object_response(renderer(call.served, form)(record), form)


def render_transient(
    api: Api, call: Call, obj: Object, status: int = 200, *, printer: Printer | None = None
) -> Response:
    """The answer with an object that is not stored: of a dry run, the last state of a deleted one, a Scale."""
    form = call.form
    if form.convert == "Table":
        return _table(api, call, obj, form, status, printer)
    if form.convert:
        partial = {"kind": "PartialObjectMetadata", "apiVersion": f"meta.k8s.io/{form.version}"}
        obj = partial | {"metadata": obj.get("metadata") or {}}
    return object_response(encode(obj), form, status)


async def render_written(api: Api, call: Call, record: Record, status: int = 200) -> Response:
    """The answer to a write, of a record as the store has it."""
    shown = record if call.served.converter is None else await shown_one(call.served, record)
    return render_shown(api, call, shown, status)


def render_shown(api: Api, call: Call, shown: Record, status: int = 200) -> Response:
    """The same, of a record in the request's version."""
    response = render_object(api, call, shown)
    response.status = status
    return response


def _table(api: Api, call: Call, obj: Object, form: Form, status: int, printer: Printer | None = None) -> Response:
    include = tables.include_object(call.query.get("includeObject", ""))
    version = str((obj.get("metadata") or {}).get("resourceVersion", ""))
    metadata = {"resourceVersion": version}
    table = tables.table(call.served, [obj], form, include, api.now(), metadata, printer=printer)
    return object_response(encode(table), form, status)
