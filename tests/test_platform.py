"""The platform as a whole, in process: what a start leaves behind, what a second finds, what a failure ends in."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from homeport import platform as platforms
from homeport.client.client import Client
from homeport.client.http import HttpTransport
from homeport.datadir import DataDir, Taken
from homeport.kube import core, meta
from homeport.kube.errors import Permanent
from homeport.platform import PartFailed, Platform, serving
from homeport.platform.serving import bind
from homeport.store.protocol import Full

CONTROL_PLANE = platforms.PARTS[:-1]
"""All but the node, whose processes would outlive the test."""


@pytest.fixture(autouse=True)
def without_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platforms, "PARTS", CONTROL_PLANE)


async def test_what_is_written_is_there_after_a_restart_and_on_the_same_port(tmp_path: Path) -> None:
    directory = DataDir.at(tmp_path / "data")
    async with Platform(directory) as platform:
        first = platform.url
        async with Client(HttpTransport.from_kubeconfig(directory.kubeconfig)) as client:
            await client.create(core.CONFIG_MAP.resource, core.CONFIG_MAP.new("kept", "default", data={"a": "b"}))
    async with Platform(directory) as platform:
        assert platform.url == first
        kept = await platform.client.get(core.CONFIG_MAP.resource, "kept", "default")
        assert kept["data"] == {"a": "b"}


async def test_the_kubeconfig_is_private(tmp_path: Path) -> None:
    directory = DataDir.at(tmp_path)
    async with Platform(directory):
        assert directory.kubeconfig.stat().st_mode & 0o077 == 0


async def test_a_second_platform_on_the_directory_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    directory = DataDir.at(tmp_path)
    async with Platform(directory) as first:
        with pytest.raises(Taken):
            async with Platform(directory):
                pass
        assert await first.client.list(core.NAMESPACE.resource)


async def test_the_kinds_of_the_components_are_definitions_too(tmp_path: Path) -> None:
    async with Platform(DataDir.at(tmp_path)) as platform:
        seen: set[str] = set()
        async with asyncio.timeout(10), platform.client.watch(core.CRD.resource) as events:
            async for _, obj in events:
                if meta.is_condition_true(obj, "Established"):
                    seen.add(meta.name(obj))
                if seen >= {"tfjobs.kubeflow.org", "pytorchjobs.kubeflow.org"}:
                    break


async def test_a_part_that_dies_while_it_starts_fails_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @asynccontextmanager
    async def broken(platform: Platform) -> AsyncIterator[str]:
        async def work() -> None:
            raise RuntimeError("it broke")

        async with platform.background("broken", work()):
            await platform.wait_for(asyncio.Event())
            yield "never"

    monkeypatch.setattr(platforms, "PARTS", (*CONTROL_PLANE, ("broken", broken)))
    directory = DataDir.at(tmp_path)
    with pytest.raises(PartFailed, match="broken: it broke"):
        async with Platform(directory):
            pass
    assert not directory.is_running()


def test_a_port_that_was_asked_for_and_is_taken_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(Permanent, match=f"port {port} can't be served: it is in use"):
            bind(port, None)


def test_a_remembered_port_that_is_taken_gives_way() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with bind(None, port) as chosen:
            assert chosen.getsockname()[1] != port


async def test_a_second_start_leaves_the_default_roles_alone(tmp_path: Path) -> None:
    directory = DataDir.at(tmp_path)

    async def versions(platform: Platform) -> dict[str, str]:
        found = await platform.client.list(core.CLUSTER_ROLE.resource)
        return {meta.name(role): meta.resource_version(role) for role in found.items}

    async with Platform(directory) as platform:
        first = await versions(platform)
    assert {"view", "edit", "admin", "cluster-admin", "homeport:aggregate-to-edit"} <= first.keys()
    async with Platform(directory) as platform:
        assert await versions(platform) == first


async def test_no_room_for_the_default_roles_stops_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def bootstrap(*arguments: object) -> int:
        raise Full("no room")

    monkeypatch.setattr(serving.rbac, "bootstrap", bootstrap)
    async with Platform(DataDir.at(tmp_path)) as platform:
        assert await platform.client.list(core.NAMESPACE.resource)
