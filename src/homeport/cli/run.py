"""``homeport run``: apply manifests, or those of a Python program, follow all replicas, exit with the result."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import re
import shlex
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from homeport.cli import EXIT_INTERRUPTED, down, manifests, options, output, program, up
from homeport.cli.connection import Connection
from homeport.cli.jobs import Follower, Job, result_line
from homeport.cli.manifests import Manifest
from homeport.cli.replicas import finishes, outcome
from homeport.cli.terminal import DIM, Terminal, duration
from homeport.datadir import DataDir
from homeport.kube import meta
from homeport.kube.errors import Expired, HomeportError, NotFound, Permanent
from homeport.kube.kind import Resource
from homeport.kube.meta import Object

EXIT_TIMEOUT = 124
"""As timeout(1) has it."""

_PATIENCE = 10.0
"""Seconds that a server gets to answer for the first time."""
_MAKERS = ("Namespace", "CustomResourceDefinition")
"""Kinds without which others can't even be checked."""
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


def add_parser(subparsers: Any) -> None:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "run",
        help="run a Python program or manifests, follow the logs, exit with the job's result",
        usage="homeport run [options] FILE...\n       homeport run [options] PROGRAM.py [-- ARGUMENT...]\n"
        "       homeport run [options] -m MODULE [-- ARGUMENT...]",
        description="Apply manifests, or make a job of a Python program, follow the logs of all replicas and exit with "
        "the job's result: 0 if every job succeeded, 1 if one failed, 124 after --timeout. A job of that name that has "
        "already ended is run anew; one that runs is followed. Ctrl-C ends the following, not the job. If no platform "
        "runs, one is started for the duration.",
    )
    parser.add_argument(
        "files",
        nargs="*",
        metavar="FILE",
        help="manifests, directories of them, or - for standard input; or one Python program (.py)",
    )
    python = parser.add_argument_group("of a program")
    python.add_argument("-m", dest="module", metavar="MODULE", help="run a module of the working directory")
    python.add_argument(
        "--framework", choices=tuple(program.FRAMEWORKS), help="what connects the replicas (default: python, nothing)"
    )
    python.add_argument("--replicas", type=_number, metavar="N", help="how many run it (default: 1)")
    python.add_argument("--gpus", type=_number, metavar="N", help="GPUs of each replica")
    python.add_argument("--name", metavar="NAME", help="the job's name (default: the program's)")
    python.add_argument("--image", metavar="IMAGE", help="where it runs (default: the framework's)")
    python.add_argument("--env", action="append", metavar="NAME=VALUE", help="a variable; may be given several times")
    parser.add_argument("--timeout", type=seconds, metavar="TIME", help="stop following after TIME (90, 5m, 2h)")
    parser.add_argument(
        "--keep", action="store_true", help="leave the platform running if this command had to start it"
    )
    options.add_data_dir(parser)
    parser.add_argument(
        "--kubeconfig", type=Path, metavar="FILE", help="run on this cluster instead of on this machine"
    )
    parser.add_argument("--context", metavar="NAME", help="the context of --kubeconfig to use")
    parser.add_argument("-n", "--namespace", metavar="NAME", help="where objects go whose manifest names no namespace")


