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
from homeport.kube.scheduling.names import CLOSED_BY_PARENT, DEFAULT_QUEUE, ROOT_QUEUE

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
        ("update", "change a queue; what is not named stays as it is"),
        ("open", "let a queue take jobs again"),
        ("close", "have a queue and those below it take no more jobs; those that are in them go on"),
        ("delete", "delete a queue"),
    ):
        action = actions.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        if name != "list":
            action.add_argument("name", metavar="NAME")
        if name in ("create", "update"):
            _add_spec(action, removes=name == "update")
        ordering.add_place(action, namespaced=False)


def _add_spec(parser: argparse.ArgumentParser, *, removes: bool) -> None:
    parser.add_argument("--weight", type=int, metavar="N", help="its share beside other queues (1 if never given)")
    parser.add_argument("--priority", type=int, metavar="N", help="queues with higher values come first")
    several = "several times; RESOURCE= takes it away" if removes else "several times"
    for field, meaning in (
        ("capability", "the most that it may use (cpu=4, nvidia.com/gpu=2)"),
        ("deserved", "its fair part: lent while it is idle, and taken back"),
        ("guarantee", "what is kept for it, whether it uses it or not"),
    ):
        parser.add_argument(
            f"--{field}", action="append", default=[], metavar="RESOURCE=AMOUNT",
            help=f"{meaning}; may be given {several}",
        )  # fmt: skip
    parser.add_argument(
        "--reclaimable", action=argparse.BooleanOptionalAction, help="whether others may take back what they lent it"
    )
    parser.add_argument("--parent", metavar="NAME", help="the queue that it is part of")


def main(args: argparse.Namespace) -> int:
    return ordering.within(args, lambda client, namespace: _act(args, client, namespace))


async def _act(args: argparse.Namespace, client: Client, namespace: str) -> None:
    resource = VOLCANO_QUEUE.resource
    match args.action:
        case "list":
            print(ordering.table(await _listed(client)))
        case "create":
            await client.create(resource, VOLCANO_QUEUE.new(args.name, spec={"weight": 1, **_spec(args)}))
            print(f"queue {args.name} created")
        case "update":
            changes = _spec(args)
            if not changes:
                raise Permanent(f"nothing to change: give --weight or another option (homeport queue {args.action} -h)")
            await client.patch(resource, args.name, "", {"spec": changes})
            print(f"queue {args.name} changed")
        case "delete":
            await client.delete(resource, args.name)
            print(f"queue {args.name} deleted")
        case "open" | "close":
            queue = {**await client.get(resource, args.name), "apiVersion": resource.api_version, "kind": resource.kind}
            await _check(client, queue, args.action)
            await ordering.order(client, namespace, queue, f"{args.action.capitalize()}Queue")
            print(f"queue {args.name} is told to {args.action}")
        case _:
            await _view(client, args.name)


async def _check(client: Client, queue: Object, action: str) -> None:
    """Refuse what the controller would not do."""
    name = meta.name(queue)
    if name == ROOT_QUEUE:
        if action == "close":
            raise Permanent(f"the queue {ROOT_QUEUE} can't be closed; close those below it")
        return
    above = await client.get(VOLCANO_QUEUE.resource, meta.spec(queue).get("parent") or ROOT_QUEUE)
    if action == "open" and _state(above) in ("Closing", "Closed"):
        told, remedy = meta.name(above), f"homeport queue open {meta.name(above)}"
        raise Permanent(f"queue {name} is part of queue {told}, which is {_state(above)}; open that first ({remedy})")


def _spec(args: argparse.Namespace) -> Object:
    """What the options say of a queue."""
    single = {field: getattr(args, field) for field in ("weight", "priority", "reclaimable", "parent")}
    spec: Object = {field: value for field, value in single.items() if value is not None}
    for field in ("capability", "deserved"):
        if getattr(args, field):
            spec[field] = _amounts(args, field)
    if args.guarantee:
        spec["guarantee"] = {"resource": _amounts(args, "guarantee")}
    return spec


def _amounts(args: argparse.Namespace, field: str) -> dict[str, str | None]:
    """None: it is taken away."""
    found: dict[str, str | None] = {}
    for text in getattr(args, field):
        key, given, value = text.partition("=")
        if not key or not given or (not value and args.action == "create"):
            raise Permanent(f"--{field} {text!r} is not of the form RESOURCE=AMOUNT")
        found[key] = value or None
    return found


async def _groups(client: Client) -> dict[str, list[Object]]:
    """By queue."""
    found: dict[str, list[Object]] = {}
    for group in (await client.list(VOLCANO_POD_GROUP.resource)).items:
        found.setdefault(meta.spec(group).get("queue") or DEFAULT_QUEUE, []).append(group)
    return found


def _state(queue: Object) -> str:
    return str(meta.status(queue).get("state") or "Open")


def _phase(group: Object) -> str:
    return str(meta.status(group).get("phase") or "Pending")


async def _listed(client: Client) -> list[list[object]]:
    groups = await _groups(client)
    rows: list[list[object]] = [["NAME", "WEIGHT", "STATE", "PARENT", *(phase.upper() for phase in _PHASES)]]
    for queue in (await client.list(VOLCANO_QUEUE.resource)).items:
        counts = Counter(_phase(group) for group in groups.get(meta.name(queue), ()))
        name, spec = meta.name(queue), meta.spec(queue)
        parent = "-" if name == ROOT_QUEUE else spec.get("parent") or ROOT_QUEUE
        rows.append([name, spec.get("weight", 1), _state(queue), parent, *(counts[phase] for phase in _PHASES)])
    return rows


async def _view(client: Client, name: str) -> None:
    queue = await client.get(VOLCANO_QUEUE.resource, name)
    spec, status = meta.spec(queue), meta.status(queue)
    cause = (
        f" (with its parent {spec.get('parent')})" if meta.annotations(queue).get(CLOSED_BY_PARENT) == "true" else ""
    )
    print(f"Queue {name}: {_state(queue)}{cause}, weight {spec.get('weight', 1)}")
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
