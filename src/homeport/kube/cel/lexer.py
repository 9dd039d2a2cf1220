"""An expression's text to tokens."""

from __future__ import annotations

import re
from typing import NamedTuple

from homeport.kube.cel.syntax import CelError

_STRING_BODIES = (
    r'"""(?:[^\\]|\\.)*?"""',
    r"'''(?:[^\\]|\\.)*?'''",
    r'"(?:[^"\\\n\r]|\\.)*"',
    r"'(?:[^'\\\n\r]|\\.)*'",
)
_RAW_BODIES = (r'"""(?:.)*?"""', r"'''(?:.)*?'''", r'"[^"\n\r]*"', r"'[^'\n\r]*'")
_TOKEN = re.compile(
    "|".join(
        (
            r"(?P<space>[ \t\n\r\f]+|//[^\n]*)",
            rf"(?P<raw>(?:[rR][bB]?|[bB][rR])(?:{'|'.join(_RAW_BODIES)}))",
            rf"(?P<text>[bB]?(?:{'|'.join(_STRING_BODIES)}))",
            r"(?P<float>[0-9]+\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+|\.[0-9]+(?:[eE][+-]?[0-9]+)?)",
            r"(?P<int>0[xX][0-9a-fA-F]+[uU]?|[0-9]+[uU]?)",
            r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)",
            r"(?P<quoted>`[A-Za-z0-9_./ -]+`)",
            r"(?P<operator>&&|\|\||==|!=|<=|>=|[-+*/%<>!?:.,()\[\]{}])",
        )
    ),
    re.DOTALL,
)


class Token(NamedTuple):
    kind: str
    """``name``, ``quoted``, ``int``, ``float``, ``text``, ``raw``, an operator itself, or ``end``."""
    text: str
    at: int


def tokens(source: str) -> list[Token]:
    """Raises CelError."""
    found: list[Token] = []
    at = 0
    while at < len(source):
        match = _TOKEN.match(source, at)
        if match is None:
            raise CelError(source, [(at, f"Syntax error: token recognition error at: '{source[at]}'")])
        kind = str(match.lastgroup)
        if kind != "space":
            text = match.group()
            found.append(Token(text if kind == "operator" else kind, text, at))
        at = match.end()
    found.append(Token("end", "<EOF>", len(source)))
    return found


_SIMPLE = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v",
    "\\": "\\", "?": "?", '"': '"', "'": "'", "`": "`",
}  # fmt: skip
_ESCAPE = re.compile(
    r"\\(?:(?P<simple>[abfnrtv\\?\"'`])|x(?P<x>[0-9a-fA-F]{2})|X(?P<X>[0-9a-fA-F]{2})"
    r"|u(?P<u>[0-9a-fA-F]{4})|U(?P<U>[0-9a-fA-F]{8})|(?P<octal>[0-3][0-7]{2})|(?P<bad>.?))",
    re.DOTALL,
)


def string_value(token: Token) -> str | bytes:
    """What a literal says. Raises ValueError with the reason."""
    text = token.text
    start = next(index for index, char in enumerate(text) if char in "\"'")
    prefix = text[:start].lower()
    quotes = 3 if text[start : start + 3] in ('"""', "'''") else 1
    body = text[start + quotes : -quotes]
    if quotes == 3:
        body = body.replace("\r\n", "\n").replace("\r", "\n")
    if "b" in prefix:
        return body.encode() if "r" in prefix else _unescape_bytes(body)
    return body if "r" in prefix else _ESCAPE.sub(_character, body)


def _character(match: re.Match[str]) -> str:
    if match["simple"]:
        return _SIMPLE[match["simple"]]
    if match["octal"]:
        return chr(int(match["octal"], 8))
    digits = match["x"] or match["X"] or match["u"] or match["U"]
    if not digits:
        raise ValueError("unable to unescape string")
    code = int(digits, 16)
    if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
        raise ValueError("invalid unicode code point")
    return chr(code)


def _unescape_bytes(body: str) -> bytes:
    result = b""
    at = 0
    for match in _ESCAPE.finditer(body):
        result += body[at : match.start()].encode()
        at = match.end()
        if match["u"] or match["U"]:
            raise ValueError("unicode escapes are not allowed in bytes")
        digits = match["x"] or match["X"]
        if digits or match["octal"]:
            result += bytes([int(digits, 16) if digits else int(match["octal"], 8)])
        else:
            result += _character(match).encode()
    return result + body[at:].encode()
