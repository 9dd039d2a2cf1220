"""What there is of images on the disk, and deleting what nobody asks for. Nothing that a container uses is deleted."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from homeport.kube.errors import Permanent
from homeport.node import imageuse
from homeport.node.build import MANIFEST
from homeport.node.imagefile import ImageFileError, parse_reference
from homeport.node.images import ImageStore
from homeport.node.local.record import Record
from homeport.node.local.store import KITCHEN
from homeport.node.local.work import LayerWork

_KEY = re.compile(r"^[a-z0-9][a-z0-9.-]*-[0-9a-f]{16}$")


class InUse(Permanent):
    """Containers use it."""


class Entry(msgspec.Struct, frozen=True):
    """One image, or an environment that was one."""

    name: str
    """The image file's, the names of an image of layers, or the directory's of what no image file asks for."""
    kind: str
    """``environment``, ``layers``, ``plain``, or ``unused`` for what no image file asks for any more."""
    id: str = ""
    python: str = ""
    names: tuple[str, ...] = ()
    place: Path | None = None
    bytes: int | None = None
    built: float | None = None
    """Seconds since the epoch; None: not built."""
    containers: int = 0
    """That use it now."""


def entries(store: ImageStore) -> list[Entry]:
    """Image files in their order, then images of layers, then what is left of old ones. Raises ImageFileError."""
    uses = imageuse.mounted()
    result, known = [], set()
    for image in store.known():
        if image.environment is not None:
            known.add(image.environment.name)
        kind = "environment" if image.python else "plain"
        result.append(_environment(image.name, kind, image.python, image.patterns, image.environment, uses))
    needed = bases(store)
    result += [_of_layers(store, record, uses) for record in store.local.records()]
    for place in environments(store.cache):
        if place.name not in known:
            kind = "environment" if place in needed else "unused"
            result.append(_environment(place.name, kind, "", (), place, uses))
    return result


def _environment(
    name: str, kind: str, python: str, patterns: tuple[str, ...], place: Path | None, uses: Counter[str]
) -> Entry:
    if place is None:
        return Entry(name, kind, python=python, names=patterns)
    manifest = place / MANIFEST
    return Entry(
        name,
        kind,
        python=python,
        names=patterns,
        place=place,
        bytes=size(place),
        built=manifest.stat().st_mtime,
        containers=imageuse.count(uses, place),
    )


def _of_layers(store: ImageStore, record: Record, uses: Counter[str]) -> Entry:
    local = store.local
    names = tuple(short(name) for name, identity in local.names().items() if identity == record.id)
    built = (local.directory / "images" / f"{record.id.removeprefix('sha256:')}.json").stat().st_mtime
    layers = [local.layer(diff_id) for diff_id in record.layers]
    return Entry(
        name=names[0] if names else record.id[7:19],
        kind="layers",
        id=record.id,
        names=names,
        bytes=local.bytes_of(record),
        built=built,
        containers=min((imageuse.count(uses, layer) for layer in layers), default=0),
    )


def short(name: str) -> str:
    """As people write it."""
    return name.removeprefix("docker.io/").removeprefix("library/")


def environments(cache: Path) -> list[Path]:
    """Everything that was built by image files' recipes."""
    try:
        return sorted(place for place in cache.iterdir() if _KEY.match(place.name) and (place / MANIFEST).exists())
    except FileNotFoundError:
        return []


def bases(store: ImageStore) -> set[Path]:
    """The environments that images of layers begin with."""
    found = (record.base.environment for record in store.local.records() if record.base is not None)
    return {Path(environment).parent for environment in found if environment}


def size(place: Path) -> int:
    """Bytes of an environment's files. It is remembered: an environment never changes."""
    manifest = place / MANIFEST
    content = json.loads(manifest.read_bytes())
    if "bytes" not in content:
        return sum(os.lstat(os.path.join(at, name)).st_size for at, _, names in os.walk(place) for name in names)
    return int(content["bytes"])


# Deleting.


