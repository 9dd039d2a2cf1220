"""Uids are random UUIDs of version 4, each of them once."""

from __future__ import annotations

import uuid

from homeport.apiserver.uids import new_uid


def test_uids_are_random_uuids():
    made = [new_uid() for _ in range(1000)]
    assert len(set(made)) == 1000
    for text in made:
        parsed = uuid.UUID(text)
        assert str(parsed) == text
        assert (parsed.version, parsed.variant) == (4, uuid.RFC_4122)
