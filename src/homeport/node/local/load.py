"""Loading images from archives: OCI image layouts (directories or tar archives) and what ``docker save`` writes."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from homeport.kube.errors import Permanent
from homeport.node.imagefile import parse_reference
from homeport.node.local.record import Record, architecture
from homeport.node.local.store import LocalStore
from homeport.node.local.users import UnknownUser, User, look_up
from homeport.node.local.work import LayerError, LayerWork

_LARGEST_DOCUMENT = 8 << 20
_MOST_MEMBERS = 100_000
_NAMES = ("io.containerd.image.name", "org.opencontainers.image.ref.name")
_INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_PASSWD_BYTES = 1 << 20


class LoadError(Permanent):
    """The archive is no image that can run here; the text says why."""


class _Blob(NamedTuple):
    path: str
    offset: int
    size: int


class _Files:
    """An archive's files, by name."""

    def __init__(self, blobs: Mapping[str, _Blob], links: Mapping[str, str]) -> None:
        self._blobs = blobs
        self._links = links

    def get(self, name: str) -> _Blob | None:
        for _ in range(8):
            if name not in self._links:
                break
            name = self._links[name]
        return self._blobs.get(name)

    def document(self, name: str) -> Any:
        blob = self.get(name)
        if blob is None:
            raise LoadError(f"the archive has no {name}")
        if blob.size > _LARGEST_DOCUMENT:
            raise LoadError(f"{name} is {blob.size} bytes long")
        try:
            return json.loads(self.read(blob))
        except ValueError as error:
            raise LoadError(f"{name} is not valid JSON: {error}") from error

    @staticmethod
    def read(blob: _Blob) -> bytes:
        with open(blob.path, "rb") as file:
            file.seek(blob.offset)
            return file.read(blob.size)


class _Image(NamedTuple):
    config: dict[str, Any]
    id: str
    layers: list[str]
    """Names in the archive, the lowest first."""
    names: list[str]
    digest: str


