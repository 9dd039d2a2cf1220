from __future__ import annotations

import argparse
import io
import json
import os
from pathlib import Path

import pytest

from homeport.cli import doctor
from homeport.cli.terminal import Terminal
from homeport.node.doctor import Check


def test_the_conclusion_follows_from_the_worst_check() -> None:
    terminal = Terminal(io.StringIO(), io.StringIO())
    ok, warn, fail = Check("a", "ok", "fine"), Check("bb", "warn", "so so", "do x"), Check("c", "fail", "no", "do y")
    assert list(doctor.text([ok], terminal)) == ["ok  a  fine", "", "Everything is there"]
    assert list(doctor.text([ok, warn], terminal)) == [
        "ok  a   fine",
        "!!  bb  so so",
        "        do x",
        "",
        "The platform runs here; what is marked !! is missing or limited",
    ]
    assert list(doctor.text([warn, fail], terminal))[-1] == "The platform can't run here: c"


def test_json_and_the_exit_status(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        doctor.node, "checks", lambda directory: [Check("Namespaces", "fail", "forbidden", "allow them")]
    )
    args = argparse.Namespace(data_dir=str(tmp_path / "data"), output="json")
    assert doctor.main(args) == 1
    found = json.loads(capsys.readouterr().out)
    assert {"name": "Namespaces", "status": "fail", "found": "forbidden", "remedy": "allow them"} in found
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("script", "status", "found"),
    [
        ('echo \'{"clientVersion":{"major":"1","minor":"32+","gitVersion":"v1.32.4"}}\'', "ok", "v1.32.4"),
        ('echo \'{"clientVersion":{"major":"1","minor":"20","gitVersion":"v1.20.1"}}\'', "warn", "v1.20.1"),
        ("exit 1", "warn", "does not say its version"),
    ],
)
def test_a_kubectl_is_judged_by_its_version(
    script: str, status: str, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(f"#!/bin/sh\n{script}\n")
    kubectl.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path) + os.pathsep + os.environ["PATH"])
    check = doctor._kubectl()
    assert (check.name, check.status) == ("kubectl", status)
    assert found in check.found
