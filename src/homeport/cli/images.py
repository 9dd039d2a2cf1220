"""``homeport images``: what images there are, and building one before its first pod."""

from __future__ import annotations

import argparse
import asyncio
import time
from typing import Any

from homeport import examples
from homeport.cli import options
from homeport.cli.terminal import DIM, Terminal, duration, table
from homeport.kube.errors import Permanent
from homeport.node.host import ImageError
from homeport.node.imagefile import ImageFileError
from homeport.node.images import ImageStore


def add_parser(subparsers: Any) -> None:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "images",
        help="list the known images, or build one ahead",
        description="List the images that pods can name, or build some ahead so that their first pod starts at once.",
    )
    options.add_data_dir(parser)
    parser.add_argument("--build", nargs="+", metavar="IMAGE", default=(), help="build these images now")


def main(args: argparse.Namespace) -> int:
    store = ImageStore(options.data_dir(args).images, directories=examples.images())
    terminal = Terminal()
    try:
        if args.build:
            asyncio.run(_build(store, args.build, terminal))
        else:
            _list(store, terminal)
    except (ImageError, ImageFileError) as error:
        raise Permanent(str(error)) from error
    finally:
        terminal.close()
    return 0


def _list(store: ImageStore, terminal: Terminal) -> None:
    rows = [("IMAGE", "PYTHON", "BUILT", "NAMES")]
    for image in store.known():
        built = "-" if not image.python else "yes" if image.environment else "no"
        rows.append((image.name, image.python or "-", built, " ".join(image.patterns)))
    for line in table(rows):
        terminal.print(line)


async def _build(store: ImageStore, references: list[str], terminal: Terminal) -> None:
    try:
        for reference in references:
            begin = time.monotonic()
            image = await store.prepare(reference, lambda text, name=reference: terminal.live(f"{name}: {text}"))  # type: ignore[misc]
            terminal.note(f"{reference}: {image.id}, {duration(time.monotonic() - begin)}", DIM)
    finally:
        await store.close()
