from __future__ import annotations

import logging

import pytest

from homeport.node import leftovers
from homeport.node.runtime import SandboxError


async def test_what_fails_is_tried_until_it_works(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(leftovers, "_AGAIN_SECONDS", 0.001)
    failures: list[Exception] = [SandboxError("the helper has ended"), OSError(5, "Input/output error")]

    async def work() -> None:
        if failures:
            raise failures.pop(0)

    with caplog.at_level(logging.WARNING):
        await leftovers.insist(work, "x could not be removed")
    assert not failures
    assert [record.message for record in caplog.records] == [
        "x could not be removed: the helper has ended. It is tried again"
    ]
