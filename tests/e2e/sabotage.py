"""Killing what a node is made of, at random, while pods run; and what has to be true of the pods then.

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
from homeport.node.sandbox import linux

LINES = 40
ROUNDS = int(os.environ.get("HOMEPORT_FAULT_ROUNDS", "6"))
SEED = int(os.environ.get("HOMEPORT_FAULT_SEED", "20"))
# The shell tells of children that are killed.
COUNTING = f"exec 2>/dev/null; i=0; while [ $i -lt {LINES} ]; do echo $i; i=$((i+1)); sleep 0.5; done; exit "
POLICIES = {"never": ("Never", 5), "onfailure": ("OnFailure", 0), "always": ("Always", 3), "warm": ("Always", 3)}
"""By the first part of a pod's name: its restart policy, and with what its container ends if it is let."""
WAIT_SECONDS = 300


def counting(kind: str, number: int, image: str) -> Object:
    """A pod that counts, of one of the kinds of `POLICIES`."""
    policy, code = POLICIES[kind]
    container = {"name": "main", "image": image, "command": ["sh", "-c", f"{COUNTING}{code}"]}
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
    unheard: set[str] = field(default_factory=set)
    """Names of pods whose containers may have said something, and ended, while nobody listened."""
    done: Counter[str] = field(default_factory=Counter)
    is_exact: bool = True
    """Whether every end that a container had is a hit, and every hit an end by a signal."""
    pause: float = 1.0
    """The seconds between two rounds, at most."""
    arguments: tuple[str, ...] = ()
    """Of the platform, when it is started again."""

    @property
    def node(self) -> Path:
        return self.platform.directory.node

    def __post_init__(self) -> None:
        self._kinds = self.kinds()
        # Each kind comes first once, and again if there was none of it to be killed at that moment.
        self._due = self.plan.sample(list(self._kinds), len(self._kinds))

    def kinds(self) -> dict[Callable[[], bool], int]:
        """What there is to be killed, and how often one is chosen beside the others. Each answers whether it has killed
        something."""
        return {self.platform_itself: 1, self.container: 3, self.child: 3}

    def running(self) -> dict[str, int]:
        """The first process of every running container, by the name of its pod."""
        raise NotImplementedError

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

    def _main(self) -> tuple[str, int] | None:
        running = self.running()
        return self.plan.choice(sorted(running.items())) if running else None

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
        self.struck(name, pid)
        return True

    def struck(self, name: str, _pid: int) -> None:
        """The container of that pod that has, or had, that first process is ended."""
        self.hits[name] += 1

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

    async def rampage(self) -> None:
        """Round after round; the platform runs at the end of each. Some more where nobody of a kind was there."""
        for number in range(3 * ROUNDS):
            if number >= ROUNDS and not self.spared:
                break
            for _ in range(self.plan.randint(3, 8)):
                await asyncio.to_thread(self.strike)
                await asyncio.sleep(self.plan.random() * 0.2)
            if self.platform.process is None:
                await asyncio.to_thread(self.platform.start, *self.arguments)
            await asyncio.sleep(self.pause * self.plan.random())


class SupervisedSaboteur(Saboteur):
    """Of a node whose pods have supervisors, and whose network is a helper's."""

    def network_helper(self) -> bool:
        return self._helper("homeport-net")

    def _helper(self, name: str) -> bool:
        return any(kill(pid, linux.start_time(pid)) for pid, found in leftovers.processes(self.node) if found == name)

    def states(self) -> list[dict[str, Any]]:
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
        states = self.states()
        if not states:
            return False
        state = self.plan.choice(states)
        if not kill(state["pid"], state["start_time"]):
            return False
        self.hits[state["name"]] += 1
        self.orphaned.add(state["name"])
        return True

    def running(self) -> dict[str, int]:
        return {state["name"]: state["containers"]["main"]["pid"] for state in self.states()}


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
        restarts, expected = status["restartCount"], hits if kind == "onfailure" else 0
        assert restarts == expected or (kind == "onfailure" and not saboteur.is_exact), (name, hits, status)
        end, code = ended(found), POLICIES[kind][1]
        lines = await log(client, name)
        assert lines == [str(number) for number in range(len(lines))], (name, lines)
        if kind == "onfailure" or not hits or end["exitCode"] == code:
            assert (end["exitCode"], end["reason"]) == (code, "Error" if code else "Completed"), (name, hits, end)
            cut_short = name in saboteur.unheard or (name in saboteur.orphaned and kind == "never")
            assert len(lines) == LINES or cut_short, (name, hits, lines)
        elif saboteur.is_exact or end["exitCode"] != code:
            assert end["exitCode"] == 137, (name, hits, end)
            unknown = end["reason"] == "ContainerStatusUnknown"
            assert not unknown or name in saboteur.orphaned, (name, hits, end)


async def all_ended(client: Client) -> list[Object]:
    """The pods, once all have that are to end."""
    pods: list[Object] = []
    async with asyncio.timeout(WAIT_SECONDS):
        while not pods or not all(core.has_ended(p) for p in pods if meta.spec(p)["restartPolicy"] != "Always"):
            await asyncio.sleep(0.5)
            with contextlib.suppress(HomeportError):
                pods = list((await client.list(core.POD.resource, "default")).items)
    return pods


async def delete_all(client: Client, *, left: Callable[[], object]) -> None:
    """Delete the pods, and wait for them and for what is `left` of them to go."""
    await client.delete_collection(core.POD.resource, "default")
    async with asyncio.timeout(WAIT_SECONDS):
        while (await client.list(core.POD.resource, "default")).items or left():
            await asyncio.sleep(0.2)


def gone(pods: Path) -> None:
    """What the node kept of deleted pods goes a moment after them."""
    until = time.monotonic() + 20
    while os.listdir(pods):
        assert time.monotonic() < until, os.listdir(pods)
        time.sleep(0.1)


async def aftermath(saboteur: Saboteur, count: int) -> None:
    """What has to be true of so many pods when nothing is killed any more."""
    node = saboteur.node
    # A platform that was killed comes back on another port if its own is taken.
    async with Client(HttpTransport.from_kubeconfig(saboteur.platform.kubeconfig)) as client:
        pods = await all_ended(client)
        assert len(pods) == count
        assert not saboteur.spared, saboteur.done
        assert sum(saboteur.done.values()) > ROUNDS, saboteur.done
        await check(client, pods, saboteur)
        await delete_all(client, left=lambda: leftovers.processes(node, only=is_of_a_pod))
    await asyncio.to_thread(gone, node / "pods")


def is_of_a_pod(pid: int) -> bool:
    return Path(f"/proc/{pid}/comm").read_text().strip() not in (
        "homeport-zygote",
        "homeport-net",
        "homeport",
        "python",
    )
