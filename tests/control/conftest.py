from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]  # farm.py, support.py

import support  # noqa: E402


@pytest.fixture
async def world() -> AsyncIterator[support.World]:
    async with support.world() as made:
        yield made
