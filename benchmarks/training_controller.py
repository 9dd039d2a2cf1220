"""The training controller by itself: a process of its own beside a bare API server, with pods that nobody runs.

What a node would do is done here: each pod is said to have succeeded as soon as it is there. The limit is the rate of
pods that the controller is to reach however slow nodes are; upstream's controllers make 5 to 10 a second with their
client's defaults.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import harness
from api_server import server
from gang_start import REPLICAS, job

from homeport.client.client import Client
from homeport.client.http import HttpTransport
from homeport.components.training.tensorflow import TENSORFLOW
from homeport.datadir import DataDir
from homeport.kube import core, meta
from homeport.kube.core.definition import CRD
from homeport.kube.errors import NotFound
from homeport.kube.meta import Object

LIMIT = 100
"""Replicas a second."""
_AT_A_TIME = 16
"""Requests that a client has in flight."""


@contextlib.contextmanager
def controllers(kubeconfig: Path) -> Iterator[int]:
    """The training controllers as users start them beside a cluster; yields the process's id."""
    command = [*harness.HOMEPORT, "controllers", "--kubeconfig", str(kubeconfig), "--only", "training", "--install"]
    command += ["--no-leader-elect", "--metrics-port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=harness.ENVIRONMENT)
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait(30)


async def prepare(client: Client) -> None:
    """What a cluster's own controllers would have made."""
    await client.create(core.NAMESPACE.resource, core.NAMESPACE.new("default"))
    await client.create(core.SERVICE_ACCOUNT.resource, core.SERVICE_ACCOUNT.new("default", "default"))


async def accept(client: Client) -> None:
    """Return once jobs can be made and are acted on: the definitions are served and a job of one replica has ended."""
    first: Object = job("first", ["true"])
    first["spec"]["tfReplicaSpecs"].pop("PS")
    first["spec"]["tfReplicaSpecs"]["Worker"]["replicas"] = 1
    definitions = CRD.resource
    name = f"{TENSORFLOW.resource.plural}.{TENSORFLOW.resource.group}"
    async with client.watch(definitions, fields=f"metadata.name={name}", resource_version="0") as events:
        async for _, found in events:
            if meta.is_condition_true(found, "Established"):
                break
    async with ended(client, 1) as all_ended:
        await client.create(TENSORFLOW.resource, first)
        await all_ended


@contextlib.asynccontextmanager
async def node(client: Client) -> AsyncIterator[None]:
    """Say of every pod that comes that it has succeeded."""
    pods = core.POD.resource
    slots = asyncio.Semaphore(_AT_A_TIME)

    async def succeed(pod: Object) -> None:
        container = meta.spec(pod)["containers"][0]
        state = {"terminated": {"exitCode": 0, "reason": "Completed"}}
        told = {"name": container["name"], "image": container["image"], "imageID": "", "ready": False}
        status = {"phase": "Succeeded", "containerStatuses": [{**told, "restartCount": 0, "state": state}]}
        async with slots:
            with contextlib.suppress(NotFound):  # its job has ended with another one's success
                await client.patch(pods, meta.name(pod), "default", {"status": status}, subresource="status")

    async def follow(group: asyncio.TaskGroup) -> None:
        async with client.watch(pods, "default", resource_version="0") as events:
            async for type, pod in events:
                if type == "ADDED":
                    group.create_task(succeed(pod))

    async with asyncio.TaskGroup() as group:
        following = group.create_task(follow(group))
        yield
        following.cancel()


@contextlib.asynccontextmanager
async def ended(client: Client, count: int) -> AsyncIterator[asyncio.Task[None]]:
    """A task that is done once `count` further jobs have succeeded."""
    listing = await client.list(TENSORFLOW.resource, "default")
    known = {meta.name(obj) for obj in listing.items}
    opened = asyncio.Event()

    async def follow() -> None:
        missing = count
        watch = client.watch(TENSORFLOW.resource, "default", resource_version=listing.resource_version)
        async with watch as events:
            opened.set()
            async for _, obj in events:
                if meta.is_condition_true(obj, "Failed"):
                    raise SystemExit(f"{meta.name(obj)} failed")
                if meta.is_condition_true(obj, "Succeeded") and meta.name(obj) not in known:
                    known.add(meta.name(obj))
                    missing -= 1
                    if not missing:
                        return

    following = asyncio.create_task(follow())
    await opened.wait()
    yield following
    await following


async def large(client: Client, replicas: int) -> float:
    """Seconds from the job's creation until all of its pods exist."""
    big: Object = job("large", ["true"])
    big["spec"]["tfReplicaSpecs"]["Worker"]["replicas"] = replicas - 1
    pods = core.POD.resource
    labels = "training.kubeflow.org/job-name=large"
    async with client.watch(pods, "default", labels=labels, resource_version="0") as events:
        begin = time.perf_counter()
        await client.create(TENSORFLOW.resource, big)
        missing = replicas
        async for type, _ in events:
            missing -= type == "ADDED"
            if not missing:
                break
    return time.perf_counter() - begin


async def many(client: Client, count: int) -> float:
    """Seconds until so many jobs that are created at once have succeeded."""
    slots = asyncio.Semaphore(_AT_A_TIME)

    async def create(number: int) -> None:
        async with slots:
            await client.create(TENSORFLOW.resource, job(f"many-{number}", ["true"]))

    async with ended(client, count) as all_ended:
        begin = time.perf_counter()
        await asyncio.gather(*(create(number) for number in range(count)))
        await all_ended
    return time.perf_counter() - begin


async def measure(kubeconfig: Path, pid: int, jobs: int, replicas: int, limit: float) -> list[harness.Figure]:
    figures = []
    transport = HttpTransport.from_kubeconfig(kubeconfig)
    async with asyncio.timeout(limit), Client(transport, field_manager="benchmark") as client:
        await prepare(client)
        async with node(client):
            await accept(client)
            took = await large(client, replicas)
            name = f"one job of {replicas} replicas: created to all pods there"
            figures.append(harness.Figure(name, took, "s", f"{LIMIT} a second", replicas / LIMIT))
            cpu, memory = harness.cpu_seconds([pid]), harness.memory([pid])
            took = await many(client, jobs)
            cpu, grown = harness.cpu_seconds([pid]) - cpu, harness.memory([pid]) - memory
    title = f"{jobs} jobs of {REPLICAS}, all succeeded"
    return [
        *figures,
        harness.Figure(f"{title}: replicas a second", jobs * REPLICAS / took, "per s", "limit", LIMIT),
        harness.Figure(f"{title}: the controllers' CPU per job", 1000 * cpu / jobs, "ms", "wall", 1000 * took / jobs),
        harness.Figure(f"{title}: the controllers' memory per job", grown / 1000 / jobs, "kB", "idle", memory / 1000),
    ]


def main() -> None:
    arguments = harness.parser(__doc__)
    arguments.add_argument("--jobs", type=int, default=250)
    arguments.add_argument("--replicas", type=int, default=500, help="of the one large job")
    arguments.add_argument("--limit", type=float, default=300.0, help="seconds after which to give up")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="homeport-bench-") as place:
        directory = DataDir.at(Path(place) / "data")
        with server("serve", directory.path), controllers(directory.kubeconfig) as pid:
            figures = asyncio.run(measure(directory.kubeconfig, pid, options.jobs, options.replicas, options.limit))
    harness.report("The training controller in a process of its own", figures, options)


if __name__ == "__main__":
    main()
