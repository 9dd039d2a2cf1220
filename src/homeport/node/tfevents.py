"""Reads what TensorBoard reads: scalars of event files. Pure, and without a library of TensorFlow's.

A file is a row of records (TFRecord): the length (8 bytes, little-endian), its checksum, the data, its checksum. A
checksum is CRC-32C, rotated and offset ("masked"). The data is a message ``Event`` of protocol buffers; what is read of
it is below. (tensorflow: ``lib/io/record_writer.cc``, ``util/event.proto``, ``framework/{summary,tensor}.proto``.)
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator

import msgspec

HEADER, TRAILER = 12, 4
_LENGTH = struct.Struct("<QI")
_CHECKSUM, _FLOAT, _DOUBLE = struct.Struct("<I"), struct.Struct("<f"), struct.Struct("<d")
_MASK_DELTA = 0xA282EAD8
_POLYNOMIAL = 0x82F63B78
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MOST_DEPTH = 10
"""Bytes of a number of 64 bits."""

_EVENT_TIME, _EVENT_STEP, _EVENT_SUMMARY = 1, 2, 5
_SUMMARY_VALUE = 1
_VALUE_TAG, _VALUE_SIMPLE, _VALUE_TENSOR, _VALUE_METADATA = 1, 2, 8, 9
_METADATA_PLUGIN, _PLUGIN_NAME = 1, 1
_TENSOR_TYPE, _TENSOR_SHAPE, _TENSOR_CONTENT = 1, 2, 4
_SHAPE_DIM = 2
_FORMATS = {1: "<f", 2: "<d", 3: "<i", 4: "<B", 5: "<h", 6: "<b", 9: "<q", 17: "<H", 19: "<e", 22: "<I", 23: "<Q"}
"""Of ``tensor_content``, by ``DataType``: those of which a scalar is made."""
_TENSOR_FLOATS, _TENSOR_DOUBLES, _TENSOR_HALVES = 5, 6, 13
_TENSOR_NUMBERS = frozenset({7, 10, 16, 17})
"""``int_val``, ``int64_val``, ``uint32_val`` and ``uint64_val``."""
_SCALARS = b"scalars"


class Broken(ValueError):
    """The bytes are not what they have to be."""


class Scalar(msgspec.Struct, frozen=True):
    tag: str
    value: float
    step: int
    time: float
    """Seconds since 1970; 0 if it does not say."""


def length_of(header: bytes) -> int:
    """The length of a record's data, by its first :data:`HEADER` bytes. Raises Broken."""
    length, checksum = _LENGTH.unpack(header)
    if _masked(header[:8]) != checksum:
        raise Broken("the checksum of a record's length is wrong")
    return int(length)


def data_of(record: bytes) -> bytes:
    """The data of a record, by what comes after its header. Raises Broken."""
    data = record[:-TRAILER]
    if _masked(data) != _CHECKSUM.unpack(record[-TRAILER:])[0]:
        raise Broken("the checksum of a record's data is wrong")
    return data


def scalars(event: bytes) -> Iterator[Scalar]:
    """The scalars of an event. Raises Broken."""
    time, step, values = 0.0, 0, []
    for number, value in _fields(event):
        if number == _EVENT_TIME and isinstance(value, bytes) and len(value) == 8:
            time = _DOUBLE.unpack(value)[0]
        elif number == _EVENT_STEP and isinstance(value, int):
            step = value - (1 << 64) if value >> 63 else value
        elif number == _EVENT_SUMMARY and isinstance(value, bytes):
            values += [one for at, one in _fields(value) if at == _SUMMARY_VALUE and isinstance(one, bytes)]
    for one in values:
        tag, number_of = _value(one)
        if tag and number_of is not None:
            yield Scalar(tag, number_of, step, time if math.isfinite(time) else 0.0)


def _value(value: bytes) -> tuple[str, float | None]:
    tag, found, tensor, plugin = "", None, None, b""
    for number, content in _fields(value):
        if not isinstance(content, bytes):
            continue
        if number == _VALUE_TAG:
            tag = content.decode(errors="replace")
        elif number == _VALUE_SIMPLE and len(content) == 4:
            found = _rounded(_FLOAT.unpack(content)[0])
        elif number == _VALUE_TENSOR:
            tensor = content
        elif number == _VALUE_METADATA:
            plugin = _inner(_inner(content, _METADATA_PLUGIN), _PLUGIN_NAME)
    # Later values of a tag may come without what says what they are.
    if found is None and tensor is not None and plugin in (b"", _SCALARS):
        found = _scalar_of(tensor)
    return tag, found


def _inner(message: bytes, wanted: int) -> bytes:
    return next((found for number, found in _fields(message) if number == wanted and isinstance(found, bytes)), b"")


def _scalar_of(tensor: bytes) -> float | None:
    """The number in a tensor without dimensions; None if it is not one."""
    kind, content, found = 0, b"", None
    for number, value in _fields(tensor):
        if number == _TENSOR_TYPE and isinstance(value, int):
            kind = value
        elif number == _TENSOR_SHAPE and isinstance(value, bytes):
            if any(at == _SHAPE_DIM for at, _ in _fields(value)):
                return None
        elif number == _TENSOR_CONTENT and isinstance(value, bytes):
            content = value
        else:
            found = _listed(number, value) if found is None else found
    if content and kind in _FORMATS and struct.calcsize(_FORMATS[kind]) == len(content):
        found = float(struct.unpack(_FORMATS[kind], content)[0])
    if found is None or kind not in _FORMATS:
        return None
    return _rounded(found) if kind in (1, 19) else found


def _listed(number: int, value: int | bytes) -> float | None:
    """The first of the numbers in one of a tensor's lists, which come packed or one by one."""
    if isinstance(value, bytes):
        if number == _TENSOR_FLOATS and len(value) >= 4:
            return float(_FLOAT.unpack(value[:4])[0])
        if number == _TENSOR_DOUBLES and len(value) >= 8:
            return float(_DOUBLE.unpack(value[:8])[0])
        if number not in (*_TENSOR_NUMBERS, _TENSOR_HALVES) or not value:
            return None
        value, _ = _varint(value, 0)
    if number == _TENSOR_HALVES:
        return float(struct.unpack("<e", struct.pack("<H", value & 0xFFFF))[0])
    return float(value - (1 << 64) if value >> 63 else value) if number in _TENSOR_NUMBERS else None


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Numbers and values of a message's fields: those of fixed length as their bytes. Raises Broken."""
    at, end = 0, len(message)
    while at < end:
        key, at = _varint(message, at)
        kind = key & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        if kind == _BYTES:
            size, at = _varint(message, at)
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
        else:
            raise Broken("a field of a kind that there is none of")
        if at + size > end:
            raise Broken("a field that goes beyond its message")
        yield key >> 3, message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for place in range(_MOST_DEPTH):
        if at + place >= len(message):
            break
        byte = message[at + place]
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at + place + 1
    raise Broken("a number without an end")


def _rounded(value: float) -> float:
    """A number of 32 bits or fewer with the digits that it has."""
    return float(f"{value:.7g}")


def _table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (_POLYNOMIAL if byte & 1 else 0)
        table.append(byte)
    return tuple(table)


_TABLE = _table()


def _masked(data: bytes) -> int:
    checksum, table = 0xFFFFFFFF, _TABLE
    for byte in data:
        checksum = table[(checksum ^ byte) & 0xFF] ^ checksum >> 8
    checksum ^= 0xFFFFFFFF
    return ((checksum >> 15 | checksum << 17) + _MASK_DELTA) & 0xFFFFFFFF
