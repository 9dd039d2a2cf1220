from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]  # farm.py; support.py, virtual_time.py

import support  # noqa: E402
from virtual_time import now, pytest_asyncio_loop_factories  # noqa: E402, F401


@pytest.fixture
async def world() -> AsyncIterator[support.World]:
    async with support.world(now=now) as made:
        yield made
