"""Each process that a node is made of is killed at random while 50 pods run. Nothing is lost, and nothing is left."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from pathlib import Path

from machinery import RunningPlatform
from sabotage import (
    LINES,
    POLICIES,
    SEED,
    WAIT_SECONDS,
    SupervisedSaboteur,
    aftermath,
    counting,
    kill,
)

from homeport.client.client import Client
from homeport.client.http import HttpTransport
from homeport.kube import core
from homeport.kube.meta import Object
from homeport.node.sandbox import warmers, wire

PODS = 50
WARM = f"import sys, time\nfor i in range({LINES}): print(i); time.sleep(0.5)\nsys.exit(3)"
IMAGE = """
apiVersion: homeport.dev/v1alpha1
kind: Image
names: [kept-warm]
packages: [pip]
warm: [json]
"""


def pod(number: int) -> Object:
    kind = list(POLICIES)[number % len(POLICIES)]
    made = counting(kind, number, "homeport/base")
    if kind == "warm":  # the first begins cold, and with it an interpreter that the others' are forks of
        container = {"name": "main", "image": "kept-warm", "command": ["python", "-u", "-c", WARM]}
        made["spec"]["containers"] = [container]
    return made


class ProcessSaboteur(SupervisedSaboteur):
    def kinds(self) -> dict[Callable[[], bool], int]:
        return {
            self.platform_itself: 1,
            self.fork_server: 1,
            self.network_helper: 1,
            self.warm_interpreter: 1,
            self.supervisor: 3,
            self.container: 3,
            self.child: 3,
        }

    def fork_server(self) -> bool:
        return self._helper("homeport-zygote")

    def warm_interpreter(self) -> bool:
        """The containers that are forks of it end with it."""
        forks = {}
        for state in self.states():
            with contextlib.suppress(OSError, IndexError):
                stat = Path(f"/proc/{state['containers']['main']['pid']}/stat").read_text()
                forks[state["name"]] = int(stat.rpartition(")")[2].split()[1])
        known = warmers.recorded(str(self.node))
        hit = [(pid, started) for pid, started in known if pid in forks.values() and kill(pid, started)]
        self.hits.update(name for name, parent in forks.items() if any(parent == pid for pid, _ in hit))
        return bool(hit)


async def test_any_process_may_be_killed_at_any_time(platform: RunningPlatform) -> None:
    images = platform.directory.path / "images"
    await asyncio.to_thread(images.mkdir, exist_ok=True)
    await asyncio.to_thread((images / "warm.yaml").write_text, IMAGE)
    saboteur = ProcessSaboteur(platform, random.Random(SEED))
    async with Client(HttpTransport.from_kubeconfig(platform.kubeconfig)) as client:
        # The first of those that are kept warm is slow, and by itself: the others are to be forks.
        first = list(POLICIES).index("warm")
        await client.create(core.POD.resource, pod(first))
        async with asyncio.timeout(WAIT_SECONDS):
            while not await asyncio.to_thread(is_warm, platform.directory.node):
                await asyncio.sleep(0.1)
        others = (number for number in range(PODS) if number != first)
        await asyncio.gather(*(client.create(core.POD.resource, pod(number)) for number in others))
    async with asyncio.timeout(WAIT_SECONDS):
        while len(saboteur.states()) < PODS * 2 // 3:
            await asyncio.sleep(0.1)
    await saboteur.rampage()
    await aftermath(saboteur, PODS)


def is_warm(node: Path) -> bool:
    """Whether an interpreter waits for containers."""
    for path in (node / "warm").glob("*.sock"):
        with contextlib.suppress(OSError):
            wire.connect(str(path)).close()
            return True
    return False
