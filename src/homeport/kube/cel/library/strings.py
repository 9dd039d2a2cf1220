"""Strings: the standard functions and cel-go's extension (``ext.Strings``, version 2)."""

from __future__ import annotations

from typing import Any

from homeport.kube.cel.functions import Library
from homeport.kube.cel.library.formatting import format_string
from homeport.kube.cel.values import EvaluationError, weight

LIBRARY = Library()
_function, _member = LIBRARY.function, LIBRARY.member

_UPPER_TO_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
_LOWER_TO_UPPER = {code: code - 32 for code in range(ord("a"), ord("z") + 1)}
_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
"""White space as Unicode defines the property."""
_ESCAPES = {
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
    "\\": "\\\\",
    '"': '\\"',
}


def _once(text: str, *rest: Any) -> int:
    return len(text) // 10 + 1


def _product(text: str, part: str, *rest: Any) -> int:
    return (len(text) // 10 + 1) * (len(part) // 10 + 1)


def _result(text: str, old: str, new: str, *rest: Any) -> int:
    """The result may be longer than the arguments together: each character may be replaced by `new`."""
    return (len(text) + text.count(old) * len(new)) // 10 + 1


@_member("contains(string, string): bool", cost=_product)
def _contains(text: str, part: str) -> bool:
    return part in text


@_member("startsWith(string, string): bool", cost=lambda text, part: len(part) // 10)
def _starts(text: str, part: str) -> bool:
    return text.startswith(part)


@_member("endsWith(string, string): bool", cost=lambda text, part: len(part) // 10)
def _ends(text: str, part: str) -> bool:
    return text.endswith(part)


def _within(text: str, index: int) -> int:
    if 0 <= index <= len(text):
        return index
    raise EvaluationError(f"index out of range: {index}")


@_member("charAt(string, int): string")
def _char_at(text: str, index: int) -> str:
    return text[_within(text, index) : index + 1]


@_member("indexOf(string, string): int", "indexOf(string, string, int): int", cost=_product)
def _index(text: str, part: str, start: int = 0) -> int:
    if part == "":
        return start
    return text.find(part, _within(text, start))


@_member("lastIndexOf(string, string): int", "lastIndexOf(string, string, int): int", cost=_product)
def _last_index(text: str, part: str, last: int | None = None) -> int:
    if part == "":
        return len(text) if last is None else last
    if last is None:
        return text.rfind(part)
    return text.rfind(part, 0, _within(text, last) + len(part))


@_member(
    "join(list<string>): string", "join(list<string>, string): string", cost=lambda parts, *rest: _joined(parts, *rest)
)
def _join(parts: list[str], separator: str = "") -> str:
    try:
        return separator.join(parts)
    except TypeError as error:
        raise EvaluationError("no such overload") from error


def _joined(parts: list[str], separator: str = "") -> int:
    return sum(len(part) for part in parts if isinstance(part, str)) // 10 + len(parts) * (len(separator) // 10 + 1)


@_member("lowerAscii(string): string", cost=_once)
def _lower(text: str) -> str:
    return text.translate(_UPPER_TO_LOWER)


@_member("upperAscii(string): string", cost=_once)
def _upper(text: str) -> str:
    return text.translate(_LOWER_TO_UPPER)


@_member("replace(string, string, string): string", "replace(string, string, string, int): string", cost=_result)
def _replace(text: str, old: str, new: str, limit: int = -1) -> str:
    return text.replace(old, new, max(-1, limit))


@_member("split(string, string): list<string>", "split(string, string, int): list<string>", cost=_once)
def _split(text: str, separator: str, limit: int = -1) -> list[str]:
    if limit == 0:
        return []
    if limit == 1:
        return [text]
    if separator == "":
        parts = list(text)
        return parts if limit < 0 or len(parts) <= limit else [*parts[: limit - 1], "".join(parts[limit - 1 :])]
    return text.split(separator, -1 if limit < 0 else limit - 1)


@_member("substring(string, int): string", "substring(string, int, int): string", cost=_once)
def _substring(text: str, start: int, end: int | None = None) -> str:
    _within(text, start)
    if end is None:
        return text[start:]
    _within(text, end)
    if start > end:
        raise EvaluationError(f"invalid substring range. start: {start}, end: {end}")
    return text[start:end]


@_member("trim(string): string", cost=_once)
def _trim(text: str) -> str:
    return text.strip(_SPACE)


@_function("strings.quote(string): string", cost=_once)
def _quote(text: str) -> str:
    return '"' + "".join(_ESCAPES.get(char, char) for char in text) + '"'


@_member("format(string, list<dyn>): string", cost=lambda text, args: len(text) // 10 + 1 + weight(args))
def _format(text: str, args: list[Any]) -> str:
    return format_string(text, args)
