"""A platform whose disk fills up: writes are refused in so many words, reads go on, room makes all well again."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from homeport import platform as platforms
from homeport.client.client import Client
from homeport.client.http import HttpTransport
from homeport.datadir import DataDir
from homeport.kube import core
from homeport.kube.errors import ApiError, InternalError, StorageFull
from homeport.platform import Platform

MAPS = core.CONFIG_MAP.resource


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 12 MB."""
    place = tmp_path / "small"
    place.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root can mount a file system")
    command = ["mount", "-t", "tmpfs", "-o", "size=12m", "homeport-test", str(place)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def take_all_room(place: Path) -> Path:
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while file.write(b"x" * size):
                    pass
            except OSError:
                continue
    return filler


async def test_a_full_disk(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platforms, "PARTS", platforms.PARTS[:-1])  # the node's processes would outlive the test
    directory = DataDir.at(small_disk / "data")
    written = []
    async with Platform(directory), Client(HttpTransport.from_kubeconfig(directory.kubeconfig)) as client:
        await client.create(MAPS, core.CONFIG_MAP.new("before", "default"))
        filler = take_all_room(small_disk)

        async def write_on() -> None:
            for number in range(1_000):
                await client.create(MAPS, core.CONFIG_MAP.new(f"m{number}", "default", data={"a": "x" * 20_000}))
                written.append(f"m{number}")

        with pytest.raises(StorageFull, match="nothing was stored: no room to write"):
            await write_on()
        names = {obj["metadata"]["name"] for obj in (await client.list(MAPS, "default")).items}
        assert names >= {"before", *written}, "reads go on"
        assert f"m{len(written)}" not in names, "what was refused is not there"
        with pytest.raises(InternalError, match="the server answered 500"):
            await client.raw("GET", "/readyz")
        with pytest.raises(ApiError, match="no room to write"):
            await client.raw("GET", "/readyz/etcd")
        filler.unlink()
        assert await client.raw("GET", "/readyz") == b"ok"
        await client.create(MAPS, core.CONFIG_MAP.new("after", "default", data={"a": "x" * 20_000}))
    async with Platform(directory) as platform:
        names = {obj["metadata"]["name"] for obj in (await platform.client.list(MAPS, "default")).items}
        assert names >= {"before", "after", *written}
