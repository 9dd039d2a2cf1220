"""What the machine and its containers use of processors and memory: what their cgroups count, or else ``/proc`` or
``ps`` says.

Nobody measures while nobody asks. Who asks gets the rate since the last question, if that was less than a minute ago;
else it is measured twice, a moment apart. A container's processes are its first one and all that descend from it: each
container has process ids of its own, and whoever loses a parent there becomes a child of the first process.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from homeport.node.sandbox import unix

_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
"""Nanoseconds of the unit in which the kernel counts."""
_PAGE = os.sysconf("SC_PAGE_SIZE")
_SHORTEST, _LONGEST = 0.3, 60.0
"""Seconds between two measurements that make a rate."""


class Root(NamedTuple):
    """A container."""

    uid: str
    """The pod's."""
    name: str
    pid: int
    """Its first process."""
    memory: str = ""
    """The directory of the cgroup that counts its memory, empty if none does."""
    cpu: str = ""
    """The same for processor time."""


class Amount(NamedTuple):
    """What has been used so far."""

    cpu: int
    """Nanoseconds of processor time."""
    memory: int
    """Bytes that are in use now, without what can be had from a file again: the working set."""
    charged: int = 0
    """Bytes with all that was read from files and is kept for the time being."""
    own: int = 0
    """Bytes that are no file's."""


class Rated(NamedTuple):
    cpu: int
    """Nanoseconds of processor time in all."""
    rate: int
    """Nanocores: nanoseconds of processor time in a second."""
    memory: int
    """Bytes of the working set."""
    charged: int = 0
    own: int = 0


class Usage(msgspec.Struct, frozen=True):
    window: float
    """Seconds that the rates are of."""
    machine: Rated
    memory_total: int
    containers: Mapping[Root, Rated]
    """Those whose first process is there."""


class _Sample(msgspec.Struct, frozen=True):
    at: float
    machine: Amount
    memory_total: int
    containers: Mapping[Root, Amount]


class Meter:
    """Measures. `proc` is where the kernel says what there is."""

    def __init__(self, proc: Path = Path("/proc"), clock: Callable[[], float] = time.monotonic) -> None:
        self._proc = proc
        self._clock = clock
        self._last: _Sample | None = None
        self._result: Usage | None = None
        self._lock = asyncio.Lock()

    async def measure(self, roots: frozenset[Root]) -> Usage:
        """What the machine and the containers `roots` use. Takes a third of a second if nobody has asked lately.

        Raises OSError if the machine can't be read.
        """
        async with self._lock:
            last, result = self._last, self._result
            fresh = last is not None and self._clock() - last.at < _SHORTEST
            if fresh and result is not None and result.containers.keys() >= roots:
                return result  # many who ask at once are one
            sample = await self._sample(roots)
            known = last is not None and last.containers.keys() >= sample.containers.keys()
            if last is None or not known or not _SHORTEST <= sample.at - last.at <= _LONGEST:
                last = sample
                await asyncio.sleep(_SHORTEST)
                sample = await self._sample(roots)
            self._last, self._result = sample, _rated(last, sample)
            return self._result

    async def _sample(self, roots: frozenset[Root]) -> _Sample:
        return await asyncio.to_thread(_read, self._proc, roots, self._clock)


def _rated(old: _Sample, new: _Sample) -> Usage:
    seconds = max(new.at - old.at, 1e-3)

    def rate(before: Amount | None, now: Amount) -> Rated:
        # A process that ended without anybody who waits for it takes its time with it: that is no negative use.
        used = max(0, now.cpu - before.cpu) if before is not None else 0
        return Rated(now.cpu, int(used / seconds), now.memory, now.charged or now.memory, now.own or now.memory)

    containers = {root: rate(old.containers.get(root), now) for root, now in new.containers.items()}
    return Usage(seconds, rate(old.machine, new.machine), new.memory_total, containers)


