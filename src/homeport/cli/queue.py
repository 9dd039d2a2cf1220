"""``homeport queue``: the queues of gang scheduling, as ``vcctl queue`` has them."""

from __future__ import annotations

import argparse
from collections import Counter
from typing import Any

from homeport.cli import ordering
from homeport.client.client import Client
from homeport.kube import meta
from homeport.kube.errors import Permanent
from homeport.kube.meta import Object
from homeport.kube.scheduling import VOLCANO_POD_GROUP, VOLCANO_QUEUE
from homeport.kube.scheduling.names import DEFAULT_QUEUE

_PHASES = ("Pending", "Inqueue", "Running", "Unknown", "Completed")


def add_parser(subparsers: Any) -> None:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "queue",
        help="list, make, open and close queues",
        description="The queues in which gangs wait (scheduling.volcano.sh), and how many wait and run in each.",
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, summary in (
        ("list", "all queues"),
        ("view", "one queue, with its groups"),
        ("create", "make a queue"),
        ("open", "let a queue take jobs again"),
        ("close", "have a queue take no more jobs; those that are in it go on"),
        ("delete", "delete a queue"),
    ):
        action = actions.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        if name != "list":
            action.add_argument("name", metavar="NAME")
        if name == "create":
            action.add_argument("--weight", type=int, default=1, metavar="N", help="its share (default: 1)")
            action.add_argument(
                "--capability", action="append", default=[], metavar="RESOURCE=AMOUNT",
                help="the most that it may use (cpu=4, nvidia.com/gpu=2); may be given several times",
            )  # fmt: skip
            action.add_argument("--parent", default="", metavar="NAME", help="the queue that it is part of")
        ordering.add_place(action, namespaced=False)


def main(args: argparse.Namespace) -> int:
    return ordering.within(args, lambda client, namespace: _act(args, client, namespace))


async def _act(args: argparse.Namespace, client: Client, namespace: str) -> None:
    resource = VOLCANO_QUEUE.resource
    match args.action:
        case "list":
            print(ordering.table(await _listed(client)))
        case "create":
            spec: Object = {"weight": args.weight}
            if args.capability:
                spec["capability"] = dict(map(_pair, args.capability))
            if args.parent:
                spec["parent"] = args.parent
            await client.create(resource, VOLCANO_QUEUE.new(args.name, spec=spec))
            print(f"queue {args.name} created")
        case "delete":
            await client.delete(resource, args.name)
            print(f"queue {args.name} deleted")
        case "open" | "close":
            queue = {**await client.get(resource, args.name), "apiVersion": resource.api_version, "kind": resource.kind}
            await ordering.order(client, namespace, queue, f"{args.action.capitalize()}Queue")
            print(f"queue {args.name} is told to {args.action}")
        case _:
            await _view(client, args.name)


def _pair(text: str) -> tuple[str, str]:
    key, given, value = text.partition("=")
    if not key or not given or not value:
        raise Permanent(f"--capability {text!r} is not of the form RESOURCE=AMOUNT")
    return key, value


async def _groups(client: Client) -> dict[str, list[Object]]:
    """By queue."""
    found: dict[str, list[Object]] = {}
    for group in (await client.list(VOLCANO_POD_GROUP.resource)).items:
        found.setdefault(meta.spec(group).get("queue") or DEFAULT_QUEUE, []).append(group)
    return found


def _phase(group: Object) -> str:
    return str(meta.status(group).get("phase") or "Pending")


async def _listed(client: Client) -> list[list[object]]:
    groups = await _groups(client)
    rows: list[list[object]] = [["NAME", "WEIGHT", "STATE", "PARENT", *(phase.upper() for phase in _PHASES)]]
    for queue in (await client.list(VOLCANO_QUEUE.resource)).items:
        counts = Counter(_phase(group) for group in groups.get(meta.name(queue), ()))
        spec, state = meta.spec(queue), meta.status(queue).get("state") or "Open"
        rows.append(
            [meta.name(queue), spec.get("weight", 1), state, spec.get("parent") or "-", *(counts[p] for p in _PHASES)]
        )
    return rows


async def _view(client: Client, name: str) -> None:
    queue = await client.get(VOLCANO_QUEUE.resource, name)
    spec, status = meta.spec(queue), meta.status(queue)
    print(f"Queue {name}: {status.get('state') or 'Open'}, weight {spec.get('weight', 1)}")
    for title, amounts in (
        ("may use at most", spec.get("capability")),
        ("deserves", spec.get("deserved")),
        ("is guaranteed", (spec.get("guarantee") or {}).get("resource")),
        ("has been given", status.get("allocated")),
    ):
        if amounts:
            print(f"  {title}: " + ", ".join(f"{key} {value}" for key, value in sorted(amounts.items())))
    rows: list[list[object]] = [["GROUP", "OF", "PHASE", "MIN", "RUNNING", "AGE"]]
    for group in (await _groups(client)).get(name, ()):
        members = meta.spec(group).get("minMember", 0), meta.status(group).get("running", 0)
        owner = meta.controller_of(group)
        of = f"{owner['kind']}/{owner['name']}" if owner is not None else "-"
        which = f"{meta.namespace(group)}/{meta.name(group)}", of
        rows.append([*which, _phase(group), *members, ordering.age(group)])
    print(ordering.table(rows) if len(rows) > 1 else "  no group is in it")
