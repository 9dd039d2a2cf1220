"""Each process that a node of plain processes is made of is killed at random while 50 pods run. Nothing is lost, and
nothing is left."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from machinery import RunningPlatform, make_platform
from sabotage import POLICIES, SEED, WAIT_SECONDS, SupervisedSaboteur, aftermath, counting

from homeport.client.client import Client
from homeport.client.http import HttpTransport
from homeport.kube import core

PODS = 50
KINDS = [kind for kind in POLICIES if kind != "warm"]


class PlainSaboteur(SupervisedSaboteur):
    def kinds(self) -> dict[Callable[[], bool], int]:
        return {**super().kinds(), self.network_helper: 1, self.supervisor: 3}


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[RunningPlatform]:
    yield from make_platform(tmp_path / "data", "--runtime", "plain")


async def test_any_process_may_be_killed_at_any_time(platform: RunningPlatform) -> None:
    saboteur = PlainSaboteur(platform, random.Random(SEED))
    made = (counting(KINDS[number % len(KINDS)], number, "homeport/base") for number in range(PODS))
    async with Client(HttpTransport.from_kubeconfig(platform.kubeconfig)) as client:
        await asyncio.gather(*(client.create(core.POD.resource, pod) for pod in made))
    async with asyncio.timeout(WAIT_SECONDS):
        while len(saboteur.states()) < PODS * 2 // 3:
            await asyncio.sleep(0.1)
    await saboteur.rampage()
    await aftermath(saboteur, PODS)
