"""Writing images for other tools: an archive that is an OCI layout and what ``docker load`` reads, or a directory."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from homeport.kube.errors import Permanent
from homeport.node.environment import ImageConfig
from homeport.node.local.record import Base, Record, architecture, from_image_config
from homeport.node.local.store import LocalStore
from homeport.node.local.work import LayerWork

_LAYER = "application/vnd.oci.image.layer.v1.tar"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def record_of(base: Base, config: ImageConfig) -> Record:
    """An image file's image as one of layers, of which it has none."""
    content = {
        "architecture": architecture(),
        "os": "linux",
        "config": from_image_config(config),
        "rootfs": {"type": "layers", "diff_ids": []},
        "history": [],
    }
    return Record(id="", config=content, layers=(), created="1970-01-01T00:00:00Z", base=base)


async def to_archive(
    store: LocalStore, record: Record, name: str, target: Path, progress: Callable[[str], None]
) -> None:
    """`name` is complete, with registry and tag. An image on an image file becomes one layer, with the programs of this
    machine in it. Raises LayerError or OSError; then there is no file."""
    part = target.with_name(f".{target.name}.part")
    async with store.working() as (work, place):
        layers = [await _packed(store, work, place, record, number, progress) for number in range(_count(record))]
        config = {**record.config, "rootfs": {"type": "layers", "diff_ids": [digest for _, digest, _ in layers]}}
        if record.base is not None:
            config["history"] = [{"created_by": f"homeport images export: {record.base.reference}"}]
        progress("writing")
        try:
            _write(part, name, json.dumps(config).encode(), layers)
            part.rename(target)
        finally:
            part.unlink(missing_ok=True)


def _count(record: Record) -> int:
    return len(record.layers) if record.base is None else 1


async def _packed(
    store: LocalStore, work: LayerWork, place: Path, record: Record, number: int, progress: Callable[[str], None]
) -> tuple[Path, str, int]:
    archive = place / f"layer{number}.tar"
    progress(f"layer {number + 1}/{_count(record)}")
    if record.base is None:
        made = await work.request("pack", directory=str(store.layer(record.layers[number])), archive=str(archive))
    else:
        made = await work.request("pack-all", stack=store.whole(record), archive=str(archive))
    return archive, made["diff_id"], made["bytes"]


def _write(target: Path, name: str, config: bytes, layers: list[tuple[Path, str, int]]) -> None:
    digest = f"sha256:{hashlib.sha256(config).hexdigest()}"
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": {"mediaType": _CONFIG, "digest": digest, "size": len(config)},
            "layers": [{"mediaType": _LAYER, "digest": one, "size": size} for _, one, size in layers],
        }
    ).encode()
    described: dict[str, Any] = {
        "mediaType": _MANIFEST,
        "digest": f"sha256:{hashlib.sha256(manifest).hexdigest()}",
        "size": len(manifest),
        "platform": {"architecture": architecture(), "os": "linux"},
        "annotations": {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name},
    }
    index = {"schemaVersion": 2, "manifests": [described]}
    docker = [{"Config": _blob(digest), "RepoTags": [name], "Layers": [_blob(one) for _, one, _ in layers]}]
    with tarfile.open(target, "w") as archive:
        _add(archive, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
        _add(archive, "index.json", json.dumps(index).encode())
        _add(archive, "manifest.json", json.dumps(docker).encode())
        _add(archive, _blob(digest), config)
        _add(archive, _blob(described["digest"]), manifest)
        for path, one, size in {one: (path, one, size) for path, one, size in layers}.values():
            member = tarfile.TarInfo(_blob(one))
            member.size = size
            with open(path, "rb") as file:
                archive.addfile(member, file)


def _blob(digest: str) -> str:
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    import io

    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


async def to_directory(store: LocalStore, record: Record, target: Path) -> None:
    """The root file system of its containers. Raises Permanent if the directory is there, LayerError or OSError."""
    _check_absent(target)
    async with store.working() as (work, _):
        try:
            await work.request("export", stack=store.whole(record), directory=str(target))
        except BaseException:
            await work.stop()
            await work.request("remove", paths=[str(target)])
            raise


def _check_absent(target: Path) -> None:
    if os.path.lexists(target):
        raise Permanent(f"{target} is there already")
