"""Each process that a node is made of is killed at random while 50 pods run. Nothing is lost, and nothing is left.

The plan is a seed's: `HOMEPORT_FAULT_SEED=7` repeats one, `HOMEPORT_FAULT_ROUNDS=50` goes on for longer.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import select
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import leftovers
from machinery import RunningPlatform

from homeport.client.client import Client
from homeport.client.http import HttpTransport
from homeport.kube import core, meta
from homeport.kube.errors import HomeportError
from homeport.kube.meta import Object
from homeport.node.sandbox import linux, warmers, wire

PODS = 50
LINES = 40
ROUNDS = int(os.environ.get("HOMEPORT_FAULT_ROUNDS", "6"))
SEED = int(os.environ.get("HOMEPORT_FAULT_SEED", "20"))
# The shell tells of children that are killed.
COUNTING = f"exec 2>/dev/null; i=0; while [ $i -lt {LINES} ]; do echo $i; i=$((i+1)); sleep 0.5; done; exit "
WARM = f"import sys, time\nfor i in range({LINES}): print(i); time.sleep(0.5)\nsys.exit(3)"
IMAGE = """
apiVersion: homeport.dev/v1alpha1
kind: Image
names: [kept-warm]
packages: [pip]
warm: [json]
"""
POLICIES = {"never": ("Never", 5), "onfailure": ("OnFailure", 0), "always": ("Always", 3), "warm": ("Always", 3)}
"""By the first part of a pod's name: its restart policy, and with what its container ends if it is let."""
WAIT_SECONDS = 300


def pod(number: int) -> Object:
    kind = list(POLICIES)[number % len(POLICIES)]
    policy, code = POLICIES[kind]
    container = {"name": "main", "image": "homeport/base", "command": ["sh", "-c", f"{COUNTING}{code}"]}
    if kind == "warm":  # the first begins cold, and with it an interpreter that the others' are forks of
        container = {"name": "main", "image": "kept-warm", "command": ["python", "-u", "-c", WARM]}
    spec = {"restartPolicy": policy, "terminationGracePeriodSeconds": 1, "containers": [container]}
    metadata = {"name": f"{kind}-{number}", "namespace": "default"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def kill(pid: int, started: str) -> bool:
    """Whether that very process ran until it was killed here; returns when it has ended."""
    handle = linux.open_process(pid, started)
    if handle is None:
        return False
    try:
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        select.select([handle], [], [])
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)
    return True


@dataclass
class Saboteur:
    """Kills by plan, and remembers whom it hit."""

    platform: RunningPlatform
    plan: random.Random
    hits: Counter[str] = field(default_factory=Counter)
    """How often the containers of a pod were ended, by its name."""
    orphaned: set[str] = field(default_factory=set)
    """Names of pods whose supervisor was killed: what it had not written yet of the log went with it."""
    done: Counter[str] = field(default_factory=Counter)

    @property
    def node(self) -> Path:
        return self.platform.directory.node

    def __post_init__(self) -> None:
        self._kinds: dict[Callable[[], bool], int] = {
            self.platform_itself: 1,
            self.fork_server: 1,
            self.network_helper: 1,
            self.warm_interpreter: 1,
            self.supervisor: 3,
            self.container: 3,
            self.child: 3,
        }
        # Each kind comes first once, and again if there was none of it to be killed at that moment.
        self._due = self.plan.sample(list(self._kinds), len(self._kinds))

    @property
    def spared(self) -> list[str]:
        """The kinds of processes that have not been killed yet."""
        return [kind.__name__ for kind in self._kinds if not self.done[kind.__name__]]

    def strike(self) -> None:
        if self._due:
            what = self._due.pop(0)
        else:
            (what,) = self.plan.choices(list(self._kinds), list(self._kinds.values()))
        if what():
            self.done[what.__name__] += 1
        elif not self.done[what.__name__]:
            self._due.append(what)

    def platform_itself(self) -> bool:
        if self.platform.process is None:
            return False
        self.platform.kill()
        return True

    def fork_server(self) -> bool:
        return self._helper("homeport-zygote")

    def network_helper(self) -> bool:
        return self._helper("homeport-net")

    def warm_interpreter(self) -> bool:
        """The containers that are forks of it end with it."""
        forks = {}
        for state in self._states():
            with contextlib.suppress(OSError, IndexError):
                stat = Path(f"/proc/{state['containers']['main']['pid']}/stat").read_text()
                forks[state["name"]] = int(stat.rpartition(")")[2].split()[1])
        known = warmers.recorded(str(self.node))
        hit = [(pid, started) for pid, started in known if pid in forks.values() and kill(pid, started)]
        self.hits.update(name for name, parent in forks.items() if any(parent == pid for pid, _ in hit))
        return bool(hit)

    def _helper(self, name: str) -> bool:
        return any(kill(pid, linux.start_time(pid)) for pid, found in leftovers.processes(self.node) if found == name)

    def _states(self) -> list[dict[str, Any]]:
        """Of every pod with a running container, as its supervisor has written it."""
        found = []
        for path in sorted((self.node / "pods").glob("*/state.json")):
            with contextlib.suppress(OSError, ValueError):
                state = json.loads(path.read_text())
                main = state["containers"].get("main")
                if main and main["phase"] == "running":
                    found.append(state)
        return found

    def supervisor(self) -> bool:
        states = self._states()
        if not states:
            return False
        state = self.plan.choice(states)
        if not kill(state["pid"], state["start_time"]):
            return False
        self.hits[state["name"]] += 1
        self.orphaned.add(state["name"])
        return True

    def _main(self) -> tuple[str, int] | None:
        states = self._states()
        if not states:
            return None
        state = self.plan.choice(states)
        return state["name"], state["containers"]["main"]["pid"]

    def container(self) -> bool:
        chosen = self._main()
        if chosen is None:
            return False
        name, pid = chosen
        try:
            if not kill(pid, linux.start_time(pid)):
                return False
        except ProcessLookupError:
            return False
        self.hits[name] += 1
        return True

    def child(self) -> bool:
        """A process in a container that is not the first: the container goes on."""
        chosen = self._main()
        if chosen is None:
            return False
        pid = chosen[1]
        with contextlib.suppress(OSError, ProcessLookupError):
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            return any(kill(int(child), linux.start_time(int(child))) for child in children)
        return False


