"""A container that imports torch: started cold, and as a fork of a warm interpreter; the image's own build, cached."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import harness

from homeport.node.images import ImageStore
from homeport.node.process import ProcessRuntime
from homeport.node.runtime import ContainerSpec, ImageRoot, SandboxSpec

IMAGE = "pytorch/pytorch:latest"
CODE = "import torch, os; os.write(1, b'x'); os._exit(0)"
"""Tells when torch is there, and ends without taking the interpreter apart, which takes its own time."""


async def start(runtime: ProcessRuntime, place: Path, root: ImageRoot) -> float:
    """Seconds from the wish for a container, in a sandbox that is there, to its end: it imports torch, and no more."""
    os.makedirs(place)
    made = await runtime.create(SandboxSpec(place.name, "default", place.name, str(place), place.name))
    env = {"PATH": "/opt/venv/bin:/usr/bin:/bin", "HOME": "/root"}
    spec = ContainerSpec("main", 0, ("python", "-c", CODE), env, "/", root, (), str(place / "main.log"))
    begin = time.perf_counter()
    await made.start(spec)
    async for state in made.changes():
        assert state.exit_code == 0, state
        break
    seconds = time.perf_counter() - begin
    await made.destroy()
    return seconds


async def measure(count: int) -> tuple[list[float], list[float], float]:
    with tempfile.TemporaryDirectory(prefix="homeport-bench-") as directory:
        place = Path(directory)
        images = ImageStore(place / "images")
        await images.pull(IMAGE)
        begin = time.perf_counter()
        # As another platform finds it: everything is in the cache, and nothing in memory.
        root = (await ImageStore(place / "images").pull(IMAGE)).root
        build = time.perf_counter() - begin
        runtime = ProcessRuntime(place)
        await runtime.start()
        try:
            cold = [await start(runtime, place / f"cold-{n}", replace(root, warm=())) for n in range(count + 1)]
            warm_root = replace(root, warm=("torch",))
            await start(runtime, place / "kindles", warm_root)
            await until_warm(runtime, place, warm_root, max(cold))
            warm = [await start(runtime, place / f"warm-{n}", warm_root) for n in range(count + 1)]
        finally:
            await runtime.stop(end_pods=True)
    return cold[1:], warm[1:], build


async def until_warm(runtime: ProcessRuntime, place: Path, root: ImageRoot, cold: float) -> None:
    """The interpreter is there when a start is much shorter."""
    for number in range(100):
        if await start(runtime, place / f"waits-{number}", root) < cold / 3:
            return
        await asyncio.sleep(1)
    raise SystemExit("no interpreter was kept warm")


def main() -> None:
    arguments = harness.parser(__doc__)
    arguments.add_argument("--starts", type=int, default=10)
    options = arguments.parse_args()
    cold, warm, build = asyncio.run(measure(options.starts))
    beside = harness.milliseconds(harness.percentile(cold, 50))
    p50 = harness.milliseconds(harness.percentile(warm, 50))
    figures = [
        harness.Figure("container that imports torch, warm, p50", p50, "ms", "cold", round(beside)),
        harness.Figure("how many times faster", beside / p50, "x", "target", 10.0),
        harness.Figure("image of a cached environment", build, "s", "limit", 1.0),
    ]
    harness.report("Warm starts", figures, options)


if __name__ == "__main__":
    main()
