"""The ``Warning`` header: what a client should know about a request that is answered all the same. Pure.

Limits as upstream (``apiserver/pkg/endpoints/filters/warning.go``): while all texts together are not longer than
`MOST`, they stay as they are; if they are, each is cut to `MOST_EACH`, and what then is too much is left out.
"""

from __future__ import annotations

from collections.abc import Iterable

MOST = 4096
MOST_EACH = 256
"""Characters."""


def header(texts: Iterable[str]) -> str:
    """The header's value for `texts`, each once (RFC 7234, code 299)."""
    kept = list(dict.fromkeys(filter(None, map(_printable, texts))))
    if sum(map(len, kept)) > MOST:
        kept = _within(dict.fromkeys(text[:MOST_EACH] for text in kept))
    return ", ".join(map(_quoted, kept))


def _within(texts: Iterable[str]) -> list[str]:
    result, length = [], 0
    for text in texts:
        length += len(text)
        if length > MOST:
            break
        result.append(text)
    return result


def _printable(text: str) -> str:
    """`text` without characters that could break the head of the answer apart."""
    return "".join(letter if letter.isprintable() else " " for letter in text).strip()


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'299 - "{escaped}"'
