"""What a process says before it becomes a container's command, as it is understood."""

from __future__ import annotations

import json
import os

import pytest

from homeport.node.sandbox import outcomes

REASON = json.dumps([127, 'exec: "a\nb": not found']).encode()


@pytest.mark.parametrize(
    ("said", "ids", "reason"),
    [
        (b"", [], b""),
        (b"[1000, 30", [], b""),
        (b"[1000, 3000, 4]\n", [1000, 3000, 4], b""),
        (b"[0, 0]\n" + REASON, [0, 0], REASON),
        (REASON, [], REASON),
    ],
)
def test_what_is_understood(said: bytes, ids: list[int], reason: bytes) -> None:
    assert outcomes.heard(said) == (ids, reason)


def test_own_ids() -> None:
    read, write = os.pipe()
    with os.fdopen(read, "rb") as file:
        outcomes.tell_ids(write)
        os.close(write)
        ids, reason = outcomes.heard(file.read())
    assert (ids[:2], reason) == ([os.getuid(), os.getgid()], b"")
    assert set(ids[1:]) == {os.getgid(), *os.getgroups()}
