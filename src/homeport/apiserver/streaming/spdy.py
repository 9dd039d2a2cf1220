"""SPDY/3.1, its wire format: frames from bytes and to bytes. Pure; the streams are in :mod:`.session`.

Kubernetes uses it for commands and forwarded ports (``kubectl`` up to 1.29 on the connection itself, later ones for
forwarded ports inside a WebSocket). The bytes of a data frame are handed on as they come, so that what is kept is
bounded by the largest control frame.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

SYN_STREAM, SYN_REPLY, RST_STREAM, SETTINGS, PING, GOAWAY, HEADERS, WINDOW_UPDATE = 1, 2, 3, 4, 6, 7, 8, 9
FIN = 0x01
INVALID_STREAM, PROTOCOL_ERROR, REFUSED_STREAM, CANCEL = 2, 1, 3, 5
INITIAL_WINDOW = 64 << 10
_VERSION = 3
_INITIAL_WINDOW_SETTING = 7
_MOST_CONTROL = 64 << 10
_MOST_HEADERS = 8 << 10
"""Bytes that are unpacked of a stream's headers, which are kept as long as it is; clients send less than a hundred."""
_WORDS = """\
options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow
authorization cache-control connection content-base content-encoding content-language content-length
content-location content-md5 content-range content-type date etag expect expires from host if-match
if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma
proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade
user-agent vary via warning www-authenticate method get status 200\N{NO-BREAK SPACE}OK version HTTP/1.1 url
public set-cookie keep-alive origin"""
_TEXT = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden"
    "404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,"
    "publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)


def _dictionary() -> bytes:
    """What the header blocks' compression starts from, as the protocol fixes it."""
    words = [word.replace("\N{NO-BREAK SPACE}", " ").encode() for word in re.split(r"[ \n]", _WORDS)]
    return b"".join(struct.pack("!I", len(word)) + word for word in words) + _TEXT.encode()


class ProtocolError(Exception):
    """The peer broke the protocol; the session can't go on."""


class Data(NamedTuple):
    """Bytes of a stream: a whole data frame or a part of one."""

    stream: int
    data: bytes
    fin: bool


class Control(NamedTuple):
    kind: int
    stream: int
    """Of the frames that are about one; for a PING its id, for a GOAWAY the last good stream."""
    fin: bool = False
    headers: Mapping[str, str] = {}
    """Of a SYN_STREAM, a SYN_REPLY or a HEADERS frame; lower-case names, several values joined by a comma."""
    value: int = 0
    """A RST_STREAM's or GOAWAY's status, a WINDOW_UPDATE's bytes, the initial window of SETTINGS (0 if they have
    none)."""


def data_frame(stream: int, data: bytes, *, fin: bool = False) -> bytes:
    """`data` has to be shorter than 16 MiB."""
    return struct.pack("!II", stream, (FIN if fin else 0) << 24 | len(data)) + data


def _control(kind: int, flags: int, payload: bytes) -> bytes:
    return struct.pack("!HHI", 0x8000 | _VERSION, kind, flags << 24 | len(payload)) + payload


def rst_stream(stream: int, status: int) -> bytes:
    return _control(RST_STREAM, 0, struct.pack("!II", stream, status))


def ping(number: int) -> bytes:
    return _control(PING, 0, struct.pack("!I", number))


def goaway(last: int, status: int = 0) -> bytes:
    return _control(GOAWAY, 0, struct.pack("!II", last, status))


def window_update(stream: int, size: int) -> bytes:
    return _control(WINDOW_UPDATE, 0, struct.pack("!II", stream, size))


class HeaderWriter:
    """Header blocks of one session, in its order: each is compressed by what came before."""

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(zdict=_dictionary())

    def _block(self, headers: Mapping[str, str]) -> bytes:
        parts = [struct.pack("!I", len(headers))]
        for name, value in headers.items():
            for text in (name.lower().encode(), value.encode()):
                parts += (struct.pack("!I", len(text)), text)
        return self._deflate.compress(b"".join(parts)) + self._deflate.flush(zlib.Z_SYNC_FLUSH)

    def syn_stream(self, stream: int, headers: Mapping[str, str], *, fin: bool = False) -> bytes:
        payload = struct.pack("!IIBB", stream, 0, 0, 0) + self._block(headers)
        return _control(SYN_STREAM, FIN if fin else 0, payload)

    def syn_reply(self, stream: int, headers: Mapping[str, str]) -> bytes:
        return _control(SYN_REPLY, 0, struct.pack("!I", stream) + self._block(headers))