async def log(client: Client, name: str) -> list[str]:
    text = await client.raw("GET", f"/api/v1/namespaces/default/pods/{name}/log")
    return text.decode().splitlines()


def ended(pod: Object) -> dict[str, Any]:
    (status,) = meta.status(pod)["containerStatuses"]
    found: dict[str, Any] = status["state"]["terminated"]
    return found


def policy_of(kind: str) -> str:
    return POLICIES[kind][0]


async def check(client: Client, pods: list[Object], saboteur: Saboteur) -> None:
    for found in pods:
        name = meta.name(found)
        kind, hits = name.partition("-")[0], saboteur.hits[name]
        (status,) = meta.status(found)["containerStatuses"]
        if policy_of(kind) == "Always":
            # One that does not run at this moment is about to be restarted once more.
            restarts = status["restartCount"] + ("running" not in status["state"])
            assert restarts >= hits, (name, hits, status)
            continue
        assert status["restartCount"] == (hits if kind == "onfailure" else 0), (name, hits, status)
        end, code = ended(found), POLICIES[kind][1]
        lines = await log(client, name)
        assert lines == [str(number) for number in range(len(lines))], (name, lines)
        if kind == "onfailure" or not hits or end["exitCode"] == code:
            assert (end["exitCode"], end["reason"]) == (code, "Error" if code else "Completed"), (name, hits, end)
            assert len(lines) == LINES or (name in saboteur.orphaned and kind == "never"), (name, hits, lines)
        else:
            assert end["exitCode"] == 137, (name, hits, end)
            unknown = end["reason"] == "ContainerStatusUnknown"
            assert not unknown or name in saboteur.orphaned, (name, hits, end)


async def test_any_process_may_be_killed_at_any_time(platform: RunningPlatform) -> None:
    images = platform.directory.path / "images"
    await asyncio.to_thread(images.mkdir, exist_ok=True)
    await asyncio.to_thread((images / "warm.yaml").write_text, IMAGE)
    saboteur = Saboteur(platform, random.Random(SEED))
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
        while len(saboteur._states()) < PODS * 2 // 3:
            await asyncio.sleep(0.1)
    for _ in range(ROUNDS):
        for _ in range(saboteur.plan.randint(3, 8)):
            saboteur.strike()
            await asyncio.sleep(saboteur.plan.random() * 0.2)
        if platform.process is None:
            platform.start()
        await asyncio.sleep(saboteur.plan.random())
    # A platform that was killed comes back on another port if its own is taken.
    async with Client(HttpTransport.from_kubeconfig(platform.kubeconfig)) as client:
        pods: list[Object] = []
        async with asyncio.timeout(WAIT_SECONDS):
            while not pods or not all(core.has_ended(p) for p in pods if meta.spec(p)["restartPolicy"] != "Always"):
                await asyncio.sleep(0.5)
                with contextlib.suppress(HomeportError):
                    pods = list((await client.list(core.POD.resource, "default")).items)
        assert len(pods) == PODS
        assert not saboteur.spared, saboteur.done
        assert sum(saboteur.done.values()) > ROUNDS, saboteur.done
        await check(client, pods, saboteur)
        await client.delete_collection(core.POD.resource, "default")
        async with asyncio.timeout(WAIT_SECONDS):
            while (await client.list(core.POD.resource, "default")).items or leftovers.processes(
                platform.directory.node, only=is_of_a_pod
            ):
                await asyncio.sleep(0.2)
    await asyncio.to_thread(gone, platform.directory.node / "pods")


def is_warm(node: Path) -> bool:
    """Whether an interpreter waits for containers."""
    for path in (node / "warm").glob("*.sock"):
        with contextlib.suppress(OSError):
            wire.connect(str(path)).close()
            return True
    return False


def is_of_a_pod(pid: int) -> bool:
    return Path(f"/proc/{pid}/comm").read_text().strip() not in (
        "homeport-zygote",
        "homeport-net",
        "homeport",
        "python",
    )


def gone(pods: Path) -> None:
    """What the node kept of deleted pods goes a moment after them."""
    until = time.monotonic() + 20
    while os.listdir(pods):
        assert time.monotonic() < until, os.listdir(pods)
        time.sleep(0.1)
