"""``homeport logs``: the logs of all replicas of a job, merged by time or followed across restarts."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import heapq
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from homeport.cli import options, output
from homeport.cli.connection import Connection
from homeport.cli.follow import WHOLE, Extent, LineSplitter, Stamp, log_query, stamped
from homeport.cli.jobs import Follower, Job, print_line, result_line
from homeport.cli.replicas import Container, Replica, belongs, finishes, outcome, replica
from homeport.cli.run import seconds
from homeport.cli.terminal import DIM, Terminal
from homeport.datadir import DataDir
from homeport.kube import core, meta
from homeport.kube.errors import BadRequest, NotFound, Permanent
from homeport.kube.kind import Resource

ENDED_PODS = Resource("homeport.dev", "v1", "endedpods", "EndedPod")
"""Jobs' pods that are gone, where the server keeps their logs."""


def add_parser(subparsers: Any) -> None:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "logs",
        help="show the logs of a job's replicas together",
        description="Show the logs of all replicas of a job, each line with its replica's name, in the order of time. "
        "With --follow go on until the job has ended, across restarts of replicas and of the platform.",
    )
    parser.add_argument("job", metavar="JOB", help="a job's name, or KIND/NAME such as tfjob/digits or pod/digits-ps-0")
    parser.add_argument("-f", "--follow", action="store_true", help="go on until the job has ended")
    parser.add_argument(
        "--replica",
        action="append",
        default=[],
        metavar="NAME",
        help="only this replica (worker-0), all of a type (worker) or a pod of that name; may be given several times",
    )
    parser.add_argument("-c", "--container", default="", metavar="NAME", help="only containers of this name")
    parser.add_argument("--since", type=seconds, metavar="TIME", help="only what was written in the last TIME (90, 5m)")
    parser.add_argument("--tail", type=_count, metavar="N", help="only the last N lines of each container")
    parser.add_argument(
        "-p", "--previous", action="store_true", help="what containers wrote before they were restarted, and no more"
    )
    parser.add_argument(
        "--attempt",
        type=_attempt,
        metavar="N",
        help="only the Nth pod of each replica: 1 is the first whose logs are still there",
    )
    options.add_data_dir(parser)
    parser.add_argument("--kubeconfig", type=Path, metavar="FILE", help="a job on this cluster, not on this machine")
    parser.add_argument("--context", metavar="NAME", help="the context of --kubeconfig to use")
    parser.add_argument("-n", "--namespace", metavar="NAME", help="the job's namespace")


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of lines")
    return int(text)


