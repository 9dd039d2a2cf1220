"""Ten thousand pods onto a thousand nodes that are only told of, through the API: from the first pod being created to
the last one being bound, in the four shapes of public scheduler benchmarks, one by one and as gangs.

The peers are published figures, of machines far bigger than two cores: kube-scheduler's own threshold for single pods
(680 a second, in process, 5,000 nodes), and Volcano's for gangs (55 a second, 8 cores). The whole table takes no longer
than `--budget`: a shape whose time is up is counted as far as it came, and its rows say so.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import harness

from homeport.client.client import Client
from homeport.client.http import HttpTransport
from homeport.datadir import DataDir
from homeport.kube import core, scheduling
from homeport.kube.errors import TooManyRequests
from homeport.kube.meta import Object, spec
from homeport.kube.scheduling import names

PLATFORM = """
import sys
from homeport import platform

platform.PARTS = tuple(part for part in platform.PARTS if part[0] != platform.NODE)
from homeport.cli import main

sys.exit(main(["up", "--data-dir", sys.argv[1]]))
"""
"""Everything but the node: nothing runs what is placed."""
SHAPES = ((10_000, 1), (500, 20), (20, 500), (1, 10_000))
_CREATING = 32
_LEAST, _STOPPING = 5.0, 3.0
"""Seconds that a shape is given in any case, and that the end of a platform takes."""
_GROUP = scheduling.VOLCANO_POD_GROUP.resource
_TARGET = 500.0
"""Pods a second, on 2 cores."""
_PUBLISHED = {False: ("kube-scheduler, published", 680.0), True: ("Volcano, published", 55.0)}


@contextlib.contextmanager
def cluster() -> Iterator[tuple[DataDir, int]]:
    """A platform without a node, and its process."""
    with tempfile.TemporaryDirectory(prefix="homeport-bench-") as place:
        directory = DataDir.at(Path(place) / "data")
        command = [sys.executable, "-c", PLATFORM, str(directory.path)]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=harness.ENVIRONMENT, text=True
        )
        assert process.stdout is not None
        try:
            lines = []
            for line in process.stdout:
                lines.append(line)
                if "KUBECONFIG" in line:
                    break
            else:
                raise SystemExit("the platform ended before it was ready:\n" + "".join(lines))
            yield directory, process.pid
        finally:
            process.terminate()
            process.wait(timeout=60)
            process.stdout.close()


async def add_nodes(client: Client, count: int) -> None:
    amounts = {"cpu": "64", "memory": "256Gi", "pods": "110"}
    # Nobody keeps these nodes' leases: what would say so is tolerated by all pods here.
    for number in range(count):
        name = f"node-{number:04d}"
        await client.create(core.NODE.resource, core.NODE.new(name))
        ready = {"type": "Ready", "status": "True", "reason": "Simulated", "message": ""}
        status = {"allocatable": amounts, "capacity": amounts, "conditions": [ready]}
        await client.patch(core.NODE.resource, name, "", {"status": status}, subresource="status")


def pod(name: str, group: str) -> Object:
    container = {"name": "main", "image": "none", "resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}
    meta: Object = {"name": name, "namespace": "default", "annotations": {names.GROUP_NAME: group} if group else {}}
    wanted = {"schedulerName": "volcano" if group else "homeport", "containers": [container]}
    wanted["tolerations"] = [{"operator": "Exists"}]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": wanted}


class Measured(NamedTuple):
    created: int
    creating: float
    """Seconds from the first creation to the last."""
    bound: int
    binding: float
    """Seconds from the first creation to the last binding."""


@contextlib.asynccontextmanager
async def bindings(client: Client, wanted: int, bound: set[str]) -> AsyncIterator[asyncio.Future[float]]:
    """The time at which the last one was bound; `bound` is filled meanwhile."""
    listing = await client.list(core.POD.resource, "default")

    async def follow() -> float:
        watch = client.watch(core.POD.resource, "default", resource_version=listing.resource_version)
        async with watch as events:
            async for _, obj in events:
                if spec(obj).get("nodeName"):
                    bound.add(obj["metadata"]["name"])
                    if len(bound) == wanted:
                        break
        return time.perf_counter()

    task = asyncio.ensure_future(follow())
    try:
        yield task
    finally:
        task.cancel()


async def measure(directory: DataDir, jobs: int, members: int, *, gang: bool, limit: float) -> Measured:
    """`limit`: seconds after which to leave off."""
    created, bound = 0, set[str]()
    async with (
        Client(HttpTransport.from_kubeconfig(directory.kubeconfig)) as client,
        bindings(client, jobs * members, bound) as last,
    ):
        begin = time.perf_counter()
        creating = limit
        queue = iter([(job, member) for job in range(jobs) for member in range(members)])

        async def create() -> None:
            nonlocal created
            for job, member in queue:
                group = f"job-{job}" if gang else ""
                if gang and member == 0:
                    meta = {"name": group, "namespace": "default"}
                    wanted = {"minMember": members, "queue": "default"}
                    obj = {"apiVersion": _GROUP.api_version, "kind": "PodGroup", "metadata": meta, "spec": wanted}
                    await _patiently(client, obj, gang=True)
                await _patiently(client, pod(f"pod-{job}-{member}", group))
                created += 1

        try:
            async with asyncio.timeout(limit):
                async with asyncio.TaskGroup() as group:
                    for _ in range(_CREATING):
                        group.create_task(create())
                creating = time.perf_counter() - begin
                binding = await last - begin
        except TimeoutError:
            binding = time.perf_counter() - begin
        return Measured(created, min(creating, binding), len(bound), binding)


async def _patiently(client: Client, obj: Object, *, gang: bool = False) -> None:
    while True:
        try:
            await client.create(_GROUP if gang else core.POD.resource, obj)
            return
        except TooManyRequests as error:
            await asyncio.sleep(error.retry_after or 1)


async def prepare(directory: DataDir, nodes: int) -> None:
    async with Client(HttpTransport.from_kubeconfig(directory.kubeconfig)) as client:
        await add_nodes(client, nodes)


def figures(options: argparse.Namespace) -> Iterator[harness.Figure]:
    shapes: Sequence[tuple[int, int]] = [
        (max(1, jobs * options.pods // 10_000), members if jobs > 1 else options.pods) for jobs, members in SHAPES
    ]
    runs = [
        (jobs, members, gang)
        for jobs, members in shapes
        if not options.only or f"{jobs}x{members}" in options.only
        for gang in (False, True)
    ]
    end = time.monotonic() + options.budget
    for left, (jobs, members, gang) in zip(range(len(runs), 0, -1), runs, strict=True):
        slot = time.monotonic() + max((end - time.monotonic()) / left, _LEAST)
        with cluster() as (directory, process):
            asyncio.run(prepare(directory, options.nodes))
            before, client = harness.cpu_seconds([process]), time.process_time()
            limit = max(slot - time.monotonic() - _STOPPING, _LEAST)
            found = asyncio.run(measure(directory, jobs, members, gang=gang, limit=limit))
            cpu = harness.cpu_seconds([process]) - before
            client = time.process_time() - client
        pods = jobs * members
        what = f"{jobs} x {members}, {'gangs' if gang else 'single pods'}"
        if found.bound < pods:
            what += f" (time was up: {found.bound} of {pods} bound)"
        peer, rate = _PUBLISHED[gang]
        speed, done = found.bound / found.binding, max(found.created, 1)
        yield harness.Figure(f"{what}: bound", speed, "per s", "target", _TARGET)
        yield harness.Figure(f"{what}: bound", speed, "per s", peer, rate)
        yield harness.Figure(f"{what}: created", found.created / found.creating, "per s", "bound", speed)
        yield harness.Figure(
            f"{what}: CPU of the platform, per pod", 1000 * cpu / done, "ms", "CPU of this client", 1000 * client / done
        )


def main() -> None:
    arguments = harness.parser(__doc__)
    arguments.add_argument("--nodes", type=int, default=1000)
    arguments.add_argument("--pods", type=int, default=10_000, help="in all, of each shape")
    arguments.add_argument(
        "--only", action="append", metavar="JOBSxMEMBERS", help="this shape; may be given several times"
    )
    arguments.add_argument("--budget", type=float, default=440.0, help="seconds for all shapes together")
    options = arguments.parse_args()
    found = list(figures(options))
    title = f"Scheduling {options.pods} pods onto {options.nodes} simulated nodes"
    harness.report(title, found, options)


if __name__ == "__main__":
    os.environ.setdefault("NO_COLOR", "1")
    main()
