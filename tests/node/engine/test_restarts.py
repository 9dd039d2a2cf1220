"""Pods of an engine that is killed and comes back."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import dockerd
import pytest
from runtimes import Pods, end_of, until

from homeport.node.engine import bodies
from homeport.node.engine.api import Engine
from homeport.node.engine.runtime import EngineRuntime
from homeport.node.runtime import ImageRoot

pytestmark = pytest.mark.slow


@pytest.fixture
def live() -> Iterator[dockerd.Daemon]:
    """Whose containers go on when it is killed."""
    if reason := dockerd.missing():
        pytest.skip(reason)
    directory = Path(tempfile.mkdtemp(prefix="homeport-docker-"))
    with dockerd.daemon(directory, "--live-restore") as made:
        yield made
    shutil.rmtree(directory)


@pytest.fixture
async def pods(live: dockerd.Daemon) -> AsyncIterator[Pods]:
    directory = Path(tempfile.mkdtemp(prefix="homeport-runtimes-"))
    image = await Engine(str(live.socket)).request("GET", f"/images/{dockerd.IMAGE}/json")
    made = Pods(directory, lambda node: EngineRuntime(str(live.socket), node), ImageRoot(reference=image["Id"]))
    await made.runtime.start()
    yield made
    await made.runtime.stop(end_pods=True)
    shutil.rmtree(directory)


async def test_the_log_goes_on_when_the_engine_is_back(live: dockerd.Daemon, pods: Pods) -> None:
    sandbox = await pods.create("one")
    await sandbox.start(pods.spec(sandbox, "trap 'echo after; exit 3' TERM; echo before; while :; do sleep 0.1; done"))
    await until(lambda: pods.log(sandbox).exists() and pods.lines(sandbox) == ["before"])
    live.kill()
    live.start()
    await sandbox.signal("main", signal.SIGTERM)
    assert (await end_of(sandbox)).exit_code == 3
    assert pods.lines(sandbox) == ["before", "after"]


async def test_helpers_that_many_ask_for_at_once_are_one(live: dockerd.Daemon, pods: Pods) -> None:
    """Each that was started anew would end what the one before it is at work on."""
    (before,) = live.ask("/containers/json", filters={"label": [f"{bodies.ROLE}=helper"]})
    os.kill(live.ask(f"/containers/{before['Id']}/json")["State"]["Pid"], signal.SIGKILL)
    await until(lambda: not live.ask("/containers/json", filters={"id": [before["Id"]]}))
    places = [pods.directory / "pods" / name for name in "abcdef"]
    for place in places:
        (place / "deep" / "down").mkdir(parents=True)
    await asyncio.gather(*(pods.runtime.remove(str(place)) for place in places))
    assert not any(place.exists() for place in places)
    made = live.ask("/containers/json", all=1, filters={"label": [f"{bodies.ROLE}=helper"]})
    assert [one["State"] for one in made] == ["running"]