class Parser:
    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(zdict=_dictionary())
        self._buffer = bytearray()
        # The data frame that is being read.
        self._stream = 0
        self._left = 0
        self._fin = False

    def feed(self, data: bytes) -> Iterator[Data | Control]:
        """The frames that `data` brings. Raises ProtocolError."""
        view = memoryview(data)
        while True:
            if self._left:
                if not view:
                    return
                part = bytes(view[: self._left])
                view = view[len(part) :]
                self._left -= len(part)
                yield Data(self._stream, part, self._fin and not self._left)
                continue
            need = self._needed()
            take = view[: need - len(self._buffer)]
            view = view[len(take) :]
            self._buffer += take
            if len(self._buffer) < need:
                return
            if need == 8 and self._needed() != 8:
                continue  # the head has come, and says how much follows
            frame = self._frame()
            if frame is not None:
                yield frame

    def _needed(self) -> int:
        """How many bytes the frame's head, or once that is there a control frame as a whole, has."""
        if len(self._buffer) < 8 or not self._buffer[0] & 0x80:
            return 8
        size = int.from_bytes(self._buffer[5:8], "big")
        if size > _MOST_CONTROL:
            raise ProtocolError("a control frame is too large")
        return 8 + size

    def _frame(self) -> Data | Control | None:
        buffer, self._buffer = bytes(self._buffer), bytearray()
        first, second = struct.unpack_from("!II", buffer)
        flags = second >> 24
        if not first >> 31:
            if not first:
                raise ProtocolError("data belongs to a stream")
            self._stream, self._left, self._fin = first, second & 0xFFFFFF, bool(flags & FIN)
            return None if self._left else Data(first, b"", self._fin)
        if first >> 16 != 0x8000 | _VERSION:
            raise ProtocolError(f"this is not SPDY/{_VERSION}")
        return self._control(first & 0xFFFF, flags, buffer[8:])

    def _control(self, kind: int, flags: int, payload: bytes) -> Control | None:
        fin = bool(flags & FIN)
        try:
            if kind == SYN_STREAM:
                stream = _number(payload, 0)
                return Control(kind, stream, fin, self._headers(payload[10:]))
            if kind in (SYN_REPLY, HEADERS):
                return Control(kind, _number(payload, 0), fin, self._headers(payload[4:]))
            if kind in (RST_STREAM, GOAWAY, WINDOW_UPDATE):
                return Control(kind, _number(payload, 0), value=struct.unpack_from("!I", payload, 4)[0])
            if kind == PING:
                return Control(kind, struct.unpack_from("!I", payload)[0])
            if kind == SETTINGS:
                return Control(kind, 0, value=_initial_window(payload))
        except struct.error:
            raise ProtocolError(f"a control frame of kind {kind} is too short") from None
        return None  # one that is not known: ignored, as the protocol says

    def _headers(self, block: bytes) -> dict[str, str]:
        try:
            plain = self._inflate.decompress(block, _MOST_HEADERS)
        except zlib.error as error:
            raise ProtocolError("a header block can't be decompressed") from error
        if self._inflate.unconsumed_tail or self._inflate.eof:
            raise ProtocolError("a header block is too large, or ends the session's compression")
        (count,) = struct.unpack_from("!I", plain)
        position = 4
        found: dict[str, str] = {}
        if count > len(plain) // 8:
            raise ProtocolError("a header block is too short")
        for _ in range(count):
            name, position = _text(plain, position)
            value, position = _text(plain, position)
            if not name or name.lower() in found:
                raise ProtocolError("a header has no name, or comes twice")
            found[name.lower()] = value.replace("\0", ",")
        return found


def _number(payload: bytes, offset: int) -> int:
    value: int = struct.unpack_from("!I", payload, offset)[0] & 0x7FFFFFFF
    return value


def _text(plain: bytes, position: int) -> tuple[str, int]:
    (size,) = struct.unpack_from("!I", plain, position)
    end = position + 4 + size
    if end > len(plain):
        raise ProtocolError("a header block is too short")
    return plain[position + 4 : end].decode("latin-1"), end


def _initial_window(payload: bytes) -> int:
    (count,) = struct.unpack_from("!I", payload)
    if count > len(payload) // 8:
        raise ProtocolError("SETTINGS are too short")
    window = 0
    for number in range(count):
        setting, value = struct.unpack_from("!II", payload, 4 + 8 * number)
        if setting & 0xFFFFFF == _INITIAL_WINDOW_SETTING:
            window = min(value, 0x7FFFFFFF)
    return window
