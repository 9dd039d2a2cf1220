"""``homeport doctor``: what this machine can and can't do, and why."""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from homeport.cli import options
from homeport.cli.terminal import DIM, GREEN, RED, YELLOW, Terminal
from homeport.datadir import DataDir

State = Literal["ok", "warning", "error"]

_NEEDED_DISK = 1 << 30
_GOOD_DISK = 10 << 30
"""Bytes: TensorFlow's environment takes 1.5 GB, uv's cache the same again if it lies on another disk."""
_OLDEST_PYTHON = (3, 11)
_KUBECTL = range(27, 38)
"""Minor versions of kubectl that are known to work."""
_API_PORT = 6443


@dataclass(frozen=True, slots=True)
class Check:
    """What was looked at and what was found. ``error``: the platform won't work; ``warning``: a part of it won't."""

    name: str
    state: State
    found: str
    remedy: str = ""


def add_parser(subparsers: Any) -> None:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "doctor",
        help="say what this machine can and can't do, and why",
        description="Look at everything that the platform needs from this machine. Exit status 1 if it can't run here.",
    )
    options.add_data_dir(parser)
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")


def main(args: argparse.Namespace) -> int:
    directory = options.data_dir(args)
    checks = [*_this_program(), *_storage(directory), *_node(directory), *_network(directory), *_tools()]
    if args.output == "json":
        print(json.dumps([asdict(check) for check in checks], indent=2))
    else:
        _show(checks, Terminal())
    return 1 if any(check.state == "error" for check in checks) else 0


def _show(checks: list[Check], terminal: Terminal) -> None:
    marks = {"ok": ("ok", GREEN), "warning": ("!!", YELLOW), "error": ("NO", RED)}
    room = max(len(check.name) for check in checks)
    for check in checks:
        mark, color = marks[check.state]
        terminal.print(f"{terminal.paint(mark, color)}  {check.name:<{room}}  {check.found}")
        if check.remedy and check.state != "ok":
            terminal.print(f"    {'':<{room}}  {terminal.paint(check.remedy, DIM)}")
    wrong = [check for check in checks if check.state == "error"]
    terminal.print()
    if wrong:
        terminal.print(terminal.paint(f"The platform can't run here: {', '.join(one.name for one in wrong)}", RED))
    elif any(check.state == "warning" for check in checks):
        terminal.print("The platform runs here; what is marked !! is missing or limited")
    else:
        terminal.print(terminal.paint("Everything is there", GREEN))


def _this_program() -> Iterator[Check]:
    version = platform.python_version()
    fits = sys.version_info >= _OLDEST_PYTHON
    yield Check(
        "python",
        "ok" if fits else "error",
        f"{version}, {sys.executable}",
        f"install Python {'.'.join(map(str, _OLDEST_PYTHON))} or newer",
    )
    yield _uv()


def _uv() -> Check:
    # The uv of the package that we depend on, else one on the PATH.
    try:
        from uv import find_uv_bin

        binary = find_uv_bin()
    except (ImportError, FileNotFoundError):
        binary = shutil.which("uv") or ""
    if not binary:
        remedy = "pip install uv into the environment of homeport"
        return Check("uv", "error", "not found: no image can be built", remedy)
    version = _output([binary, "--version"])
    return Check("uv", "ok" if version else "error", version or f"{binary} does not run", "install uv again")


def _storage(directory: DataDir) -> Iterator[Check]:
    place = directory.path
    while not place.exists():
        place = place.parent
    usage = shutil.disk_usage(place)
    free = f"{usage.free / 2**30:.1f} GiB free at {directory.path}"
    if usage.free < _NEEDED_DISK:
        yield Check("disk", "error", free, "free some space or choose another --data-dir")
    elif usage.free < _GOOD_DISK:
        yield Check("disk", "warning", free, "TensorFlow's image takes 1.5 GB, its download as much again")
    else:
        yield Check("disk", "ok", free)


def _node(directory: DataDir) -> Iterator[Check]:
    from homeport.node.doctor import checks

    for one in asyncio.run(checks(directory.node)):
        yield Check(one.name, one.state, one.found, one.remedy)


def _network(directory: DataDir) -> Iterator[Check]:
    if directory.is_running():
        endpoint = directory.endpoint()
        yield Check("port", "ok", f"a platform runs at {endpoint.url}" if endpoint else "a platform is starting")
        return
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", _API_PORT))
        except OSError:
            yield Check("port", "ok", f"{_API_PORT} is in use: the platform will take a free one")
            return
    yield Check("port", "ok", f"{_API_PORT} is free")


def _tools() -> Iterator[Check]:
    binary = shutil.which("kubectl")
    remedy = "https://kubernetes.io/docs/tasks/tools/ says how to get it; homeport run works without"
    if binary is None:
        yield Check("kubectl", "warning", "not found", remedy)
        return
    text = _output([binary, "version", "--client", "--output=json"])
    try:
        version = json.loads(text)["clientVersion"]
        minor = int("".join(char for char in version["minor"] if char.isdigit()))
    except (ValueError, KeyError, TypeError):
        yield Check("kubectl", "warning", f"{Path(binary)} does not say its version", remedy)
        return
    known = version.get("major") == "1" and minor in _KUBECTL
    yield Check(
        "kubectl",
        "ok" if known else "warning",
        f"{version['gitVersion']}, {binary}",
        f"versions 1.{_KUBECTL[0]} to 1.{_KUBECTL[-1]} are known to work",
    )


def _output(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
