"""Remembering what short texts come to.

The same few names, labels and selectors come again and again, but everybody may send others, each as long as a request:
a cache that counts its entries only would hold gigabytes of them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Final, TypeVar

T = TypeVar("T")
LONGEST: Final = 256
"""Characters."""


def of_short_texts(maxsize: int, longest: int = LONGEST) -> Callable[[Callable[[str], T]], Callable[[str], T]]:
    """Decorates a pure function of one text: what it gave for `maxsize` texts of at most `longest` characters is
    remembered."""

    def decorate(function: Callable[[str], T]) -> Callable[[str], T]:
        remembered = lru_cache(maxsize)(function)

        @wraps(function)
        def call(text: str) -> T:
            return remembered(text) if len(text) <= longest else function(text)

        return call

    return decorate
