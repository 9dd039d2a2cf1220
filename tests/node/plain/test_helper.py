"""The network helper of plain processes outlives the platform, but no update."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from homeport.node.plain.runtime import PlainRuntime
from homeport.node.sandbox import network, spec, wire


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Path]:
    directory = tmp_path / "node"
    runtime = PlainRuntime(directory)
    await runtime.start()
    await runtime.stop(end_pods=False)
    yield directory
    await runtime.stop(end_pods=True)


def helper_of(node: Path) -> int:
    with wire.connect(network.helper_socket(str(node))) as connection:
        return wire.peer_pid(connection)


async def started_again(node: Path) -> None:
    runtime = PlainRuntime(node)
    await runtime.start()
    await runtime.set_records({"a.default.svc.cluster.local": ("10.42.0.9",)})
    await runtime.stop(end_pods=False)


async def test_a_helper_of_this_version_goes_on(node: Path) -> None:
    helper = helper_of(node)
    await started_again(node)
    assert helper_of(node) == helper


async def test_a_helper_of_another_version_is_replaced(node: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper = helper_of(node)
    monkeypatch.setattr(spec, "VERSION", spec.VERSION + 1)
    await started_again(node)
    assert helper_of(node) != helper