async def load(
    store: LocalStore,
    path: Path,
    *,
    names: list[str] | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> list[tuple[Record, list[str]]]:
    """Load every image of an archive that is for this machine; with `names` the only one gets these. Raises LoadError,
    LayerError or OSError, and then nothing is loaded but layers that nobody asks for."""
    async with store.working() as (work, place):
        with _opened(path, place) as files:
            images = list(_images(files))
            if not images:
                raise LoadError(f"{path}: no image is in it")
            if names and len(images) > 1:
                raise LoadError(f"{path}: {len(images)} images are in it: load them without a name")
            loaded = []
            for image in images:
                record = await _load_one(store, work, place, files, image, progress)
                chosen = [_complete(name) for name in (names or image.names)]
                store.tag(dict.fromkeys(chosen, record.id))
                loaded.append((record, chosen))
            return loaded


def _complete(name: str) -> str:
    try:
        parsed = parse_reference(name)
    except ValueError as error:
        raise LoadError(str(error)) from error
    return f"{parsed.repository}:{parsed.tag}"


# Reading the archive.


@contextlib.contextmanager
def _opened(path: Path, place: Path) -> Iterator[_Files]:
    if path.is_dir():
        blobs = {
            str(found.relative_to(path)): _Blob(str(found), 0, found.stat().st_size)
            for found in path.rglob("*")
            if found.is_file() and not found.is_symlink()
        }
        yield _Files(blobs, {})
        return
    with open(path, "rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    if compressed:
        plain = place / "archive.tar"
        _decompress(path, plain)
        path = plain
    try:
        with tarfile.open(path, "r:") as archive:
            yield _indexed(archive, path)
    except tarfile.TarError as error:
        raise LoadError(f"{path}: no archive of an image: {error}") from error


def _decompress(source: Path, target: Path) -> None:
    limit = shutil.disk_usage(target.parent).free * 9 // 10
    with gzip.open(source) as compressed, open(target, "wb") as plain:
        while data := compressed.read(1 << 20):
            limit -= len(data)
            if limit < 0:
                raise LoadError(f"{source}: it does not fit on the disk")
            plain.write(data)


def _indexed(archive: tarfile.TarFile, path: Path) -> _Files:
    blobs: dict[str, _Blob] = {}
    links: dict[str, str] = {}
    for member in archive:
        name = os.path.normpath(member.name)
        if len(blobs) > _MOST_MEMBERS:
            raise LoadError(f"{path}: more than {_MOST_MEMBERS} files are in it")
        if member.isfile() and not member.issparse():
            blobs[name] = _Blob(str(path), member.offset_data, member.size)
        elif member.issym():
            # Older versions of Docker save a layer that two images share once.
            links[name] = os.path.normpath(os.path.join(os.path.dirname(name), member.linkname))
        elif member.islnk():
            links[name] = os.path.normpath(member.linkname)
    return _Files(blobs, links)


def _images(files: _Files) -> Iterator[_Image]:
    if files.get("manifest.json") is not None:
        yield from _docker_images(files)
    elif files.get("index.json") is not None:
        yield from _oci_images(files, files.document("index.json"), [])
    else:
        raise LoadError("neither manifest.json (docker save) nor index.json (an OCI layout) is in it")


def _docker_images(files: _Files) -> Iterator[_Image]:
    listed = files.document("manifest.json")
    if not isinstance(listed, list):
        raise LoadError("manifest.json is no list")
    for entry in listed:
        try:
            config_name, layers = str(entry["Config"]), [os.path.normpath(str(name)) for name in entry["Layers"]]
            names = [str(name) for name in entry.get("RepoTags") or ()]
        except (KeyError, TypeError, AttributeError) as error:
            raise LoadError(f"manifest.json: {error!r} is missing or wrong") from error
        config, identity = _config(files, os.path.normpath(config_name))
        _check(config, layers)
        yield _Image(config, identity, layers, names, "")


def _oci_images(files: _Files, index: Any, names: list[str]) -> Iterator[_Image]:
    entries = index.get("manifests") if isinstance(index, dict) else None
    if not isinstance(entries, list):
        raise LoadError("the index lists no manifests")
    for entry in entries:
        if not isinstance(entry, dict):
            raise LoadError("the index lists something that is no descriptor")
        annotations = entry.get("annotations") or {}
        own = [annotations[key] for key in _NAMES if annotations.get(key)][:1] or names
        platform = entry.get("platform") or {}
        if platform.get("architecture", architecture()) != architecture() or platform.get("os", "linux") != "linux":
            continue
        name = _blob_name(entry)
        document = files.document(name)
        if entry.get("mediaType") in _INDEXES or "manifests" in document:
            yield from _oci_images(files, document, own)
            continue
        blob = files.get(name)
        assert blob is not None
        digest = f"sha256:{hashlib.sha256(files.read(blob)).hexdigest()}"
        if digest != entry.get("digest"):
            raise LoadError(f"the manifest {entry.get('digest')} is damaged")
        try:
            config_name, layers = _blob_name(document["config"]), [_blob_name(layer) for layer in document["layers"]]
        except (KeyError, TypeError) as error:
            raise LoadError(f"a manifest is wrong: {error!r}") from error
        config, identity = _config(files, config_name)
        _check(config, layers)
        # A reference name may be the tag alone.
        yield _Image(config, identity, layers, [n for n in own if "/" in n or ":" in n], digest)


def _blob_name(descriptor: Mapping[str, Any]) -> str:
    algorithm, _, digest = str(descriptor.get("digest")).partition(":")
    if algorithm != "sha256" or len(digest) != 64 or not digest.isalnum():
        raise LoadError(f"a digest is malformed: {descriptor.get('digest')!r}")
    return f"blobs/sha256/{digest}"


def _config(files: _Files, name: str) -> tuple[dict[str, Any], str]:
    config = files.document(name)
    if not isinstance(config, dict):
        raise LoadError(f"{name} is no configuration of an image")
    blob = files.get(name)
    assert blob is not None
    return config, f"sha256:{hashlib.sha256(files.read(blob)).hexdigest()}"


def _check(config: Mapping[str, Any], layers: list[str]) -> None:
    machine = config.get("architecture") or architecture()
    if machine != architecture() or (config.get("os") or "linux") != "linux":
        raise LoadError(f"the image is for {config.get('os')}/{machine}; this machine is linux/{architecture()}")
    rootfs = config.get("rootfs")
    ids = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if not isinstance(ids, list) or len(ids) != len(layers) or not all(isinstance(one, str) for one in ids):
        raise LoadError("the image's configuration and its manifest do not list the same layers")


# Unpacking.


async def _load_one(
    store: LocalStore, work: LayerWork, place: Path, files: _Files, image: _Image, progress: Callable[[str], None]
) -> Record:
    diff_ids = [str(one) for one in image.config["rootfs"]["diff_ids"]]
    done: list[str] = []
    for number, (diff_id, name) in enumerate(zip(diff_ids, image.layers, strict=True), 1):
        if not store.has(diff_id):
            await _load_layer(
                store, work, place, files, (diff_id, name), done, lambda text, n=number: progress(  # type: ignore[misc]
                    f"layer {n}/{len(diff_ids)}: {text}"
                )
            )  # fmt: skip
        done.append(diff_id)
    settings = image.config.get("config") or {}
    user = await resolve_user(work, store.stack(tuple(diff_ids), None), str(settings.get("User") or ""))
    record = Record(
        id=image.id,
        config=image.config,
        layers=tuple(diff_ids),
        created=str(image.config.get("created") or ""),
        user=user,
        digest=image.digest,
    )
    store.keep(record)
    return record


async def _load_layer(
    store: LocalStore,
    work: LayerWork,
    place: Path,
    files: _Files,
    layer: tuple[str, str],
    below: list[str],
    progress: Callable[[str], None],
) -> None:
    diff_id, name = layer
    blob = files.get(name)
    if blob is None:
        raise LoadError(f"the archive has no {name}")
    target = place / diff_id.removeprefix("sha256:")[:16]
    made = await work.request(
        "unpack",
        archive=blob.path,
        offset=blob.offset,
        size=blob.size,
        directory=str(target),
        below=store.stack(tuple(below), None),
        limits={"bytes": shutil.disk_usage(place).free * 9 // 10},
        progress=lambda count: progress(f"{count >> 20} MiB"),
    )
    if made["diff_id"] != diff_id:
        raise LayerError(f"the layer {diff_id} is damaged: its content is {made['diff_id']}")
    store.keep_layer(target, diff_id, made["bytes"])


async def resolve_user(work: LayerWork, stack: Mapping[str, Any], text: str) -> User:
    """Whom containers run as. An unknown user is an error of the container's start, as everywhere: then the name stands
    for nobody that could be meant. Raises LayerError."""
    if not text:
        return User()
    texts = []
    for path in ("/etc/passwd", "/etc/group"):
        found = await work.request("read", stack=stack, path=path, limit=_PASSWD_BYTES)
        texts.append(found["text"] or "")
    try:
        return look_up(text, texts[0], texts[1])
    except UnknownUser as error:
        raise LayerError(str(error)) from error