def _read(proc: Path, roots: frozenset[Root], clock: Callable[[], float]) -> _Sample:
    at = clock()
    if not (proc / "stat").exists():
        return _ask_ps(roots, at)
    machine, total = _machine(proc)
    counted = {root: amount for root in roots if (amount := _counted(root)) is not None}
    rest = roots - counted.keys()
    processes = _processes(proc) if rest else {}
    children: dict[int, list[int]] = {}
    for pid, (parent, _) in processes.items():
        children.setdefault(parent, []).append(pid)
    containers = counted
    for root in rest:
        if root.pid not in processes:
            continue
        cpu = memory = 0
        todo = [root.pid]
        while todo:
            pid = todo.pop()
            cpu += processes[pid][1]
            memory += _memory(proc / str(pid))
            todo += children.get(pid, ())
        containers[root] = Amount(cpu, memory)
    return _Sample(at, machine, total, containers)


def _ask_ps(roots: frozenset[Root], at: float) -> _Sample:
    """Where there is no ``/proc``: what ``ps`` tells. The machine has used what its processes have, as far as they are
    still there; and of memory, what they share counts for each."""
    everybody = unix.processes()
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    containers = {root: _sum(found) for root in roots if (found := unix.family(root.pid, everybody))}
    machine = _sum(everybody)
    return _Sample(at, machine._replace(memory=min(machine.memory, total)), total, containers)


def _sum(processes: Iterable[unix.Process]) -> Amount:
    found = [(each.cpu, each.resident) for each in processes]
    return Amount(sum(cpu for cpu, _ in found), sum(memory for _, memory in found))


def _counted(root: Root) -> Amount | None:
    """What the container's cgroups have counted; None where there are none, or no more."""
    if not (root.memory and root.cpu):
        return None
    try:
        memory, cpu = Path(root.memory), Path(root.cpu)
        if (cpu / "cpuacct.usage").exists():
            used = int((cpu / "cpuacct.usage").read_text())
        else:
            used = _table(cpu / "cpu.stat")["usage_usec"] * 1000
        table = _table(memory / "memory.stat")
        if "total_inactive_file" in table:
            charged = int((memory / "memory.usage_in_bytes").read_text())
            return Amount(used, max(0, charged - table["total_inactive_file"]), charged, table["total_rss"])
        charged = int((memory / "memory.current").read_text())
        return Amount(used, max(0, charged - table["inactive_file"]), charged, table["anon"])
    except (OSError, ValueError, KeyError):
        return None  # it has ended


def _table(path: Path) -> dict[str, int]:
    lines = (line.split() for line in path.read_text().splitlines())
    return {line[0]: int(line[1]) for line in lines if len(line) == 2}


def _machine(proc: Path) -> tuple[Amount, int]:
    first = (proc / "stat").read_text().partition("\n")[0].split()
    # user, nice, system, irq, softirq; not idle, waiting or stolen. What guests use is part of user and nice.
    busy = sum(int(first[column]) for column in (1, 2, 3, 6, 7))
    sizes = dict(line.split(":", 1) for line in (proc / "meminfo").read_text().splitlines())
    total, available = (int(sizes[name].split()[0]) << 10 for name in ("MemTotal", "MemAvailable"))
    return Amount(busy * _TICK, total - available), total


def _processes(proc: Path) -> dict[int, tuple[int, int]]:
    """All processes: their parents, and their processor time with that of children that were waited for."""
    found: dict[int, tuple[int, int]] = {}
    for name in os.listdir(proc):
        if name.isdigit():
            try:
                text = (proc / name / "stat").read_text()
            except OSError:
                continue  # it has ended
            columns = text[text.rindex(")") + 2 :].split()
            found[int(name)] = (int(columns[1]), sum(int(column) for column in columns[11:15]) * _TICK)
    return found


def _memory(process: Path) -> int:
    """A process's memory, what it shares with others counted by its share; where that may not be read, all of it."""
    try:
        for line in (process / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) << 10
    except (PermissionError, FileNotFoundError, ProcessLookupError):
        pass
    try:
        return int((process / "statm").read_text().split()[1]) * _PAGE
    except OSError:
        return 0  # it has ended
