"""Archives of images: what ``docker save`` and OCI tools write, and what nobody should."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import stat
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import little_root
import pytest

from homeport.kube.errors import Permanent
from homeport.node import imagesweep
from homeport.node.imagefile import parse_reference
from homeport.node.images import ImageStore
from homeport.node.layers.pack import pack_all
from homeport.node.layers.stack import Stack
from homeport.node.local.export import to_archive, to_directory
from homeport.node.local.load import LoadError, load
from homeport.node.local.record import architecture, image_config
from homeport.node.local.store import LocalStore, short
from homeport.node.local.work import LayerError

Member = tuple[str, dict[str, Any], bytes]


def tar(*members: Member) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, fields, content in members:
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(content), 1_600_000_000
            for field, value in fields.items():
                setattr(info, field, value)
            archive.addfile(info, io.BytesIO(content))
    return target.getvalue()


def file(name: str, content: str = "", **fields: Any) -> Member:
    return name, {"mode": 0o644, **fields}, content.encode()


def directory(name: str, **fields: Any) -> Member:
    return name, {"type": tarfile.DIRTYPE, "mode": 0o755, **fields}, b""


def link(name: str, target: str) -> Member:
    return name, {"type": tarfile.SYMTYPE, "linkname": target}, b""


def hard_link(name: str, target: str) -> Member:
    return name, {"type": tarfile.LNKTYPE, "linkname": target}, b""


def sha(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def config_of(layers: list[bytes], **settings: Any) -> bytes:
    return json.dumps(
        {
            "architecture": architecture(),
            "os": "linux",
            "config": settings,
            "rootfs": {"type": "layers", "diff_ids": [sha(layer) for layer in layers]},
        }
    ).encode()


def docker_save(path: Path, layers: list[bytes], *, tags: tuple[str, ...] = ("app:1",), **settings: Any) -> Path:
    config = config_of(layers, **settings)
    manifest = [
        {"Config": "config.json", "RepoTags": list(tags), "Layers": [f"{n}/layer.tar" for n in range(len(layers))]}
    ]
    members = [("config.json", {}, config), ("manifest.json", {}, json.dumps(manifest).encode())]
    path.write_bytes(tar(*members, *((f"{n}/layer.tar", {}, layer) for n, layer in enumerate(layers))))
    return path


def zstd(data: bytes) -> bytes:
    if shutil.which("zstd") is None:
        pytest.skip("zstd is not installed here")
    return subprocess.run(["zstd", "-qc"], input=data, capture_output=True, check=True).stdout


def oci(
    path: Path,
    layers: list[bytes],
    *,
    name: str = "example.com/app:2",
    compress: Callable[[bytes], bytes] = gzip.compress,
    **settings: Any,
) -> Path:
    blobs: dict[str, bytes] = {}

    def blob(data: bytes, kind: str) -> dict[str, Any]:
        blobs[sha(data)] = data
        return {"mediaType": kind, "digest": sha(data), "size": len(data)}

    packed = [blob(compress(layer), "application/vnd.oci.image.layer.v1.tar+gzip") for layer in layers]
    config = blob(config_of(layers, **settings), "application/vnd.oci.image.config.v1+json")
    manifest = blob(
        json.dumps({"schemaVersion": 2, "config": config, "layers": packed}).encode(),
        "application/vnd.oci.image.manifest.v1+json",
    )
    manifest["annotations"] = {"org.opencontainers.image.ref.name": name}
    other = {"digest": sha(b""), "size": 0, "platform": {"architecture": "s390x", "os": "linux"}}
    members = [
        ("oci-layout", {}, b'{"imageLayoutVersion": "1.0.0"}'),
        ("index.json", {}, json.dumps({"schemaVersion": 2, "manifests": [other, manifest]}).encode()),
        *((f"blobs/sha256/{digest[7:]}", {}, data) for digest, data in blobs.items()),
    ]
    path.write_bytes(tar(*members))
    return path


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "local")


def leftovers(store: LocalStore) -> list[str]:
    return sorted(os.listdir(store.directory / "making")) + sorted(
        name for name in os.listdir(store.directory / "layers") if name.startswith(".")
    )


BASE = [directory("etc"), file("etc/passwd", "app:x:1000:1001::/home/app:/bin/sh\n"), file("etc/group", "x:x:7:app\n")]


@pytest.mark.parametrize("form", ["docker", "docker-gz", "oci", "oci-zstd"])
async def test_an_image_is_loaded(store: LocalStore, tmp_path: Path, form: str) -> None:
    layers = [
        tar(*BASE, directory("data", mode=0o700), file("data/gone", "x"), file("data/kept", "y", uid=1000, gid=1001)),
        tar(
            file("data/.wh.gone"), directory("opaque"), file("opaque/.wh..wh..opq"), hard_link("data/same", "data/kept")
        ),
    ]
    settings = {"User": "app", "Entrypoint": ["/app"], "Cmd": ["-v"], "Env": ["A=b=c"], "WorkingDir": "/data"}
    path = tmp_path / "image.tar"
    if form.startswith("oci"):
        oci(path, layers, compress=zstd if form == "oci-zstd" else gzip.compress, **settings)
        name = "example.com/app:2"
    else:
        docker_save(path, layers, **settings)
        name = "app:1"
        if form == "docker-gz":
            path.write_bytes(gzip.compress(path.read_bytes()))
    ((record, names),) = await load(store, path)
    assert names == [name if "/" in name else f"docker.io/library/{name}"]
    assert store.find(parse_reference(name)) == record
    assert store.find(parse_reference(f"{name.split(':')[0]}@{record.id}")) == record
    if form.startswith("oci"):
        assert record.digest
        assert store.find(parse_reference(f"example.com/app@{record.digest}")) == record
    config = image_config(record)
    assert (config.command, config.args, config.working_dir) == (("/app",), ("-v",), "/data")
    assert config.env["A"] == "b=c"
    assert (config.uid, config.gid, config.groups, config.home) == (1000, 1001, (7,), "/home/app")
    top, bottom = map(Path, store.layers_of(record))
    assert stat.S_ISCHR((top / "data" / "gone").lstat().st_mode)
    assert (top / "data" / "same").read_text() == "y"
    assert stat.S_IMODE((top / "data").stat().st_mode) == 0o700  # as in the layer below
    assert (bottom / "data" / "kept").stat().st_mtime == 1_600_000_000
    if os.geteuid() == 0:
        assert (bottom / "data" / "kept").stat().st_uid == 1000
    assert leftovers(store) == []
    # Once more changes nothing, and takes no further room.
    before = sorted(os.listdir(store.directory / "layers"))
    assert (await load(store, path))[0][0] == record
    assert sorted(os.listdir(store.directory / "layers")) == before


async def test_links_are_followed_inside_the_image_only(store: LocalStore, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    layers = [
        tar(link("lib", "usr/lib"), directory("usr"), directory("usr/lib"), link("out", str(outside))),
        tar(file("lib/new", "in usr"), file("out/inside", "x"), link("up", "../../../.."), file("up/here", "x")),
    ]
    ((record, _),) = await load(store, docker_save(tmp_path / "i.tar", layers))
    top = Path(store.layers_of(record)[0])
    assert (top / "usr/lib/new").read_text() == "in usr"
    assert not (top / "lib").exists()
    assert list(outside.iterdir()) == []
    assert (top / str(outside).lstrip("/") / "inside").exists()
    assert (top / "here").exists()


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([file("../../escape", "x")], "leads out of the image"),
        ([file("a/../../escape", "x")], "leads out of the image"),
        ([hard_link("passwd", "../../../etc/passwd")], "leads out of the image"),
        ([hard_link("passwd", "/etc/passwd")], "the file that it is a link to, /etc/passwd, is not there"),
        ([link("a", "b"), link("b", "a"), file("a/x")], "too many levels of symbolic links"),
        ([file(".wh...")], "takes nothing out"),
        ([("x", {"pax_headers": {"comment": "x" * (2 << 20)}}, b"")], "has a header of 2097"),
    ],
)
async def test_what_no_archive_should_have(
    store: LocalStore, tmp_path: Path, members: list[Member], message: str
) -> None:
    with pytest.raises(LayerError, match=message):
        await load(store, docker_save(tmp_path / "i.tar", [tar(*members)]))
    assert store.names() == {}
    assert store.records() == []
    assert leftovers(store) == []
    assert not (tmp_path / "escape").exists()


async def test_device_nodes_and_forged_marks_are_left_out(store: LocalStore, tmp_path: Path) -> None:
    forged = {"SCHILY.xattr.user.overlay.redirect": "/etc", "SCHILY.xattr.trusted.overlay.opaque": "y",
              "SCHILY.xattr.user.own": "kept"}  # fmt: skip
    layer = tar(
        ("null", {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3}, b""),
        ("hides", {"type": tarfile.CHRTYPE, "devmajor": 0, "devminor": 0}, b""),
        directory("d", pax_headers=forged),
        file("suid", "x", mode=0o4755),
    )
    ((record, _),) = await load(store, docker_save(tmp_path / "i.tar", [layer]))
    place = Path(store.layers_of(record)[0])
    assert sorted(os.listdir(place)) == ["d", "suid"]
    assert os.listxattr(place / "d") == ["user.own"]
    assert stat.S_IMODE((place / "suid").stat().st_mode) == 0o4755
    assert stat.S_IMODE(store.directory.stat().st_mode) == 0o700  # nobody else gets at it


def _truncated(path: Path) -> Path:
    docker_save(path, [tar(file("a", "x" * 100_000))])
    path.write_bytes(path.read_bytes()[:50_000])
    return path


def _other_content(path: Path) -> Path:
    layer = tar(file("a", "x"))
    docker_save(path, [layer])
    path.write_bytes(path.read_bytes().replace(layer, tar(file("a", "y"))))
    return path


def _other_machine(path: Path) -> Path:
    docker_save(path, [])
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"os": "linux"', b'"os": "plan9"'))
    return path


def _text(path: Path) -> Path:
    path.write_text("hello")
    return path


def _nothing(path: Path) -> Path:
    path.write_bytes(tar(file("a")))
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_truncated, "the archive is damaged|has no 0/layer.tar|no archive of an image"),
        (_other_content, "is damaged"),
        (_other_machine, "the image is for plan9/"),
        (_text, "no archive of an image"),
        (_nothing, "neither manifest.json"),
    ],
)
async def test_archives_that_are_wrong(
    store: LocalStore, tmp_path: Path, make: Callable[[Path], Path], message: str
) -> None:
    with pytest.raises((LoadError, LayerError), match=message):
        await load(store, make(tmp_path / "i.tar"))
    assert store.names() == {}


async def test_an_unknown_user(store: LocalStore, tmp_path: Path) -> None:
    with pytest.raises(LayerError, match="unable to find user nobody-here: no matching entries in passwd file"):
        await load(store, docker_save(tmp_path / "i.tar", [tar(*BASE)], User="nobody-here"))


def root_layer(tmp_path: Path) -> bytes:
    place = little_root.make(tmp_path / "root")
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        archive.add(place, ".")
    return target.getvalue()


async def test_what_is_exported_can_be_loaded_again(store: LocalStore, tmp_path: Path) -> None:
    layers = [
        tar(*BASE, file("gone", "x"), file("same", "s"), directory("d"), file("d/below", "b")),
        tar(file(".wh.gone"), hard_link("again", "same"), link("l", "same"), directory("d"), file("d/.wh..wh..opq")),
    ]
    ((record, _),) = await load(store, docker_save(tmp_path / "i.tar", layers, User="app", Cmd=["/x"]))
    await to_archive(store, record, "docker.io/library/app:1", tmp_path / "out.tar", lambda _: None)
    other = LocalStore(tmp_path / "other")
    ((again, names),) = await load(other, tmp_path / "out.tar")
    assert names == ["docker.io/library/app:1"]
    assert (again.settings, again.user, len(again.layers)) == (record.settings, record.user, 2)
    assert sorted(os.listdir(other.layers_of(again)[0])) == ["again", "d", "gone", "l"]
    # By the OCI index alone, as other tools read it.
    with tarfile.open(tmp_path / "out.tar") as archive:
        # Not in the first releases of 3.11, which a user may have to take.
        archive.extractall(tmp_path / "layout", **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    (tmp_path / "layout" / "manifest.json").unlink()
    third = LocalStore(tmp_path / "third")
    ((oci_record, oci_names),) = await load(third, tmp_path / "layout")
    assert (oci_names, oci_record.layers) == (names, again.layers)
    # Whole, as a container sees it.
    await to_directory(store, record, tmp_path / "root")
    assert sorted(os.listdir(tmp_path / "root")) == ["again", "d", "etc", "l", "same"]
    assert os.listdir(tmp_path / "root" / "d") == []
    assert (tmp_path / "root" / "again").read_text() == "s"
    with pytest.raises(Permanent, match="is there already"):
        await to_directory(store, record, tmp_path / "root")
    assert leftovers(store) == []


async def test_names_go_and_layers_with_the_last(tmp_path: Path) -> None:
    images = ImageStore(tmp_path / "images", cache=tmp_path / "cache")
    local = images.local
    shared, own = tar(*BASE), tar(file("own", "x" * 1000))
    await load(local, docker_save(tmp_path / "1.tar", [shared], tags=("one:1", "one:2")))
    await load(local, docker_save(tmp_path / "2.tar", [shared, own], tags=("two:1",)))
    assert imagesweep.remove_name(images, "one:1")
    assert imagesweep.remove_name(images, "two:1")
    assert not imagesweep.remove_name(images, "two:1")
    freed = await imagesweep.sweep(images, lambda _: None, everything=False)
    assert freed == 1000
    ((_, layers),) = [(record.id, record.layers) for record in local.records()]
    assert sorted(os.listdir(local.directory / "layers")) == sorted([short(layers[0]), f"{short(layers[0])}.json"])
    (entry,) = [entry for entry in imagesweep.entries(images) if entry.kind == "layers"]
    assert (entry.names, entry.containers) == (("one:2",), 0)


def test_what_a_container_sees_as_one_layer(tmp_path: Path) -> None:
    """As an image on an image file is exported: the layers, and directories of the machine below them."""
    for name, text in {
        "usr/bin/a": "lower",
        "usr/private": "x",
        "layer/usr/bin/b": "upper",
        "venv/python": "p",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "usr/private").chmod(0o600)
    (tmp_path / "outline").mkdir()
    mounted = {"/": "outline", "/usr": "usr", "/opt/venv": "venv"}
    stack = Stack([str(tmp_path / "layer")], {at: str(tmp_path / name) for at, name in mounted.items()})
    target = io.BytesIO()
    packed = pack_all(stack, target)
    assert packed == pack_all(stack, io.BytesIO())
    with tarfile.open(fileobj=io.BytesIO(target.getvalue())) as archive:
        assert archive.getnames() == ["opt", "usr", "opt/venv", "opt/venv/python", "usr/bin", "usr/bin/a", "usr/bin/b"]


async def test_a_full_disk_is_said_before_anything_is_made(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = docker_save(tmp_path / "i.tar", [tar(*BASE)])
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(OSError, match="the disk is full: free some space and try again"):
        await load(store, path)
    assert leftovers(store) == []
    monkeypatch.undo()
    await load(store, path)
