"""What there is of images, what of it is used, and what can go."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from homeport.node import imagesweep, imageuse
from homeport.node.build import MANIFEST
from homeport.node.images import ImageStore
from homeport.node.imagesweep import InUse

MOUNTINFO = r"""
36 35 98:0 / / rw,noatime - ext3 /dev/root rw
37 36 0:41 / /opt/venv rw - overlay overlay rw,lowerdir=/c/torch-0123456789abcdef/venv,upperdir=/u,workdir=/w
38 36 0:42 / / rw - overlay overlay rw,lowerdir=/pod/lower:LAYERS:/with\040space\134:colon,upperdir=/u
39 36 98:0 /c/app-files-0123/app /app ro,noatime - ext3 /dev/root rw
40 36 0:43 / / rw - overlay overlay rw,lowerdir+=/x/one,lowerdir+=/x/two
""".strip().replace("LAYERS", "aaaaaaaaaaaaaaaa:bbbbbbbbbbbbbbbb/usr")


def test_what_mounts_tell() -> None:
    assert list(imageuse.directories(MOUNTINFO)) == [
        *(
            "/c/torch-0123456789abcdef/venv",
            "/pod/lower",
            "aaaaaaaaaaaaaaaa",
            "bbbbbbbbbbbbbbbb/usr",
            "/with space:colon",
        ),
        *("/c/app-files-0123/app", "/x/one", "/x/two"),
    ]
    uses = Counter({"/c/torch-0123456789abcdef/venv": 2, "aaaaaaaaaaaaaaaa": 1, "bbbbbbbbbbbbbbbb/usr": 3})
    assert imageuse.count(uses, Path("/c/torch-0123456789abcdef")) == 2
    assert imageuse.count(uses, Path("/c/torch-0123456789abcde")) == 0
    assert imageuse.count(uses, Path("/store/layers/aaaaaaaaaaaaaaaa")) == 1
    assert imageuse.count(uses, Path("/store/layers/bbbbbbbbbbbbbbbb")) == 3


def test_the_machine_is_asked() -> None:
    assert isinstance(imageuse.mounted(), Counter)


def environment(store: ImageStore, key: str, size: int = 1000) -> Path:
    place = store.cache / key
    (place / "venv").mkdir(parents=True)
    (place / "venv" / "file").write_bytes(b"x" * size)
    (place / MANIFEST).write_text("{}")
    return place


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "images", cache=tmp_path / "cache")


def sweep(store: ImageStore) -> int:
    return asyncio.run(imagesweep.sweep(store, lambda _: None, everything=True))


def test_environments_that_nobody_asks_for_go(store: ImageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    old, used = environment(store, "old-0123456789abcdef"), environment(store, "used-0123456789abcdef")
    (store.cache / "logs").mkdir()
    uses: Counter[str] = Counter({f"{used}/venv": 1})
    monkeypatch.setattr(imageuse, "mounted", lambda: uses)
    listed = {entry.name: entry for entry in imagesweep.entries(store)}
    assert (listed[old.name].kind, listed[old.name].containers) == ("unused", 0)
    assert (listed[used.name].kind, listed[used.name].containers) == ("unused", 1)
    with pytest.raises(InUse, match="used-0123456789abcdef: 1 container uses it"):
        imagesweep.remove_environment(store, used)
    assert sweep(store) >= 1000
    assert not old.exists()
    assert (used / "venv" / "file").exists()
    uses.clear()
    (store.cache / ".killed-0123456789abcdef.part").mkdir()
    sweep(store)
    assert not list(store.cache.glob(".*.part"))
    assert sorted(name for name in os.listdir(store.cache) if not name.startswith(".")) == ["logs"]


def test_a_container_that_starts_meanwhile_keeps_it(store: ImageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    place = environment(store, "old-0123456789abcdef")
    answers: list[Counter[str]] = [Counter(), Counter({str(store.cache / ".old-0123456789abcdef.gone" / "venv"): 1})]
    monkeypatch.setattr(imageuse, "mounted", lambda: answers.pop(0))
    with pytest.raises(InUse):
        imagesweep.remove_environment(store, place)
    assert (place / "venv" / "file").exists()


def test_nothing_goes_while_an_image_file_is_wrong(store: ImageStore, tmp_path: Path) -> None:
    place = environment(store, "old-0123456789abcdef")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "bad.yaml").write_text("kind: [")
    with pytest.raises(Exception, match="nothing is removed while an image file is wrong"):
        sweep(store)
    assert place.exists()


def test_files_of_image_files_go_with_their_last_version(store: ImageStore, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "code.py").write_text("1")
    head = "apiVersion: homeport.dev/v1alpha1\nkind: Image\n"
    path = tmp_path / "images" / "app.yaml"
    path.write_text(f"{head}names: [app]\nfiles: [{{source: code.py, target: /code.py}}]\n")
    assert store.ready("app") is not None
    (tmp_path / "images" / "code.py").write_text("22")
    current: Any = store.ready("app")
    assert len(list(store.cache.glob("app-files-*"))) == 2
    sweep(store)
    assert [str(p) for p in store.cache.glob("app-files-*")] == [str(Path(current.root.files[0].source).parent)]
