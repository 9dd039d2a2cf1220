"""``homeport doctor``: what this machine can and can't do, and why."""

from __future__ import annotations

import argparse
import json
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from homeport.cli import options
from homeport.cli.terminal import DIM, GREEN, RED, YELLOW, Terminal
from homeport.datadir import HOST, PREFERRED_PORT, DataDir
from homeport.node import doctor as node
from homeport.node.check import Check

_KUBECTL = range(27, 38)
"""Minor versions of kubectl that are known to work."""


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
    checks = [*node.checks(directory.node), _uv(), *_network(directory), _kubectl()]
    if args.output == "json":
        print(json.dumps([asdict(check) for check in checks], indent=2))
    else:
        terminal = Terminal()
        for line in text(checks, terminal):
            terminal.print(line)
    return 1 if any(check.status == "fail" for check in checks) else 0


def text(checks: Sequence[Check], terminal: Terminal) -> Iterator[str]:
    """The checks as lines, then what follows from them."""
    marks = {"ok": ("ok", GREEN), "warn": ("!!", YELLOW), "fail": ("NO", RED)}
    room = max(len(check.name) for check in checks)
    for check in checks:
        mark, color = marks[check.status]
        yield f"{terminal.paint(mark, color)}  {check.name:<{room}}  {check.found}"
        if check.remedy and check.status != "ok":
            yield f"    {'':<{room}}  {terminal.paint(check.remedy, DIM)}"
    yield ""
    if failed := [check.name for check in checks if check.status == "fail"]:
        yield terminal.paint(f"The platform can't run here: {', '.join(failed)}", RED)
    elif any(check.status == "warn" for check in checks):
        yield "The platform runs here; what is marked !! is missing or limited"
    else:
        yield terminal.paint("Everything is there", GREEN)


def _uv() -> Check:
    # The uv of the package that we depend on, else one on the PATH.
    try:
        from uv import find_uv_bin

        binary = find_uv_bin()
    except (ImportError, FileNotFoundError):
        binary = shutil.which("uv") or ""
    if not binary:
        remedy = "install uv (pip install uv) into the environment of homeport"
        return Check("uv", "fail", "not found, and images are built with it", remedy)
    version = _output([binary, "--version"])
    if not version:
        return Check("uv", "fail", f"{binary} does not run", "install uv again (pip install --force-reinstall uv)")
    return Check("uv", "ok", version)


def _network(directory: DataDir) -> Iterator[Check]:
    if directory.is_running():
        endpoint = directory.endpoint()
        yield Check("API port", "ok", f"a platform serves {endpoint.url}" if endpoint else "a platform is starting")
        return
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, PREFERRED_PORT))
        except OSError:
            yield Check("API port", "ok", f"{PREFERRED_PORT} is in use, so that the platform will take a free one")
            return
    yield Check("API port", "ok", f"{PREFERRED_PORT} is free")


def _kubectl() -> Check:
    binary = shutil.which("kubectl")
    remedy = "https://kubernetes.io/docs/tasks/tools/ says how to get it; homeport run works without"
    if binary is None:
        return Check("kubectl", "warn", "not found", remedy)
    told = _output([binary, "version", "--client", "--output=json"])
    try:
        version = json.loads(told)["clientVersion"]
        minor = int("".join(char for char in version["minor"] if char.isdigit()))
    except (ValueError, KeyError, TypeError):
        return Check("kubectl", "warn", f"{binary} does not say its version", remedy)
    found = f"{version['gitVersion']}, {binary}"
    if version.get("major") == "1" and minor in _KUBECTL:
        return Check("kubectl", "ok", found)
    known = f"versions 1.{_KUBECTL[0]} to 1.{_KUBECTL[-1]} are known to work"
    return Check("kubectl", "warn", found, known)


def _output(command: list[str]) -> str:
    """What a program prints; empty if it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
