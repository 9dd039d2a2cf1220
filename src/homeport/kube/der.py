"""X.509 certificates and requests for them (PKCS #10), read straight from their DER: who, until when, for which names.

The TLS library verifies certificates; all that is needed here is what some of their fields say, and a hundred
milliseconds of importing a whole X.509 library is a long time for that.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec

_BOOLEAN, _OCTETS, _OID, _SEQUENCE, _SET = 0x01, 0x04, 0x06, 0x30, 0x31
_UTC_TIME, _GENERALIZED_TIME = 0x17, 0x18
_VERSION, _EXTENSIONS, _ATTRIBUTES = 0xA0, 0xA3, 0xA0
_EMAIL, _DNS_NAME, _URI, _IP_ADDRESS = 0x81, 0x82, 0x86, 0x87
_UTF8, _PRINTABLE, _T61, _IA5, _UNIVERSAL, _BMP = 0x0C, 0x13, 0x14, 0x16, 0x1C, 0x1E
_COMMON_NAME = bytes((0x55, 0x04, 0x03))  # 2.5.4.3
_ORGANIZATION = bytes((0x55, 0x04, 0x0A))  # 2.5.4.10
_ALTERNATIVE_NAMES = bytes((0x55, 0x1D, 0x11))  # 2.5.29.17
_EXTENSION_REQUEST = bytes((0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x09, 0x0E))  # 1.2.840.113549.1.9.14
_CODECS = {
    _UTF8: "utf-8",
    _PRINTABLE: "ascii",
    _T61: "latin-1",
    _IA5: "ascii",
    _UNIVERSAL: "utf-32-be",
    _BMP: "utf-16-be",
}


class BadCertificate(ValueError):
    """Not DER, or not a certificate or request."""


class Certificate(msgspec.Struct, frozen=True):
    common_name: str
    """The subject's last common name, as Go reads it; empty if there is none."""
    organizations: tuple[str, ...]
    not_after: float
    """Seconds since 1970."""
    names: frozenset[str]
    """DNS names of the subject's alternative names."""
    addresses: frozenset[bytes]
    """IP addresses of the subject's alternative names, packed."""


class Request(msgspec.Struct, frozen=True):
    common_name: str
    """As of a certificate."""
    organizations: tuple[str, ...]
    names: tuple[str, ...]
    """DNS names that are asked for."""
    addresses: tuple[bytes, ...]
    """IP addresses that are asked for, packed."""
    emails: tuple[str, ...]
    uris: tuple[str, ...]


def unwrap(pem: bytes, label: str) -> bytes:
    """The DER of the first block in `pem`, which has to be one of `label` (``CERTIFICATE``). Raises BadCertificate."""
    found = _BEGIN.search(pem)
    if found is None or found[1].decode() != label:
        raise BadCertificate(f"PEM block type must be {label}")
    end = pem.find(b"-----END %b-----" % found[1], found.end())
    if end < 0:
        raise BadCertificate("the PEM block has no end")
    try:
        return b64decode(b"".join(pem[found.end() : end].split()), validate=True)
    except binascii.Error as error:
        raise BadCertificate(f"the PEM block is damaged: {error}") from error


_BEGIN = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----\s")


def parse(certificate: bytes) -> Certificate:
    """Raises BadCertificate."""
    outer, _ = _enter(memoryview(certificate), 0, _SEQUENCE)
    body, _ = _enter(outer, 0, _SEQUENCE)
    tag, _content, at = _read(body, 0)
    if tag == _VERSION:
        _, _, at = _read(body, at)  # the serial number
    for _field in ("signature algorithm", "issuer"):
        _, at = _enter(body, at, _SEQUENCE)
    validity, at = _enter(body, at, _SEQUENCE)
    subject, at = _enter(body, at, _SEQUENCE)
    _, at = _enter(body, at, _SEQUENCE)  # the public key
    names: set[str] = set()
    addresses: set[bytes] = set()
    while at < len(body):
        tag, content, at = _read(body, at)
        if tag == _EXTENSIONS:
            for kind, value in _alternative_names(content):
                if kind == _DNS_NAME:
                    names.add(_text(_IA5, value))
                elif kind == _IP_ADDRESS:
                    addresses.add(bytes(value))
    return Certificate(*_subject(subject), _end(validity), frozenset(names), frozenset(addresses))


