from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))  # support.py

import support


@pytest.fixture
async def world() -> AsyncIterator[support.World]:
    async with support.world() as made:
        yield made
