"""``homeport images``: what images there are; building, loading, exporting, removing them."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from homeport import examples
from homeport.cli import options
from homeport.cli.terminal import DIM, Terminal, duration, table
from homeport.kube.errors import Permanent
from homeport.node.host import ImageError
from homeport.node.imagefile import ImageFileError, parse_reference
from homeport.node.images import ImageStore

_SHOWN = 3
"""Names of an image in the list."""


def add_parser(subparsers: Any) -> None:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "images",
        help="list images, build, load, export or remove them",
        description="List the images that pods can name, or do something with some. Without a verb: the list.",
    )
    options.add_data_dir(parser)
    parser.add_argument("--build", nargs="+", metavar="IMAGE", default=(), help="as pull")
    verbs = parser.add_subparsers(dest="images_verb", metavar="VERB")
    shown = verbs.add_parser("list", help="list the images (also without a verb)")
    pull = verbs.add_parser("pull", help="have images built ahead, so that their first pod starts at once")
    pull.add_argument("image", nargs="+")
    load = verbs.add_parser("load", help="load an OCI archive or layout, or what docker save wrote")
    load.add_argument("file", type=Path)
    load.add_argument("-t", "--tag", action="append", default=[], metavar="NAME", help="its name, if it has another")
    tag = verbs.add_parser("tag", help="give an image that was built or loaded here another name")
    tag.add_argument("image")
    tag.add_argument("name")
    export = verbs.add_parser("export", help="write an image for other tools")
    export.add_argument("image")
    export.add_argument("target", type=Path, metavar="FILE")
    export.add_argument("--directory", action="store_true", help="write the root file system, not an archive")
    render = verbs.add_parser("dockerfile", help="print the Dockerfile of an image file, for a cluster")
    render.add_argument("image")
    remove = verbs.add_parser("rm", help="remove images; never one that a container uses")
    remove.add_argument("image", nargs="*")
    remove.add_argument(
        "--unused", action="store_true", help="all that no image file asks for any more, and what builds have cached"
    )
    for verb in (shown, pull, load, tag, export, render, remove):
        options.add_data_dir(verb, default=argparse.SUPPRESS)


def main(args: argparse.Namespace) -> int:
    store = ImageStore(options.data_dir(args).images, directories=examples.images())
    terminal = Terminal()
    verbs: dict[str | None, Callable[[ImageStore, argparse.Namespace, Terminal], None]] = {
        "pull": lambda *given: asyncio.run(_pull(store, args.image, terminal)),
        "load": lambda *given: asyncio.run(_load(store, args, terminal)),
        "export": lambda *given: asyncio.run(_export(store, args, terminal)),
        "tag": _tag,
        "dockerfile": _dockerfile,
        "rm": _remove,
    }
    try:
        if args.build:
            asyncio.run(_pull(store, args.build, terminal))
        else:
            verbs.get(args.images_verb, _list)(store, args, terminal)
    except (ImageError, ImageFileError) as error:
        raise Permanent(str(error)) from error
    except OSError as error:
        raise Permanent(f"{error.filename or store.cache}: {error.strerror or error}") from error
    finally:
        terminal.close()
    return 0


def _list(store: ImageStore, args: argparse.Namespace, terminal: Terminal) -> None:
    from homeport.node.imagesweep import entries

    rows = [("IMAGE", "KIND", "PYTHON", "BUILT", "SIZE", "USED BY", "NAMES")]
    now = time.time()
    for entry in entries(store):
        plain = entry.kind == "plain"
        built = "-" if plain else "no" if entry.built is None else f"{duration(max(now - entry.built, 0))} ago"
        used = "-" if not entry.containers else f"{entry.containers} container{'s' if entry.containers > 1 else ''}"
        more = f" and {len(entry.names) - _SHOWN} more" if len(entry.names) > _SHOWN else ""
        names = f"{' '.join(entry.names[:_SHOWN])}{more}"
        rows.append((entry.name, entry.kind, entry.python or "-", built, _size(entry.bytes), used, names))
    for line in table(rows):
        terminal.print(line)


def _size(count: int | None) -> str:
    if count is None:
        return "-"
    return (
        f"{count / 1e9:.1f} GB"
        if count >= 1e9
        else f"{count / 1e6:.0f} MB"
        if count >= 1e6
        else f"{count / 1e3:.0f} kB"
    )


async def _pull(store: ImageStore, references: Sequence[str], terminal: Terminal) -> None:
    try:
        for reference in references:
            begin = time.monotonic()
            image = await store.prepare(reference, lambda text, name=reference: terminal.live(f"{name}: {text}"))  # type: ignore[misc]
            terminal.note(f"{reference}: {image.id}, {duration(time.monotonic() - begin)}", DIM)
    finally:
        await store.close()


async def _load(store: ImageStore, args: argparse.Namespace, terminal: Terminal) -> None:
    from homeport.node.imagesweep import short
    from homeport.node.local.load import load

    loaded = await load(
        store.local, args.file, names=args.tag or None, progress=lambda text: terminal.live(f"{args.file}: {text}")
    )
    terminal.live("")
    for record, names in loaded:
        terminal.print(" ".join([record.id[:19], *map(short, names)]))
        if not names:
            terminal.note("it has no name, so that no pod can name it: homeport images tag ID NAME", DIM)


def _tag(store: ImageStore, args: argparse.Namespace, terminal: Terminal) -> None:
    name = parse_name(args.name)
    record = store.local.find(store.real(args.image)) if _is_name(args.image) else None
    if record is None:
        text = args.image.removeprefix("sha256:")
        found = [one for one in store.local.records() if len(text) >= 6 and one.id[7:].startswith(text)]
        if len(found) != 1:
            raise Permanent(f"{args.image}: no image of that name or id was built or loaded here")
        record = found[0]
    store.local.tag({name: record.id})


def _is_name(text: str) -> bool:
    try:
        parse_reference(text)
    except ValueError:
        return False
    return True


def parse_name(text: str) -> str:
    """A name with registry and tag. Raises Permanent."""
    try:
        parsed = parse_reference(text)
    except ValueError as error:
        raise Permanent(f"{text}: {error}") from error
    return f"{parsed.repository}:{parsed.tag}"


async def _export(store: ImageStore, args: argparse.Namespace, terminal: Terminal) -> None:
    from homeport.node.local.export import record_of, to_archive, to_directory
    from homeport.node.local.record import Base

    def progress(text: str) -> None:
        terminal.live(f"{args.image}: {text}")

    record = store.local.find(store.real(args.image))
    if record is None:
        image = await store.pull(args.image, progress)
        files = tuple((mount.source, mount.target) for mount in image.root.files)
        base = Base(args.image, image.id, image.root.environment, image.root.interpreter, files)
        record = record_of(base, image.config)
    target = args.target.absolute()
    if args.directory:
        await to_directory(store.local, record, target)
    else:
        await to_archive(store.local, record, parse_name(args.image), target, progress)
    terminal.live("")


def _dockerfile(store: ImageStore, args: argparse.Namespace, terminal: Terminal) -> None:
    from homeport.node import interpreter
    from homeport.node.imagerender import dockerfile

    if store.local.find(store.real(args.image)) is not None:
        raise Permanent(f"{args.image} was built from a Dockerfile or loaded, and not made from an image file")
    version = interpreter.own().version
    terminal.print(dockerfile(store.find(args.image), f"{version[0]}.{version[1]}").rstrip("\n"))


def _remove(store: ImageStore, args: argparse.Namespace, terminal: Terminal) -> None:
    from homeport.node import imagesweep

    if not args.image and not args.unused:
        raise Permanent("which images? Name some, or say --unused")
    freed = 0
    for name in args.image:
        freed += _remove_one(store, name)
        terminal.note(f"removed {name}", DIM)
    freed += asyncio.run(imagesweep.sweep(store, lambda text: terminal.note(text, DIM), everything=args.unused))
    terminal.note(f"{_size(freed)} freed", DIM)


def _remove_one(store: ImageStore, name: str) -> int:
    from homeport.node import imagesweep

    if _is_name(name) and imagesweep.remove_name(store, name):
        return 0
    places = [place for place in imagesweep.environments(store.cache) if place.name == name]
    places += [one.environment for one in store.known() if one.name == name and one.environment is not None]
    if not places:
        raise Permanent(f"{name}: nothing of that name has been built or loaded here (homeport images)")
    return imagesweep.remove_environment(store, places[0])
