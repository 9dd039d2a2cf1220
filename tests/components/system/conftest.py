from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))  # support.py, virtual_time.py

import support
from virtual_time import now, pytest_asyncio_loop_factories  # noqa: F401


@pytest.fixture
async def world() -> AsyncIterator[support.World]:
    async with support.world(now=now) as made:
        yield made
