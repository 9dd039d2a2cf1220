"""Containers whose root has an image's layers: over the machine's programs, or in their place."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import little_root
import pytest

from homeport.node.runtime import ImageRoot
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
