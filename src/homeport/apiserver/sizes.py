"""How large a stored object may be: as large as etcd takes it from a Kubernetes API server, and refused in its words.

Kubernetes stores its own kinds as protobuf and custom resources as JSON, so that is what is measured. A write that is
too large is tried once more without managed fields, which may be most of it (``isTooLargeError`` in
``apiserver/pkg/endpoints/handlers``); server-side apply, which is about them, is not.
"""

from __future__ import annotations

from typing import Any

import msgspec

from homeport.apiserver.answers import status_object
from homeport.kube.errors import ApiError
from homeport.kube.meta import Object
from homeport.store.protocol import Put

LIMIT = 3 << 19
"""Bytes of an object: etcd's ``--max-request-bytes``."""
_MESSAGE_LIMIT = 2 << 20
"""Bytes that etcd's client sends at all."""


def fitting(operation: Put, size: int, *, trims: bool) -> Put:
    """The write, whose object has `size` bytes of JSON, in a form that may be stored: as it is, or with `trims` without
    managed fields. Raises ApiError."""
    obj = dict(operation.object)
    size = _size(obj, size)
    if size > LIMIT and trims and obj["metadata"].get("managedFields"):
        obj["metadata"] = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
        size = _size(obj, len(msgspec.json.encode(obj)))
    if size > LIMIT:
        raise _too_large(size)
    return Put(operation.key, obj, operation.expect)


def _size(obj: Object, size: int) -> int:
    """Bytes that Kubernetes would store of `obj`, which has `size` bytes of JSON."""
    from homeport.kube.protobuf.encode import encode, knows  # its tables are loaded when they are needed

    return len(encode(obj)) if knows(obj["apiVersion"], obj["kind"]) else size


def _too_large(size: int) -> ApiError:
    message = "etcdserver: request is too large"
    if size > _MESSAGE_LIMIT:
        sent = f"trying to send message larger than max ({size} vs. {_MESSAGE_LIMIT})"
        message = f"rpc error: code = ResourceExhausted desc = {sent}"
    status: dict[str, Any] = status_object(500, message)
    del status["reason"]  # upstream knows none
    return ApiError(message, status=status)
