"""Protobuf to objects, as the client would have sent them in JSON.

Time and memory are bounded by the body's size: no byte is looked at twice on one level, and a body that asks for more
values than any real one (two bytes make a whole message) is refused, as is one nested too deep.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable
from typing import Any

import msgspec

from homeport.kube.errors import BadRequest, UnsupportedMediaType
from homeport.kube.meta import Object
from homeport.kube.protobuf import table
from homeport.kube.protobuf.table import Field, Message
from homeport.kube.protobuf.values import duration_text, time_text
from homeport.kube.protobuf.wire import FIXED64, LENGTH, VARINT, malformed, signed, skip, span, tag, varint
from homeport.kube.wire import NOT_JSON

MAGIC = b"k8s\x00"
MAX_DEPTH = 100
"""Messages within messages. Real ones stay below 40."""
MAX_VALUES = 500_000
"""Fields and zero values in one body."""

_API_VERSION, _KIND = 1, 2
_TYPE_META, _RAW, _ENCODING, _CONTENT_TYPE = 1, 2, 3, 4
_KEY, _VALUE = 1, 2
_WIRE = {"string": LENGTH, "bytes": LENGTH, "raw": LENGTH, "message": LENGTH, "double": FIXED64}
"""The wire type of all that is not a varint."""


def decode(body: bytes) -> Object:
    """The object in `body`, with its ``apiVersion`` and ``kind``.

    Raises BadRequest, and UnsupportedMediaType for kinds that have no form in protobuf.
    """
    return _Decoder(body).envelope(0, len(body), 0)


class _Decoder:
    """One body on its way; positions are offsets in it, so nothing is copied but values."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._left = MAX_VALUES

    def envelope(self, at: int, end: int, depth: int) -> Object:
        """An object behind its magic bytes."""
        if not self._data.startswith(MAGIC, at, end):
            raise malformed("the body does not begin with the bytes 6b 38 73 00")
        at += len(MAGIC)
        api_version = kind = ""
        content = (0, 0)
        while at < end:
            number, wire, at = tag(self._data, at, end)
            if number not in (_TYPE_META, _RAW, _ENCODING, _CONTENT_TYPE):
                at = skip(self._data, at, end, wire)
                continue
            if wire != LENGTH:
                raise malformed(f"wrong wire type {wire} of field {number} of Unknown")
            start, at = span(self._data, at, end)
            if number == _TYPE_META:
                api_version, kind = self._type_meta(start, at)
            elif number == _RAW:
                content = (start, at)
            elif number == _ENCODING and at > start:
                raise BadRequest(f"an object in the content encoding {self._text(start, at)!r} can't be read")
            elif self._data[start:at] not in (b"", b"application/vnd.kubernetes.protobuf"):
                raise BadRequest(f"an object of the content type {self._text(start, at)!r} can't be read")
        if not kind:
            raise BadRequest("Object 'Kind' is missing in the protobuf body")
        if not api_version:
            raise BadRequest("Object 'apiVersion' is missing in the protobuf body")
        message = table.find(api_version, kind)
        if message is None and api_version.replace("/", ".") in table.tables():
            raise BadRequest(f'no kind "{kind}" is registered for version "{api_version}"')
        if message is None:
            raise UnsupportedMediaType(
                "the body of the request was in an unknown format - accepted media types include: application/json, "
                f"application/yaml ({kind} of {api_version} has no form in protobuf)"
            )
        result: Object = {"apiVersion": api_version, "kind": kind}
        self._fill(result, message, *content, depth)
        return result

    def _type_meta(self, at: int, end: int) -> tuple[str, str]:
        found = {_API_VERSION: "", _KIND: ""}
        while at < end:
            number, wire, at = tag(self._data, at, end)
            if number in found and wire == LENGTH:
                start, at = span(self._data, at, end)
                found[number] = self._text(start, at)
            else:
                at = skip(self._data, at, end, wire)
        return found[_API_VERSION], found[_KIND]

    # -- messages

    def _fill(self, result: dict[str, Any], message: Message, at: int, end: int, depth: int) -> None:
        """Read `message` into `result`, and the zero values that JSON has."""
        self._read(result, message, at, end, depth)
        self._spend(message.cost)
        for name, value in message.zeros:
            if name not in result:
                result[name] = table.zero(value) if isinstance(value, Message) else value

    def _read(self, result: dict[str, Any], message: Message, at: int, end: int, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise malformed(f"messages are nested deeper than {MAX_DEPTH} levels")
        fields, data = message.fields, self._data
        while at < end:
            number, wire, at = tag(data, at, end)
            self._spend(1)
            field = fields.get(number)
            if field is None:
                at = skip(data, at, end, wire)
            elif field.shape == "one":
                at = self._single(result, field, wire, at, end, depth)
            elif field.shape == "list":
                at = self._item(_collection(result, field.json, list), field, wire, at, end, depth)
            else:
                at = self._entry(_collection(result, field.json, dict), field, wire, at, end, depth)

    def _single(self, result: dict[str, Any], field: Field, wire: int, at: int, end: int, depth: int) -> int:
        inner = field.message
        if inner is not None and not inner.special:
            # A message that comes twice is one message: the second adds to the first.
            self._check(field, wire)
            start, at = span(self._data, at, end)
            known = result.get(field.json)
            target = (known if isinstance(known, dict) else {}) if field.json else result
            if field.json:
                result[field.json] = target
                self._fill(target, inner, start, at, depth + 1)
            else:
                self._read(target, inner, start, at, depth + 1)
            return at
        value, at = self._value(field, wire, at, end, depth)
        if field.pointer or field.keeps_zero or value not in ("", 0, None):
            result[field.json] = value
        else:
            result.pop(field.json, None)
        return at

    def _item(self, items: list[Any], field: Field, wire: int, at: int, end: int, depth: int) -> int:
        if wire == LENGTH and field.type not in _WIRE:  # packed numbers
            start, stop = span(self._data, at, end)
            while start < stop:
                self._spend(1)
                value, start = varint(self._data, start, stop)
                items.append(_number(field.type, value))
            return stop
        value, at = self._value(field, wire, at, end, depth)
        items.append(value)
        return at

    def _entry(self, entries: dict[str, Any], field: Field, wire: int, at: int, end: int, depth: int) -> int:
        """One entry of a map: a message of a key and a value."""
        if wire != LENGTH:
            raise malformed(f"wrong wire type {wire} of field {field.json}")
        at, end = span(self._data, at, end)
        key = ""
        value: Any = _MISSING
        while at < end:
            number, wire, at = tag(self._data, at, end)
            if number == _KEY and wire == LENGTH:
                start, at = span(self._data, at, end)
                key = self._text(start, at)
            elif number == _VALUE:
                value, at = self._value(field, wire, at, end, depth)
            else:
                at = skip(self._data, at, end, wire)
        if value is _MISSING:
            value = self._empty(field, depth)
        entries[key] = value
        return end

    def _empty(self, field: Field, depth: int) -> Any:
        """The value of a map's entry that has none."""
        if field.message is None:
            return {"string": "", "bytes": "", "bool": False}.get(field.type, 0)
        return self._message(field.message, 0, 0, depth + 1)

    # -- values

    def _value(self, field: Field, wire: int, at: int, end: int, depth: int) -> tuple[Any, int]:
        self._check(field, wire)
        kind = field.type
        if wire == LENGTH:
            start, at = span(self._data, at, end)
            if kind == "string":
                return self._text(start, at), at
            if kind == "message":
                assert field.message is not None
                return self._message(field.message, start, at, depth + 1), at
            if kind == "raw":
                return (start, at), at
            return base64.b64encode(self._data[start:at]).decode("ascii"), at
        if wire == FIXED64:
            if end - at < 8:
                raise malformed("unexpected end of data")
            double: float = struct.unpack_from("<d", self._data, at)[0]
            if double - double != 0:
                raise malformed(f"{field.json} is not a number that JSON has")
            return int(double) if double.is_integer() and abs(double) < 1 << 53 else double, at + 8
        value, at = varint(self._data, at, end)
        return _number(kind, value), at

    def _message(self, message: Message, at: int, end: int, depth: int) -> Any:
        result: dict[str, Any] = {}
        self._fill(result, message, at, end, depth)
        if not message.special:
            return result
        if message.special == "Raw":
            start, end = result.get("raw", (0, 0))
            return self._raw(start, end, depth)
        return _SPECIAL[message.special](result)

    def _raw(self, start: int, end: int, depth: int) -> Any:
        """Any JSON, or an object in its envelope."""
        if start == end:
            return None
        if self._data.startswith(MAGIC, start, end):
            return self.envelope(start, end, depth + 1)
        try:
            return msgspec.json.decode(memoryview(self._data)[start:end])
        except NOT_JSON as error:
            raise malformed(f"an embedded value is not valid JSON: {error}") from error

    def _text(self, start: int, end: int) -> str:
        try:
            return str(self._data[start:end], "utf-8")
        except UnicodeDecodeError as error:
            raise malformed("a string is not UTF-8") from error

    def _check(self, field: Field, wire: int) -> None:
        if wire != _WIRE.get(field.type, VARINT):
            raise malformed(f"wrong wire type {wire} of field {field.json or field.number}")

    def _spend(self, values: int) -> None:
        self._left -= values
        if self._left < 0:
            raise malformed(f"it has more than {MAX_VALUES} values")


_MISSING = object()


def _collection(result: dict[str, Any], name: str, make: type[Any]) -> Any:
    """The list or map of that name, made where there is none yet."""
    value = result.get(name)
    if value is None:
        value = result[name] = make()
    return value


def _number(kind: str, value: int) -> Any:
    if kind == "bool":
        return value != 0
    return signed(value, 32 if kind == "int32" else 64)


def _time(parts: dict[str, Any], *, micro: bool = False) -> str | None:
    if not parts:
        return None
    try:
        return time_text(parts.get("seconds", 0), parts.get("nanos", 0), micro=micro)
    except (ValueError, OverflowError) as error:
        raise malformed(str(error)) from error


def _schema_or_array(parts: dict[str, Any]) -> Any:
    return parts.get("jSONSchemas") or parts.get("schema")


def _schema_or_bool(parts: dict[str, Any]) -> Any:
    return parts["schema"] if "schema" in parts else parts.get("allows", False)


def _schema_or_strings(parts: dict[str, Any]) -> Any:
    return parts.get("property") or parts.get("schema")


_SPECIAL: dict[str, Callable[[dict[str, Any]], Any]] = {
    "Time": _time,
    "MicroTime": lambda parts: _time(parts, micro=True),
    "Duration": lambda parts: duration_text(parts.get("duration", 0)),
    "Quantity": lambda parts: parts.get("string") or "0",
    "IntOrString": lambda parts: parts.get("strVal", "") if parts.get("type") else parts.get("intVal", 0),
    "SchemaOrArray": _schema_or_array,
    "SchemaOrBool": _schema_or_bool,
    "SchemaOrStrings": _schema_or_strings,
    "Strings": lambda parts: parts.get("items"),
}
