"""From a pod's creation to its running process, next to a bare sandbox and a plain fork and exec in the same run."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from pathlib import Path

import harness

from homeport.kube import core, meta
from homeport.kube.meta import Object
from homeport.node.process import ProcessRuntime
from homeport.node.runtime import ContainerSpec, ImageRoot, Sandbox, SandboxSpec

IMAGE = "homeport/base"
"""Builds nothing: the machine's own programs."""


def pod(name: str) -> Object:
    container = {"name": "main", "image": IMAGE, "command": ["sh", "-c", "trap exit TERM; sleep 600 & wait"]}
    spec = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [container]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"}, "spec": spec}


async def through_the_api(running: harness.Running, count: int) -> list[float]:
    """Seconds from the request that creates a pod to the watch event that shows it running, one pod at a time."""
    times = []
    async with running.client() as client:
        for number in range(count + 1):
            name = f"bench-{number}"
            watch = client.watch(core.POD.resource, "default", fields=f"metadata.name={name}", resource_version="0")
            async with watch as events:
                begin = time.perf_counter()
                await client.create(core.POD.resource, pod(name))
                async for _, obj in events:
                    if meta.status(obj).get("phase") == "Running":
                        times.append(time.perf_counter() - begin)
                        await client.delete(core.POD.resource, name, "default", grace_period=1)
                        break
                async for type, _ in events:
                    if type == "DELETED":
                        break
    return times[1:]  # the first one makes the image known


async def sandbox(runtime: ProcessRuntime, place: Path, argv: tuple[str, ...]) -> Sandbox:
    """A pod as the node's runtime alone makes it: network, root file system, supervisor, process."""
    os.makedirs(place)
    name = place.name
    made = await runtime.create(SandboxSpec(f"uid-{name}", "default", name, str(place), name))
    state = await made.start(
        ContainerSpec(
            name="main",
            attempt=0,
            argv=argv,
            env={"PATH": os.defpath},
            cwd="/",
            image=ImageRoot(),
            mounts=(),
            log_path=str(place / "main.log"),
        )
    )
    assert state.phase in ("running", "exited"), state
    return made


async def bare_sandbox(directory: Path, count: int) -> list[float]:
    times = []
    runtime = ProcessRuntime(directory)
    await runtime.start()
    try:
        for number in range(count + 1):
            begin = time.perf_counter()
            made = await sandbox(runtime, directory / f"pod-{number}", ("sleep", "600"))
            times.append(time.perf_counter() - begin)
            await made.destroy()
    finally:
        await runtime.stop(end_pods=True)
    return times[1:]


async def fork_and_exec(count: int) -> list[float]:
    times = []
    for _ in range(count):
        begin = time.perf_counter()
        process = await asyncio.create_subprocess_exec("sleep", "600")
        times.append(time.perf_counter() - begin)
        process.kill()
        await process.wait()
    return times


def main() -> None:
    arguments = harness.parser(__doc__)
    arguments.add_argument("--pods", type=int, default=60)
    options = arguments.parse_args()
    count: int = options.pods
    plain = [harness.milliseconds(one) for one in asyncio.run(fork_and_exec(count))]
    with tempfile.TemporaryDirectory(prefix="homeport-bench-") as place:
        bare = [harness.milliseconds(one) for one in asyncio.run(bare_sandbox(Path(place), count))]
    with harness.platform() as running:
        whole = [harness.milliseconds(one) for one in asyncio.run(through_the_api(running, count))]
    p50, p95 = (lambda values: harness.percentile(values, 50)), (lambda values: harness.percentile(values, 95))
    figures = [
        harness.Figure("pod created to running, p50", p50(whole), "ms", "limit", 60.0),
        harness.Figure("pod created to running, p50", p50(whole), "ms", "bare sandbox", round(p50(bare), 1)),
        harness.Figure("pod created to running, p95", p95(whole), "ms", "bare sandbox", round(p95(bare), 1)),
        harness.Figure("bare sandbox, p50", p50(bare), "ms", "fork and exec", round(p50(plain), 2)),
    ]
    harness.report(f"Starting a pod ({count} times)", figures, options)


if __name__ == "__main__":
    main()
