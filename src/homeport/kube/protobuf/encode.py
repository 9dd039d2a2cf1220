"""Objects to protobuf, for clients that accept nothing else, and for clients of our own.

What JSON leaves out is left out: Go reads absent fields as zero values, so the result is the same object to it.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from homeport.kube.meta import Object
from homeport.kube.protobuf import table
from homeport.kube.protobuf.decode import MAGIC
from homeport.kube.protobuf.table import Field, Message
from homeport.kube.protobuf.values import duration_nanoseconds, time_parts
from homeport.kube.protobuf.wire import FIXED64, VARINT, delimited, header, number

_FRAME_LENGTH = 4


def knows(api_version: str, kind: str) -> bool:
    """Whether objects of the kind have a form in protobuf."""
    return table.find(api_version, kind) is not None


def encode(obj: Object) -> bytes:
    """`obj` in its envelope. Raises ValueError for a kind without a message, and for values of other types than the
    kind's fields have."""
    api_version, kind = obj["apiVersion"], obj["kind"]
    message = table.find(api_version, kind)
    if message is None:
        raise ValueError(f"{kind} of {api_version} has no form in protobuf")
    type_meta = delimited(1, api_version.encode()) + delimited(2, kind.encode())
    return b"".join((MAGIC, delimited(1, type_meta), delimited(2, _message(message, obj)), b"\x1a\x00\x22\x00"))


def watch_frame(type: str, envelope: bytes) -> bytes:
    """One event of a watch: its length in four bytes, and a ``WatchEvent`` with the object in its envelope."""
    event = delimited(1, type.encode()) + delimited(2, delimited(1, envelope))
    return len(event).to_bytes(_FRAME_LENGTH, "big") + event


def _message(message: Message, obj: Any) -> bytes:
    if message.special:
        obj = _SPECIAL[message.special](obj)
    elif not isinstance(obj, dict):
        raise ValueError(f"{message.name} has to be an object")
    return b"".join(_fields(message, obj))


def _fields(message: Message, obj: dict[str, Any]) -> Iterator[bytes]:
    for field in message.fields.values():
        if not field.json:
            assert field.message is not None
            inner = b"".join(_fields(field.message, obj))
            if inner:
                yield delimited(field.number, inner)
            continue
        value = obj.get(field.json)
        if value is None:
            continue
        if field.shape == "one":
            yield _value(field, field.number, value)
        elif field.shape == "list":
            for item in value:
                yield _value(field, field.number, item)
        else:
            for key, item in value.items():
                yield delimited(field.number, delimited(1, str(key).encode()) + _value(field, 2, item))


def _value(field: Field, at: int, value: Any) -> bytes:
    match field.type:
        case "message":
            assert field.message is not None
            return delimited(at, _message(field.message, value))
        case "string":
            return delimited(at, value.encode())
        case "bytes":
            return delimited(at, base64.b64decode(value or ""))
        case "raw":
            return delimited(at, value)
        case "double":
            return header(at, FIXED64) + struct.pack("<d", value)
        case _:
            return header(at, VARINT) + number(int(value))


def _time(text: str | None, *, micro: bool = False) -> dict[str, int]:
    if text is None:
        return {}
    seconds, nanoseconds = time_parts(text)
    return {"seconds": seconds, "nanos": nanoseconds if micro else 0}


def _int_or_string(value: Any) -> dict[str, Any]:
    return {"type": 1, "strVal": value} if isinstance(value, str) else {"type": 0, "intVal": value}


_SPECIAL: dict[str, Callable[[Any], dict[str, Any]]] = {
    "Time": _time,
    "MicroTime": lambda text: _time(text, micro=True),
    "Duration": lambda text: {"duration": duration_nanoseconds(text)},
    "Quantity": lambda value: {"string": str(value)},
    "IntOrString": _int_or_string,
    "Raw": lambda value: {"raw": msgspec.json.encode(value)},
    "SchemaOrArray": lambda value: {"jSONSchemas" if isinstance(value, list) else "schema": value},
    "SchemaOrBool": lambda value: {"allows": value} if isinstance(value, bool) else {"allows": True, "schema": value},
    "SchemaOrStrings": lambda value: {"property" if isinstance(value, list) else "schema": value},
    "Strings": lambda value: {"items": value},
}
