"""Containers whose root has an image's layers: over the machine's programs, or in their place."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import little_root
import pytest

from homeport.node.runtime import ImageRoot, Mount, NotYet
from homeport.node.sandbox import spec


def layers(*directories: Path) -> tuple[str, ...]:
    return tuple(str(path) for path in directories)


def whiteout(path: Path) -> None:
    os.mknod(path, stat.S_IFCHR, os.makedev(0, 0))


async def test_an_image_brings_its_own_root(pods: Any, tmp_path: Path) -> None:
    little_root.make(tmp_path / "lower")
    (tmp_path / "lower" / "gone").write_text("x")
    (tmp_path / "lower" / "both").write_text("lower")
    top = tmp_path / "top"
    top.mkdir()
    (top / "both").write_text("top")
    whiteout(top / "gone")
    image = ImageRoot(layers=layers(top, tmp_path / "lower"), machine=False)
    state = await pods.run("a", "sh", "-c", "ls /; cat /both /etc/hostname; ls /dev/null /proc/self/exe", image=image)
    assert state.exit_code == 0, pods.output("a", stream="stderr")
    assert pods.output("a").split("\n") == [
        *["bin", "both", "dev", "etc", "lib", "lib64", "proc", "sys", "tmp"],
        *["topa", "/dev/null", "/proc/self/exe"],
    ]


async def test_an_image_without_users_runs_as_root(pods: Any, tmp_path: Path) -> None:
    """As those made ``FROM scratch`` are."""
    little_root.make(tmp_path / "root")
    (tmp_path / "root" / "etc" / "passwd").unlink()
    image = ImageRoot(layers=layers(tmp_path / "root"), machine=False)
    script = "echo $HOME; while read -r key value; do test $key != Uid: || echo $value; done < /proc/self/status"
    state = await pods.run("a", "sh", "-c", script, image=image)
    assert pods.output("a").split() == ["/", "0", "0", "0", "0"], state


async def test_layers_over_the_machines_programs(pods: Any, tmp_path: Path) -> None:
    top = tmp_path / "top"
    (top / "usr" / "bin").mkdir(parents=True)
    (top / "usr" / "bin" / "hello").write_text("#!/bin/sh\necho hello\n")
    (top / "usr" / "bin" / "hello").chmod(0o755)
    whiteout(top / "usr" / "bin" / "tac")
    (top / "app").mkdir()
    (top / "app" / "x").write_text("app\n")
    image = ImageRoot(layers=layers(top))
    state = await pods.run("a", "sh", "-c", "hello; cat /app/x; tac /app/x || echo gone", image=image)
    assert (state.exit_code, pods.output("a")) == (0, "hello\napp\ngone")


async def test_more_layers_than_one_page_of_options_names(pods: Any, tmp_path: Path) -> None:
    base = tmp_path / ("long-" * 20)
    base.mkdir()
    made = []
    for number in range(100):
        layer = base / f"{number:016}"
        layer.mkdir()
        (layer / f"f{number}").touch()
        made.append(layer)
    state = await pods.run("a", "sh", "-c", "ls -d /f* | wc -l", image=ImageRoot(layers=layers(*made)))
    assert (state.exit_code, pods.output("a")) == (0, "100")


async def test_what_it_writes_can_become_a_layer(pods: Any, tmp_path: Path) -> None:
    script = "echo new > /usr/bin/new; echo root > /file; rm /usr/bin/tac; mkdir -p /opt/venv/x; echo t > /tmp/t"
    venv = tmp_path / "venv"
    venv.mkdir()
    image = ImageRoot(environment=str(venv))
    state = await pods.run("a", "sh", "-c", script, image=image, keeps_writes=True)
    assert state.exit_code == 0, state
    base = pods.path("a") / "layers" / "main-0"
    uppers = {
        spec.path_of(name.removeprefix(spec.UPPER)): base / name
        for name in os.listdir(base)
        if name.startswith(spec.UPPER)
    }
    assert (uppers["/"] / "file").read_text() == "root\n"
    assert (uppers["/opt/venv"] / "x").is_dir()
    programs = max((path for path in uppers if "/usr/bin/".startswith(path.rstrip("/") + "/")), key=len)
    inside = "/usr/bin"[len(programs) + 1 :]
    assert (uppers[programs] / inside / "new").read_text() == "new\n"
    assert stat.S_ISCHR((uppers[programs] / inside / "tac").lstat().st_mode)


@pytest.mark.parametrize("name", ["proc", "dev", "sys"])
async def test_an_image_cannot_lead_mounts_astray(pods: Any, tmp_path: Path, name: str) -> None:
    little_root.make(tmp_path / "lower")
    os.symlink("/etc", tmp_path / "lower" / name)
    image = ImageRoot(layers=layers(tmp_path / "lower"), machine=False)
    state = await pods.run("a", "sh", "-c", "true", image=image)
    assert (state.reason, state.message) == ("StartError", f"the image's /{name} is no directory")


async def test_a_layer_that_is_gone_is_named(pods: Any, tmp_path: Path) -> None:
    state = await pods.run("a", "true", image=ImageRoot(layers=layers(tmp_path / "no")))
    assert (state.reason, state.message) == ("StartError", f"the image's layer {tmp_path}/no is not there")


async def test_the_tree_of_an_image_as_a_volume(pods: Any, tmp_path: Path) -> None:
    lower, top, data = tmp_path / "lower", tmp_path / "top", tmp_path / "data"
    (lower / "opt").mkdir(parents=True)
    (lower / "gone").write_text("x")
    (lower / "dir").mkdir()
    (lower / "dir" / "both").write_text("lower")
    (top / "dir").mkdir(parents=True)
    (top / "dir" / "both").write_text("top\n")
    whiteout(top / "gone")
    # Where a link of the image's leads is in the image, whatever the machine has there.
    (top / "etc").symlink_to("/opt")
    data.mkdir()
    (data / "file").write_text("data\n")
    whole = ImageRoot(layers=layers(top, lower), files=(Mount(str(data), "/etc/data", read_only=True),), machine=False)
    bare = ImageRoot(layers=layers(lower), environment=str(data))
    mounts = (
        Mount("", "/whole", read_only=True, image=whole),
        Mount("", "/part", read_only=True, sub_path="dir", image=whole),
        Mount("", "/bare", read_only=True, image=bare),
    )
    script = """
        ls /whole /whole/opt; cat /whole/dir/both /part/both /whole/opt/data/file /bare/opt/venv/file
        ls /bare
        for place in /whole/x /whole/opt/data/file /part/both /bare/x; do
            (echo x >$place) 2>/dev/null && echo written
        done
        ls -d /etc/data 2>/dev/null
    """
    state = await pods.run("a", "sh", "-c", script, mounts=mounts)
    assert pods.output("a").split() == [
        *["/whole:", "dir", "etc", "opt", "/whole/opt:", "data", "top", "top", "data", "data", "dir", "gone", "opt"]
    ], (state, pods.output("a", stream="stderr"))
    assert not list(data.parent.glob("data/x"))
    part = Mount("", "/m", read_only=True, sub_path="no/such", image=whole)
    message = "subPath no/such of the volume's image: no such file or directory"
    with pytest.raises(NotYet, match=message) as waits:
        await pods.run("c", "true", mounts=(part,))
    assert waits.value.reason == "CreateContainerError"
    missing = ImageRoot(layers=layers(tmp_path / "no"), machine=False)
    with pytest.raises(NotYet, match="which the image of a volume is made of, is not there"):
        await pods.run("b", "true", mounts=(Mount("", "/m", read_only=True, image=missing),))
