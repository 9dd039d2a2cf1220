from __future__ import annotations

from pathlib import Path

import pytest

from homeport.node import imagenames
from homeport.node.host import ImageError
from homeport.node.imagefile import ImageFileError, parse_reference
from homeport.node.images import ImageStore

TEXT = """
apiVersion: homeport.dev/v1alpha1
kind: ImageNames
aliases:
  "gcr.io/team/trainer": pytorch/pytorch:2.7.1
  "gcr.io/kubeflow-ci/*": "kubeflow/*"
  "gcr.io/*/special": "quay.io/s/*"
  "old:1.*": "python"
mirrors:
  registry.example.com/hub: docker.io
  registry.example.com/hub/inner: ghcr.io/inner
"""


@pytest.mark.parametrize(
    ("name", "real"),
    [
        ("busybox", "docker.io/library/busybox:latest"),
        ("gcr.io/team/trainer:v7", "docker.io/pytorch/pytorch:2.7.1"),
        ("gcr.io/kubeflow-ci/tf-dist:1.0", "docker.io/kubeflow/tf-dist:1.0"),
        ("gcr.io/a/b/special:2", "quay.io/s/a/b:2"),
        ("old:1.5", "docker.io/library/python:1.5"),
        ("old:2.5", "docker.io/library/old:2.5"),
        ("registry.example.com/hub/library/python:3", "docker.io/library/python:3"),
        ("registry.example.com/hub/inner/x", "ghcr.io/inner/x:latest"),
        (f"registry.example.com/hub/a/b@sha256:{'0' * 64}", f"docker.io/a/b:latest@sha256:{'0' * 64}"),
    ],
)
def test_names(tmp_path: Path, name: str, real: str) -> None:
    path = tmp_path / "images.yaml"
    path.write_text(TEXT)
    assert str(imagenames.read(path).real(parse_reference(name))) == real


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kind: Image", "apiVersion and kind must be"),
        ("alias: {}", "alias: unknown field"),
        ("aliases: [x]", "aliases: must be a mapping"),
        ("aliases: {x: 1}", "aliases.x: must be the name of an image"),
        ("aliases: {x: 'A b'}", r"aliases\[x\]: "),
        ("aliases: {'X Y': a}", r'aliases\[X Y\]: "X Y:\*" is no image name'),
        ("aliases: {x: 'y/*'}", r'aliases\[x\]: "y/\*" has more \* than the name'),
        ("mirrors: {hub: docker.io}", r'mirrors\[hub\]: "hub" does not begin with a registry'),
        ("aliases: [", "not valid YAML"),
        ("---\napiVersion: x\n---\nkind: y", "one document is expected"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "images.yaml"
    head = "" if "---" in text or "kind" in text else "apiVersion: homeport.dev/v1alpha1\nkind: ImageNames\n"
    path.write_text(head + text)
    with pytest.raises(ImageFileError, match=message) as caught:
        imagenames.read(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_what_pods_name_is_looked_up(tmp_path: Path) -> None:
    store = ImageStore(tmp_path / "images", cache=tmp_path / "cache")
    with pytest.raises(ImageError, match=r'nothing provides "gcr\.io/x/bb:1"'):
        store.ready("gcr.io/x/bb:1")
    settings = tmp_path / "images.yaml"
    head = "apiVersion: homeport.dev/v1alpha1\nkind: ImageNames\n"
    settings.write_text(f'{head}aliases: {{"gcr.io/x/bb": busybox, a: b, b: a}}\n')
    image = store.ready("gcr.io/x/bb:1")
    assert image is not None
    assert image.id.startswith("base@")
    with pytest.raises(ImageError, match=r"aliases lead in a circle: docker\.io/library/a:latest -> "):
        store.ready("a")
    settings.write_text("kind: [")
    with pytest.raises(ImageError, match=r"images\.yaml: not valid YAML"):
        store.ready("busybox")