def parse_request(request: bytes) -> Request:
    """What a certificate request asks for. Whether it is signed with its own key is not looked at. Raises
    BadCertificate."""
    outer, _ = _enter(memoryview(request), 0, _SEQUENCE)
    body, _ = _enter(outer, 0, _SEQUENCE)
    _, _, at = _read(body, 0)  # the version
    subject, at = _enter(body, at, _SEQUENCE)
    _, at = _enter(body, at, _SEQUENCE)  # the public key
    found: dict[int, list[bytes]] = {_DNS_NAME: [], _IP_ADDRESS: [], _EMAIL: [], _URI: []}
    while at < len(body):
        tag, attributes, at = _read(body, at)
        if tag == _ATTRIBUTES:
            for kind, value in _names_asked_for(attributes):
                if kind in found:
                    found[kind].append(bytes(value))
    texts = {kind: tuple(_text(_IA5, memoryview(value)) for value in found[kind]) for kind in (_DNS_NAME, _EMAIL, _URI)}
    return Request(*_subject(subject), texts[_DNS_NAME], tuple(found[_IP_ADDRESS]), texts[_EMAIL], texts[_URI])


def _subject(name: memoryview) -> tuple[str, tuple[str, ...]]:
    """The common name and the organizations."""
    attributes = tuple(_attributes(name))
    common_names = [text for kind, text in attributes if kind == _COMMON_NAME]
    organizations = tuple(text for kind, text in attributes if kind == _ORGANIZATION)
    return common_names[-1] if common_names else "", organizations


def _names_asked_for(attributes: memoryview) -> Iterator[tuple[int, memoryview]]:
    """The alternative names in the extensions that a request asks for."""
    at = 0
    while at < len(attributes):
        attribute, at = _enter(attributes, at, _SEQUENCE)
        identifier, after = _enter(attribute, 0, _OID)
        if bytes(identifier) == _EXTENSION_REQUEST:
            values, _ = _enter(attribute, after, _SET)
            yield from _alternative_names(values)


def _read(data: memoryview, at: int) -> tuple[int, memoryview, int]:
    """Tag and content of the element at `at`, and where the next one starts."""
    if at + 2 > len(data):
        raise BadCertificate("it ends too soon")
    tag, length = data[at], data[at + 1]
    at += 2
    if length >= 0x80:
        octets = length & 0x7F
        if not 1 <= octets <= 4 or at + octets > len(data):
            raise BadCertificate("an element has no valid length")
        length = int.from_bytes(data[at : at + octets], "big")
        at += octets
    if at + length > len(data):
        raise BadCertificate("it ends too soon")
    return tag, data[at : at + length], at + length


def _enter(data: memoryview, at: int, tag: int) -> tuple[memoryview, int]:
    found, content, after = _read(data, at)
    if found != tag:
        raise BadCertificate(f"element {found:#x} where {tag:#x} was expected")
    return content, after


def _text(kind: int, value: memoryview) -> str:
    codec = _CODECS.get(kind)
    if codec is None:
        raise BadCertificate(f"a name of an unknown string type {kind:#x}")
    try:
        return bytes(value).decode(codec)
    except UnicodeDecodeError as error:
        raise BadCertificate("a name that is not valid text") from error


def _attributes(name: memoryview) -> Iterator[tuple[bytes, str]]:
    """The common names and organizations of a distinguished name, in order."""
    at = 0
    while at < len(name):
        relative, at = _enter(name, at, _SET)
        inner = 0
        while inner < len(relative):
            attribute, inner = _enter(relative, inner, _SEQUENCE)
            identifier, after = _enter(attribute, 0, _OID)
            kind, value, _ = _read(attribute, after)
            if bytes(identifier) in (_COMMON_NAME, _ORGANIZATION):
                yield bytes(identifier), _text(kind, value)


def _alternative_names(extensions: memoryview) -> Iterator[tuple[int, memoryview]]:
    listed, _ = _enter(extensions, 0, _SEQUENCE)
    at = 0
    while at < len(listed):
        extension, at = _enter(listed, at, _SEQUENCE)
        identifier, inner = _enter(extension, 0, _OID)
        if bytes(identifier) != _ALTERNATIVE_NAMES:
            continue
        tag, value, inner = _read(extension, inner)
        if tag == _BOOLEAN:  # critical
            tag, value, inner = _read(extension, inner)
        if tag != _OCTETS:
            raise BadCertificate("an extension without a value")
        names, _ = _enter(value, 0, _SEQUENCE)
        inner = 0
        while inner < len(names):
            kind, name, inner = _read(names, inner)
            yield kind, name


def _end(validity: memoryview) -> float:
    _, _, at = _read(validity, 0)
    kind, value, _ = _read(validity, at)
    text = bytes(value).decode("ascii", "replace")
    try:
        if kind == _UTC_TIME:
            moment = datetime.strptime(text, "%y%m%d%H%M%SZ")
            # RFC 5280: 50 and above are of the 20th century; strptime draws its line elsewhere.
            if moment.year >= 2050:
                moment = moment.replace(year=moment.year - 100)
        elif kind == _GENERALIZED_TIME:
            moment = datetime.strptime(text, "%Y%m%d%H%M%SZ")
        else:
            raise BadCertificate(f"a validity of an unknown type {kind:#x}")
    except ValueError as error:
        raise BadCertificate(f"a validity that is no time: {text!r}") from error
    return moment.replace(tzinfo=UTC).timestamp()
