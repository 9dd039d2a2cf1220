"""The request target: ``/path%20with?query`` to a decoded path and decoded pairs."""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import unquote, unquote_plus, unquote_to_bytes

import httptools

_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_PLAIN = re.compile(rb"/[!-\"$&->@-~]*")
"""A path of printable characters, without escapes, query and fragment."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class BadTarget(ValueError):
    """The request line names no path that could exist."""


_REMEMBERED = 256


def parse_target(target: bytes) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Path and query of a request line's target, both decoded. Raises BadTarget.

    Escapes in the path have to be well formed and UTF-8 (as Go's server demands); in the query a malformed one stays
    as it is.
    """
    if _PLAIN.fullmatch(target):  # there may be many, and there is nothing to do
        return target.decode("ascii"), ()
    # Clients ask for the same targets again and again.
    return _remembered(target) if len(target) <= _REMEMBERED else _parse(target)


@lru_cache(maxsize=4096)
def _remembered(target: bytes) -> tuple[str, tuple[tuple[str, str], ...]]:
    return _parse(target)


def _parse(target: bytes) -> tuple[str, tuple[tuple[str, str], ...]]:
    if not target.startswith(b"/"):  # absolute form: http://host/path
        try:
            url = httptools.parse_url(target)
        except httptools.HttpParserInvalidURLError as error:
            raise BadTarget(f"the request target {target!r} is not a path") from error
        if not url.path or not url.path.startswith(b"/"):
            raise BadTarget(f"the request target {target!r} has no path")
        target = url.path + (b"?" + url.query if url.query else b"")
    path, _, query = target.partition(b"?")
    query = query.partition(b"#")[0]
    if b"%" in path:
        if _BAD_ESCAPE.search(path):
            raise BadTarget(f"the path {path!r} has a malformed escape")
        path = unquote_to_bytes(path)
    try:
        text = path.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadTarget(f"the path {path!r} is not UTF-8") from error
    if _CONTROL.search(text):
        raise BadTarget(f"the path {text!r} has control characters")
    return text, parse_query(query.decode("latin-1")) if query else ()


def parse_query(query: str) -> tuple[tuple[str, str], ...]:
    """Decoded pairs in order; ``flag`` without a value counts as ``flag=``."""
    pairs: list[tuple[str, str]] = []
    for part in query.split("&"):
        if not part:
            continue
        key, _, value = part.partition("=")
        if "%" in value or "+" in value:
            value = unquote_plus(value)
        pairs.append((unquote(key) if "%" in key else key, value))
    return tuple(pairs)
