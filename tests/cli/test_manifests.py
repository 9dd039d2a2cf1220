from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from homeport import examples
from homeport.cli import manifests
from homeport.kube.errors import Permanent

JOB = b"apiVersion: kubeflow.org/v1\nkind: TFJob\nmetadata: {name: a}\n"
CONFIG = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\n"


def test_documents_are_ordered_so_that_what_others_refer_to_comes_first() -> None:
    found = manifests.parse(JOB + b"---\n" + CONFIG, "f.yaml")
    assert [one.title for one in found] == ["TFJob a", "ConfigMap b"]
    assert [one.source for one in found] == ["f.yaml, document 1", "f.yaml, document 2"]


def test_files_directories_and_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "1.yaml").write_bytes(JOB)
    (tmp_path / "2.json").write_bytes(b'{"apiVersion":"v1","kind":"List","items":[' + _json_config() + b"]}")
    (tmp_path / "notes.txt").write_text("no manifest")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(JOB)))
    found = manifests.read([str(tmp_path), "-"])
    assert [one.title for one in found] == ["ConfigMap b", "TFJob a", "TFJob a"]
    assert found[-1].source == "standard input"


def _json_config() -> bytes:
    return b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"b"}}'


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"kind: TFJob\nmetadata: {name: a}", "f.yaml: apiVersion is missing"),
        (b"apiVersion: v1\nmetadata: {name: a}", "f.yaml: kind is missing"),
        (b"apiVersion: v1\nkind: Pod\nmetadata: {}", "f.yaml: metadata.name is missing"),
        (b"apiVersion: v1\nkind: Pod\nmetadata: x", "f.yaml: metadata.name is missing"),
        (b"apiVersion: v1\nkind: Pod\nmetadata: {generateName: a-}", "generateName can't be applied"),
        (b"- 1\n", "f.yaml: expected an object with apiVersion and kind, found a list"),
        (JOB + b"---\n" + CONFIG + b"kind: Secret\n", 'f.yaml, document 2: line 8: key "kind" already set in map'),
        (JOB + b"---\nkind: [\n", "f.yaml, document 2: line 6, column 1: not valid YAML: while parsing"),
    ],
)
def test_what_is_no_manifest_is_named(body: bytes, message: str) -> None:
    with pytest.raises(Permanent) as caught:
        manifests.parse(body, "f.yaml")
    assert message in str(caught.value)


@pytest.mark.parametrize("path", ["missing.yaml", "empty"])
def test_paths_that_hold_nothing(path: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(Permanent, match=path):
        manifests.read([str(tmp_path / path)])


def test_a_file_of_comments_holds_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("# nothing yet\n---\n# here neither\n")
    with pytest.raises(Permanent, match="no object"):
        manifests.read([str(tmp_path / "a.yaml")])


def test_the_examples_are_manifests() -> None:
    titles = [one.title for one in manifests.read([str(examples.directory())])]
    assert "TrainJob" in {title.split()[0] for title in titles}
    # Those of kubeflow.org/v1, in the order of their names.
    jobs = [
        title for title in titles if title.split()[0].endswith("Job") and title.split()[0] not in ("Job", "TrainJob")
    ]
    assert jobs == [
        "TFJob digits",
        "PyTorchJob digits-ddp",
        "XGBoostJob digits-trees",
        "PaddleJob digits-paddle",
        "JAXJob digits-jax",
        "MPIJob digits-mpi",
        "MPIJob digits-ssh",
        "PyTorchJob digits-fsdp",
        "TFJob digits-mirrored",
        "PyTorchJob digits-elastic",
        "TFJob digits-coordinated",
    ]
