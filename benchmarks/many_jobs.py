"""A thousand TFJobs of four tiny replicas, applied at once: how fast they are through, what the platform takes for it,
and whether all of them came out.

The peer is the node's runtime alone: the same processes in sandboxes of the same kind, with no API and no controllers.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

import harness
from gang_start import REPLICAS, job
from pod_start import sandbox

from homeport.components.training.tensorflow import TENSORFLOW
from homeport.kube import meta
from homeport.node.process import ProcessRuntime

COMMAND = ["true"]
_AT_A_TIME = 16
"""As many sandboxes as the node makes at once."""
_SAMPLE = 200
"""Sandboxes that the peer's rate is taken from."""


async def measure(running: harness.Running, count: int, limit: float) -> tuple[harness.Cost, int, float]:
    """What it took until all have ended, peak bytes of memory, seconds of applying."""
    peak = 0

    async def watch_memory() -> None:
        nonlocal peak
        while True:
            peak = max(peak, harness.memory(running.processes()))
            await asyncio.sleep(1)

    ended: dict[str, bool] = {}
    applied = 0.0
    async with running.client() as client, asyncio.timeout(limit):
        listing = await client.list(TENSORFLOW.resource, "default")
        watch = client.watch(TENSORFLOW.resource, "default", resource_version=listing.resource_version)

        async def run() -> None:
            nonlocal applied
            applying = asyncio.gather(
                *(client.apply(TENSORFLOW.resource, job(f"many-{number}", COMMAND)) for number in range(count))
            )
            timing = asyncio.create_task(_timed(applying, time.perf_counter()))
            async with watch as events:
                async for _, obj in events:
                    for result in ("Succeeded", "Failed"):
                        if meta.is_condition_true(obj, result):
                            ended[meta.name(obj)] = result == "Succeeded"
                    if len(ended) == count:
                        break
            applied = await timing

        watching = asyncio.create_task(watch_memory())
        try:
            cost = await harness.Meter(running, client).measure(run)
        finally:
            watching.cancel()
    failed = sorted(name for name, well in ended.items() if not well)
    if failed:
        raise SystemExit(f"{len(failed)} of {count} jobs failed, the first is {failed[0]}")
    return cost, peak, applied


async def _timed(work: asyncio.Future[object], begin: float) -> float:
    await work
    return time.perf_counter() - begin


async def bare_sandboxes(directory: Path, count: int) -> float:
    """Sandboxes a second that the runtime makes, runs to their end and removes."""
    runtime = ProcessRuntime(directory)
    slots = asyncio.Semaphore(_AT_A_TIME)
    await runtime.start()

    async def one(number: int) -> None:
        async with slots:
            made = await sandbox(runtime, directory / f"pod-{number}", tuple(COMMAND))
            while any(state.phase == "running" for state in made.containers().values()):
                async for _ in made.changes():
                    break
            await made.destroy()

    try:
        begin = time.perf_counter()
        await asyncio.gather(*(one(number) for number in range(count)))
        return count / (time.perf_counter() - begin)
    finally:
        await runtime.stop(end_pods=True)


def main() -> None:
    arguments = harness.parser(__doc__)
    arguments.add_argument("--jobs", type=int, default=1000)
    arguments.add_argument("--limit", type=float, default=1200.0, help="seconds after which to give up")
    options = arguments.parse_args()
    count: int = options.jobs
    with tempfile.TemporaryDirectory(prefix="homeport-bench-") as place:
        bare = asyncio.run(bare_sandboxes(Path(place), min(_SAMPLE, count * REPLICAS)))
    with harness.platform() as running:
        idle = harness.memory(running.processes())
        cost, peak, applied = asyncio.run(measure(running, count, options.limit))
    took, each = cost.seconds, round(1000 * cost.platform / count, 1)
    figures = [
        harness.Figure("until all are applied", applied, "s", "until all have ended", round(took, 1)),
        harness.Figure("replicas a second", REPLICAS * count / took, "per s", "bare sandboxes", round(bare, 1)),
        harness.Figure("jobs a minute", 60 * count / took, "per min", "bare sandboxes", round(60 * bare / REPLICAS)),
        harness.Figure("CPU of the platform, per job", each, "ms", "wall", round(1000 * took / count)),
        harness.Figure(
            "CPU of the controllers' decisions, per job", 1000 * cost.deciding / count, "ms", "platform", each
        ),
        harness.Figure("memory, peak", peak / 1e6, "MB", "idle", round(idle / 1e6)),
        harness.Figure("memory, per job", (peak - idle) / 1000 / count, "kB", "idle", round(idle / 1000)),
    ]
    harness.report(f"{count} jobs of {REPLICAS} replicas: all succeeded, none lost", figures, options)


if __name__ == "__main__":
    main()
