"""Containers of images that were loaded: as root here, as an ordinary user by unprivileged_images.py."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pwd
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import little_root
import msgspec
import pytest

import homeport
from homeport.node import imagesweep
from homeport.node.images import ImageStore
from homeport.node.local.load import load
from homeport.node.local.record import architecture

WITHOUT_RANGE = 54321
PYTHON = "/usr/bin/python3"


def archive(directory: Path) -> Path:
    """An image with a root of its own, as ``docker save`` writes it."""
    root = little_root.make(directory / "root")
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:

        def owned(info: tarfile.TarInfo) -> tarfile.TarInfo:
            info.uid = info.gid = 0
            return info

        tar.add(root, ".", filter=owned)
        home = tarfile.TarInfo("home/app")
        home.type, home.mode, home.uid, home.gid = tarfile.DIRTYPE, 0o700, 1000, 1001
        tar.addfile(home)
    data = layer.getvalue()
    config = json.dumps(
        {
            "architecture": architecture(),
            "os": "linux",
            "config": {
                "User": "app",
                "Cmd": ["sh", "-c", "id; cd; echo made > f; ls; stat -c %u f"],
                "Env": ["PATH=/bin"],
            },
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(data).hexdigest()}"]},
        }
    ).encode()
    manifest = json.dumps([{"Config": "c.json", "RepoTags": ["little:1"], "Layers": ["l.tar"]}]).encode()
    path = directory / "little.tar"
    with tarfile.open(path, "w") as tar:
        for name, content in (("c.json", config), ("l.tar", data), ("manifest.json", manifest)):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


EXPECTED = "uid=1000(app) gid=1001(app) groups=1001(app),1005(extra)\nf\n1000"


@pytest.mark.needs_ids
async def test_a_loaded_image_runs(pods: Any, tmp_path: Path) -> None:
    store = ImageStore(tmp_path / "images", cache=tmp_path / "cache")
    await load(store.local, archive(tmp_path))
    image = store.ready("little:1")
    assert image is not None
    config = image.config
    state = await pods.run(
        "a",
        *config.args,
        env={**config.env, "HOME": config.home},
        image=image.root,
        uid=config.uid,
        gid=config.gid,
        groups=config.groups,
    )
    assert (state.exit_code, pods.output("a")) == (0, EXPECTED), pods.output("a", stream="stderr")

    sandbox = await pods.create("b")
    await sandbox.start(pods.container("b", "sleep", "1000", image=image.root, env=dict(config.env)))
    (entry,) = [entry for entry in imagesweep.entries(store) if entry.kind == "layers"]
    assert entry.containers == 1
    with pytest.raises(imagesweep.InUse):
        imagesweep.remove_name(store, "little:1")
    await sandbox.destroy()
    assert imagesweep.remove_name(store, "little:1")
    assert await imagesweep.sweep(store, lambda _: None, everything=False) > 0
    assert store.local.records() == []
    assert os.listdir(store.local.directory / "layers") == []


def with_range() -> int | None:
    """A user to whom ids are given, if this machine has one."""
    try:
        owners = [line.split(":")[0] for line in Path("/etc/subuid").read_text().splitlines()]
        return next((pwd.getpwnam(name).pw_uid for name in owners if not name.isdecimal()), None)
    except (OSError, KeyError):
        return None


@pytest.fixture(params=["with a range of ids", "alone"])
def user(request: pytest.FixtureRequest) -> int:
    if os.geteuid() != 0:
        return os.geteuid()
    found = WITHOUT_RANGE if request.param == "alone" else with_range()
    return pytest.skip("this machine has no user with a range of ids") if found is None else found


@pytest.fixture
def home(user: int) -> Iterator[Path]:
    """A directory that the user owns, with the sources and what they need where the user can read it."""
    directory = Path(tempfile.mkdtemp(prefix="homeport-"))
    directory.chmod(0o755)
    (directory / "src").mkdir()
    shutil.copytree(Path(homeport.__file__).parent, directory / "src" / "homeport")
    for module in (msgspec, __import__("yaml")):
        place = Path(module.__file__ or "").parent
        shutil.copytree(place, directory / "src" / place.name)
    for name in ("unprivileged.py", "unprivileged_images.py", "outside.py"):
        shutil.copy(Path(__file__).parent / name, directory)
    data = directory / "data"
    data.mkdir()
    archive(data)
    if os.geteuid() == 0:
        for path in (data, *data.rglob("*")):
            os.chown(path, user, user, follow_symlinks=False)
    yield directory
    shutil.rmtree(directory)


@pytest.mark.slow
def test_images_of_an_ordinary_user(home: Path, user: int) -> None:
    asked = subprocess.run([PYTHON, "-c", "import sys; print(sys.version_info[:2])"], capture_output=True, text=True)
    if asked.stdout.strip() != str(sys.version_info[:2]):
        pytest.skip("no system Python of this version that any user can run")
    done = subprocess.run(
        [PYTHON, home / "unprivileged_images.py", home / "data"],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(home / "src"), "HOME": str(home / "data")},
        cwd=home / "data",
        capture_output=True,
        text=True,
        timeout=120,
        **({"user": user, "group": user, "extra_groups": []} if os.geteuid() == 0 else {}),  # type: ignore[arg-type]
    )
    if "SandboxError" in done.stderr and "user namespace" in done.stderr:
        pytest.skip(done.stderr.splitlines()[-1])
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
