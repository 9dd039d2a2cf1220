"""Objects to bytes and back to what the store needs of them. Pure."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec

_ENCODER: Final = msgspec.json.Encoder()
_SHALLOW: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_LABELS: Final = msgspec.json.Decoder(dict[str, str])

NO_LABELS: Final[Mapping[str, str]] = {}
"""Shared by every record without labels. Read-only by contract, like every record."""


def encode(obj: Mapping[str, Any], revision: int) -> bytes:
    """`obj` as JSON with ``metadata.resourceVersion`` set to `revision`; `obj` stays as it is.

    The encoder returns buffers with room to spare, which a store would keep forever, hence the copy of exact size.
    """
    metadata = {**(obj.get("metadata") or {}), "resourceVersion": str(revision)}
    return bytes(memoryview(_ENCODER.encode({**obj, "metadata": metadata})))


def shallow(value: bytes) -> dict[str, Any]:
    """The stored JSON `value` as an object that `encode` takes, in which only what the store looks at is decoded."""
    fields: dict[str, Any] = dict(_SHALLOW.decode(value))
    metadata: dict[str, Any] = dict(_SHALLOW.decode(fields["metadata"]))
    if "labels" in metadata:
        metadata["labels"] = msgspec.json.decode(metadata["labels"])
    if "uid" in metadata:
        metadata["uid"] = msgspec.json.decode(metadata["uid"])
    fields["metadata"] = metadata
    return fields


def restamp(value: bytes, revision: int) -> bytes:
    """The stored JSON `value` with another resourceVersion; everything else byte for byte."""
    fields: dict[str, Any] = dict(_SHALLOW.decode(value))
    metadata: dict[str, Any] = dict(_SHALLOW.decode(fields["metadata"]))
    metadata["resourceVersion"] = str(revision)
    fields["metadata"] = metadata
    return bytes(memoryview(_ENCODER.encode(fields)))


def labels_of(obj: Mapping[str, Any], known: Mapping[str, str] = NO_LABELS) -> Mapping[str, str]:
    """The object's labels with interned texts; `known` itself if it is equal, as it is on most updates."""
    labels = (obj.get("metadata") or {}).get("labels")
    if not labels:
        return NO_LABELS
    if labels == known:
        return known
    return _shared(tuple(labels.items())) if len(labels) <= _FEW else _interned(labels)


def encode_labels(labels: Mapping[str, str]) -> bytes | None:
    """Labels as a column of a database; None when there are none."""
    return _ENCODER.encode(labels) if labels else None


def decode_labels(text: bytes) -> Mapping[str, str]:
    return _interned(_LABELS.decode(text))


_FEW: Final = 16
"""Labels of an object that others may share."""


@lru_cache(maxsize=256)
def _shared(labels: tuple[tuple[str, str], ...]) -> Mapping[str, str]:
    """The objects of one job or replica set have the same labels: one dict serves them all."""
    return _interned(dict(labels))


def _interned(labels: Mapping[str, str]) -> dict[str, str]:
    # Many objects carry the same few texts; one copy of each serves all.
    return {sys.intern(key): sys.intern(value) for key, value in labels.items()}
