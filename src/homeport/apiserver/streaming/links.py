"""A pod's pages behind a proxy: links to its own paths get the proxy's path in front, as upstream's proxy has it
(``apimachinery/pkg/util/proxy`` Transport). Pure."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from urllib.parse import urlsplit, urlunsplit

_ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "a": ("href",),
    "applet": ("codebase",),
    "area": ("href",),
    "audio": ("src",),
    "base": ("href",),
    "blockquote": ("cite",),
    "body": ("background",),
    "button": ("formaction",),
    "command": ("icon",),
    "del": ("cite",),
    "embed": ("src",),
    "form": ("action",),
    "frame": ("longdesc", "src"),
    "head": ("profile",),
    "html": ("manifest",),
    "iframe": ("longdesc", "src"),
    "img": ("longdesc", "src", "usemap"),
    "input": ("src", "usemap", "formaction"),
    "ins": ("cite",),
    "link": ("href",),
    "object": ("classid", "codebase", "data", "usemap"),
    "q": ("cite",),
    "script": ("src",),
    "source": ("src",),
    "video": ("poster", "src"),
}
"""Attributes that hold a URL, by tag."""
_VALUE = rb"""(?:"[^"<>]*"|'[^'<>]*'|[^\s"'=<>`]+)"""
_NAME = rb"""[^\s"'<>/=]++"""
_TAG = re.compile(rb"""<([a-zA-Z][a-zA-Z0-9]*+)((?:\s++%b(?:\s*=\s*%b)?)+)""" % (_NAME, _VALUE))
_ATTRIBUTE = re.compile(rb"""(\s++)(%b)(?:(\s*=\s*)(%b))?""" % (_NAME, _VALUE))
_OPAQUE = re.compile(rb"<(?:!--|(script|style)\b)", re.I)
_CLOSING = {name: re.compile(rb"</%b\s*+>" % name, re.I) for name in (b"script", b"style")}
"""Pages are written by anybody: no expression here may need more time than grows with the page."""


def rewrite_url(url: str, prefix: str, hosts: frozenset[str], scheme: str, host: str) -> str:
    """Where a link of the page leads through the proxy. `hosts` are the names that the page's own host goes by;
    `scheme` and `host` are the proxy's, which may be empty. What is relative, or of another host, stays."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    if (parts.netloc and parts.netloc not in hosts) or not parts.path.startswith("/"):
        return url
    path = parts.path
    if not path.startswith(prefix):
        path = posixpath.normpath(prefix + path).replace("//", "/") + ("/" if path.endswith("/") else "")
    return urlunsplit((scheme, host, path, parts.query, parts.fragment))


def rewrite_html(page: bytes, prefix: str, hosts: frozenset[str], scheme: str = "", host: str = "") -> bytes:
    """A page with its links led through the proxy; the text of scripts, styles and comments stays."""
    rewrite = _tag(prefix, hosts, scheme, host)
    out: list[bytes] = []
    position = 0
    while (opaque := _OPAQUE.search(page, position)) is not None:
        start, end = _text_of(page, opaque)
        out += (_TAG.sub(rewrite, page[position:start]), page[start:end])
        position = end
    out.append(_TAG.sub(rewrite, page[position:]))
    return b"".join(out)


def _text_of(page: bytes, opening: re.Match[bytes]) -> tuple[int, int]:
    """Where the text of a comment, script or style begins and ends. Without an end it is all the rest, as browsers read
    it."""
    if opening[1] is None:
        end = page.find(b"-->", opening.end())
        return opening.start(), len(page) if end < 0 else end + 3
    head_end = page.find(b">", opening.end())
    if head_end < 0:
        return opening.start(), len(page)
    closing = _CLOSING[opening[1].lower()].search(page, head_end)
    return head_end, len(page) if closing is None else closing.end()


def _tag(prefix: str, hosts: frozenset[str], scheme: str, host: str) -> Callable[[re.Match[bytes]], bytes]:
    def rewrite(tag: re.Match[bytes]) -> bytes:
        wanted = _ATTRIBUTES.get(tag.group(1).decode().lower())
        if wanted is None:
            return tag.group(0)

        def attribute(found: re.Match[bytes]) -> bytes:
            space, name, equals, value = found.groups()
            if value is None or name.decode("latin-1").lower() not in wanted:
                return found.group(0)
            quote = value[:1] if value[:1] in (b'"', b"'") else b""
            plain = value.strip(quote) if quote else value
            url = rewrite_url(plain.decode("utf-8", "surrogateescape"), prefix, hosts, scheme, host)
            return space + name + equals + quote + url.encode("utf-8", "surrogateescape") + quote

        return b"<" + tag.group(1) + _ATTRIBUTE.sub(attribute, tag.group(2))

    return rewrite
