"""Deployments and jobs of trivial pods: how fast they are there, replaced and gone, and what controllers take for it.

The peer is the node's runtime alone: the same processes in sandboxes of the same kind, with no API and no controllers.
What else the machine does changes both alike, and the controllers' share of the platform's CPU hardly at all.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness
from many_jobs import bare_sandboxes
from pod_start import IMAGE

from homeport.client.client import Client
from homeport.kube import core, meta
from homeport.kube.kind import Resource
from homeport.kube.meta import Object

DEPLOYMENT, JOB = core.DEPLOYMENT.resource, core.JOB.resource
WAITS = ["sh", "-c", "trap exit TERM; sleep 600 & wait"]
_AT_A_TIME = 32
"""Requests that a client has in flight."""


async def until(client: Client, resource: Resource, holds: Callable[[dict[str, Object]], bool]) -> None:
    """Wait until it holds for the objects of the namespace, by name."""
    listing = await client.list(resource, "default")
    known = {meta.name(obj): obj for obj in listing.items}
    async with client.watch(resource, "default", resource_version=listing.resource_version) as events:
        if holds(known):
            return
        async for type, obj in events:
            if type in ("ADDED", "MODIFIED"):
                known[meta.name(obj)] = obj
            elif type == "DELETED":
                known.pop(meta.name(obj), None)
            if holds(known):
                return


def deployment(replicas: int) -> Object:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container(WAITS)]}}
    template["spec"]["terminationGracePeriodSeconds"] = 5
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template}
    return core.DEPLOYMENT.new("web", "default", spec=spec)


def container(command: list[str]) -> Object:
    return {"name": "main", "image": IMAGE, "command": command}


def settled(replicas: int, generation: int) -> Callable[[dict[str, Object]], bool]:
    """That the deployment has as many replicas as it shall have, all of them new and available."""

    def holds(known: dict[str, Object]) -> bool:
        status = meta.status(known["web"])
        counts = [status.get(name, 0) for name in ("replicas", "updatedReplicas", "availableReplicas")]
        return counts == [replicas] * 3 and status.get("observedGeneration", 0) >= generation

    return holds


async def scale(client: Client, replicas: int, **template: Any) -> None:
    """Change the deployment, and wait until all of it is so and the pods of before have gone."""
    body: Object = {"spec": {"replicas": replicas, **({"template": template} if template else {})}}
    changed = await client.patch(DEPLOYMENT, "web", "default", body)
    await until(client, DEPLOYMENT, settled(replicas, changed["metadata"]["generation"]))
    await until(client, core.POD.resource, lambda known: len(known) == replicas)


async def deployments(meter: harness.Meter, client: Client, pods: int, rolling: int) -> dict[str, harness.Cost]:
    await client.create(DEPLOYMENT, deployment(1))
    await scale(client, 1)  # makes the image known
    costs = {"up": await meter.measure(lambda: scale(client, pods))}
    costs["down"] = await meter.measure(lambda: scale(client, 0))
    await scale(client, rolling)
    again = {"metadata": {"labels": {"app": "web", "again": "1"}}}
    costs["rollout"] = await meter.measure(lambda: scale(client, rolling, **again))
    await client.delete(DEPLOYMENT, "web", "default", propagation="Background")
    await until(client, core.POD.resource, lambda known: not known)
    return costs


async def jobs(client: Client, count: int) -> None:
    slots = asyncio.Semaphore(_AT_A_TIME)
    ended: set[str] = set()

    def all_ended(known: dict[str, Object]) -> bool:
        ended.update(name for name, job in known.items() if meta.is_condition_true(job, "Complete"))
        return len(ended) == count

    async def apply(number: int) -> None:
        pod = {"restartPolicy": "Never", "containers": [container(["true"])]}
        async with slots:
            await client.apply(JOB, core.JOB.new(f"job-{number}", "default", spec={"template": {"spec": pod}}))

    waiting = asyncio.create_task(until(client, JOB, all_ended))
    await asyncio.gather(*(apply(number) for number in range(count)))
    await waiting


async def run(running: harness.Running, options: argparse.Namespace) -> dict[str, harness.Cost]:
    async with running.client() as client, asyncio.timeout(options.limit):
        meter = harness.Meter(running, client)
        costs = await deployments(meter, client, options.pods, options.rolling)
        costs["jobs"] = await meter.measure(lambda: jobs(client, options.jobs))
    return costs


def main() -> None:
    arguments = harness.parser(__doc__)
    arguments.add_argument("--pods", type=int, default=200, help="of the deployment")
    arguments.add_argument("--rolling", type=int, default=50, help="pods that are replaced")
    arguments.add_argument("--jobs", type=int, default=1000)
    arguments.add_argument("--limit", type=float, default=1200.0, help="seconds after which to give up")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="homeport-bench-") as place:
        bare = asyncio.run(bare_sandboxes(Path(place), min(200, options.pods)))
    with harness.platform() as running:
        costs = asyncio.run(run(running, options))
    counts = {"up": options.pods, "down": options.pods, "rollout": options.rolling, "jobs": options.jobs}
    titles = {
        "up": f"deployment of {options.pods} pods, ready",
        "down": "the same scaled to 0, gone",
        "rollout": f"rollout of {options.rolling} pods",
        "jobs": f"{options.jobs} jobs of one pod, complete",
    }
    figures = []
    for step, title in titles.items():
        cost, count = costs[step], counts[step]
        each = round(1000 * cost.platform / count, 2)
        figures += [
            harness.Figure(f"{title}: pods a second", count / cost.seconds, "per s", "bare sandboxes", round(bare, 1)),
            harness.Figure(f"{title}: controllers' CPU per pod", 1000 * cost.deciding / count, "ms", "platform", each),
            harness.Figure(f"{title}: the store's CPU per pod", 1000 * cost.store / count, "ms", "platform", each),
        ]
    harness.report("Deployments and jobs of trivial pods", figures, options)


if __name__ == "__main__":
    main()
