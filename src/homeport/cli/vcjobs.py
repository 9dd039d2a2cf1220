"""``homeport jobs``: Volcano jobs, as ``vcctl job`` has them."""

from __future__ import annotations

import argparse
from typing import Any

from homeport.cli import manifests, ordering
from homeport.client.client import Client
from homeport.kube import meta
from homeport.kube.errors import Permanent
from homeport.kube.kind import Resource
from homeport.kube.meta import Object

JOBS = Resource("batch.volcano.sh", "v1alpha1", "jobs", "Job")
_ORDERS = {"suspend": "AbortJob", "resume": "ResumeJob"}
_ENDED = ("Completing", "Completed", "Terminating", "Terminated", "Failed")
_IN_VAIN = {"suspend": ("Aborting", "Aborted", *_ENDED), "resume": ("Pending", "Running", "Restarting", *_ENDED)}
"""Phases of a job in which Volcano's controllers do nothing at such an order."""


def add_parser(subparsers: Any) -> None:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "jobs",
        help="list, run, suspend and resume Volcano jobs",
        description="Volcano jobs (batch.volcano.sh), not training jobs of Kubeflow.",
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, summary in (
        ("list", "all jobs of a namespace"),
        ("view", "one job, task by task"),
        ("run", "make a job of a manifest, or of an image"),
        ("suspend", "end a job's pods until it is resumed"),
        ("resume", "let a suspended job begin again"),
        ("delete", "delete a job"),
    ):
        action = actions.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        if name in ("view", "suspend", "resume", "delete"):
            action.add_argument("name", metavar="NAME")
        if name == "list":
            action.add_argument("-A", "--all-namespaces", action="store_true", help="of all namespaces")
            action.add_argument("-q", "--queue", default="", metavar="NAME", help="only those of this queue")
        if name == "run":
            _add_run(action)
        ordering.add_place(action, namespaced=True)


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-f", "--filename", metavar="FILE", help="the manifest; - is the standard input")
    parser.add_argument("--name", default="job", metavar="NAME", help="name of the job (default: job)")
    parser.add_argument("-i", "--image", default="", metavar="IMAGE", help="the image of its pods")
    parser.add_argument("-r", "--replicas", type=int, default=1, metavar="N", help="how many pods (default: 1)")
    parser.add_argument("-m", "--min", type=int, default=0, metavar="N", help="how many of them it needs (all)")
    parser.add_argument("-q", "--queue", default="", metavar="NAME", help="the queue that it waits in")
    parser.add_argument("command", nargs="*", metavar="COMMAND", help="what its pods run, after --")


def main(args: argparse.Namespace) -> int:
    return ordering.within(args, lambda client, namespace: _act(args, client, namespace))


async def _act(args: argparse.Namespace, client: Client, namespace: str) -> None:
    match args.action:
        case "list":
            place = "" if args.all_namespaces else namespace
            rows = await _listed(client, place, args.queue)
            where = f"namespace {place}" if place else "any namespace"
            print(ordering.table(rows) if len(rows) > 1 else f"no Volcano job is in {where}")
        case "view":
            await _view(client, namespace, args.name)
        case "run":
            await _run(args, client, namespace)
        case "delete":
            await client.delete(JOBS, args.name, namespace)
            print(f"job {args.name} deleted")
        case _:
            found = await client.get(JOBS, args.name, namespace)
            phase = str((meta.status(found).get("state") or {}).get("phase") or "Pending")
            if phase in _IN_VAIN[args.action]:
                print(f"job {args.name} is {phase}: there is nothing to {args.action}, and nothing was changed")
                return
            target = {**found, "apiVersion": JOBS.api_version, "kind": JOBS.kind}
            await ordering.order(client, namespace, target, _ORDERS[args.action])
            print(f"job {args.name} is told to {args.action}")


