"""Protobuf's own encoding: variable-length numbers, tags and lengths, with every bound checked.

https://protobuf.dev/programming-guides/encoding. Groups, which Kubernetes has never used, are refused.
"""

from __future__ import annotations

from homeport.kube.errors import BadRequest

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
_MAX_VARINT = 10
"""Bytes that a number of 64 bits takes."""


def malformed(why: str) -> BadRequest:
    """The error for a body that is not what it says it is."""
    return BadRequest(f"the object provided is not valid protobuf: {why}")


def varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """The unsigned number of 64 bits at `at`, and where it ends. Raises BadRequest."""
    if at < end and (byte := data[at]) < 0x80:
        return byte, at + 1
    value = shift = 0
    for position in range(at, min(end, at + _MAX_VARINT)):
        byte = data[position]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, position + 1
        shift += 7
    raise malformed("unexpected end of data" if end - at < _MAX_VARINT else "a number is longer than 64 bits")


def tag(data: bytes, at: int, end: int) -> tuple[int, int, int]:
    """The field number and the wire type at `at`, and where the value begins. Raises BadRequest."""
    value, at = varint(data, at, end)
    number = value >> 3
    if not 0 < number < 1 << 29:
        raise malformed(f"illegal field number {number}")
    return number, value & 7, at


def span(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Where the value of a length-delimited field begins and ends. Raises BadRequest."""
    length, at = varint(data, at, end)
    if length > end - at:
        raise malformed("unexpected end of data")
    return at, at + length


def skip(data: bytes, at: int, end: int, wire: int) -> int:
    """Where the value of a field that nobody knows ends. Raises BadRequest."""
    if wire == VARINT:
        return varint(data, at, end)[1]
    if wire == LENGTH:
        return span(data, at, end)[1]
    size = {FIXED64: 8, FIXED32: 4}.get(wire)
    if size is None:
        raise malformed(f"illegal wire type {wire}")
    if size > end - at:
        raise malformed("unexpected end of data")
    return at + size


def signed(value: int, bits: int = 64) -> int:
    """`value`, cut to `bits` and read as two's complement, as Go converts numbers."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def number(value: int) -> bytes:
    """`value` as a varint; negative ones as 64 bits of two's complement."""
    value &= 0xFFFFFFFFFFFFFFFF
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def header(field: int, wire: int) -> bytes:
    return number(field << 3 | wire)


def delimited(field: int, content: bytes) -> bytes:
    """A whole length-delimited field."""
    return header(field, LENGTH) + number(len(content)) + content