def seconds(text: str) -> float:
    """``90``, ``90s``, ``5m``, ``1.5h`` in seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text)
    if match is None or float(match[1]) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time: 90, 90s, 5m or 2h is")
    return float(match[1]) * _UNITS[match[2]]


@dataclass(frozen=True, slots=True)
class Order:
    """What to run, and where."""

    objects: Sequence[Manifest]
    kubeconfig: Path | None
    context: str | None = None
    namespace: str | None = None
    timeout: float | None = None
    again: str = "homeport run FILE"
    """The command that follows the same jobs again."""


@dataclass(slots=True)
class Result:
    code: int
    lines: dict[str, str] = field(default_factory=dict)
    """Title of a replica -> the last line of its log."""
    goes_on: bool = False
    """The jobs have not ended; only the following has."""


def _number(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)


def _objects(args: argparse.Namespace) -> tuple[list[Manifest], str]:
    """What to apply, and the command that follows it again."""
    is_program = bool(args.module) or any(file.endswith(".py") for file in args.files)
    if is_program:
        if len(args.files) != (0 if args.module else 1):
            raise Permanent("one program at a time, without manifests; its arguments come after --")
        one = _program(args)
        made = program.manifests(one)
        job = made[-1].object
        return made, f"homeport logs -f {job['kind'].lower()}/{meta.name(job)}"
    for option in ("framework", "replicas", "gpus", "name", "image", "env"):
        if getattr(args, option) is not None:
            raise Permanent(f"--{option} is for a program; a manifest says it itself{_programs_in(args.files)}")
    if args.passed_on:
        raise Permanent("arguments after -- are for a program; a manifest says them itself")
    if not args.files:
        raise Permanent("nothing to run: name manifests, a Python program or -m MODULE (see homeport run --help)")
    return manifests.read(args.files), f"homeport run {shlex.join(args.files)}"


def _programs_in(files: Sequence[str]) -> str:
    """How to run the programs of directories that were named, as the rest of a sentence."""
    return next((words for file in files if Path(file).is_dir() and (words := manifests.programs(Path(file)))), "")


def _program(args: argparse.Namespace) -> program.Program:
    env = {}
    for text in args.env or ():
        name, separator, value = text.partition("=")
        if not name or not separator:
            raise Permanent(f"--env {text}: expected NAME=VALUE")
        env[name] = value
    return program.Program(
        path=args.files[0] if args.files else "",
        module=args.module or "",
        arguments=tuple(args.passed_on),
        framework=args.framework or "python",
        replicas=args.replicas or 1,
        gpus=args.gpus or 0,
        name=args.name or "",
        image=args.image or "",
        env=env,
    )


def main(args: argparse.Namespace) -> int:
    objects, again = _objects(args)
    terminal = Terminal()
    order = Order(objects, args.kubeconfig, args.context, args.namespace, args.timeout, again)
    if args.kubeconfig is not None:
        return asyncio.run(carry_out(order, terminal)).code
    if args.context is not None:
        raise Permanent("--context needs --kubeconfig: a platform on this machine has one context only")
    return on_this_machine(order, options.data_dir(args), terminal, keep=args.keep).code


def on_this_machine(order: Order, directory: DataDir, terminal: Terminal, *, keep: bool) -> Result:
    """Carry out `order` on the platform of `directory`. If none runs, start one and stop it again (unless `keep`)."""
    started = not directory.is_running()
    if started:
        terminal.note(f"No platform runs on {directory.path}: starting one", DIM)

        def show(text: str) -> None:
            if "\n" not in text:  # how to use it by hand, which takes several lines, is not the reader's business here
                terminal.note(text, DIM)

        if code := up.start_detached(directory, show=show):
            return Result(code)
    order = Order(
        order.objects, directory.kubeconfig, None, order.namespace, order.timeout, order.again + _where(directory)
    )
    result = Result(1)
    try:
        result = asyncio.run(carry_out(order, terminal))
    finally:
        if started and (keep or result.goes_on):
            terminal.note(f"The platform goes on running; homeport down{_where(directory)} stops it", DIM)
        elif started:
            down.stop(directory)
            down.end_pods(directory)
            terminal.note("The platform has been stopped", DIM)
    return result


def _where(directory: DataDir) -> str:
    return "" if directory == DataDir.at() else f" --data-dir {shlex.quote(str(directory.path))}"


async def carry_out(order: Order, terminal: Terminal) -> Result:
    """Apply, follow, sum up."""
    follower: Follower | None = None

    def away(is_away: bool) -> None:
        if follower is not None:
            follower.server_away(is_away)

    async with Connection(order.kubeconfig, order.context, tell=away) as connection:
        stop: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        with _signals(stop):
            jobs: list[Job] = []
            applying = asyncio.ensure_future(_reach_and_apply(connection, order, terminal))
            if await _first(applying, stop):
                return Result(EXIT_INTERRUPTED)
            jobs = applying.result()
            if not jobs:
                terminal.note("Nothing in it comes to an end by itself: there is nothing to follow", DIM)
                return Result(0)
            follower = Follower(connection, jobs, terminal)
            timer = None
            if order.timeout is not None:
                timer = asyncio.get_running_loop().call_later(order.timeout, _settle, stop, EXIT_TIMEOUT)
            following = asyncio.ensure_future(follower.run())
            try:
                early = await _first(following, stop)
            finally:
                if timer is not None:
                    timer.cancel()
                terminal.close()
        if not early:
            following.result()
        return _conclude(order, follower, terminal, early)


async def _reach_and_apply(connection: Connection, order: Order, terminal: Terminal) -> list[Job]:
    """`apply`, once the server answers: a platform may just be starting."""
    loop = asyncio.get_running_loop()
    begin = loop.time()
    while True:
        try:
            await connection.client.raw("GET", "/readyz")
            break
        except HomeportError as error:
            if loop.time() - begin > _PATIENCE:
                raise
            await connection.lost(error)
    connection.found()
    return await apply(connection, order, terminal)


async def _first(work: asyncio.Future[Any], stop: asyncio.Future[int]) -> int:
    """Wait for `work` or for `stop`, whose value is returned and which cancels `work`; 0 if `work` was first."""
    await asyncio.wait([work, stop], return_when=asyncio.FIRST_COMPLETED)
    if work.done():
        return 0
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)
    return stop.result()


def _settle(stop: asyncio.Future[int], code: int) -> None:
    if not stop.done():
        stop.set_result(code)


class _signals:
    """While entered, Ctrl-C and SIGTERM settle `stop` instead of raising."""

    def __init__(self, stop: asyncio.Future[int]) -> None:
        self._stop = stop

    def __enter__(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, _settle, self._stop, EXIT_INTERRUPTED)

    def __exit__(self, *_: object) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


async def apply(connection: Connection, order: Order, terminal: Terminal) -> list[Job]:
    """Apply every object; those that come to an end, to follow. Nothing is stored if the server refuses one of them."""
    placed = [await _place(connection, order, manifest) for manifest in order.objects]
    if not any(manifest.object["kind"] in _MAKERS for manifest in order.objects):
        for resource, manifest in placed:
            await _send(connection, resource, manifest, dry_run=True)
    # Before anything else is sent: what has ended takes with it what goes with it.
    for resource, manifest in placed:
        before = await _existing(connection, resource, manifest.object) if finishes(resource.kind) else None
        if before is not None and (outcome(before) is not None or meta.is_deleting(before)):
            terminal.live(f"{manifest.title} has ended before: removing it to run it anew")
            await _remove(connection, resource, before)
            terminal.close()
    jobs = []
    alone: list[tuple[Resource, Manifest]] = []
    for resource, manifest in placed:
        before = await _existing(connection, resource, manifest.object)
        after = await _send(connection, resource, manifest)
        terminal.note(f"{manifest.title} {_change(before, after)}", DIM)
        if manifest.goes_with:
            alone.append((resource, manifest))
        if finishes(resource.kind):
            jobs.append(Job(resource, after))
            for its, one in alone:
                if one.goes_with == resource.kind:
                    await _hand_over(connection, its, one.object, after)
    return jobs


async def _hand_over(connection: Connection, resource: Resource, obj: Object, owner: Object) -> None:
    """Have `obj` go when `owner` goes; before it, if somebody waits for that."""
    reference = {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": meta.name(owner),
        "uid": meta.uid(owner),
        "blockOwnerDeletion": True,
    }
    patch = {"metadata": {"ownerReferences": [reference]}}
    await connection.client.patch(resource, meta.name(obj), meta.namespace(obj), patch)


async def _place(connection: Connection, order: Order, manifest: Manifest) -> tuple[Resource, Manifest]:
    """The resource of an object, and the object with the namespace that it goes to."""
    obj = manifest.object
    try:
        resource = await connection.client.resource_for(obj["apiVersion"], obj["kind"])
    except NotFound as error:
        if not any(one.object["kind"] == "CustomResourceDefinition" for one in order.objects):
            raise Permanent(f"{manifest.source}: {error.message}") from error
        raise Permanent(
            f"{manifest.source}: {error.message}. Apply the CustomResourceDefinition by itself first."
        ) from error
    if not resource.namespaced or meta.namespace(obj):
        if resource.namespaced and order.namespace and meta.namespace(obj) != order.namespace:
            raise Permanent(
                f"{manifest.source}: {manifest.title} is for namespace {meta.namespace(obj)}, --namespace says "
                f"{order.namespace}"
            )
        return resource, manifest
    namespace = order.namespace or connection.namespace
    placed = {**obj, "metadata": {**obj["metadata"], "namespace": namespace}}
    return resource, Manifest(placed, manifest.source, manifest.goes_with)


async def _send(connection: Connection, resource: Resource, manifest: Manifest, *, dry_run: bool = False) -> Object:
    try:
        return await connection.client.apply(resource, manifest.object, dry_run=dry_run, strict=True)
    except HomeportError as error:
        text = getattr(error, "message", str(error))
        raise Permanent(f"{manifest.source}: {text}") from error


async def _existing(connection: Connection, resource: Resource, obj: Object) -> Object | None:
    try:
        return await connection.client.get(resource, meta.name(obj), meta.namespace(obj))
    except NotFound:
        return None


def _change(before: Object | None, after: Object) -> Literal["created", "configured", "unchanged"]:
    if before is None:
        return "created"
    same = meta.resource_version(before) == meta.resource_version(after)
    return "unchanged" if same else "configured"


async def _remove(connection: Connection, resource: Resource, obj: Object) -> None:
    """Delete an object with all that it owns, and wait until it has gone."""
    name, namespace, uid = meta.name(obj), meta.namespace(obj), meta.uid(obj)
    client, fields = connection.client, f"metadata.name={meta.name(obj)}"
    with contextlib.suppress(NotFound):
        await client.delete(resource, name, namespace, propagation="Foreground", uid=uid)
    while True:
        listing = await client.list(resource, namespace, fields=fields)
        if all(meta.uid(one) != uid for one in listing.items):
            return
        watch = client.watch(resource, namespace, resource_version=listing.resource_version, fields=fields)
        with contextlib.suppress(Expired):
            async with watch as events:
                async for type, one in events:
                    if type == "DELETED" and meta.uid(one) == uid:
                        return


def _conclude(order: Order, follower: Follower, terminal: Terminal, early: int) -> Result:
    """Say how it came out."""
    now = datetime.now(UTC)
    stopped = follower.stopped()
    for job in follower.jobs:
        replicas = follower.replicas(job)
        terminal.print()
        for line in output.summary(job.title, job.outcome, replicas, stopped, now, terminal.paint):
            terminal.print(line)
        problem, codes = result_line(job, replicas)
        if problem:
            terminal.note(problem, *codes)
    result = Result(early, follower.lines, goes_on=bool(early))
    if early:
        why = (
            f"Stopped following after {duration(order.timeout or 0)}" if early == EXIT_TIMEOUT else "Stopped following"
        )
        terminal.note(f"{why}; the job goes on. Follow it again: {order.again}")
    elif not all(job.outcome is not None and job.outcome.succeeded for job in follower.jobs):
        result.code = 1
    if early or any(job.stuck and job.outcome is None for job in follower.jobs):
        for job in follower.jobs:
            space = meta.namespace(job.object)
            place = f" -n {space}" if space not in ("", "default") else ""
            terminal.note(f"Delete it: kubectl delete {job.resource.qualified} {meta.name(job.object)}{place}", DIM)
    return result
