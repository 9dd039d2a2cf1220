"""`homeport backup` and `homeport restore`, while the platform of the data directory runs and while it does not."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from homeport import backups
from homeport import platform as platforms
from homeport.client.client import Client
from homeport.client.http import HttpTransport
from homeport.control.cache import Change
from homeport.datadir import DataDir
from homeport.kube import core, meta
from homeport.kube.errors import ApiError, NotFound, Permanent
from homeport.platform import Platform

MAPS = core.CONFIG_MAP.resource
WIDGETS = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.example.com"},
    "spec": {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"plural": "widgets", "kind": "Widget"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}
WIDGET = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w", "namespace": "default"}}


@pytest.fixture(autouse=True)
def without_node(monkeypatch: pytest.MonkeyPatch) -> None:
    """The node's processes would outlive the test."""
    monkeypatch.setattr(platforms, "PARTS", platforms.PARTS[:-1])


@pytest.fixture
def directory(tmp_path: Path) -> DataDir:
    return DataDir.at(tmp_path / "data")


async def homeport(*arguments: str) -> tuple[int, str]:
    """Exit status and output of the command, as a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "homeport", *arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


async def eventually(client: Client, names: set[str]) -> None:
    async with asyncio.timeout(10):
        while {meta.name(obj) for obj in (await client.list(MAPS, "default")).items} - {"kube-root-ca.crt"} != names:
            await asyncio.sleep(0.02)


async def test_a_running_platform_goes_back_and_everybody_hears_of_it(directory: DataDir, tmp_path: Path) -> None:
    file = tmp_path / "backup.db"
    changes: list[Change] = []
    async with Platform(directory) as platform, Client(HttpTransport.from_kubeconfig(directory.kubeconfig)) as client:
        # What a first start makes once it is ready would be removed by the restoration, too.
        made = {"definitions", "training runtimes"}
        await asyncio.gather(*(task for task in asyncio.all_tasks() if task.get_name() in made))
        await client.create(MAPS, core.CONFIG_MAP.new("kept", "default", data={"a": "1"}))
        await client.raw("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", body=WIDGETS)
        widget = await client.resource_for("example.com/v1", "Widget")
        await client.create(widget, WIDGET)
        arguments = ("--data-dir", str(directory.path))
        status, told = await homeport("backup", str(file), *arguments)
        assert (status, "objects, as of resource version" in told) == (0, True), told
        status, told = await homeport("backup", str(file), *arguments)
        assert (status, "exists; choose another name, or replace it with --force" in told) == (1, True), told

        kept = await client.get(MAPS, "kept", "default")
        await client.replace(MAPS, {**kept, "data": {"a": "2"}})
        await client.create(MAPS, core.CONFIG_MAP.new("late", "default"))
        await client.delete(core.CRD.resource, "widgets.example.com")
        async with asyncio.timeout(10):
            while True:
                try:
                    await client.list(widget, "default")
                except NotFound:
                    break
        informer = platform.informers.get(MAPS)
        await informer.synced.wait()
        informer.subscribe(changes.append)
        changes.clear()
        lists = informer.lists
        status, told = await homeport("restore", str(file), *arguments)
        assert (status, "1 removed" in told) == (0, True), told
        assert "before-restore.db" in told

        assert (await client.get(MAPS, "kept", "default"))["data"] == {"a": "1"}
        with pytest.raises(NotFound):
            await client.get(MAPS, "late", "default")
        assert (await client.get(widget, "w", "default"))["metadata"]["name"] == "w", "the definition is served again"
        async with asyncio.timeout(10):
            while len(changes) < 2:
                await asyncio.sleep(0.01)
        assert {(change.type, meta.name(change.object)) for change in changes} == {
            ("MODIFIED", "kept"), ("DELETED", "late"),
        }  # fmt: skip
        assert informer.lists == lists, "nobody had to list anew"
        assert not directory.staged.exists()

        # And back again, from the state that was kept.
        status, told = await homeport("restore", str(directory.store / "before-restore.db"), *arguments)
        assert status == 0, told
        assert (await client.get(MAPS, "kept", "default"))["data"] == {"a": "2"}
        assert await client.get(MAPS, "late", "default")


async def test_a_platform_that_does_not_run(directory: DataDir, tmp_path: Path) -> None:
    file = tmp_path / "backup.db"
    with pytest.raises(Permanent, match="there is nothing to back up"):
        backups.make(directory, file, replace=False)
    async with Platform(directory) as platform:
        await platform.client.create(MAPS, core.CONFIG_MAP.new("a", "default"))
    made = await asyncio.to_thread(lambda: backups.make(directory, file, replace=False))
    async with Platform(directory) as platform:
        await platform.client.create(MAPS, core.CONFIG_MAP.new("b", "default"))
    done = await asyncio.to_thread(backups.put_back, directory, file)
    assert done.objects == made.objects
    async with Platform(directory) as platform:
        await eventually(platform.client, {"a"})


@pytest.mark.parametrize("harm", ["middle", "missing"])
async def test_a_damaged_database_is_refused_then_replaced(directory: DataDir, tmp_path: Path, harm: str) -> None:
    file = tmp_path / "backup.db"
    async with Platform(directory) as platform:
        for n in range(30):
            await platform.client.create(MAPS, core.CONFIG_MAP.new(f"a{n}", "default", data={"x": "y" * 4_000}))
        await asyncio.to_thread(lambda: backups.make(directory, file, replace=False))
        await platform.client.create(MAPS, core.CONFIG_MAP.new("late", "default"))
    database = directory.database
    content = database.read_bytes()
    match harm:
        case "middle":
            database.write_bytes(content.replace(b"yyyyyyyy", b"yyzzyyyy", 1))
        case "missing":
            database.rename(database.with_name("objects.db-wal"))
    with pytest.raises(Permanent, match=r"objects\.db.*homeport restore FILE"):
        async with Platform(directory):
            pass
    done = await asyncio.to_thread(backups.put_back, directory, file)
    assert done.kept is not None
    if harm != "missing":
        assert done.kept.exists(), "what is left of it is for whoever can save something"
    async with Platform(directory) as platform:
        await eventually(platform.client, {f"a{n}" for n in range(30)})


async def test_a_wrong_file_changes_nothing(directory: DataDir, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.db"
    wrong.write_text("no database" * 100)
    with pytest.raises(Permanent, match="nothing was restored"):
        await asyncio.to_thread(backups.put_back, directory, wrong)
    async with Platform(directory) as platform:
        await platform.client.create(MAPS, core.CONFIG_MAP.new("a", "default"))
        status, told = await homeport("restore", str(wrong), "--data-dir", str(directory.path))
        assert (status, "nothing was restored" in told) == (1, True), told
        with pytest.raises(ApiError, match="there is no database"):
            await platform.client.raw("POST", "/restore", body={})
        await eventually(platform.client, {"a"})
    assert not directory.staged.exists()
