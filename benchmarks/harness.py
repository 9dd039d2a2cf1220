"""What the benchmarks share: a platform in a process of its own, memory and CPU of processes, figures."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform as machine
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from homeport.client.client import Client
from homeport.client.http import HttpTransport
from homeport.datadir import DataDir

HOMEPORT = (sys.executable, "-m", "homeport")
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
"""What platforms are started with: as users have it, with compiled modules kept."""
_SYNC = re.compile(r'homeport_controller_sync_seconds_total\{controller="[^"]*"\} (\S+)')
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number, next to what it is measured against in the same run: a peer, or the limit that we set."""

    name: str
    value: float
    unit: str
    against: str
    peer: float
    """In the same unit."""

    @property
    def ratio(self) -> float:
        return self.value / self.peer if self.peer else float("inf")


def report(title: str, figures: Sequence[Figure], options: argparse.Namespace) -> None:
    """Print the figures, for people or (``--json``) for programs."""
    if options.json:
        context = {"machine": f"{os.cpu_count()} cores, {machine.system()} {machine.release()}", "title": title}
        print(json.dumps(context | {"figures": [asdict(one) | {"ratio": one.ratio} for one in figures]}))
        return
    print(f"\n{title} ({os.cpu_count()} cores, {machine.system()} {machine.release()})\n")
    rows = [
        (one.name, _number(one), f"{one.against}: {one.peer:g} {one.unit}", f"{one.ratio:.2g} x") for one in figures
    ]
    rooms = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        print("  " + "  ".join(f"{cell:<{room}}" for cell, room in zip(row, rooms, strict=True)).rstrip())


def _number(one: Figure) -> str:
    return f"{one.value:.3g} {one.unit}" if one.value < 1000 else f"{one.value:.0f} {one.unit}"


def parser(description: str | None) -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    result.add_argument("--json", action="store_true", help="one line of JSON instead of a table")
    return result


@dataclass(slots=True)
class Running:
    """A platform that serves."""

    directory: DataDir
    process: subprocess.Popen[bytes]
    seconds_to_ready: float
    """From the start of the process to the line that says how to use it."""

    def client(self) -> Client:
        return Client(HttpTransport.from_kubeconfig(self.directory.kubeconfig), field_manager="benchmark")

    def processes(self) -> list[int]:
        """Every process of the platform: the one that serves, its helpers, the pods' supervisors; not what pods run."""
        mark = os.fsencode(self.directory.path)
        return [pid for pid in _pids() if mark in _read(pid, "cmdline")]


@contextlib.contextmanager
def platform(directory: Path | None = None) -> Iterator[Running]:
    """`homeport up` on a fresh directory; everything is ended and removed afterwards."""
    with contextlib.ExitStack() as stack:
        if directory is None:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="homeport-bench-"))) / "data"
        running = start(directory)
        try:
            yield running
        finally:
            running.process.terminate()
            running.process.wait(timeout=60)
            down = [*HOMEPORT, "down", "--data-dir", str(directory)]
            subprocess.run(down, check=True, stdout=subprocess.DEVNULL, timeout=120)


def start(directory: Path) -> Running:
    begin = time.perf_counter()
    process = subprocess.Popen(
        [*HOMEPORT, "up", "--data-dir", str(directory)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=ENVIRONMENT,
    )
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line.decode())
        if b"KUBECONFIG" in line:
            return Running(DataDir.at(directory), process, time.perf_counter() - begin)
    raise SystemExit("the platform ended before it was ready:\n" + "".join(lines))


def memory(pids: Iterable[int]) -> int:
    """Bytes that the processes account for: pages that several share are counted once, in parts (PSS)."""
    total = 0
    for pid in pids:
        for line in _read(pid, "smaps_rollup").splitlines():
            if line.startswith(b"Pss:"):
                total += int(line.split()[1]) * 1024
    return total


def cpu_seconds(pids: Iterable[int]) -> float:
    """CPU time that the processes have used so far."""
    return sum(_cpu_seconds(_read(pid, "stat")) for pid in pids)


def thread_seconds(pid: int) -> float:
    """CPU time of the process's first thread alone, in which its event loop runs."""
    return _cpu_seconds(_read(pid, f"task/{pid}/stat"))


def _cpu_seconds(stat: bytes) -> float:
    if not stat:
        return 0.0
    fields = stat[stat.rindex(b")") + 2 :].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _pids() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:  # it has ended
        return b""


def percentile(values: Sequence[float], percent: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(percent / 100 * (len(ordered) - 1)))]


def milliseconds(seconds: float) -> float:
    return 1000 * seconds


class Cost(NamedTuple):
    """Of one step."""

    seconds: float
    platform: float
    """CPU seconds of the process that serves."""
    deciding: float
    """Of these, in the controllers' own functions."""
    store: float
    """Of these, in threads beside the loop: the store's, which writes to the disk."""


class Meter:
    """What the platform has used since the last step."""

    def __init__(self, running: Running, client: Client) -> None:
        self._running, self._client = running, client

    async def measure(self, step: Callable[[], Any]) -> Cost:
        before, begin = await self._used(), time.perf_counter()
        await step()
        took, after = time.perf_counter() - begin, await self._used()
        return Cost(took, *(new - old for new, old in zip(after, before, strict=True)))

    async def _used(self) -> tuple[float, float, float]:
        shown = (await self._client.raw("GET", "/metrics")).decode()
        pid = self._running.process.pid
        deciding = sum(float(number) for number in _SYNC.findall(shown))
        return cpu_seconds([pid]), deciding, cpu_seconds([pid]) - thread_seconds(pid)
