"""Run a platform in the foreground, from the first line on the terminal to a signal."""

from __future__ import annotations

import asyncio
import logging
import resource
import signal
import sys
import time
from collections.abc import Callable
from logging.handlers import RotatingFileHandler
from typing import TYPE_CHECKING, Literal

from homeport import __version__, loops
from homeport.datadir import DataDir
from homeport.platform import PartFailed, Platform
from homeport.platform.memory import keep_everything, settle_memory
from homeport.platform.words import counted
from homeport.settings import DEFAULTS, ApiSettings

if TYPE_CHECKING:
    from homeport.client.client import Client

LOG_BYTES = 10 << 20
"""A log of this size makes room for a new one; one old one is kept."""
_OPEN_FILES = 1 << 20
"""Where there is no limit: Linux' own for one process."""


def raise_open_files() -> None:
    """Let the process open as many files as it is allowed to: each connection is one, and the limit that a login
    session begins with is made for shells. Go's runtime does so for kube-apiserver."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else hard
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def log_to(directory: DataDir) -> None:
    """Send the log to the data directory; warnings and errors to the terminal too, if there is one."""
    directory.create()
    file = RotatingFileHandler(directory.log, maxBytes=LOG_BYTES, backupCount=1, delay=True)
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(file)
    root.setLevel(logging.INFO)
    if sys.stderr.isatty():
        terminal = logging.StreamHandler()
        terminal.setLevel(logging.WARNING)
        terminal.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
        root.addHandler(terminal)
    logging.getLogger("asyncio").setLevel(logging.WARNING)


def run(
    directory: DataDir,
    *,
    port: int | None,
    settings: ApiSettings = DEFAULTS,
    report: Callable[[Literal["line", "ready", "error"], str], None],
    begin: float,
) -> int:
    """Run a platform until a signal ends it. The exit status: 0 after a signal, 1 if a part failed.

    `begin` is the monotonic time at which the user's command started.
    """
    raise_open_files()
    keep_everything()
    return loops.run(_run(directory, port, settings, report, begin))


async def _run(
    directory: DataDir,
    port: int | None,
    settings: ApiSettings,
    report: Callable[[Literal["line", "ready", "error"], str], None],
    begin: float,
) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    report("line", f"Homeport {__version__}")
    platform = Platform(directory, port=port, settings=settings, report=lambda line: report("line", line))
    async with platform, platform.background("memory", _settle(platform), endless=False):
        report("ready", _welcome(directory, time.monotonic() - begin))
        try:
            await platform.wait_for(stop)
        except PartFailed as error:
            report("error", f"a part of the platform failed: {error}")
            return 1
        running = await _running_pods(platform.client)
    goes_on = f". Running on: {counted(running, 'pod')} (`homeport up` picks them up, `homeport down` ends them)"
    report("line", "Stopped" + (goes_on if running else ""))
    return 0


async def _settle(platform: Platform) -> None:
    """Not before somebody can use the platform."""
    await platform.settled.wait()
    settle_memory()


async def _running_pods(client: Client) -> int:
    from homeport.kube import core, meta  # a start needs neither

    pods = await client.list(core.POD.resource)
    return sum(meta.status(pod).get("phase") == "Running" for pod in pods.items)


def _welcome(directory: DataDir, seconds: float) -> str:
    return (
        f"Ready after {seconds:.1f} s. Use it with:\n"
        f"  export KUBECONFIG={directory.kubeconfig}\n"
        "  kubectl get nodes\n"
        f"Log: {directory.log}"
    )
