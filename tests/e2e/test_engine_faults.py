"""The same for pods that are containers of Docker: its daemon and the node's own containers are killed, too."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dockerd
import pytest
from machinery import RunningPlatform, make_platform
from sabotage import POLICIES, ROUNDS, SEED, WAIT_SECONDS, Saboteur, all_ended, check, counting, delete_all, gone, kill
from shellimage import IMAGE

from homeport.client.client import Client
from homeport.client.http import HttpTransport
from homeport.kube import core
from homeport.node.engine import bodies
from homeport.node.sandbox import linux

PODS = 9
KINDS = ("never", "onfailure", "always")
ARGUMENTS = ("--runtime", "docker")


@pytest.fixture
def docker() -> Iterator[dockerd.Daemon]:
    if reason := dockerd.missing():
        pytest.skip(reason)
    directory = Path(tempfile.mkdtemp(prefix="homeport-docker-"))
    with dockerd.daemon(directory) as made:
        yield made
    shutil.rmtree(directory)


@pytest.fixture
def platform(docker: dockerd.Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningPlatform]:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{docker.socket}")
    yield from make_platform(tmp_path / "data", *ARGUMENTS)
    assert docker.ask("/containers/json", all=1) == []


@dataclass
class EngineSaboteur(Saboteur):
    docker: dockerd.Daemon | None = None
    is_exact: bool = False
    """A container can end by itself while the daemon is away, or end with it before it was seen to run."""
    lives: set[tuple[str, int]] = field(default_factory=set)
    """Pods and first processes of the containers that were hit."""
    pause: float = 4.0  # in which what has ended can begin again: containers need longer
    arguments: tuple[str, ...] = ARGUMENTS

    def kinds(self) -> dict[Callable[[], bool], int]:
        return {
            self.platform_itself: 2,
            self.network_helper: 1,
            self.network_holder: 1,
            self.infrastructure: 2,
            self.container: 3,
            self.child: 3,
            self.engine: 1,
        }

    def _described(self, role: str) -> list[dict[str, Any]]:
        """The running containers with a role, as the engine describes them; none while it does not answer."""
        assert self.docker is not None
        try:
            listed = self.docker.ask("/containers/json", filters={"label": [f"{bodies.ROLE}={role}"]})
            found = [self.docker.ask(f"/containers/{one['Id']}/json") for one in listed]
        except OSError:
            return []
        return [one for one in found if one["State"]["Pid"]]

    def running(self) -> dict[str, int]:
        return {pod_of(one): one["State"]["Pid"] for one in self._described(bodies.OWN)}

    def struck(self, name: str, pid: int) -> None:
        """An engine that ends takes with it what was killed a moment before: that is one end, not two."""
        if (name, pid) not in self.lives:
            self.lives.add((name, pid))
            super().struck(name, pid)

    def _role(self, role: str) -> list[str]:
        """Kill one container with that role; the pods that it was of."""
        found = self._described(role)
        if not found:
            return []
        chosen = self.plan.choice(sorted(found, key=lambda one: str(one["Name"])))
        pid = chosen["State"]["Pid"]
        with contextlib.suppress(ProcessLookupError):
            return [pod_of(chosen)] if kill(pid, linux.start_time(pid)) else []
        return []

    def network_helper(self) -> bool:
        return bool(self._role("helper"))

    def network_holder(self) -> bool:
        return bool(self._role("network"))

    def infrastructure(self) -> bool:
        """What shares its network ends with it."""
        running = self.running()
        hit = self._role(bodies.SHARED)
        for name in running.keys() & set(hit):
            self.struck(name, running[name])
        return bool(hit)

    def engine(self) -> bool:
        """When it is back, it ends what it finds running. What has ended by then had nobody to take what it wrote: the
        engine itself has lost that."""
        assert self.docker is not None
        for name, pid in self.running().items():
            self.struck(name, pid)
            self.unheard.add(name)
        self.docker.kill()
        self.docker.start()
        return True


def pod_of(described: dict[str, Any]) -> str:
    """The pod of a container, by the name that we gave it."""
    return str(described["Name"]).split("_")[2]


async def test_docker_and_any_of_its_processes_may_be_killed(platform: RunningPlatform, docker: dockerd.Daemon) -> None:
    saboteur = EngineSaboteur(platform, random.Random(SEED), docker=docker)
    async with Client(HttpTransport.from_kubeconfig(platform.kubeconfig)) as client:
        made = (counting(KINDS[number % len(KINDS)], number, IMAGE) for number in range(PODS))
        await asyncio.gather(*(client.create(core.POD.resource, pod) for pod in made))
    seen: set[str] = set()
    # What ends before it was seen to run would be no hit. It need not run still: on a busy machine the last comes late.
    async with asyncio.timeout(WAIT_SECONDS):
        while len(seen) < PODS:
            seen |= (await asyncio.to_thread(saboteur.running)).keys()
            await asyncio.sleep(0.1)
    await saboteur.rampage()
    async with Client(HttpTransport.from_kubeconfig(platform.kubeconfig)) as client:
        pods = await all_ended(client)
        assert len(pods) == PODS
        assert not saboteur.spared, saboteur.done
        assert sum(saboteur.done.values()) > ROUNDS, saboteur.done
        assert POLICIES.keys() >= set(KINDS)
        await check(client, pods, saboteur)
        await delete_all(client, left=saboteur.running)
    await asyncio.to_thread(gone, platform.directory.node / "pods")
    left = await asyncio.to_thread(docker.ask, "/containers/json", all=1)
    assert sorted(one["Labels"][bodies.ROLE] for one in left) == ["helper", "network"], json.dumps(left)
    assert not (await asyncio.to_thread(docker.ask, "/volumes"))["Volumes"]
    assert await asyncio.to_thread(groups_of, platform.directory.node) == []
    assert await asyncio.to_thread(mounts_of, docker, len(left)) == []


def groups_of(node: Path) -> list[str]:
    """The control groups of pods that are left."""
    name = f"homeport-{bodies.node_key(str(node))}"
    return [str(path) for path in Path("/sys/fs/cgroup").glob(f"*/{name}/*") if path.is_dir()]


def mounts_of(docker: dockerd.Daemon, containers: int) -> list[str]:
    """What is mounted for containers, beyond one each of those that there are."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    found = [line for line in lines if f" {docker.directory}/data/containers/" in line]
    return found if len(found) > containers else []
