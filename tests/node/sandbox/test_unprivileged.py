"""The same runtime for an ordinary user, by the same code.

Where the tests run as root, a user is borrowed: any id will do, it need not be in the user database.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import homeport
from homeport.node.sandbox import cgroups

USER = 54321
PYTHON = "/usr/bin/python3"


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory that the user owns, with a copy of the sources that the user can read."""
    directory = Path(tempfile.mkdtemp(prefix="homeport-"))
    directory.chmod(0o755)
    shutil.copytree(Path(homeport.__file__).parent, directory / "src" / "homeport")
    for name in ("unprivileged.py", "unprivileged_limits.py", "unprivileged_security.py", "outside.py"):
        shutil.copy(Path(__file__).parent / name, directory)
    data = directory / "data"
    data.mkdir()
    if os.geteuid() == 0:
        os.chown(data, USER, USER)
    yield directory
    shutil.rmtree(directory)


def run(home: Path, script: str, *arguments: str, enter: Callable[[], None] | None = None) -> None:
    """Run a script as an ordinary user. `enter` is called in its process first."""
    version = subprocess.run([PYTHON, "-c", "import sys; print(sys.version_info >= (3, 11))"], capture_output=True)
    if version.stdout != b"True\n":
        pytest.skip("no system Python of version 3.11 that any user can run")

    def begin() -> None:
        if enter is not None:
            enter()
        if os.geteuid() == 0:
            os.setgroups([])
            os.setresgid(USER, USER, USER)
            os.setresuid(USER, USER, USER)

    done = subprocess.run(
        [PYTHON, home / script, home / "data", *arguments],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(home / "src"), "HOME": str(home / "data")},
        cwd=home / "data",
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=begin,
    )
    if "SandboxError" in done.stderr and "user namespace" in done.stderr:
        pytest.skip(done.stderr.splitlines()[-1])
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


def test_pods_of_an_ordinary_user(home: Path) -> None:
    run(home, "unprivileged.py")


def test_confinement_by_an_ordinary_user(home: Path) -> None:
    run(home, "unprivileged_security.py")


def test_limits_of_an_ordinary_user(home: Path) -> None:
    """Without cgroups: an ordinary user has none unless somebody gives some away."""
    run(home, "unprivileged_limits.py", "none")


@pytest.fixture
def delegated(home: Path) -> Iterator[list[str]]:
    """Groups that belong to the user, one in each hierarchy."""
    if os.geteuid() != 0:
        pytest.skip("only root can give cgroups away")
    name = f"homeport-test-{os.getpid()}"
    groups = cgroups.found(name)
    paths = [path for _, path in sorted(groups.usage_paths().items())]
    if "memory" not in groups.controllers or not all(os.path.exists(f"{path}/tasks") for path in paths):
        groups.give_up()
        pytest.skip("no cgroups of version 1 can be made here")
    for path in groups.paths:
        for changed in (path, f"{path}/cgroup.procs", f"{path}/tasks"):
            os.chown(changed, USER, USER)
    yield groups.paths
    groups.give_up()
    assert not [path for path in groups.paths if os.path.exists(path)]


def test_limits_of_a_user_who_was_given_cgroups(home: Path, delegated: list[str]) -> None:
    def enter() -> None:
        for path in delegated:
            Path(path, "cgroup.procs").write_text("0")

    run(home, "unprivileged_limits.py", "delegated", enter=enter)
