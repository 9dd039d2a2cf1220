"""What every hostile test holds the server to."""

from __future__ import annotations

import logging
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # test files share judging.py and targets/
sys.path.insert(0, str(Path(__file__).parents[1] / "apiserver"))  # and api_testing.py
sys.path.insert(0, str(Path(__file__).parents[1]))  # and support.py

from api_testing import Caller, Clock, make_server, with_default_namespace

from homeport.store.memory import MemoryStore


@pytest.fixture(autouse=True)
def nothing_is_logged_as_a_failure(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    failures = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert not failures, failures


@pytest.fixture
async def api() -> AsyncIterator[Caller]:
    store, clock = MemoryStore(), Clock()
    server = make_server(store, clock)
    yield await with_default_namespace(Caller(server, store, clock))
    await server.close()
    await store.close()
