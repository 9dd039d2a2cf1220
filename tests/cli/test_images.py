"""``homeport images``, verb by verb."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from homeport.cli import main
from homeport.node.local.record import architecture


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What ``docker save`` would write of an image with one file."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOMEPORT_DATA_DIR", str(tmp_path / "data"))

    def tar(**files: bytes) -> bytes:
        target = io.BytesIO()
        with tarfile.open(fileobj=target, mode="w") as archive:
            for name, content in files.items():
                info = tarfile.TarInfo(name.replace("__", "."))
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        return target.getvalue()

    layer = tar(hello=b"hi")
    diff_ids = [f"sha256:{hashlib.sha256(layer).hexdigest()}"]
    config = {"architecture": architecture(), "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    manifest = [{"Config": "c", "RepoTags": ["team/app:1"], "Layers": ["l"]}]
    path = tmp_path / "app.tar"
    path.write_bytes(tar(c=json.dumps(config).encode(), l=layer, manifest__json=json.dumps(manifest).encode()))
    return path


def test_verbs(saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["images", "load", str(saved)]) == 0
    assert capsys.readouterr().out.endswith(" team/app:1\n")
    assert main(["images", "tag", "team/app:1", "team/app:stable"]) == 0
    assert main(["images"]) == 0
    (row,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("team/app:1")]
    assert row.split()[1:3] == ["layers", "-"]
    assert row.endswith("team/app:1 team/app:stable")
    assert main(["images", "export", "team/app:1", str(tmp_path / "out.tar")]) == 0
    assert main(["images", "rm", "team/app:1", "team/app:stable"]) == 0
    assert main(["images", "load", "-t", "other:2", str(tmp_path / "out.tar")]) == 0
    assert capsys.readouterr().out.endswith(" other:2\n")
    assert main(["images", "export", "--directory", "other:2", str(tmp_path / "root")]) == 0
    assert (tmp_path / "root" / "hello").read_text() == "hi"
    assert main(["images", "dockerfile", "mpioperator/mpi-pi:mpich"]) == 0
    assert "'mpich==" not in (text := capsys.readouterr().out)
    assert "\n      mpich==" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["load", "absent.tar"], "absent.tar: No such file or directory"),
        (["rm", "absent"], "absent: nothing of that name has been built or loaded here"),
        (["rm"], "which images? Name some, or say --unused"),
        (["tag", "absent", "x"], "absent: no image of that name or id was built or loaded here"),
        (["tag", "absent", "X Y"], "repository name must be lowercase"),
        (["dockerfile", "absent"], 'nothing provides "absent"'),
        (["export", "absent", "x.tar"], 'nothing provides "absent"'),
    ],
)
def test_mistakes_end_in_one_line(
    saved: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(["images", *arguments]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
