"""JSON values as YAML that people read, without PyYAML: to load and run that for one small file takes a tenth of the
platform's start. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

_PLAIN: Final = re.compile(r"[A-Za-z/](?:[\w./=+-]|:(?=[\w/]))*", re.ASCII)
"""What needs no quotes: begins like no number, and has nothing that means something in YAML."""
_UNPRINTABLE: Final = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
"""What JSON leaves as it is, and YAML does not take or takes for the end of a line."""
_WORDS: Final = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})
"""What YAML 1.1 takes for something else than a string, in any case."""


def dump(value: Mapping[str, Any]) -> str:
    """`value` in block style, its keys in their order. Raises TypeError or ValueError for what JSON
    has not."""
    return "".join(f"{line}\n" for line in _block(value)) if value else "{}\n"


def _block(value: Mapping[str, Any] | Sequence[Any]) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            below = _nested(inner)
            if below is None:
                yield f"{_scalar(key)}: {_scalar(inner)}"
                continue
            yield f"{_scalar(key)}:"
            # The items of a list stand where its key stands, as kubectl writes them.
            margin = "  " if isinstance(inner, Mapping) else ""
            yield from (margin + line for line in below)
        return
    for inner in value:
        below = _nested(inner)
        mark = "- "
        for line in below if below is not None else (_scalar(inner),):
            yield mark + line
            mark = "  "


def _nested(value: Any) -> Iterator[str] | None:
    """The lines of a mapping or a list that has something in it; None for everything that fits behind its key."""
    return _block(value) if isinstance(value, Mapping | list | tuple) and value else None


def _scalar(value: Any) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    text = _UNPRINTABLE.sub(_escaped, json.dumps(value, ensure_ascii=False, allow_nan=False))
    if isinstance(value, float) and "." not in text:
        text = text.replace("e", ".0e")  # Without a point YAML 1.1 takes it for a string.
    return text


def _escaped(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"
