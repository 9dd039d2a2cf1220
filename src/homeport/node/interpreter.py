"""Which Python an environment is made with: one that the machine has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from homeport.kube.errors import HomeportError
from homeport.node.uvtool import uv_binary

_ASK = "import json,sys;print(json.dumps([list(sys.version_info[:3]),sys.base_prefix]))"


class Interpreter(msgspec.Struct, frozen=True):
    executable: str
    version: tuple[int, int, int]
    prefix: str

    @property
    def text(self) -> str:
        return ".".join(map(str, self.version))

    @property
    def bundled_wheels(self) -> Path | None:
        """Where Python keeps the pip that came with it: for machines whose package index has none."""
        name = f"python{self.version[0]}.{self.version[1]}"
        for base in (Path(self.prefix) / "lib" / name / "ensurepip" / "_bundled", Path("/usr/share/python-wheels")):
            if base.is_dir():
                return base
        return None

    @property
    def shown_at(self) -> str | None:
        """The prefix that a container must be shown; None where it sees it anyway, in the machine's own /usr."""
        return None if self.prefix == "/usr" or self.prefix.startswith("/usr/") else self.prefix


class NoInterpreter(HomeportError):
    """The machine has no Python of the version wanted."""


def own() -> Interpreter:
    """The Python that the platform itself runs on, without its virtual environment."""
    executable = getattr(sys, "_base_executable", None) or sys.executable
    return Interpreter(os.path.realpath(executable), sys.version_info[:3], os.path.realpath(sys.base_prefix))


def find(wanted: str, environ: Mapping[str, str]) -> Interpreter:
    """The platform's own Python if it is of the wanted version (``3.11``; empty: any), else another of the machine's.

    Blocking. Raises NoInterpreter.
    """
    mine = own()
    if _is(mine.version, wanted):
        return mine
    search = _search_path(environ)
    options = ("--no-project", "--system", "--no-python-downloads", "--resolve-links")
    command = [uv_binary(), "python", "find", *options, wanted]
    found = subprocess.run(
        command, capture_output=True, text=True, env={**environ, "PATH": search}, stdin=subprocess.DEVNULL, check=False
    )
    path = found.stdout.strip()
    if found.returncode != 0 or not path:
        raise NoInterpreter(
            f"this machine has no Python {wanted}: install it (for example with `uv python install {wanted}`), "
            f"or use an image of another version (the platform runs on {mine.text})"
        )
    asked = subprocess.run([path, "-I", "-c", _ASK], capture_output=True, text=True, check=False)
    try:
        version, prefix = json.loads(asked.stdout)
    except ValueError as error:
        raise NoInterpreter(f"{path} does not work: {asked.stderr.strip()[-200:] or 'no answer'}") from error
    return Interpreter(path, (version[0], version[1], version[2]), os.path.realpath(prefix))


def _is(version: tuple[int, int, int], wanted: str) -> bool:
    parts = tuple(int(part) for part in wanted.split(".")) if wanted else ()
    return version[: len(parts)] == parts


def _search_path(environ: Mapping[str, str]) -> str:
    """The search path with pyenv's versions in place of its shims, which are scripts that may refuse."""
    entries = [entry for entry in environ.get("PATH", os.defpath).split(":") if not entry.endswith("/shims")]
    root = Path(environ.get("PYENV_ROOT") or Path(environ.get("HOME") or Path.home()) / ".pyenv")
    versions = sorted((root / "versions").glob("*/bin"), reverse=True)
    return ":".join([*entries, *map(str, versions)])
