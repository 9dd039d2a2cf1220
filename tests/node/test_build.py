from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from homeport.node import interpreter, pipsettings, uvtool
from homeport.node.build import Builder, BuildError, recipe, torch_backend
from homeport.node.host import ImageError
from homeport.node.imagefile import ImageFile, parse_pattern
from homeport.node.images import ImageStore
from homeport.node.uvtool import Progress, reason

HEAD = "apiVersion: homeport.dev/v1alpha1\nkind: Image\n"


def make_wheel(directory: Path, name: str = "tiny", version: str = "1.0", requires: str = "") -> None:
    """A wheel with one module and one console script."""
    directory.mkdir(exist_ok=True)
    info = f"{name}-{version}.dist-info"
    requirement = f"Requires-Dist: {requires}\n" if requires else ""
    files = {
        f"{name}.py": f'def main():\n    print("{name} {version}")\n',
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requirement}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name}-tool = {name}:main\n",
    }
    record = ""
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={digest},{len(text)}\n"
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n"
    with zipfile.ZipFile(directory / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)


class Machine:
    """A machine without network: its packages come from a directory, its cache is its own."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.images = base / "images"
        self.images.mkdir()
        make_wheel(base / "wheels")
        make_wheel(base / "wheels", "pip", "99.0")  # the real one takes seconds to compile
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(base),
            "XDG_CONFIG_DIRS": str(base / "none"),
            "PIP_CONFIG_FILE": "/dev/null",
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(base / "wheels"),
            "UV_CACHE_DIR": str(base / "uv"),
        }

    def store(self) -> ImageStore:
        return ImageStore(self.images, cache=self.base / "cache", environ=self.environ)

    def write(self, name: str, text: str) -> Path:
        path = self.images / f"{name}.yaml"
        path.write_text(HEAD + text)
        return path

    def built(self) -> list[str]:
        return sorted(
            p.name for p in (self.base / "cache").iterdir() if not p.name.startswith(".") and p.name != "logs"
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(interpreter.own().bundled_wheels is None, reason="this Python comes without pip")
def test_pip_is_there_also_where_no_index_has_it(machine: Machine) -> None:
    (machine.base / "wheels/pip-99.0-py3-none-any.whl").unlink()
    machine.write("a", "names: [a]\npython: ''\n")
    place = Path(asyncio.run(machine.store().pull("a")).root.environment or "")
    assert subprocess.check_output([str(place / "bin/python"), "-m", "pip", "-V"], text=True).startswith("pip ")


def test_an_environment_is_built_once_and_works_where_it_is_shown(machine: Machine, tmp_path: Path) -> None:
    machine.write("trainer", "names: [trainer]\npackages: [tiny]\nenv: {A: x}\ncommand: [python]\nworkingDir: /w\n")
    store = machine.store()
    assert store.ready("trainer") is None
    said: list[str] = []
    image = asyncio.run(store.pull("trainer", said.append))
    assert said[0] == "resolving 2 packages"
    assert "compiling bytecode" in said
    assert store.ready("trainer:latest") == image
    assert machine.store().ready("trainer") == image, "another process finds it too"
    assert image.id.startswith("trainer@sha256:")
    assert image.root.interpreter == interpreter.own().shown_at
    assert (image.config.command, image.config.working_dir) == (("python",), "/w")
    assert image.config.env == {"A": "x", "VIRTUAL_ENV": "/opt/venv"}
    assert image.root.environment is not None
    place = Path(image.root.environment)
    assert list(place.glob("lib/python*/site-packages/__pycache__/tiny.*.pyc"))
    manifest = json.loads((place.parent / "image.json").read_text())
    assert manifest["installed"]["tiny"] == "1.0"
    assert "pip" in manifest["installed"]
    moved = tmp_path / "elsewhere"
    subprocess.run(["cp", "-a", str(place), str(moved)], check=True)
    assert subprocess.check_output([str(moved / "bin/tiny-tool")], text=True) == "tiny 1.0\n"


async def test_many_callers_share_one_build(machine: Machine) -> None:
    machine.write("a", "names: [a]\npackages: [tiny]\n")
    one, other = machine.store(), machine.store()
    said: list[str] = []
    images = await asyncio.gather(one.pull("a"), one.pull("a", said.append), other.pull("a", said.append))
    assert images[0] == images[1] == images[2]
    assert len(machine.built()) == 1
    logs = list((machine.base / "cache/logs").iterdir())
    assert len(logs) == 1
    assert logs[0].read_text().count("$ uv pip install") == 1
    assert "waiting for another process that builds the same image" in said


async def test_what_is_not_there_says_why_and_where_the_log_is(machine: Machine) -> None:
    machine.write("a", "names: [a]\npackages: [no-such-thing-at-all]\n")
    with pytest.raises(ImageError, match=r"no-such-thing-at-all was not found.* \(the whole log: (.*)\)") as caught:
        await machine.store().pull("a")
    assert caught.value.reason == "ErrImagePull"
    assert machine.built() == [], "nothing half-done stays"
    make_wheel(machine.base / "wheels", "no_such_thing_at_all")
    await machine.store().pull("a")
    assert len(machine.built()) == 1


def test_a_killed_build_leaves_nothing_and_is_made_again(machine: Machine) -> None:
    machine.write("a", "names: [a]\npackages: [tiny]\n")
    script = (
        "import asyncio, os, signal, sys\n"
        "from pathlib import Path\n"
        "from homeport.node.images import ImageStore\n"
        "def die(text):\n"
        "    if text.startswith('installing'): os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(ImageStore(Path(sys.argv[1]), cache=Path(sys.argv[2])).pull('a', die))\n"
    )
    command = [sys.executable, "-c", script, str(machine.images), str(machine.base / "cache")]
    killed = subprocess.run(command, env={**machine.environ, "PYTHONPATH": ":".join(sys.path)}, check=False)
    assert killed.returncode == -signal.SIGKILL
    store = machine.store()
    assert store.ready("a") is None
    image = asyncio.run(store.pull("a"))
    assert Path(image.root.environment or "").is_dir()
    assert not list((machine.base / "cache").glob(".*.part"))


async def test_a_cancelled_build_stops_and_leaves_nothing(machine: Machine) -> None:
    machine.write("a", "names: [a]\npackages: [tiny]\n")
    store = machine.store()
    begun = asyncio.Event()
    pull = asyncio.create_task(store.pull("a", lambda text: begun.set()))
    await begun.wait()
    pull.cancel()
    await asyncio.gather(pull, return_exceptions=True)
    await store.close()
    assert not list((machine.base / "cache").glob(".*.part"))


async def test_what_matters_changes_the_environment_and_nothing_else(machine: Machine) -> None:
    machine.write("a", "names: [a]\npackages: [tiny]\n")
    first = await machine.store().pull("a")
    machine.write("a", "names: [a, b]\npackages: [tiny]\nenv: {X: y}\n")
    assert machine.store().ready("b") is not None
    machine.write("a", "names: [a]\npackages: ['tiny==1.0']\n")
    assert machine.store().ready("a") is None
    second = await machine.store().pull("a")
    assert second.id != first.id


def test_files_are_copied_as_they_are_now(machine: Machine) -> None:
    app = machine.images / "app"
    app.mkdir()
    (app / "main.py").write_text("1")
    machine.write("a", "names: [a]\nfiles: [{source: app, target: /app, pythonPath: true}]\n")
    store = machine.store()
    before = store.ready("a")
    assert before is not None
    assert before.root.environment is None
    (app / "main.py").write_text("22")
    after = store.ready("a")
    assert after is not None
    assert [Path(i.root.files[0].source, "main.py").read_text() for i in (before, after)] == ["1", "22"]
    assert after.root.files[0].target == "/app"
    assert after.config.env["PYTHONPATH"] == "/app"
    assert before.id != after.id


def test_the_users_files_come_first_and_explicit_names_before_wildcards(machine: Machine) -> None:
    machine.write("mine", "metadata: {name: mine}\nnames: ['python:*']\n")
    machine.write("slim", "metadata: {name: slim}\nnames: ['python:3.11-slim']\n")
    store = machine.store()
    assert store.find("python:3.12").name == "mine"
    assert store.find("docker.io/library/python:3.11-slim").name == "slim"
    (machine.images / "mine.yaml").unlink()
    assert store.find("python:3.12").name == "python3.12", "files are read anew"


@pytest.mark.parametrize(
    ("name", "reason", "hints"),
    [
        ("tensorflow/tensorflw:2", "ErrImagePull", ["Did you mean tensorflow/tensorflow:*", "images/NAME.yaml"]),
        ("example.com/nobody/knows", "ErrImagePull", ["nothing provides"]),
        ("Not A Name", "InvalidImageName", ["couldn't parse image name"]),
    ],
)
async def test_a_name_that_means_nothing(machine: Machine, name: str, reason: str, hints: list[str]) -> None:
    with pytest.raises(ImageError) as caught:
        await machine.store().pull(name)
    assert caught.value.reason == reason
    for hint in hints:
        assert hint in str(caught.value)


def test_a_wrong_file_is_named_when_a_name_is_not_found(machine: Machine) -> None:
    machine.write("typo", "name: [trainer]\n")
    store = machine.store()
    assert store.find("busybox").name == "base", "the other files go on working"
    with pytest.raises(ImageError, match=r"typo\.yaml: name: unknown field"):
        store.find("trainer")


def test_a_link_that_leads_nowhere_is_named_and_stops_nothing(machine: Machine) -> None:
    (machine.images / "lost.yaml").symlink_to("nowhere.yaml")
    store = machine.store()
    assert store.find("busybox").name == "base"
    with pytest.raises(ImageError, match=r"lost\.yaml: No such file"):
        store.find("trainer")


def test_a_file_that_is_gone_is_not_suggested(machine: Machine) -> None:
    path = machine.write("mine", "names: ['example.com/trainer']\n")
    store = machine.store()
    with pytest.raises(ImageError, match=r"Did you mean example\.com/trainer"):
        store.find("example.com/trainr")
    path.unlink()
    with pytest.raises(ImageError) as caught:
        store.find("example.com/trainr")
    assert "Did you mean" not in str(caught.value)


def test_python_that_is_not_there(machine: Machine) -> None:
    machine.write("old", "names: [old]\npython: '3.5'\n")
    with pytest.raises(ImageError, match=r"this machine has no Python 3\.5: install it"):
        asyncio.run(machine.store().pull("old"))


def test_plain_images_have_no_entry_point(machine: Machine) -> None:
    # As their originals: `kubectl run --image=busybox -- sh -c true` gives arguments only.
    image = machine.store().find("busybox")
    assert (image.command, image.args) == ((), ("/bin/sh",))


def test_known_images(machine: Machine) -> None:
    known = {image.name: image for image in machine.store().known()}
    assert known["base"].python == ""
    assert known["tensorflow"].packages[0].startswith("tensorflow-cpu==")
    assert known["pytorch"].environment is None


def torch_image(backend: str = "auto") -> ImageFile:
    pattern = parse_pattern("x")
    return ImageFile("x", Path("x"), (pattern,), python="", packages=("torch==2.13.0",), torch_backend=backend)


def test_torch_comes_from_a_local_wheel_if_there_is_one(tmp_path: Path) -> None:
    mine = interpreter.own()
    none = pipsettings.from_values({})
    assert torch_backend(torch_image(), mine, none) == "auto"
    assert torch_backend(torch_image("none"), mine, none) == ""
    tag = f"cp{mine.version[0]}{mine.version[1]}"
    wheel = tmp_path / f"torch-2.13.0+cpu-{tag}-{tag}-manylinux_2_28_x86_64.whl"
    wheel.touch()
    local = pipsettings.from_values({"find-links": str(tmp_path)})
    assert torch_backend(torch_image(), mine, local) == ""
    wheel.rename(tmp_path / "torch-2.13.0+cpu-cp27-cp27-manylinux_2_28_x86_64.whl")
    assert torch_backend(torch_image(), mine, local) == "auto", "not for this Python"


@pytest.mark.parametrize("said", ["Failed to fetch: `https://index.invalid/torch/`", "no solution found"])
async def test_an_index_of_pytorch_that_does_not_answer_gives_way(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    make_wheel(machine.base / "wheels", "torch", "2.13.0")
    real = uvtool.run

    async def run(command: list[str], **rest: Any) -> None:
        if "--torch-backend" in command:
            raise uvtool.UvError(said)
        await real(command, **rest)

    monkeypatch.setattr(uvtool, "run", run)
    builder = Builder(machine.base / "cache", machine.environ)
    wanted = replace(recipe(torch_image(), interpreter.own(), pipsettings.read(machine.environ)), torch_backend="cpu")
    if said.startswith("no"):
        with pytest.raises(BuildError, match=said):
            await builder.build(wanted, lambda text: None)
    else:
        place = await builder.build(wanted, lambda text: None)
        assert list(place.glob("venv/lib/python*/site-packages/torch-2.13.0.dist-info"))


def test_the_digest_says_what_is_inside() -> None:
    mine = interpreter.own()
    settings = pipsettings.from_values({})
    one = recipe(torch_image(), mine, settings)
    assert one.packages == ("torch==2.13.0", "pip")
    assert one.digest == recipe(torch_image(), mine, settings).digest
    assert one.digest != recipe(torch_image("cpu"), mine, settings).digest
    other = pipsettings.from_values({"index-url": "https://i.example"})
    assert one.digest != recipe(torch_image(), mine, other).digest


def test_progress_in_words() -> None:
    follow = Progress()
    lines = [
        "Resolved 34 packages in 1.2s",
        "Downloading tensorflow-cpu (272.0MiB)",
        "Downloading numpy (15.91MiB)",
        " Downloaded numpy",
        "noise",
        " Downloaded tensorflow-cpu",
        "Prepared 34 packages in 9s",
        "Installed 34 packages in 80ms",
        "Bytecode compiled 9 files in 1s",
    ]
    assert [text for line in lines if (text := follow.line(line))] == [
        "resolved 34 packages",
        "downloading tensorflow-cpu 272 MiB (1/1)",
        "downloading numpy 16 MiB (1/2)",
        "downloading tensorflow-cpu 272 MiB (2/2)",
        "installing 34 packages",
        "compiling bytecode",
    ]


@pytest.mark.parametrize(
    ("output", "text"),
    [
        (
            "Using Python 3.11 environment at: v\nerror: No solution found\n  cause: Because x was not found in the\n",
            "No solution found: Because x was not found in the",
        ),
        ("  × No solution found when resolving\n  ╰─▶ Because y\n", "No solution found when resolving: Because y"),  # noqa: RUF001
        ("error: failed to write: No space left on device (os error 28)\n", "the disk is full"),
        ("", "uv ended without saying why"),
    ],
)
def test_reasons(output: str, text: str) -> None:
    assert reason(output).startswith(text)
    assert len(reason("error: " + "x" * 9999)) <= 400