def _attempt(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not the number of an attempt: 1 is a replica's first pod")
    return int(text)


@dataclass(frozen=True, slots=True)
class Choice:
    """Which logs to show."""

    replicas: Sequence[str] = ()
    """Names as ``--replica`` has them; none: all."""
    extent: Extent = WHOLE
    attempt: int | None = None
    """Of the pods that a replica has had."""

    def has(self, one: Replica) -> bool:
        return not self.replicas or any(name in (one.title, one.type, one.name) for name in self.replicas)


def main(args: argparse.Namespace) -> int:
    for option in ("previous", "attempt"):
        if args.follow and getattr(args, option):
            raise Permanent(f"--{option} shows what has ended already: --follow can't go with it")
    kubeconfig, context = reach(args), args.context
    since = ""
    if args.since is not None:
        since = meta.timestamp(datetime.now(UTC) - timedelta(seconds=args.since))
    choice = Choice(tuple(args.replica), Extent(since, args.tail, args.container, args.previous), args.attempt)
    terminal = Terminal()
    try:
        return asyncio.run(_show(args.job, args.namespace, kubeconfig, context, choice, terminal, follow=args.follow))
    finally:
        terminal.close()


def reach(args: argparse.Namespace) -> Path:
    """The kubeconfig file that the arguments mean. Raises Permanent if none does."""
    if args.kubeconfig is not None:
        return Path(args.kubeconfig)
    if args.context is not None:
        raise Permanent("--context needs --kubeconfig: a platform on this machine has one context only")
    return _of_this_machine(options.data_dir(args))


def _of_this_machine(directory: DataDir) -> Path:
    if not directory.is_running():
        raise Permanent(f"no platform runs on {directory.path}: homeport up starts it, and its pods' logs are there")
    return directory.kubeconfig


async def _show(
    name: str,
    namespace: str | None,
    kubeconfig: Path,
    context: str | None,
    choice: Choice,
    terminal: Terminal,
    *,
    follow: bool,
) -> int:
    follower: Follower | None = None

    def away(is_away: bool) -> None:
        if follower is not None:
            follower.server_away(is_away)

    async with Connection(kubeconfig, context, tell=away) as connection:
        job = await find(connection, name, namespace or connection.namespace)
        job.outcome = outcome(job.object)
        present, ended, keeps = await pods(connection, job)
        if follow and job.outcome is None:
            await _print_merged(connection, [one for one in ended if choice.has(one)], choice.extent, terminal)
            shown = {one.uid for one in ended}

            async def later(job: Job) -> Sequence[Replica]:
                return [one for one in (await kept(connection, job))[0] if one.uid not in shown]

            follower = Follower(connection, [job], terminal, wanted=choice.has, extent=choice.extent, ended=later)
            await follower.run()
            problem, codes = result_line(job, follower.replicas(job))
            if problem:
                terminal.note(problem, *codes)
            return 0
        found = ended + present
        chosen = [one for one in found if choice.has(one)]
        if found and not chosen:
            raise Permanent(f"{job.title} has no such replica. There are {output.titles(_distinct(found))}")
        if choice.attempt is not None:
            chosen = [one for one, number in numbered(chosen) if number == choice.attempt]
            if found and not chosen:
                raise Permanent(f"no replica of {job.title} has had {choice.attempt} pods whose logs are there")
        if not present and not ended:
            terminal.note(f"{job.title} has no pods{_why(job)}", DIM)
        if not keeps and (not present or choice.attempt is not None):
            terminal.note("This cluster keeps no logs of pods that are gone; Homeport's own platform does", DIM)
        await _print_merged(connection, chosen, choice.extent, terminal)
    return 0


def _why(job: Job) -> str:
    """What the job's last true condition says."""
    said = [c for c in meta.status(job.object).get("conditions") or () if c.get("status") == "True"]
    return f": {said[-1].get('message') or said[-1].get('type')}" if said else ""


async def find(connection: Connection, name: str, namespace: str) -> Job:
    """The job (or pod) that is meant. Raises Permanent if there is none or more than one."""
    kind, _, last = name.rpartition("/")
    resources = await _resources(connection, kind)
    if not resources:
        raise Permanent(f"the server has no kind {kind!r} that comes to an end")
    found = [job for resource in resources if (job := await _get(connection, resource, last, namespace))]
    # A job of one of these kinds may be made of others of its own name.
    uids = {meta.uid(job.object) for job in found}
    found = [job for job in found if (meta.controller_of(job.object) or {}).get("uid") not in uids]
    if not found:
        what = f"{resources[0].kind} {last}" if kind else f"job {last}"
        shown = f"kubectl get {resources[0].plural} -n {namespace} lists those that are there, and " if kind else ""
        raise Permanent(f"there is no {what} in namespace {namespace}: {shown}-n names another namespace")
    if len(found) > 1:
        several = " and ".join(f"{job.resource.kind.lower()}/{last}" for job in found)
        raise Permanent(f"{last} is more than one: say which, {several}")
    return found[0]


async def _resources(connection: Connection, kind: str) -> list[Resource]:
    """The kinds that `kind` names, as kubectl takes it; all kinds of jobs if it is empty."""
    wanted, _, group = kind.lower().partition(".")
    result = []
    for one in await connection.client.discover():
        resource = one.resource
        if not one.preferred or not resource.namespaced or not (finishes(resource.kind) or resource.kind == "JobSet"):
            continue
        names = (resource.kind.lower(), resource.plural, one.singular, *one.short_names)
        if (resource.kind != "Pod") if not kind else (wanted in names and group in ("", resource.group)):
            result.append(resource)
    return result


async def _get(connection: Connection, resource: Resource, name: str, namespace: str) -> Job | None:
    try:
        return Job(resource, await connection.client.get(resource, name, namespace))
    except NotFound:
        return None


async def replicas(connection: Connection, job: Job) -> list[Replica]:
    """The pods that are there."""
    listing = await connection.client.list(core.POD.resource, meta.namespace(job.object))
    found = [replica(pod) for pod in listing.items if belongs(pod, job.object)]
    return sorted(found, key=lambda one: one.order)


async def pods(connection: Connection, job: Job) -> tuple[list[Replica], list[Replica], bool]:
    """The pods that are there; those that are gone and whose logs were kept, as :func:`kept` has them; and whether the
    server keeps any."""
    # In this order: a pod that goes meanwhile is in both.
    present = await replicas(connection, job)
    ended, keeps = await kept(connection, job)
    gone = {one.uid for one in ended}
    return [one for one in present if one.uid not in gone], ended, keeps


async def kept(connection: Connection, job: Job) -> tuple[list[Replica], bool]:
    """The pods that are gone and whose logs were kept, in the order in which they were made; and whether the server
    keeps any."""
    try:
        listing = await connection.client.list(ENDED_PODS, meta.namespace(job.object))
    except NotFound:
        return [], False
    found = [replica(pod, kept=True) for pod in listing.items if belongs(pod, job.object)]
    return sorted(found, key=lambda one: (one.created, one.order)), True


def numbered(found: Sequence[Replica]) -> list[tuple[Replica, int]]:
    """Pods with their numbers: a replica's first is 1."""
    count: Counter[str] = Counter()
    result = []
    for one in sorted(found, key=lambda one: (one.created, one.order)):
        count[one.title] += 1
        result.append((one, count[one.title]))
    return result


def _distinct(found: Sequence[Replica]) -> list[Replica]:
    return list({one.title: one for one in found}.values())


# The logs that there are, merged.


async def _print_merged(
    connection: Connection, replicas: Sequence[Replica], extent: Extent, terminal: Terminal
) -> None:
    """Print all logs in the order of time. One line of each is held, however long they are."""
    sources = [
        (one, container, _lines(connection, one, container, extent, terminal))
        for one in replicas
        for container in one.containers
        if extent.takes(container.name) and (container.attempt if extent.previous else container.has_log)
    ]
    async with contextlib.AsyncExitStack() as stack:
        for _, _, lines in sources:
            await stack.enter_async_context(contextlib.aclosing(lines))
        first = await asyncio.gather(*(anext(lines, None) for _, _, lines in sources))
        heap = [(line[0], number, line[1]) for number, line in enumerate(first) if line is not None]
        heapq.heapify(heap)
        while heap:
            _, number, text = heap[0]
            one, container, lines = sources[number]
            print_line(terminal, one, container, text)
            following = await anext(lines, None)
            if following is None:
                heapq.heappop(heap)
            else:
                heapq.heapreplace(heap, (following[0], number, following[1]))


async def _lines(
    connection: Connection, one: Replica, container: Container, extent: Extent, terminal: Terminal
) -> AsyncGenerator[tuple[Stamp, str]]:
    """The lines of a container's log with their times, which never go back: also of the attempt before this one."""
    attempts = [extent]
    if container.attempt and not extent.previous and extent.tail is None:
        attempts = [replace(extent, previous=True), extent]
    path = core.POD.resource.path(one.namespace, one.name, "log")
    last: Stamp = ("", "")
    for part in attempts:
        splitter = LineSplitter()
        # A pod that has gone may still be on its way out, and its last lines, too.
        query = log_query(one.uid, container.name, part, follow=one.kept)
        try:
            async with connection.client.stream(path, query) as chunks:
                async for chunk in chunks:
                    for line in splitter.feed(chunk):
                        stamp, text = stamped(line)
                        last = max(last, stamp or last)
                        yield last, text
            for line in splitter.end():
                stamp, text = stamped(line)
                last = max(last, stamp or last)
                yield last, text
        except (NotFound, BadRequest) as error:
            if part is extent:  # of an attempt before nothing may be left
                terminal.note(f"[{one.title}] its log can't be shown: {error}", DIM)
