"""Where the images that are made of layers are kept. Several processes use it at once.

What a reader may see is whole at any time: files are replaced, directories renamed. Whoever makes layers holds the
store's lock in shared mode meanwhile; whoever deletes, alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from homeport.files import write_atomically
from homeport.node.imagefile import Reference
from homeport.node.local.record import Base, Record
from homeport.node.local.work import LayerWork
from homeport.node.sandbox import layout

_LEAST_FREE = 64 << 20
"""Bytes that have to be free before anything is made."""


KITCHEN = "kitchen"
"""The part of a build's directory that processes run in."""


class LayerInfo(msgspec.Struct, frozen=True):
    diff_id: str
    bytes: int


class LocalStore:
    """`directory` need not exist; it is made with the first image."""

    def __init__(self, directory: Path) -> None:
        self.directory = Path(directory)
        self._names: tuple[tuple[int, ...], dict[str, str]] = ((), {})
        self._records: dict[str, Record] = {}

    # Reading.

    def names(self) -> Mapping[str, str]:
        """Image names, complete with registry and tag, and the ids that they mean."""
        path = self.directory / "names.json"
        try:
            found = path.stat()
        except FileNotFoundError:
            return {}
        stamp = (found.st_mtime_ns, found.st_ino, found.st_size)
        if self._names[0] != stamp:
            self._names = (stamp, json.loads(path.read_bytes()))
        return self._names[1]

    def find(self, reference: Reference) -> Record | None:
        """By name, or by a digest: the manifest's or the image's own."""
        if reference.digest:
            return self._by_digest(reference)
        identity = self.names().get(f"{reference.repository}:{reference.tag}")
        return None if identity is None else self.record(identity)

    def _by_digest(self, reference: Reference) -> Record | None:
        for name, identity in self.names().items():
            if name.rpartition(":")[0] == reference.repository:
                record = self.record(identity)
                if record is not None and reference.digest in (record.digest, record.id):
                    return record
        return None

    def record(self, identity: str) -> Record | None:
        known = self._records.get(identity)
        path = self._record_path(identity)
        if known is None or not path.exists():
            self._records.pop(identity, None)
            with contextlib.suppress(FileNotFoundError):
                known = self._records[identity] = msgspec.json.decode(path.read_bytes(), type=Record)
                return known
            return None
        return known

    def records(self) -> list[Record]:
        """All images, also those without a name."""
        try:
            names = sorted(os.listdir(self.directory / "images"))
        except FileNotFoundError:
            return []
        ids = [f"sha256:{name.removesuffix('.json')}" for name in names if name.endswith(".json") and name[0] != "."]
        return [record for identity in ids if (record := self.record(identity)) is not None]

    def layer(self, diff_id: str) -> Path:
        """Where a layer is, or will be."""
        return self.directory / "layers" / short(diff_id)

    def info(self, diff_id: str) -> LayerInfo | None:
        try:
            return msgspec.json.decode(self.layer(diff_id).with_suffix(".json").read_bytes(), type=LayerInfo)
        except FileNotFoundError:
            return None

    def has(self, diff_id: str) -> bool:
        return self.info(diff_id) is not None

    def bytes_of(self, record: Record) -> int:
        """What the image's layers hold, also those that it shares."""
        return sum(found.bytes for diff_id in set(record.layers) if (found := self.info(diff_id)) is not None)

    def layers_of(self, record: Record) -> list[str]:
        """The directories, the topmost first."""
        return [str(self.layer(diff_id)) for diff_id in reversed(record.layers)]

    def stack(self, layers: tuple[str, ...], base: Base | None) -> dict[str, Any]:
        """Layers (the lowest first) on a base, as :mod:`homeport.node.layers` is told of them."""
        directories = [str(self.layer(diff_id)) for diff_id in reversed(layers)]
        if base is None:
            return {"layers": directories}
        mounted = {"/": str(self._outline()), "/etc": "/etc"}
        for name in layout.PROGRAMS:
            if os.path.isdir(f"/{name}") and not os.path.islink(f"/{name}"):
                mounted[f"/{name}"] = f"/{name}"
        if base.environment is not None:
            mounted[layout.ENVIRONMENT] = base.environment
        mounted |= {target: source for source, target in base.files if os.path.isdir(source)}
        return {"layers": directories, "mounted": mounted}

    def whole(self, record: Record) -> dict[str, Any]:
        """All that containers of the image see, the interpreter included."""
        stack = self.stack(record.layers, record.base)
        if record.base is not None and record.base.interpreter is not None:
            stack["mounted"][record.base.interpreter] = record.base.interpreter
        return stack

    def _outline(self) -> Path:
        """What the root of a container on an image file has beside the machine's directories."""
        place = self.directory / "outline"
        if not place.exists():
            temporary = Path(tempfile.mkdtemp(dir=self.directory, prefix=".outline-"))
            temporary.chmod(0o755)
            layout.draw(str(temporary))
            try:
                temporary.rename(place)
            except OSError:
                shutil.rmtree(temporary)
                if not place.exists():
                    raise
        return place

    # Writing.

    @contextmanager
    def _making(self) -> Iterator[list[str]]:
        """Hold the store while layers are made; gives what is to be deleted: a new directory for what is not finished,
        and what killed processes have left. Raises OSError."""
        self._prepare()
        handle = self._lock()
        try:
            left: list[str] = []
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                left = [str(entry) for entry in (self.directory / "making").iterdir()]
            fcntl.flock(handle, fcntl.LOCK_SH)
            if shutil.disk_usage(self.directory).free < _LEAST_FREE:
                raise OSError(28, "the disk is full: free some space and try again", str(self.directory))
            yield [tempfile.mkdtemp(dir=self.directory / "making"), *left]
        finally:
            os.close(handle)

    @asynccontextmanager
    async def working(
        self, end: Callable[[Path], Awaitable[None]] | None = None
    ) -> AsyncIterator[tuple[LayerWork, Path]]:
        """Hold the store while layers are made, with a process that works on them and a directory, on the same disk,
        for what is not finished. `end` ends what may still run in a directory that a killed build has left; without
        it, what has a :data:`KITCHEN` stays for the next build. Raises OSError."""
        with self._making() as left:
            async with LayerWork() as work:
                for path in map(Path, left[1:]):
                    if not (path / KITCHEN).exists():
                        continue
                    if end is None:
                        left.remove(str(path))
                    else:
                        await end(path / KITCHEN)
                try:
                    yield work, Path(left[0])
                except BaseException:
                    # It may be in the middle of something.
                    await work.stop()
                    raise
                finally:
                    await asyncio.shield(work.request("remove", paths=left))

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until nobody makes layers, and keep everybody from it: to delete some."""
        self._prepare()
        handle = self._lock()
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def _prepare(self) -> None:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in ("images", "layers", "steps", "making"):
            (self.directory / name).mkdir(mode=0o700, exist_ok=True)

    def _lock(self) -> int:
        return os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def keep_layer(self, directory: Path, diff_id: str, size: int) -> None:
        """Take a layer that is whole into the store."""
        place = self.layer(diff_id)
        if not self.has(diff_id):
            with contextlib.suppress(OSError):
                # Somebody else may have it there by now; then it is the same.
                directory.rename(place)
            if not place.exists():
                raise OSError(5, "the layer could not be put into its place", str(place))
            write_atomically(place.with_suffix(".json"), msgspec.json.encode(LayerInfo(diff_id, size)))

    def keep(self, record: Record) -> None:
        write_atomically(self._record_path(record.id), msgspec.json.format(msgspec.json.encode(record)))

    def tag(self, names: Mapping[str, str]) -> None:
        """Have names mean ids."""
        self._rename(lambda known: {**known, **names})

    def untag(self, names: set[str]) -> None:
        self._rename(lambda known: {name: identity for name, identity in known.items() if name not in names})

    def _rename(self, change: Any) -> None:
        handle = os.open(self.directory / "names.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            self._names = ((), {})
            write_atomically(
                self.directory / "names.json", json.dumps(change(dict(self.names())), indent=1, sort_keys=True)
            )
            self._names = ((), {})
        finally:
            os.close(handle)

    def delete_record(self, identity: str) -> None:
        self._record_path(identity).unlink(missing_ok=True)
        self._records.pop(identity, None)

    def _record_path(self, identity: str) -> Path:
        return self.directory / "images" / f"{identity.removeprefix('sha256:')}.json"

    # Steps of builds.

    def step(self, key: str) -> dict[str, Any] | None:
        """What a step with this key has made; None if it is not known or its layer is gone."""
        path = self.directory / "steps" / f"{key}.json"
        try:
            found: dict[str, Any] = json.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        if found["diff_id"] and not self.has(found["diff_id"]):
            return None
        os.utime(path)
        return found

    def keep_step(self, key: str, diff_id: str, created: str) -> None:
        write_atomically(self.directory / "steps" / f"{key}.json", json.dumps({"diff_id": diff_id, "created": created}))

    def cache_mount(self, name: str) -> Path:
        """A directory that steps of builds keep something in from one build to the next."""
        place = self.directory / "mounts" / hashlib.sha256(name.encode()).hexdigest()[:16]
        place.mkdir(mode=0o755, parents=True, exist_ok=True)
        return place


def short(diff_id: str) -> str:
    return diff_id.removeprefix("sha256:")[:16]
