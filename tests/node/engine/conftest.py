"""What the tests of runtimes share: engines, and nodes of every runtime."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import dockerd
import engines
import podman
import pytest
from runtimes import Pods

from homeport.node.engine.api import Engine
from homeport.node.engine.runtime import EngineRuntime
from homeport.node.plain.runtime import PlainRuntime
from homeport.node.process import ProcessRuntime
from homeport.node.runtime import ImageRoot, SandboxError


@contextlib.contextmanager
def _served(by: Any) -> Iterator[str]:
    if reason := by.missing():
        pytest.skip(reason)
    directory = Path(tempfile.mkdtemp(prefix="homeport-engine-"))
    with by.service(directory) as path:
        yield path
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def engine() -> Iterator[str]:
    """The socket of an engine of the tests' own: Docker's where it is installed."""
    with _served(engines) as path:
        yield path


@pytest.fixture(scope="session")
def docker() -> Iterator[str]:
    with _served(dockerd) as path:
        yield path


@pytest.fixture(scope="session", name="podman")
def podman_service() -> Iterator[str]:
    with _served(podman) as path:
        yield path


@pytest.fixture(params=["processes", "plain", "docker", "podman"])
async def pods(request: pytest.FixtureRequest) -> AsyncIterator[Pods]:
    """A node of each runtime."""
    directory = Path(tempfile.mkdtemp(prefix="homeport-runtimes-"))
    if request.param == "processes":
        made = Pods(directory, lambda node: ProcessRuntime(node, hidden=[directory]), ImageRoot())
    elif request.param == "plain":
        made = Pods(directory, PlainRuntime, ImageRoot())
    else:
        path = request.getfixturevalue(request.param)
        image = await Engine(path).request("GET", f"/images/{engines.IMAGE}/json")
        made = Pods(directory, lambda node: EngineRuntime(path, node), ImageRoot(reference=image["Id"]))
    made.kind = request.param
    try:
        await made.runtime.start()
    except SandboxError as error:
        pytest.skip(f"this machine can't run pods so: {error}")
    yield made
    await made.runtime.stop(end_pods=True)
    shutil.rmtree(directory)


@pytest.fixture
async def rooted(pods: Pods) -> Pods:
    """The same where containers have a root of their own."""
    if pods.kind == "plain":
        pytest.skip("plain processes have the machine's files")
    return pods
