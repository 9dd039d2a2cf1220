"""Pods of plain processes: what only they do, as root and as an ordinary user. What all runtimes promise is asked of
them in ``tests/node/engine/test_runtimes.py``."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import homeport

pytestmark = pytest.mark.slow
_USER = 54322
_SCRIPT = Path(__file__).parent / "plainpods.py"


@pytest.fixture
def home() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="homeport-plain-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


def run(python: str, home: Path, sources: Path, *, as_user: bool) -> None:
    def become() -> None:
        if as_user and os.geteuid() == 0:
            os.setgroups([])
            os.setresgid(_USER, _USER, _USER)
            os.setresuid(_USER, _USER, _USER)

    data = home / "data"
    data.mkdir()
    if as_user and os.geteuid() == 0:
        os.chown(data, _USER, _USER)
    done = subprocess.run(
        [python, home / _SCRIPT.name, data],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(sources), "HOME": str(data)},
        cwd=data,
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=become,
    )
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


def test_as_the_user_of_the_tests(home: Path) -> None:
    shutil.copy(_SCRIPT, home)
    run(sys.executable, home, Path(homeport.__file__).parents[1], as_user=False)


def test_as_an_ordinary_user(home: Path) -> None:
    python = "/usr/bin/python3"
    done = subprocess.run([python, "-c", "import sys; print(sys.version_info >= (3, 11))"], capture_output=True)
    if done.stdout != b"True\n":
        pytest.skip("no system Python of version 3.11 that any user can run")
    shutil.copytree(Path(homeport.__file__).parent, home / "src" / "homeport")
    shutil.copy(_SCRIPT, home)
    run(python, home, home / "src", as_user=True)
