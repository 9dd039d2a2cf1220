"""``homeport build``: an image from a Dockerfile."""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from homeport import examples
from homeport.cli import options
from homeport.cli.terminal import DIM, GREEN, RED, Terminal, duration
from homeport.kube.errors import HomeportError, Permanent
from homeport.node.imagefile import parse_reference
from homeport.node.images import ImageStore

_KEPT_LINES = 40
"""Of a failed step's output that nobody has seen."""


def add_parser(subparsers: Any) -> None:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "build",
        help="build an image from a Dockerfile",
        description="Build an image from a Dockerfile. Pods on this machine can name it at once.",
    )
    options.add_data_dir(parser)
    parser.add_argument("directory", type=Path, metavar="DIR", help="the build's context")
    parser.add_argument("-t", "--tag", action="append", default=[], metavar="NAME", help="a name for the image")
    parser.add_argument("-f", "--file", type=Path, metavar="FILE", help="the Dockerfile (default: DIR/Dockerfile)")
    parser.add_argument("--build-arg", action="append", default=[], metavar="NAME=VALUE", help="a value for ARG")
    parser.add_argument("--label", action="append", default=[], metavar="NAME=VALUE", help="a label of the image")
    parser.add_argument(
        "--secret", action="append", default=[], metavar="id=NAME,src=FILE", help="a file for RUN alone"
    )
    parser.add_argument("--target", default="", metavar="STAGE", help="build this stage and what it needs")
    parser.add_argument("--no-cache", action="store_true", help="carry out every step anew")
    parser.add_argument("-q", "--quiet", action="store_true", help="print nothing but the image's id")


def main(args: argparse.Namespace) -> int:
    from homeport.node.dockerfile.builder import Request

    for name in args.tag:
        try:
            parse_reference(name)
        except ValueError as error:
            raise Permanent(f"--tag {name}: {error}") from error
    request = Request(
        context=args.directory,
        dockerfile=args.file or args.directory / "Dockerfile",
        names=tuple(args.tag),
        arguments=_arguments(args.build_arg),
        labels=_pairs(args.label, "--label"),
        secrets=_secrets(args.secret),
        target=args.target,
        use_cache=not args.no_cache,
    )
    store = ImageStore(options.data_dir(args).images, directories=examples.images())
    terminal = Terminal()
    try:
        return asyncio.run(_build(store, request, terminal, quiet=args.quiet))
    finally:
        terminal.close()


async def _build(store: ImageStore, request: Any, terminal: Terminal, *, quiet: bool) -> int:
    from homeport.node.dockerfile.builder import build

    progress = Progress(terminal, quiet=quiet)
    begin = time.monotonic()
    try:
        record = await build(store, request, progress)
    except OSError as error:
        progress.failed()
        raise Permanent(f"{error.filename or request.context}: {error.strerror or error}") from error
    except HomeportError as error:
        progress.failed()
        raise Permanent(f"{request.dockerfile}: {error}") from error
    finally:
        await store.close()
    if quiet:
        terminal.print(record.id)
        return 0
    names = f" as {', '.join(request.names)}" if request.names else ""
    terminal.note(f"built {record.id[:19]}{names} in {duration(time.monotonic() - begin)}", GREEN)
    return 0


class Progress:
    """A line per step, and on a terminal below it the last line that the step wrote."""

    def __init__(self, terminal: Terminal, *, quiet: bool) -> None:
        self._terminal = terminal
        self._quiet = quiet
        self._title = ""
        self._lines: list[str] = []

    def begin(self, title: str) -> None:
        self._title, self._lines = title, []
        if not self._quiet:
            self._terminal.live(title)

    def output(self, line: str) -> None:
        self._lines = [*self._lines[-_KEPT_LINES:], line]
        if self._quiet:
            return
        if self._terminal.is_live:
            self._terminal.live(f"{self._title}: {line}")
        else:
            self._terminal.note(f"    {line}", DIM)

    def end(self, seconds: float, *, cached: bool) -> None:
        if not self._quiet:
            how = "cached" if cached else duration(seconds)
            self._terminal.live("")
            self._terminal.note(f"{self._title} ({how})" if self._terminal.is_live else f"    {how}", DIM)

    def failed(self) -> None:
        if not self._title:
            return
        self._terminal.live("")
        if self._quiet or self._terminal.is_live:
            self._terminal.note(self._title, RED)
            for line in self._lines:
                self._terminal.note(f"    {line}")


def _arguments(texts: Sequence[str]) -> dict[str, str]:
    """A name without a value stands for the variable of this name, if there is one."""
    result = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if equals:
            result[name] = value
        elif name in os.environ:
            result[name] = os.environ[name]
    return result


def _pairs(texts: Sequence[str], option: str) -> dict[str, str]:
    result = {}
    for text in texts:
        name, _, value = text.partition("=")
        if not name:
            raise Permanent(f"{option} {text}: must be NAME=VALUE")
        result[name] = value
    return result


def _secrets(texts: Sequence[str]) -> dict[str, Path]:
    result = {}
    for text in texts:
        fields = dict(field.partition("=")[::2] for field in text.split(","))
        path = Path(fields.get("src") or fields.get("source") or "").expanduser().absolute()
        if not fields.get("id") or not path.is_file():
            raise Permanent(f"--secret {text}: must be id=NAME,src=FILE, and the file has to be there")
        result[fields["id"]] = path
    return result
