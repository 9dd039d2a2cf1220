"""The same runtime for an ordinary user, by the same code.

Where the tests run as root, a user is borrowed: any id will do, it need not be in the user database.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import homeport

USER = 54321
PYTHON = "/usr/bin/python3"


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory that the user owns, with a copy of the sources that the user can read."""
    directory = Path(tempfile.mkdtemp(prefix="homeport-"))
    directory.chmod(0o755)
    shutil.copytree(Path(homeport.__file__).parent, directory / "src" / "homeport")
    shutil.copy(Path(__file__).parent / "unprivileged.py", directory)
    data = directory / "data"
    data.mkdir()
    if os.geteuid() == 0:
        os.chown(data, USER, USER)
    yield directory
    shutil.rmtree(directory)


def test_pods_of_an_ordinary_user(home: Path) -> None:
    version = subprocess.run([PYTHON, "-c", "import sys; print(sys.version_info >= (3, 11))"], capture_output=True)
    if version.stdout != b"True\n":
        pytest.skip("no system Python of version 3.11 that any user can run")
    done = subprocess.run(
        [PYTHON, home / "unprivileged.py", home / "data"],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(home / "src"), "HOME": str(home / "data")},
        cwd=home / "data",
        capture_output=True,
        text=True,
        timeout=120,
        **({"user": USER, "group": USER, "extra_groups": []} if os.geteuid() == 0 else {}),  # type: ignore[arg-type]
    )
    if "SandboxError" in done.stderr and "user namespace" in done.stderr:
        pytest.skip(done.stderr.splitlines()[-1])
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
