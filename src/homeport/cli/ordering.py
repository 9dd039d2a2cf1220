"""What ``homeport queue`` and ``homeport jobs`` share: options, a table, and orders to Volcano's controllers."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from homeport.cli import options
from homeport.cli.connection import Connection
from homeport.client.client import Client
from homeport.kube import meta
from homeport.kube.errors import Permanent
from homeport.kube.kind import Resource
from homeport.kube.meta import Object

COMMANDS = Resource("bus.volcano.sh", "v1alpha1", "commands", "Command")


def add_place(parser: argparse.ArgumentParser, *, namespaced: bool) -> None:
    options.add_data_dir(parser)
    parser.add_argument("--kubeconfig", type=Path, metavar="FILE", help="this cluster, not this machine's platform")
    parser.add_argument("--context", metavar="NAME", help="the context of --kubeconfig to use")
    if namespaced:
        parser.add_argument("-n", "--namespace", metavar="NAME", help="the namespace")


def kubeconfig(args: argparse.Namespace) -> Path:
    """Raises Permanent if there is nothing to talk to."""
    given: Path | None = args.kubeconfig
    if given is not None:
        return given
    if args.context:
        raise Permanent("--context needs --kubeconfig: a platform on this machine has one context only")
    directory = options.data_dir(args)
    if not directory.is_running():
        raise Permanent(f"no platform runs on {directory.path}: start it with homeport up, or give --kubeconfig")
    return directory.kubeconfig


def within(args: argparse.Namespace, act: Callable[[Client, str], Awaitable[None]]) -> int:
    """Run `act` with a client and the namespace that is meant."""

    async def run() -> None:
        async with Connection(kubeconfig(args), args.context) as connection:
            namespace = getattr(args, "namespace", None) or connection.namespace
            await act(connection.client, namespace)

    asyncio.run(run())
    return 0


async def order(client: Client, namespace: str, target: Object, action: str) -> None:
    """Have the controller of `target` do something (``bus.volcano.sh``)."""
    name, what = meta.name(target), {key: target[key] for key in ("apiVersion", "kind")}
    command: Object = {
        "apiVersion": COMMANDS.api_version,
        "kind": COMMANDS.kind,
        "metadata": {"generateName": f"{name}-{action.lower()}-", "namespace": namespace},
        "target": {**what, "name": name, "uid": meta.uid(target), "controller": True},
        "action": action,
    }
    await client.create(COMMANDS, command)


def table(rows: Sequence[Sequence[object]]) -> str:
    """Columns that line up; the first row is the head."""
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    lines = ("   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in texts)
    return "\n".join(line.rstrip() for line in lines)


def age(obj: Object) -> str:
    """How long ago it was made, in the unit that says most."""
    left = int((datetime.now(UTC) - meta.parse_time(meta.metadata(obj)["creationTimestamp"])).total_seconds())
    for unit, seconds in (("d", 86400), ("h", 3600), ("m", 60)):
        if left >= 2 * seconds:
            return f"{left // seconds}{unit}"
    return f"{max(left, 0)}s"
