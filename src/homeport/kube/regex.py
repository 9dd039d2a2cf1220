"""Regular expressions as Kubernetes reads them: RE2's syntax, as in Go, and time that is linear in the text.

Python's own ``re`` reads other expressions, and there are texts that it needs years for. Here any user may supply both.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from threading import Lock
from typing import Any

_GO_WORDS = {
    "missing )": "missing closing )",
    "missing ]": "missing closing ]",
    "unexpected )": "unexpected )",
    "bad repetition operator": "invalid nested repetition operator",
    "no argument for repetition operator": "missing argument to repetition operator",
    "invalid repetition size": "invalid repeat count",
    "invalid perl operator": "invalid or unsupported Perl syntax",
    "trailing \\": "trailing backslash at end of expression",
}
_SHORT = 128
_MOST_MEMORY, _LITTLE_MEMORY = 8 << 20, 512 << 10
"""Bytes that an expression and its automata may take."""
_MOST_WRITTEN = 1024
_LONGEST_KEPT = 1024
"""Characters."""


class PatternError(ValueError):
    """Not a regular expression; the text says why, as Go does."""


class Pattern:
    """A compiled expression. Immutable; made by :func:`compile` and :func:`compile_data`."""

    __slots__ = ("_compiled", "_stays", "text")

    def __init__(self, text: str, compiled: Any, *, stays: bool) -> None:
        self.text = text
        self._compiled = compiled
        self._stays = stays

    def search(self, text: str) -> bool:
        """Whether the expression matches anywhere in `text`."""
        if self._stays and len(text) <= _SHORT:
            # The same few values come again and again, in every update of an object.
            return _search(self, text)
        return self._compiled.search(text) is not None

    def find(self, text: str) -> str | None:
        """The first match."""
        match = self._compiled.search(text)
        return None if match is None else str(match.group())

    def find_all(self, text: str) -> Iterator[str]:
        """The matches from left to right that don't overlap."""
        for match in self._compiled.finditer(text):
            yield str(match.group())


@lru_cache(8192)
def _search(pattern: Pattern, text: str) -> bool:
    return pattern._compiled.search(text) is not None


_written: dict[str, Pattern] = {}
_writing = Lock()


def compile(text: str) -> Pattern:
    """An expression that somebody has written into a schema or a rule. Raises PatternError."""
    known = _written.get(text)
    if known is None:
        known = _make(text, _MOST_MEMORY, stays=True)
        with _writing:
            if len(_written) >= _MOST_WRITTEN:
                del _written[next(iter(_written))]
            _written[text] = known
    return known


def compile_data(text: str) -> Pattern:
    """An expression that may be part of an object: anybody can bring as many of them as they like, so that little is
    kept of those that nobody has written elsewhere. Raises PatternError."""
    known = _written.get(text)
    if known is None and len(text) <= _LONGEST_KEPT:
        known = _small(text)
    return known or _make(text, _MOST_MEMORY, stays=False)


@lru_cache(256)
def _small(text: str) -> Pattern | None:
    """None for an expression that is not small, or none at all."""
    try:
        return _make(text, _LITTLE_MEMORY, stays=False)
    except PatternError:
        return None


def _make(text: str, memory: int, *, stays: bool) -> Pattern:
    import re2  # loaded with the first expression: most runs of a server have none

    options = re2.Options()
    options.log_errors = False  # not to standard error; the user is told
    options.never_capture = True
    options.max_mem = memory
    try:
        return Pattern(text, re2.compile(text, options), stays=stays)
    except (re2.error, UnicodeEncodeError) as error:
        raise PatternError(_go_words(error, text)) from error


def _go_words(error: Exception, text: str) -> str:
    reason = error.args[0] if error.args else ""
    words = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else "invalid UTF-8"
    kind, _, fragment = words.partition(": ")
    return f"error parsing regexp: {_GO_WORDS.get(kind, kind)}: `{fragment or text}`"
