"""What containers and the machine use, measured on real processes and on a made-up /proc."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from homeport.node import usage
from homeport.node.runtime import ContainerState
from homeport.node.summary import summary
from homeport.node.usage import Meter, Rated, Root, Usage

BUSY = """
import os
block = bytearray(32 << 20)
child = os.fork()
if child:  # only one of the two says who the other is
    print(child, flush=True)
while True:
    pass
"""


async def test_a_container_is_its_first_process_and_all_that_descend_from_it() -> None:
    meter = Meter()
    busy = await asyncio.create_subprocess_exec(sys.executable, "-c", BUSY, stdout=asyncio.subprocess.PIPE)
    assert busy.stdout is not None
    child = int(await busy.stdout.readline())
    try:
        root = Root("uid", "main", busy.pid)
        async with asyncio.timeout(20):
            while (found := (await meter.measure(frozenset({root}))).containers[root]).rate < 200_000_000:
                await asyncio.sleep(0.3)
        assert found.memory > 32 << 20
        os.kill(busy.pid, signal.SIGSTOP)
        before = found.cpu
        async with asyncio.timeout(20):
            while (await meter.measure(frozenset({root}))).containers[root].cpu < before + 100_000_000:
                await asyncio.sleep(0.3)  # the child goes on
    finally:
        os.kill(child, signal.SIGKILL)
        busy.kill()
        await busy.communicate()


def write(proc: Path, pid: int, parent: int, ticks: int, pages: int = 0) -> None:
    (proc / str(pid)).mkdir(exist_ok=True)
    (proc / str(pid) / "stat").write_text(f"{pid} (a (b) c) S {parent} 0 0 0 0 0 0 0 0 0 {ticks} 1 2 3 0 0 1")
    (proc / str(pid) / "statm").write_text(f"9999 {pages} 1 1 0 1 0")


def machine(proc: Path, busy: int) -> None:
    (proc / "stat").write_text(f"cpu  {busy} 0 0 900 50 0 0 7 0 0\ncpu0 1\n")
    (proc / "meminfo").write_text("MemTotal:  1000 kB\nMemFree: 1 kB\nMemAvailable:  400 kB\n")


async def test_rates_are_of_the_time_between_two_measurements(tmp_path: Path) -> None:
    now = 100.0
    meter = Meter(tmp_path, lambda: now)
    tick = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    roots = frozenset({Root("u", "main", 10), Root("u", "gone", 99)})
    machine(tmp_path, 100)
    write(tmp_path, 10, 1, 50, pages=3)
    write(tmp_path, 11, 10, 7, pages=4)
    write(tmp_path, 12, 1, 5000, pages=5)
    first = await meter.measure(roots)
    assert first.containers.keys() == {Root("u", "main", 10)}
    now += 2.0
    machine(tmp_path, 300)
    write(tmp_path, 11, 10, 107, pages=4)
    second = await meter.measure(roots)
    assert second.window == 2.0
    assert second.machine[:3] == (300 * tick, 100 * tick, 600 << 10)
    assert second.memory_total == 1000 << 10
    (found,) = second.containers.values()
    assert found[:3] == ((50 + 107 + 12) * tick, 50 * tick, 7 * os.sysconf("SC_PAGE_SIZE"))
    write(tmp_path, 11, 10, 0)
    now += 1.0
    assert [rated.rate for rated in (await meter.measure(roots)).containers.values()] == [0]


async def test_many_who_ask_at_once_are_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(tmp_path, 1)
    meter = Meter(tmp_path)
    count = 0
    plain = usage._read

    def counted(*arguments: object) -> object:
        nonlocal count
        count += 1
        return plain(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(usage, "_read", counted)
    await asyncio.gather(*(meter.measure(frozenset()) for _ in range(20)))
    assert count == 2


def test_a_pod_is_the_sum_of_its_containers() -> None:
    pod = {"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "status": {}}
    states = {name: ContainerState(name, 0, "running", pid, "then") for name, pid in (("a", 1), ("b", 2), ("new", 3))}
    rated = {Root("u", "a", 1): Rated(10, 1, 100), Root("u", "b", 2): Rated(20, 2, 200)}
    made = summary("here", Usage(1.0, Rated(5, 4, 60), 100, rated), [(pod, states)], datetime(2026, 1, 1, tzinfo=UTC))
    (found,) = made["pods"]
    assert [container["name"] for container in found["containers"]] == ["a", "b"]
    assert (found["cpu"]["usageNanoCores"], found["memory"]["workingSetBytes"]) == (3, 300)
    assert made["node"]["memory"]["availableBytes"] == 40


@pytest.mark.parametrize("version", [1, 2])
async def test_what_cgroups_count_is_taken_from_them(tmp_path: Path, version: int) -> None:
    now = 100.0
    machine(tmp_path, 100)
    group = tmp_path / "group"
    group.mkdir()
    root = Root("u", "main", 10, str(group), str(group))

    def count(cpu: int) -> None:
        if version == 1:
            (group / "cpuacct.usage").write_text(f"{cpu}\n")
            (group / "memory.usage_in_bytes").write_text("900\n")
            (group / "memory.stat").write_text("rss 1\ninactive_file 1\ntotal_inactive_file 300\ntotal_rss 500\n")
        else:
            (group / "cpu.stat").write_text(f"usage_usec {cpu // 1000}\nuser_usec 1\n")
            (group / "memory.current").write_text("900\n")
            (group / "memory.stat").write_text("anon 500\nfile 400\ninactive_file 300\n")

    meter = Meter(tmp_path, lambda: now)
    count(1_000_000)
    await meter.measure(frozenset({root}))
    now += 2.0
    count(3_000_000)
    assert (await meter.measure(frozenset({root}))).containers == {root: Rated(3_000_000, 1_000_000, 600, 900, 500)}
