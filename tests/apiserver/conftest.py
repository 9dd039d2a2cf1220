"""A server on a fresh memory store, and a caller that speaks to it in process as the administrator."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # test files share api_testing.py

from api_testing import Caller, Clock, make_server, with_default_namespace

from homeport.store.memory import MemoryStore


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def api(clock: Clock) -> AsyncIterator[Caller]:
    store = MemoryStore()
    server = make_server(store, clock)
    yield await with_default_namespace(Caller(server, store, clock))
    await server.close()
    await store.close()
