"""The node's runtime alone: the start of a sandbox beside a plain subprocess, pods per second, 200 at once, memory."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from pathlib import Path

import harness
from pod_start import fork_and_exec, sandbox

from homeport.node.process import ProcessRuntime
from homeport.node.runtime import Sandbox

SLEEP = ("sleep", "600")


async def start_times(runtime: ProcessRuntime, place: Path, count: int) -> list[float]:
    """Seconds from the wish for a sandbox to its running process, one at a time."""
    times = []
    for number in range(count + 1):
        begin = time.perf_counter()
        made = await sandbox(runtime, place / f"one-{number}", SLEEP)
        times.append(time.perf_counter() - begin)
        await made.destroy()
    return times[1:]


async def throughput(runtime: ProcessRuntime, place: Path, count: int, at_a_time: int) -> float:
    """Pods per second, each made, run to its end and destroyed."""
    numbers = iter(range(count))

    async def work() -> None:
        for number in numbers:
            made = await sandbox(runtime, place / f"many-{number}", ("true",))
            async for _ in made.changes():
                break
            await made.destroy()

    begin = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(at_a_time)))
    return count / (time.perf_counter() - begin)


def helpers(place: Path) -> set[int]:
    """The node's own processes: all that carry its directory in their arguments."""
    mark, found = os.fsencode(place), set()
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                if mark in Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0"):
                    found.add(int(name))
            except OSError:  # it has ended
                continue
    return found


async def at_once(runtime: ProcessRuntime, place: Path, count: int) -> tuple[float, float]:
    """Seconds until that many pods run that were asked for at once; bytes that each takes beside its own process."""
    before = harness.memory(helpers(place))
    begin = time.perf_counter()
    made: list[Sandbox] = await asyncio.gather(
        *(sandbox(runtime, place / f"idle-{number}", SLEEP) for number in range(count))
    )
    seconds = time.perf_counter() - begin
    running = sum(one.containers()["main"].phase == "running" for one in made)
    assert running == count, f"{running} of {count} run"
    each = (harness.memory(helpers(place)) - before) / count
    await asyncio.gather(*(one.destroy() for one in made))
    return seconds, each


async def measure(count: int, many: int, crowd: int) -> tuple[list[float], float, float, float]:
    with tempfile.TemporaryDirectory(prefix="homeport-bench-") as directory:
        place = Path(directory)
        runtime = ProcessRuntime(place)
        await runtime.start()
        try:
            times = await start_times(runtime, place, count)
            rate = await throughput(runtime, place, many, 4)
            seconds, each = await at_once(runtime, place, crowd)
        finally:
            await runtime.stop(end_pods=True)
    return times, rate, seconds, each


def main() -> None:
    arguments = harness.parser(__doc__)
    arguments.add_argument("--pods", type=int, default=60)
    arguments.add_argument("--many", type=int, default=300)
    arguments.add_argument("--crowd", type=int, default=200)
    options = arguments.parse_args()
    plain = [harness.milliseconds(one) for one in asyncio.run(fork_and_exec(options.pods))]
    times, rate, seconds, each = asyncio.run(measure(options.pods, options.many, options.crowd))
    p50 = harness.percentile([harness.milliseconds(one) for one in times], 50)
    beside = harness.percentile(plain, 50)
    figures = [
        harness.Figure("sandbox started, p50", p50, "ms", "plain subprocess", round(beside, 2)),
        harness.Figure("sandbox started beyond a plain subprocess, p50", p50 - beside, "ms", "limit", 30.0),
        harness.Figure("pods made, run and destroyed per second", rate, "/s", "target", 60.0),
        harness.Figure(f"{options.crowd} pods asked for at once: all run", seconds, "s", "limit", 10.0),
        harness.Figure("memory of an idle pod beyond its own process", each / 2**20, "MB", "limit", 4.0),
    ]
    harness.report("The node's runtime", figures, options)


if __name__ == "__main__":
    main()
