"""From a TFJob of four replicas being applied to all four processes running."""

from __future__ import annotations

import asyncio
import time

import harness
from pod_start import IMAGE

from homeport.components.training.tensorflow import TENSORFLOW
from homeport.kube import core, meta
from homeport.kube.meta import Object

REPLICAS = 4


def job(name: str, command: list[str]) -> Object:
    """One parameter server and three workers."""
    container = {"name": "tensorflow", "image": IMAGE, "command": command}
    template = {"spec": {"terminationGracePeriodSeconds": 0, "containers": [container]}}
    role = {"restartPolicy": "Never", "template": template}
    replicas = {"PS": {"replicas": 1, **role}, "Worker": {"replicas": REPLICAS - 1, **role}}
    metadata = {"name": name, "namespace": "default"}
    spec = {"runPolicy": {"cleanPodPolicy": "All"}, "tfReplicaSpecs": replicas}
    return {"apiVersion": "kubeflow.org/v1", "kind": "TFJob", "metadata": metadata, "spec": spec}


async def measure(running: harness.Running, count: int) -> list[float]:
    times = []
    async with running.client() as client:
        for number in range(count + 1):
            name = f"gang-{number}"
            labels = f"training.kubeflow.org/job-name={name}"
            listing = await client.list(core.POD.resource, "default")
            watch = client.watch(core.POD.resource, "default", labels=labels, resource_version=listing.resource_version)
            up: set[str] = set()
            async with watch as events:
                begin = time.perf_counter()
                await client.apply(TENSORFLOW.resource, job(name, ["sleep", "600"]))
                async for _, obj in events:
                    if meta.status(obj).get("phase") == "Running":
                        up.add(meta.name(obj))
                    if len(up) == REPLICAS:
                        break
                times.append(time.perf_counter() - begin)
                await client.delete(TENSORFLOW.resource, name, "default")
                async for type, obj in events:
                    if type == "DELETED":
                        up.discard(meta.name(obj))
                    if not up:  # the next job has the machine for itself
                        break
    return times[1:]


def main() -> None:
    arguments = harness.parser(__doc__)
    arguments.add_argument("--jobs", type=int, default=20)
    options = arguments.parse_args()
    with harness.platform() as running:
        times = asyncio.run(measure(running, options.jobs))
    figures = [
        harness.Figure("job applied to 4 replicas running, p50", harness.percentile(times, 50), "s", "limit", 0.5),
        harness.Figure("job applied to 4 replicas running, p95", harness.percentile(times, 95), "s", "limit", 0.5),
    ]
    harness.report(f"Starting a job of {REPLICAS} replicas ({options.jobs} times)", figures, options)


if __name__ == "__main__":
    main()
