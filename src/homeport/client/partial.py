"""Objects reduced to their metadata, for caches over every resource there is.

Over the network the server shortens them (``PartialObjectMetadata``). In process it is cheaper to skip the rest while
decoding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from homeport.kube.meta import Object

LIST_HEADERS = {"accept": "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"}
WATCH_HEADERS = {"accept": "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"}


class Meta(msgspec.Struct, omit_defaults=True, gc=False):
    """ObjectMeta without managedFields, annotations and labels: half of an object's bytes that no such cache reads."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resourceVersion: str = ""
    creationTimestamp: str | None = None
    deletionTimestamp: str | None = None
    finalizers: list[str] | None = None
    ownerReferences: list[dict[str, Any]] | None = None


class _Object(msgspec.Struct, omit_defaults=True, gc=False):
    metadata: Meta = msgspec.field(default_factory=Meta)
    apiVersion: str = ""
    kind: str = ""
    code: int = 0
    reason: str = ""
    message: str = ""
    """The last three: of a Status, which an ERROR event carries."""


class _Event(msgspec.Struct, gc=False):
    type: str
    object: _Object


class _ListMeta(msgspec.Struct, gc=False):
    resourceVersion: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class _List(msgspec.Struct, gc=False):
    metadata: _ListMeta = msgspec.field(default_factory=_ListMeta)
    items: list[_Object] | None = None


_decode_event = msgspec.json.Decoder(_Event).decode
_decode_list = msgspec.json.Decoder(_List).decode


def _plain(obj: _Object) -> Object:
    result: Object = msgspec.to_builtins(obj)
    if result.get("kind") == "PartialObjectMetadata":  # the form's name, not the object's kind
        del result["kind"], result["apiVersion"]
    return result


def decode_event(line: bytes) -> tuple[str, Object]:
    event = _decode_event(line)
    return event.type, _plain(event.object)


def decode_list(body: bytes, wanted: Callable[[Meta], bool] | None = None) -> tuple[list[Object], dict[str, str]]:
    """Items (those that are `wanted`) and the list's metadata."""
    document = _decode_list(body)
    meta = {"resourceVersion": document.metadata.resourceVersion, "continue": document.metadata.continue_}
    items = document.items or []
    if wanted is not None:
        items = [item for item in items if wanted(item.metadata)]
    return [_plain(item) for item in items], meta
