"""Header compression of HTTP/2 (RFC 7541), as far as a client needs it that offers no dynamic table.

Such a client writes plain literals, and reads indices of the static table and literals, perhaps in the Huffman code.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache

_STATIC = (
    (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"), (":path", "/index.html"),
    (":scheme", "http"), (":scheme", "https"), (":status", "200"), (":status", "204"), (":status", "206"),
    (":status", "304"), (":status", "400"), (":status", "404"), (":status", "500"), ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"), ("accept-language", ""), ("accept-ranges", ""), ("accept", ""),
    ("access-control-allow-origin", ""), ("age", ""), ("allow", ""), ("authorization", ""), ("cache-control", ""),
    ("content-disposition", ""), ("content-encoding", ""), ("content-language", ""), ("content-length", ""),
    ("content-location", ""), ("content-range", ""), ("content-type", ""), ("cookie", ""), ("date", ""), ("etag", ""),
    ("expect", ""), ("expires", ""), ("from", ""), ("host", ""), ("if-match", ""), ("if-modified-since", ""),
    ("if-none-match", ""), ("if-range", ""), ("if-unmodified-since", ""), ("last-modified", ""), ("link", ""),
    ("location", ""), ("max-forwards", ""), ("proxy-authenticate", ""), ("proxy-authorization", ""), ("range", ""),
    ("referer", ""), ("refresh", ""), ("retry-after", ""), ("server", ""), ("set-cookie", ""),
    ("strict-transport-security", ""), ("transfer-encoding", ""), ("user-agent", ""), ("vary", ""), ("via", ""),
    ("www-authenticate", ""),
)  # fmt: skip
"""RFC 7541, appendix A."""

_LENGTHS = (
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28,
    28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15,
    6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22,
    20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23,
    23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22,
    22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26,
    27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27,
    26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
)  # fmt: skip
"""Bits of each byte's code, and of the end's (RFC 7541, appendix B). The code is canonical: its lengths say it all."""


class HeaderError(ValueError):
    """Not a header block, or one that uses what was not offered."""


def encode(headers: Sequence[tuple[str, str]]) -> bytes:
    """A header block of literals that nobody keeps."""
    out = bytearray()
    for name, value in headers:
        out.append(0)
        for text in (name.encode("latin-1", "replace"), value.encode("latin-1", "replace")):
            out += _integer(len(text), 7) + text
    return bytes(out)


def decode(block: bytes) -> Iterator[tuple[str, str]]:
    """The headers of a block. Raises HeaderError."""
    position = 0
    try:
        while position < len(block):
            first = block[position]
            if first & 0x80:
                index, position = _read_integer(block, position, 7)
                yield _static(index)
                continue
            if first & 0xE0 == 0x20:  # the size of the table that there is none of
                _, position = _read_integer(block, position, 5)
                continue
            index, position = _read_integer(block, position, 6 if first & 0x40 else 4)
            if index:
                name = _static(index)[0]
            else:
                name, position = _read_text(block, position)
            value, position = _read_text(block, position)
            yield name, value
    except IndexError:
        raise HeaderError("a header block ends too early") from None


def _static(index: int) -> tuple[str, str]:
    if not 0 < index <= len(_STATIC):
        raise HeaderError(f"header {index} is not in the static table")
    return _STATIC[index - 1]


def _integer(value: int, bits: int) -> bytes:
    most = (1 << bits) - 1
    if value < most:
        return bytes((value,))
    out = bytearray((most,))
    value -= most
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_integer(block: bytes, position: int, bits: int) -> tuple[int, int]:
    most = (1 << bits) - 1
    value = block[position] & most
    position += 1
    if value < most:
        return value, position
    for shift in range(0, 28, 7):
        byte = block[position]
        position += 1
        value += (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, position
    raise HeaderError("a number is too large")


def _read_text(block: bytes, position: int) -> tuple[str, int]:
    is_coded = block[position] & 0x80
    length, position = _read_integer(block, position, 7)
    data = block[position : position + length]
    if len(data) != length:
        raise HeaderError("a header block ends too early")
    return (_huffman(data) if is_coded else data).decode("latin-1"), position + length


@cache
def _codes() -> dict[tuple[int, int], int]:
    """(bits, code) -> byte."""
    found: dict[tuple[int, int], int] = {}
    code = before = 0
    for length, symbol in sorted((length, symbol) for symbol, length in enumerate(_LENGTHS)):
        code <<= length - before
        before = length
        found[length, code] = symbol
        code += 1
    return found


def _huffman(data: bytes) -> bytes:
    codes, out, code, length = _codes(), bytearray(), 0, 0
    for byte in data:
        for bit in range(7, -1, -1):
            code, length = code << 1 | byte >> bit & 1, length + 1
            symbol = codes.get((length, code))
            if symbol is not None:
                if symbol == 256:
                    raise HeaderError("a text goes on behind its end")
                out.append(symbol)
                code = length = 0
            elif length > 30:
                raise HeaderError("a text is not in the Huffman code")
    if length > 7 or code != (1 << length) - 1:
        raise HeaderError("a text is not padded as it should be")
    return bytes(out)
