"""What every runtime promises of a pod's volumes, asked of each."""

from __future__ import annotations

from pathlib import Path

import pytest
from runtimes import Pods

from homeport.node.runtime import MemoryVolume, Mount, NotYet, Sandbox

pytestmark = pytest.mark.slow


def a_volume(sandbox: Sandbox, name: str = "shared") -> Path:
    made = Path(sandbox.directory) / "volumes" / name
    made.mkdir(parents=True)
    return made


async def test_a_path_of_a_volume_is_shown_alone(rooted: Pods) -> None:
    sandbox = await rooted.create("one")
    volume = a_volume(sandbox)
    (volume / "known").mkdir()
    (volume / "known" / "file").write_text("known\n")
    mounts = (
        Mount(str(volume), "/part", sub_path="known"),
        Mount(str(volume), "/etc/one-file", sub_path="known/file", read_only=True),
        Mount(str(volume), "/new", sub_path="deep/down"),
    )
    script = "cat /part/file /etc/one-file; ls /part; echo made > /new/made; echo x > /etc/one-file || echo refused"
    assert (await rooted.run(sandbox, script, mounts=mounts)).exit_code == 0
    assert rooted.lines(sandbox) == ["known", "known", "file", "refused"]
    assert (volume / "deep" / "down" / "made").read_text() == "made\n"


async def test_no_link_in_a_volume_leads_out_of_it(rooted: Pods) -> None:
    sandbox = await rooted.create("one")
    volume = a_volume(sandbox)
    (volume / "inside").mkdir()
    (volume / "good").symlink_to("inside")
    (volume / "bad").symlink_to("/etc")
    good = Mount(str(volume), "/part", sub_path="good")
    assert (await rooted.run(sandbox, "touch /part/there", mounts=(good,))).exit_code == 0
    assert (volume / "inside" / "there").exists()
    bad = rooted.spec(sandbox, "ls /part", "bad", mounts=(Mount(str(volume), "/part", sub_path="bad/passwd"),))
    with pytest.raises(NotYet, match="leads out of the volume") as waits:
        await sandbox.start(bad)
    assert waits.value.reason == "CreateContainerConfigError"
    (volume / "bad").unlink()
    assert (await rooted.run(sandbox, "touch /part/there", "bad", mounts=bad.mounts)).exit_code == 0


async def test_a_volume_in_memory_is_the_pods_until_it_is_deleted_and_has_a_size(rooted: Pods) -> None:
    place = rooted.directory / "pods" / "one" / "volumes" / "quick"
    volume = MemoryVolume(str(place), 1 << 20, 2345)
    sandbox = await rooted.create("one", memory=(volume,))
    mounts = (Mount(str(place), "/quick"),)
    script = "echo kept > /quick/file; mkdir -p /quick/deep; echo below > /quick/deep/file; chmod 600 /quick/file"
    assert (await rooted.run(sandbox, script, "first", mounts=mounts)).exit_code == 0
    script = (
        "cat /quick/file; grep ' /quick ' /proc/mounts | cut -d' ' -f3; stat -c %g /quick/file;"
        "dd if=/dev/zero of=/quick/much bs=1024 count=2048 2>/dev/null || echo full"
    )
    assert (await rooted.run(sandbox, script, "second", mounts=mounts)).exit_code == 0
    assert rooted.lines(sandbox, name="second") == ["kept", "tmpfs", "2345", "full"]
    part = (Mount(str(place), "/part", sub_path="deep"), Mount(str(place), "/new", sub_path="made"))
    assert (await rooted.run(sandbox, "cat /part/file; touch /new/x", "third", mounts=part)).exit_code == 0
    assert rooted.lines(sandbox, name="third") == ["below"]
    assert await sandbox.read(str(place), "file") == b"kept\n"
    assert await sandbox.read(str(place), "none") is None
    assert not (place / "file").exists()  # the machine does not see it
    sandbox = (await rooted.again())["one"]
    assert await sandbox.read(str(place), "deep/file") == b"below\n"
    await sandbox.destroy()
    await rooted.runtime.remove(str(place))
    again = await rooted.create("one", memory=(volume,))
    assert (await rooted.run(again, "ls /quick", "fourth", mounts=mounts)).exit_code == 0
    assert rooted.lines(again, name="fourth") == []


async def test_a_volume_is_given_to_the_pods_group(rooted: Pods) -> None:
    sandbox = await rooted.create("one")
    volume = a_volume(sandbox)
    (volume / "file").write_text("x")
    (volume / "file").chmod(0o600)
    await rooted.runtime.give(str(volume), 2345, read_only=False, only_if_root_differs=False)
    mounts = (Mount(str(volume), "/data"),)
    script = (
        "cat /data/file >/dev/null && echo more >> /data/file && touch /data/new && stat -c %g /data/file /data/new"
    )
    state = await rooted.run(sandbox, script, mounts=mounts, uid=1234, gid=1234, groups=(2345,))
    assert (state.exit_code, rooted.lines(sandbox)) == (0, ["2345", "2345"])
    assert await rooted.runtime.measure([str(volume), str(volume / "none")]) == [
        pytest.approx(4096, abs=8192),
        0,
    ]


async def test_files_of_volumes_are_read_and_removed_whoever_has_written_them(rooted: Pods) -> None:
    sandbox = await rooted.create("one")
    volume = a_volume(sandbox)
    volume.chmod(0o777)
    script = "mkdir -m 700 /data/mine; echo secret > /data/mine/file; ln -s /etc/passwd /data/out; umask"
    mounts = (Mount(str(volume), "/data"),)
    assert (await rooted.run(sandbox, script, mounts=mounts, uid=1234, gid=1234)).exit_code == 0
    assert await sandbox.read(str(volume), "mine/file") == b"secret\n"
    assert await sandbox.read(str(volume), "out") is None
    await rooted.runtime.copy(str(volume), str(volume.parent / "shared-copy"))
    assert (volume.parent / "shared-copy" / "out").is_symlink()
    for path in (volume, volume.parent / "shared-copy"):
        await rooted.runtime.remove(str(path))
        assert not path.exists()
