from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))  # support.py, virtual_time.py
sys.path.insert(0, str(Path(__file__).parents[1]))  # placing.py
sys.path.insert(0, str(Path(__file__).parent))  # ganging.py

import support
from homeport.kube import scheduling
from virtual_time import now, pytest_asyncio_loop_factories  # noqa: F401


@pytest.fixture
async def gangs() -> AsyncIterator[support.World]:
    """A world that knows pod groups and queues."""
    async with support.world(scheduling.KINDS, now=now) as made:
        queue = {"apiVersion": "scheduling.volcano.sh/v1beta1", "kind": "Queue", "metadata": {"name": "default"}}
        await made.client.create(scheduling.VOLCANO_QUEUE.resource, {**queue, "spec": {"weight": 1}})
        yield made
