"""Volumes for a pod's group."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from homeport.node.runtime import Mount, SandboxError

Pods = Any
GROUP = 4321


def modes(top: Path) -> dict[str, tuple[int, int]]:
    found = {}
    for path in (top, *sorted(top.rglob("*"))):
        status = path.lstat()
        found[str(path.relative_to(top))] = (stat.S_IMODE(status.st_mode), status.st_gid)
    return found


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    top = tmp_path / "volume"
    (top / "deep").mkdir(parents=True)
    top.chmod(0o755)
    (top / "deep").chmod(0o700)
    (top / "file").write_text("x\n")
    (top / "file").chmod(0o400)
    (tmp_path / "outside").write_text("x")
    (tmp_path / "outside").chmod(0o600)
    (top / "link").symlink_to(tmp_path / "outside")
    return top


@pytest.mark.needs_ids
async def test_a_group_gets_a_volume(pods: Pods, volume: Path) -> None:
    await pods.runtime.give(str(volume), GROUP, read_only=False, only_if_root_differs=False)
    found = modes(volume)
    assert (found["."][0], found["deep"][0], found["file"][0]) == (0o2775, 0o2770, 0o660)
    group = found["."][1]
    assert {entry[1] for entry in found.values()} == {group}
    # Not what a link leads to.
    assert modes(volume.parent)["outside"] == (0o600, os.getegid())

    script = "id -G; cat /v/file && echo more >> /v/file && echo new > /v/deep/new && stat -c %g /v/deep/new"
    state = await pods.run("a", "sh", "-c", script, mounts=(Mount(str(volume), "/v"),), uid=1000, groups=(GROUP,))
    assert (state.exit_code, pods.output("a").split()[-1]) == (0, str(GROUP))


@pytest.mark.needs_ids
async def test_what_is_read_only_is_not_made_writable(pods: Pods, volume: Path) -> None:
    await pods.runtime.give(str(volume), GROUP, read_only=True, only_if_root_differs=False)
    found = modes(volume)
    assert (found["."][0], found["deep"][0], found["file"][0]) == (0o2755, 0o2750, 0o440)


@pytest.mark.needs_ids
async def test_a_tree_whose_top_is_right_can_be_left_alone(pods: Pods, volume: Path) -> None:
    await pods.runtime.give(str(volume), GROUP, read_only=False, only_if_root_differs=True)
    (volume / "file").chmod(0o400)
    await pods.runtime.give(str(volume), GROUP, read_only=False, only_if_root_differs=True)
    assert modes(volume)["file"][0] == 0o400
    await pods.runtime.give(str(volume), GROUP, read_only=False, only_if_root_differs=False)
    assert modes(volume)["file"][0] == 0o660


async def test_a_volume_that_has_gone(pods: Pods, tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="can't be given to group 4321"):
        await pods.runtime.give(str(tmp_path / "none"), GROUP, read_only=False, only_if_root_differs=False)


@pytest.mark.needs_ids
async def test_a_user_gets_a_file(pods: Pods, tmp_path: Path) -> None:
    volume = tmp_path / "v"
    volume.mkdir()
    volume.chmod(0o755)
    (volume / "token").write_text("secret\n")
    (volume / "token").chmod(0o600)
    await pods.runtime.give_file(str(volume / "token"), 1000)
    script = "stat -c '%u %a' /v/token && cat /v/token"
    mounts = (Mount(str(volume), "/v"),)
    state = await pods.run("a", "sh", "-c", script, mounts=mounts, uid=1000)
    assert (state.exit_code, pods.output("a").split()) == (0, ["1000", "600", "secret"])
    state = await pods.run("b", "cat", "/v/token", mounts=mounts, uid=1001)
    assert state.exit_code == 1
    with pytest.raises(SandboxError, match="can't be given to user 1000"):
        await pods.runtime.give_file(str(tmp_path / "none"), 1000)


@pytest.mark.parametrize("processes", ["container", "pod"])
@pytest.mark.parametrize(
    "whom",
    [{}, pytest.param({"uid": 1000, "gid": 3000, "groups": (GROUP, 3000)}, marks=pytest.mark.needs_ids)],
    ids=["root", "other"],
)
async def test_whom_a_container_began_as_is_told(pods: Pods, processes: str, whom: dict[str, Any]) -> None:
    sandbox = await pods.create("a", processes=processes)
    state = await pods.run("a", "sh", "-c", "id -u; id -g; id -G", sandbox=sandbox, **whom)
    user, group, *groups = (int(word) for word in pods.output("a").split())
    assert state.ids[:2] == (user, group)
    assert sorted(state.ids[1:]) == sorted(groups)
    if whom:
        assert state.ids == (1000, 3000, GROUP)


async def test_whom_one_became_that_found_no_command_is_not_told(pods: Pods) -> None:
    state = await pods.run("a", "/no/such/command")
    assert (state.reason, state.ids) == ("StartError", ())
