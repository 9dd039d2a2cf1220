"""The programs ``sshd`` and ``ssh`` of the images of MPI, as containers run them."""

from __future__ import annotations

import base64
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from environments import python_with
from ports import free_port

from homeport import mpi

PROGRAMS = Path(__file__).parents[2] / "src" / "homeport" / "images" / "programs"
NOBODY = (
    "import pwd, runpy, sys\n"
    "def getpwuid(uid): raise KeyError(f'getpwuid(): uid not found: {uid}')\n"
    "pwd.getpwuid = getpwuid\n"
    "del sys.argv[0]\n"
    "runpy.run_path(sys.argv[0], run_name='__main__')\n"
)
"""Runs a program as it is for a user that no ``/etc/passwd`` knows."""

Start = Callable[..., "subprocess.Popen[str]"]


def give_keys(home: Path) -> Path:
    keys = mpi.with_keys({})["data"]
    place = home / ".ssh"
    place.mkdir(parents=True)
    for key, file in mpi.KEY_FILES:
        (place / file).write_bytes(base64.b64decode(keys[key]))
    return home


@pytest.fixture
def start() -> Iterator[Start]:
    """``start(home, program, *arguments)``: a program of the images for a user without a name."""
    python = str(python_with("ssh", "asyncssh==2.24.1"))
    running: list[subprocess.Popen[str]] = []

    def call(home: Path, program: str, *arguments: str) -> subprocess.Popen[str]:
        command = [python, "-c", NOBODY, str(PROGRAMS / program), *arguments]
        environment = {"PATH": os.environ["PATH"], "HOME": str(home)}
        pipe = subprocess.PIPE
        made = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment)
        running.append(made)
        return made

    yield call
    for process in running:
        process.kill()
        process.communicate()


def serve(start: Start, home: Path) -> tuple[str, subprocess.Popen[str]]:
    """A server with keys of its own in `home`: its port and process."""
    port = str(free_port())
    process = start(give_keys(home), "sshd", "-De", "-p", port)
    assert process.stderr is not None
    assert process.stderr.readline() == f"sshd: listening on port {port}\n"
    return port, process


@pytest.fixture
def server(start: Start, tmp_path: Path) -> str:
    return serve(start, tmp_path / "job")[0]


def test_a_user_without_a_name_runs_commands(start: Start, server: str, tmp_path: Path) -> None:
    command = ["-x", "-o", "ConnectionAttempts=10", "-p", server, "somebody@127.0.0.1", "cat;", "echo", "no", ">&2;"]
    client = start(tmp_path / "job", "ssh", *command, "exit", "7")
    out, error = client.communicate("typed", timeout=60)
    assert (client.returncode, out, error) == (7, "typed", "no\n")


def test_a_server_that_goes_is_told_of_in_one_line(start: Start, tmp_path: Path) -> None:
    port, server = serve(start, tmp_path / "job")
    client = start(tmp_path / "job", "ssh", "-p", port, "127.0.0.1", "echo here; exec cat")
    assert client.stdout is not None
    assert client.stdout.readline() == "here\n"
    server.kill()
    error = client.communicate(timeout=60)[1]
    assert client.returncode == 255
    assert error.startswith("ssh: 127.0.0.1: ")
    assert error.count("\n") == 1


def test_nobody_comes_in_with_the_key_of_another_job(start: Start, server: str, tmp_path: Path) -> None:
    client = start(give_keys(tmp_path / "other"), "ssh", "-p", server, "127.0.0.1", "echo", "in")
    out, error = client.communicate(timeout=60)
    assert client.returncode == 255
    assert out == ""
    assert error.startswith("ssh: 127.0.0.1: ")
    assert "Traceback" not in error


def test_without_keys_it_says_where_it_looked(start: Start, tmp_path: Path) -> None:
    if os.access("/root/.ssh/id_rsa", os.R_OK):
        pytest.skip("this machine's own user has keys")
    for program, arguments in (("ssh", ["localhost"]), ("sshd", [])):
        done = start(tmp_path, program, *arguments)
        error = done.communicate(timeout=60)[1]
        assert done.returncode == 1
        assert error.startswith(f"{program}: no keys: none of {tmp_path}/.ssh, ")
