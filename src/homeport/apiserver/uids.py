"""New objects' uids, and the random ends of generated names."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

from homeport.kube.names import SAFE_LETTERS

_BYTES = 16
_AT_ONCE = 256
"""Uids whose random bytes are asked for together: asking takes a system call, longer than all the rest."""


def _random_uuids() -> Iterator[str]:
    while True:
        many = os.urandom(_BYTES * _AT_ONCE)
        for at in range(0, len(many), _BYTES):
            text = many[at : at + _BYTES].hex()
            variant = "89ab"[int(text[16], 16) & 3]
            yield f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{variant}{text[17:20]}-{text[20:]}"


_uuids = _random_uuids()


def new_uid() -> str:
    """A random UUID (version 4 of RFC 9562)."""
    return next(_uuids)


SUFFIX_LENGTH = 5
_PAIRS = [first + second for first in SAFE_LETTERS for second in SAFE_LETTERS]
_TRIPLES = len(_PAIRS) * len(SAFE_LETTERS)


def new_suffix() -> str:
    """The random letters that make a generated name a name of its own."""
    number = int(random.random() * _TRIPLES * len(_PAIRS))
    number, last = divmod(number, len(_PAIRS))
    first, middle = divmod(number, len(SAFE_LETTERS))
    return _PAIRS[first] + SAFE_LETTERS[middle] + _PAIRS[last]
