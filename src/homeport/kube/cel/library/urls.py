"""``url('https://example.com:80/path?query=val')``. Upstream parses with Go's ``url.ParseRequestURI``."""

from __future__ import annotations

import re

from homeport.kube.cel.functions import Library
from homeport.kube.cel.values import EvaluationError, Opaque

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2}).{0,2}", re.DOTALL)
_ESCAPED = re.compile(rb"%([0-9A-Fa-f]{2})")
_PATH_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~$&+,/:;=@!'()*[]%")
_HOST = re.compile(r"[A-Za-z0-9\-._~!$&'()*+,;=:\[\]<>\"%\x80-\U0010ffff]*")
_NAME = "kubernetes.URL"


class Url(Opaque):
    """A URL in its parts."""

    __slots__ = ("host", "path", "query", "scheme", "text")
    type_name = _NAME

    def __init__(self, text: str, scheme: str, host: str, path: str, query: str) -> None:
        self.text = text
        self.scheme = scheme
        self.host = host
        self.path = path
        self.query = query

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Url) and self.text == other.text

    __hash__ = None  # type: ignore[assignment]


LIBRARY = Library()
_function, _member = LIBRARY.function, LIBRARY.member


def parse_error(text: str) -> str | None:
    """What is wrong with a URL, in Go's words; None if nothing is."""
    try:
        _parse(text)
    except EvaluationError as error:
        return str(error)
    return None


def _wrong(text: str, why: str) -> EvaluationError:
    return EvaluationError(f'parse "{text}": {why}')


def _parse(text: str) -> Url:
    if _CONTROL.search(text):
        raise _wrong(text, "net/url: invalid control character in URL")
    if not text:
        raise _wrong(text, "empty url")
    match = _SCHEME.match(text)
    scheme = match[1].lower() if match else ""
    rest = text[match.end() :] if match else text
    if not match and text[0] != "/":
        raise _wrong(text, "invalid URI for request" if ":" not in text.split("/")[0] else _colon(text))
    if match and not rest.startswith("/"):
        raise _wrong(text, "invalid URI for request")
    rest, _, query = rest.partition("?")
    host = ""
    if match and rest.startswith("//"):
        authority, slash, path = rest[2:].partition("/")
        rest = slash + path
        host = _host(text, authority.rpartition("@")[2])
    bad = _BAD_ESCAPE.search(rest)
    if bad is not None:
        raise _wrong(text, f'invalid URL escape "{bad.group()}"')
    return Url(text, scheme, host, rest, query)


def _colon(text: str) -> str:
    return "missing protocol scheme" if text.startswith(":") else "first path segment in URL cannot contain colon"


def _host(text: str, host: str) -> str:
    if host.startswith("["):
        inner, bracket, port = host[1:].partition("]")
        if not bracket:
            raise _wrong(text, "missing ']' in host")
    else:
        inner, colon, port = host.partition(":")
        port = colon + port
    if port and not (port[0] == ":" and (port[1:].isdigit() or port == ":") and port.isascii()):
        raise _wrong(text, f'invalid port "{port}" after host')
    if _HOST.fullmatch(inner) is None:
        bad = next(char for char in inner if _HOST.fullmatch(char) is None)
        raise _wrong(text, f'invalid character "{bad}" in host name')
    return host


@_function(f"url(string): {_NAME}", cost=lambda text: len(text) // 10)
def _url(text: str) -> Url:
    try:
        return _parse(text)
    except EvaluationError as error:
        raise EvaluationError(f"URL parse error during conversion from string: {error}") from error


@_function("isURL(string): bool", cost=lambda text: len(text) // 10)
def _is_url(text: str) -> bool:
    return parse_error(text) is None


@_function(f"string({_NAME}): string")
def _text(url: Url) -> str:
    return url.text


@_member(f"getScheme({_NAME}): string")
def _scheme(url: Url) -> str:
    return url.scheme


@_member(f"getHost({_NAME}): string")
def _get_host(url: Url) -> str:
    return url.host


@_member(f"getHostname({_NAME}): string")
def _hostname(url: Url) -> str:
    if url.host.startswith("["):
        return url.host[1:].partition("]")[0]
    return url.host.partition(":")[0]


@_member(f"getPort({_NAME}): string")
def _port(url: Url) -> str:
    return url.host.rpartition("]")[2].partition(":")[2]


@_member(f"getEscapedPath({_NAME}): string")
def _escaped_path(url: Url) -> str:
    return "".join(chr(byte) if byte in _PATH_SAFE else f"%{byte:02X}" for byte in url.path.encode())


@_member(f"getQuery({_NAME}): map<string, list<string>>")
def _query(url: Url) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for part in url.query.split("&"):
        key, _, value = part.partition("=")
        if part and ";" not in part and not _BAD_ESCAPE.search(part):
            found.setdefault(_unescaped(key), []).append(_unescaped(value))
    return found


def _unescaped(text: str) -> str:
    raw = _ESCAPED.sub(lambda match: bytes([int(match[1], 16)]), text.replace("+", " ").encode())
    return raw.decode("utf-8", "replace")
