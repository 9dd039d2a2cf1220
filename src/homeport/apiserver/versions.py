"""Several versions of one stored object: from the stored version to the one that a request speaks, and back.

A resource's versions share the store's records. A version is related to the stored one in one of three ways:

* nothing but ``apiVersion`` differs (the conversion strategy ``None`` of CustomResourceDefinitions);
* pure functions lead from one to the other (:class:`homeport.kube.kind.Conversion`, built-in kinds);
* a webhook converts (:class:`Converter`, the strategy ``Webhook``). That takes time, so it is a step of its own, before
  anything looks into the records: :func:`shown` gives records in the request's version, after which they are like any
  others, and :func:`stored` gives an object in the storage version.

In the common case, an object of the version that it is stored in, nobody but :func:`value_of` looks: the record's own
bytes are the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, Protocol

import msgspec

from homeport.apiserver.encoding import encode
from homeport.kube.meta import Object
from homeport.store.protocol import Record

if TYPE_CHECKING:
    from homeport.apiserver.resources import Served


class Converter(Protocol):
    """Converts the objects of one resource by asking somebody else."""

    async def convert(self, objects: Sequence[Object], api_version: str, *, defaults: bool = True) -> Sequence[Object]:
        """`objects`, each in any version of the resource, all in `api_version`, in their order, with defaults unless
        only the fields count that they have. Raises ApiError."""

    async def show(self, records: Sequence[Record], api_version: str) -> Sequence[Record]:
        """`records` with values in `api_version`; remembers what it converted lately. Raises ApiError."""


# -- from the store


async def shown(served: Served, records: Sequence[Record]) -> Sequence[Record]:
    """`records` as far as only a webhook can bring them into the version of `served`. Raises ApiError."""
    if served.converter is None:
        return records
    return await served.converter.show(records, served.api_version)


async def shown_one(served: Served, record: Record) -> Record:
    """As :func:`shown`, of one record."""
    if served.converter is None:
        return record
    return (await served.converter.show([record], served.api_version))[0]


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
    if served.conversion is not None:
        # The stored object has its defaults, and the conversion is the kind's own: there is nothing to add or to drop.
        return _headed(served.conversion.show(obj), served.api_version, served.kind)
    obj["apiVersion"] = served.api_version
    obj["kind"] = served.kind
    pruned, _ = served.schema.prune(obj)
    result: Object = served.schema.default(pruned)
    return result


# -- between versions


async def converted(obj: Object, served: Served, wanted: Served) -> Object:
    """`obj`, of the version `served`, in another version of the same resource. Raises ApiError where a webhook can't
    convert it."""
    if wanted is served:
        return obj
    if served.converter is not None:
        (result,) = await served.converter.convert([obj], wanted.resource.api_version)
        return result
    kept = to_storage(served, obj)
    if wanted.conversion is not None:
        kept = wanted.conversion.show(kept)
    return _headed(kept, wanted.resource.api_version, wanted.kind)


# -- to the store


async def stored(served: Served, obj: Object) -> Object:
    """`obj`, of the version of `served`, as it is stored. Raises ApiError where a webhook can't convert it."""
    if served.converter is not None and served.storage_version != served.resource.version:
        (obj,) = await served.converter.convert([obj], served.storage_api_version)
    return to_storage(served, obj)


def to_storage(served: Served, obj: Object) -> Object:
    """`obj` in the storage version, with what it is at the start of its bytes; what a webhook has to do is done."""
    conversion = served.conversion
    if conversion is not None:
        return _headed(conversion.store(obj), served.storage_api_version, conversion.stored.kind)
    return _headed(obj, served.storage_api_version, served.kind)


_HEAD = ("apiVersion", "kind", "metadata")


def _headed(obj: Object, api_version: str, kind: str) -> Object:
    """`obj` with these, which come first in it."""
    if tuple(islice(obj, 3)) == _HEAD and obj["apiVersion"] == api_version and obj["kind"] == kind:
        return obj
    head = {"apiVersion": api_version, "kind": kind, "metadata": obj["metadata"]}
    return {**head, **obj, "apiVersion": api_version, "kind": kind}