def remove_environment(store: ImageStore, place: Path) -> int:
    """Delete an environment; the bytes it had. Raises InUse if containers use it, an image of layers begins with it, or
    it is being built."""
    if place in bases(store):
        raise InUse(f"{place.name}: an image that was built here begins with it; remove that one first")
    handle = os.open(place.parent / f".{place.name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InUse(f"{place.name}: it is being built") from None
        return _delete(place)
    finally:
        os.close(handle)


def _remove_leftover(place: Path) -> None:
    """What a killed process has left, unless another builds it now."""
    key = place.name.removeprefix(".").rpartition(".")[0]
    handle = os.open(place.parent / f".{key}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(place)
    finally:
        os.close(handle)


def _delete(place: Path) -> int:
    _check(place, place.name)
    count = size(place)
    doomed = place.with_name(f".{place.name}.gone")
    shutil.rmtree(doomed, ignore_errors=True)
    place.rename(doomed)
    try:
        # A container that was being started in that moment has it by now, and under its new name.
        _check(doomed, place.name)
    except InUse:
        doomed.rename(place)
        raise
    shutil.rmtree(doomed)
    return count


def _check(place: Path, name: str) -> None:
    containers = imageuse.count(imageuse.mounted(), place)
    if containers:
        raise InUse(f"{name}: {containers} container{'s use' if containers > 1 else ' uses'} it")


def remove_name(store: ImageStore, name: str) -> bool:
    """Take a name from an image of layers; False if there is no such. The image goes with its last name."""
    local = store.local
    parsed = parse_reference(name)
    complete = f"{parsed.repository}:{parsed.tag}"
    identity = local.names().get(complete)
    if identity is None:
        identity = next((r.id for r in local.records() if len(name) >= 6 and r.id[7:].startswith(name)), None)
        if identity is None:
            return False
        doomed = {one for one, other in local.names().items() if other == identity}
    else:
        doomed = {complete}
    if not {one for one, other in local.names().items() if other == identity} - doomed:
        record = local.record(identity)
        uses = imageuse.mounted()
        if record is not None and record.layers and all(imageuse.count(uses, local.layer(d)) for d in record.layers):
            raise InUse(f"{name}: a container uses it")
        local.untag(doomed)
        local.delete_record(identity)
    else:
        local.untag(doomed)
    return True


async def sweep(store: ImageStore, told: Callable[[str], None], *, everything: bool) -> int:
    """Delete layers that no image has; with `everything` also what builds have cached, images without a name, and
    environments and files that no image file asks for. The bytes."""
    freed = 0
    if everything:
        freed += _sweep_environments(store, told)
        for record in store.local.records():
            if record.id not in store.local.names().values():
                store.local.delete_record(record.id)
    if store.local.directory.exists():
        freed += await _sweep_layers(store, told, everything=everything)
    return freed


def _sweep_environments(store: ImageStore, told: Callable[[str], None]) -> int:
    freed = 0
    try:
        known = {image.environment for image in store.known()}
    except ImageFileError as error:
        # What the wrong file asks for can't be told from what nobody asks for.
        raise Permanent(f"nothing is removed while an image file is wrong: {error}") from error
    for place in environments(store.cache):
        if place in known or place in bases(store):
            continue
        try:
            freed += remove_environment(store, place)
            told(f"removed {place.name}")
        except InUse as error:
            told(f"kept {error}")
    for place in [*store.cache.glob(".*.part"), *store.cache.glob(".*.gone")]:
        _remove_leftover(place)
    current = {Path(mount).parent for mount in store.copies()}
    uses = imageuse.mounted()
    for place in store.cache.glob("*-files-*"):
        if place not in current and not imageuse.count(uses, place):
            shutil.rmtree(place)
            told(f"removed {place.name}")
    return freed


async def _sweep_layers(store: ImageStore, told: Callable[[str], None], *, everything: bool) -> int:
    local = store.local
    freed = 0
    with local.alone():
        wanted = {local.layer(diff_id) for record in local.records() for diff_id in record.layers}
        steps = list((local.directory / "steps").glob("*.json"))
        for step in steps:
            diff_id = json.loads(step.read_bytes())["diff_id"]
            if not everything:
                wanted.add(local.layer(diff_id))
            elif diff_id and local.layer(diff_id) not in wanted:
                step.unlink()
        uses = imageuse.mounted()
        doomed: list[Path] = []
        for path in (local.directory / "layers").iterdir():
            if path.suffix != ".json" and path not in wanted and not imageuse.count(uses, path):
                info = local.info(path.name)
                freed += info.bytes if info is not None else 0
                path.with_suffix(".json").unlink(missing_ok=True)
                doomed.append(path)
        if everything:
            doomed += _existing([local.directory / "mounts"])
        doomed += (path for path in (local.directory / "making").iterdir() if not (path / KITCHEN).exists())
        if doomed:
            async with LayerWork() as work:
                await work.request("remove", paths=[str(path) for path in doomed])
            told(f"removed {len(doomed)} layers")
    return freed


def _existing(paths: Iterable[Path]) -> list[Path]:
    return [path for path in paths if path.exists()]
