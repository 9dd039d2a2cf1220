"""Others' answers, kept for as long as they say and no longer than Kubernetes' own DNS does."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable

from homeport.node.sandbox import dns

_MOST_SECONDS = 30
_MOST_BYTES = 2 << 20
_ENTRY_BYTES = 400
"""About what an entry costs beside its bytes."""
Key = tuple[str, int, bool, bool]


def key_of(query: dns.Query) -> Key:
    """What may differ between two answers to the same question."""
    return query.name, query.kind, query.has_options, query.dnssec_ok


class Cache:
    """Bounded by bytes; the one that was asked for longest ago goes first."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._entries: dict[Key, tuple[bytes, dns.Lifetime, float]] = {}
        self._bytes = 0

    def get(self, query: dns.Query, size: int) -> bytes | None:
        """The answer's bytes, with what is left of the times to live; None if there is none of at most `size`."""
        key = key_of(query)
        entry = self._entries.get(key)
        if entry is None:
            return None
        data, lifetime, kept_at = entry
        age = self._now() - kept_at
        if age >= lifetime.seconds:
            self._drop(key)
            return None
        if len(data) > size:
            return None
        self._entries[key] = self._entries.pop(key)  # the newest is last
        answer = bytearray(data)
        answer[:2] = struct.pack(">H", query.number)
        answer[12 : 12 + len(query.question)] = query.question
        for offset, value in lifetime.places:
            struct.pack_into(">I", answer, offset, max(value - int(age), 0))
        return bytes(answer)

    def put(self, query: dns.Query, data: bytes) -> None:
        lifetime = dns.lifetime(data)
        # An answer whose question is not the one that was asked is nothing to give to others.
        asked = data[12 : 12 + len(query.question)].lower() == query.question.lower()
        if lifetime is None or lifetime.seconds <= 0 or not asked:
            return
        key = key_of(query)
        self._drop(key)
        seconds = min(lifetime.seconds, _MOST_SECONDS)
        self._entries[key] = (data, lifetime._replace(seconds=seconds), self._now())
        self._bytes += len(data) + _ENTRY_BYTES
        while self._bytes > _MOST_BYTES:
            self._drop(next(iter(self._entries)))

    def _drop(self, key: Key) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= len(entry[0]) + _ENTRY_BYTES

    def __len__(self) -> int:
        return len(self._entries)
