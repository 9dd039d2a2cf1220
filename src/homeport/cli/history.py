"""``homeport history``: what a job has been through: its stages, and every pod of every replica with its end."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from homeport.cli import options
from homeport.cli.connection import Connection
from homeport.cli.jobs import Job
from homeport.cli.logs import find, numbered, pods, reach
from homeport.cli.replicas import Container, Replica, seconds_between
from homeport.cli.terminal import DIM, GREEN, RED, YELLOW, Terminal, duration, table
from homeport.kube import meta

_COLORS = {"Succeeded": GREEN, "Failed": RED, "Running": YELLOW, "Pending": YELLOW, "Stopped": DIM}
_LONGEST = 60


def add_parser(subparsers: Any) -> None:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "history",
        help="what a job has been through",
        description="Show a job's stages with their times, its training's last figures, and all pods that its replicas "
        "have had: when each ran, and how it ended. Pods that are gone are shown as long as their logs are kept.",
    )
    parser.add_argument("job", metavar="JOB", help="a job's name, or KIND/NAME such as tfjob/digits")
    options.add_data_dir(parser)
    parser.add_argument("--kubeconfig", type=Path, metavar="FILE", help="a job on this cluster, not on this machine")
    parser.add_argument("--context", metavar="NAME", help="the context of --kubeconfig to use")
    parser.add_argument("-n", "--namespace", metavar="NAME", help="the job's namespace")


def main(args: argparse.Namespace) -> int:
    kubeconfig = reach(args)
    terminal = Terminal()
    try:
        return asyncio.run(_show(args, kubeconfig, terminal))
    finally:
        terminal.close()


async def _show(args: argparse.Namespace, kubeconfig: Path, terminal: Terminal) -> int:
    async with Connection(kubeconfig, args.context) as connection:
        job = await find(connection, args.job, args.namespace or connection.namespace)
        present, ended, keeps = await pods(connection, job)
    for line in lines(job, ended + present, datetime.now(UTC), terminal):
        terminal.print(line)
    if not keeps:
        terminal.note("This cluster keeps nothing of pods that are gone: only those that are there are shown", DIM)
    return 0


def lines(job: Job, found: Sequence[Replica], now: datetime, terminal: Terminal) -> Iterator[str]:
    """The whole story. Times are UTC."""
    yield f"{job.title}, created {_clock(meta.metadata(job.object).get('creationTimestamp') or '')}"
    for condition in sorted(_conditions(job), key=lambda one: str(one.get("lastTransitionTime") or "")):
        first = str(condition.get("message") or "").partition("\n")[0]
        is_true = condition.get("status") == "True"
        name = condition["type"] if is_true else f"not {condition['type']} any more"
        told = f"{name}: {first}" if first and is_true else name
        yield f"  {_clock(condition.get('lastTransitionTime') or '')}  {told}"
    yield from _figures(meta.status(job.object))
    if not found:
        return
    yield ""
    rows = [("REPLICA", "ATTEMPT", "POD", "STARTED", "TOOK", "RESTARTS", "OUTCOME")]
    numbers = numbered(found)
    for one, number in sorted(numbers, key=lambda item: (item[0].type, item[0].index, item[1])):
        seconds = seconds_between(one.start, one.finish, now)
        took = "-" if seconds is None or (one.kept and not one.finish) else duration(seconds)
        where = one.name if not one.kept else f"{one.name} (gone)"
        rows.append((one.title, str(number), where, _clock(one.start), took, str(one.restarts), ending(one)))
    yield from table(rows)


def _figures(status: dict[str, Any]) -> Iterator[str]:
    """What the training said last, of itself or by its log."""
    known, reported = status.get("trainingMetrics"), status.get("trainerStatus") or {}
    time = str(reported.get("lastUpdatedTime") or "")
    entries = [one for one in known or reported.get("metrics") or () if isinstance(one, dict)]
    if entries:
        time = max((str(one["time"]) for one in entries if one.get("time")), default=time)
        told = " ".join(f"{one.get('name')}={one.get('value')}" for one in entries)
        percent = reported.get("progressPercentage")
        yield f"  {_clock(time)}  {told}" + ("" if percent is None else f" ({percent} % done)")


def _conditions(job: Job) -> list[dict[str, Any]]:
    return [one for one in meta.status(job.object).get("conditions") or () if isinstance(one, dict)]


def _clock(text: str) -> str:
    return text.replace("T", " ").removesuffix("Z").partition(".")[0] or "-"


def ending(one: Replica) -> str:
    """How a pod ended, or what it does."""
    container: Container | None = next((each for each in one.containers if each.name == one.main), None)
    code = one.exit_code
    phase = one.phase
    if (one.kept and phase not in ("Succeeded", "Failed")) or (phase == "Failed" and one.was_stopped):
        phase = "Stopped"
    if code and container is not None and (one.is_final or one.kept):
        why = container.ended_reason if container.ended_reason not in ("", "Error") else ""
        message = container.ended_message.strip().rpartition("\n")[2][:_LONGEST]
        return f"{phase}, exit code {code}" + "".join(f": {part}" for part in (why, message) if part)
    if one.reason and phase != "Succeeded":
        return f"{phase}: {one.reason}"
    return phase