async def _run(args: argparse.Namespace, client: Client, namespace: str) -> None:
    """Make the job, after all that its manifest has beside it; nothing is made of what has no job that will do."""
    others: list[Object] = []
    if args.filename is None:
        job = _of_image(args, namespace)
    else:
        job, others = _of_file(args.filename)
        job = _placed(job, namespace)
    if others:
        await client.create(JOBS, job, dry_run=True)
    for other in others:
        resource = await client.resource_for(other["apiVersion"], other["kind"])
        made = await client.apply(resource, _placed(other, namespace) if resource.namespaced else other)
        print(f"{other['kind'].lower()} {meta.name(made)} applied")
    made = await client.create(JOBS, job)
    print(f"job {meta.name(made)} created")


def _of_file(path: str) -> tuple[Object, list[Object]]:
    """The one job in it, and what else there is. Raises Permanent."""
    found = [manifest.object for manifest in manifests.read([path])]
    jobs = [obj for obj in found if (obj["apiVersion"], obj["kind"]) == (JOBS.api_version, JOBS.kind)]
    if len(jobs) != 1:
        raise Permanent(f"{path}: there has to be one job of {JOBS.api_version} in it, and there are {len(jobs)}")
    return jobs[0], [obj for obj in found if obj is not jobs[0]]


def _placed(obj: Object, namespace: str) -> Object:
    return {**obj, "metadata": {"namespace": namespace, **(obj.get("metadata") or {})}}


def _of_image(args: argparse.Namespace, namespace: str) -> Object:
    """Raises Permanent if there is none."""
    if not args.image:
        raise Permanent("say what to run: --filename FILE, or --image IMAGE")
    container: Object = {"name": args.name, "image": args.image}
    if command := [*args.command, *args.passed_on]:
        container["command"] = command
    pod = {"containers": [container], "restartPolicy": "Never"}
    spec: Object = {"tasks": [{"name": args.name, "replicas": args.replicas, "template": {"spec": pod}}]}
    if args.min:
        spec["minAvailable"] = args.min
        spec["tasks"][0]["minAvailable"] = args.min
    if args.queue:
        spec["queue"] = args.queue
    metadata = {"name": args.name, "namespace": namespace}
    return {"apiVersion": JOBS.api_version, "kind": JOBS.kind, "metadata": metadata, "spec": spec}


async def _listed(client: Client, namespace: str, queue: str) -> list[list[object]]:
    counts = ("pending", "running", "succeeded", "failed")
    head: list[object] = [
        "NAME",
        "PHASE",
        "QUEUE",
        "REPLICAS",
        "MIN",
        *(count.upper() for count in counts),
        "RETRIES",
        "AGE",
    ]
    rows: list[list[object]] = [head]
    for job in (await client.list(JOBS, namespace)).items:
        spec, status = meta.spec(job), meta.status(job)
        if queue and spec.get("queue") != queue:
            continue
        name = meta.name(job) if namespace else f"{meta.namespace(job)}/{meta.name(job)}"
        total = sum(task.get("replicas", 0) for task in spec.get("tasks") or ())
        first = [name, _phase(job), spec.get("queue"), total, spec.get("minAvailable", 0)]
        retries = status.get("retryCount", 0)
        rows.append([*first, *(status.get(count, 0) for count in counts), retries, ordering.age(job)])
    return rows


def _phase(job: Object) -> str:
    return str((meta.status(job).get("state") or {}).get("phase") or "Pending")


async def _view(client: Client, namespace: str, name: str) -> None:
    job = await client.get(JOBS, name, namespace)
    spec, status = meta.spec(job), meta.status(job)
    print(f"Job {namespace}/{name}: {_phase(job)}, queue {spec.get('queue')}, needs {spec.get('minAvailable', 0)} pods")
    if message := (status.get("state") or {}).get("message"):
        print(f"  {message}")
    for condition in status.get("conditions") or ():
        print(f"  {condition['status']} since {condition.get('lastTransitionTime')}")
    rows: list[list[object]] = [["TASK", "REPLICAS", "MIN", "PODS"]]
    for task in spec.get("tasks") or ():
        phases = ((status.get("taskStatusCount") or {}).get(task["name"]) or {}).get("phase") or {}
        pods = ", ".join(f"{count} {phase}" for phase, count in sorted(phases.items())) or "none"
        rows.append([task["name"], task.get("replicas", 0), task.get("minAvailable", 0), pods])
    print(ordering.table(rows))
