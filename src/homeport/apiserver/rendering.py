"""Stored records to the bytes that a client asked for.

In the common case these are the record's own bytes. An object that was stored in another version of its resource, or
before its CRD changed, is decoded and read through the present schema.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from homeport.apiserver import tables
from homeport.apiserver.context import Api, Call
from homeport.apiserver.encoding import Form, encode, object_response
from homeport.apiserver.resources import Served
from homeport.kube.errors import NotAcceptable
from homeport.kube.meta import Object
from homeport.kube.wire import Response
from homeport.store.protocol import Record

Render = Callable[[Record], bytes]


class _OnlyMetadata(msgspec.Struct):
    metadata: msgspec.Raw


_metadata = msgspec.json.Decoder(_OnlyMetadata)


def value_of(served: Served, record: Record) -> bytes:
    """The record's object as JSON in the version of `served`."""
    if record.revision >= served.changed_at and record.value.startswith(served.head):
        return record.value
    return encode(object_of(served, record))


def object_of(served: Served, record: Record) -> Object:
    """The record's object in the version of `served`, as a new dict."""
    obj: Object = msgspec.json.decode(record.value)
    if record.revision >= served.changed_at and record.value.startswith(served.head):
        return obj
    obj["apiVersion"] = served.resource.api_version
    obj["kind"] = served.kind
    pruned, _ = served.schema.prune(obj)
    result: Object = served.schema.default(pruned)
    return result


def renderer(served: Served, form: Form) -> Render:
    """How one object of a list or a watch is written in JSON, but for tables. Raises NotAcceptable."""
    if form.convert == "":
        if served.changed_at == 0 and served.resource.version == served.storage_version:
            # No record can be in another form: skip looking.
            return _value
        return lambda record: value_of(served, record)
    if form.convert.startswith("PartialObjectMetadata"):
        head = f'{{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/{form.version}","metadata":'.encode()
        return lambda record: b"%b%b}" % (head, _metadata.decode(record.value).metadata)
    raise NotAcceptable(f"no object can be written as {form.convert}")


def _value(record: Record) -> bytes:
    return record.value


def render_object(api: Api, call: Call, record: Record) -> Response:
    """The answer with one stored object."""
    form = call.form
    if form.convert == "Table":
        return _table(api, call, object_of(call.served, record), form, 200)
    return object_response(renderer(call.served, form)(record), form)


def render_transient(api: Api, call: Call, obj: Object, status: int = 200) -> Response:
    """The answer with an object that is not stored: of a dry run, or the last state of a deleted one."""
    form = call.form
    if form.convert == "Table":
        return _table(api, call, obj, form, status)
    if form.convert:
        partial = {"kind": "PartialObjectMetadata", "apiVersion": f"meta.k8s.io/{form.version}"}
        obj = partial | {"metadata": obj.get("metadata") or {}}
    return object_response(encode(obj), form, status)


def render_written(api: Api, call: Call, record: Record, status: int = 200) -> Response:
    """The answer to a write, with its warnings."""
    response = render_object(api, call, record)
    response.status = status
    return response


def _table(api: Api, call: Call, obj: Object, form: Form, status: int) -> Response:
    include = tables.include_object(call.query.get("includeObject", ""))
    version = str((obj.get("metadata") or {}).get("resourceVersion", ""))
    table = tables.table(call.served, [obj], form, include, api.now(), {"resourceVersion": version})
    return object_response(encode(table), form, status)
