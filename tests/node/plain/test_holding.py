"""What pods of plain processes are told that they are not held to."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from homeport.node.plain import holding
from homeport.node.runtime import ContainerSpec, ImageRoot, Limits, Mount
from homeport.node.sandbox import processes

PLAIN = ContainerSpec(
    name="main", attempt=0, argv=("true",), env={}, cwd="/", image=ImageRoot(), mounts=(), log_path="/dev/null"
)


def test_nothing_special() -> None:
    assert holding.not_held(replace(PLAIN, mounts=(Mount("/tmp", "/data"),))) == []


def test_read_only(tmp_path: Path) -> None:
    wanted = replace(PLAIN, read_only_root=True, mounts=(Mount(str(tmp_path), "/data", True),))
    (words,) = holding.not_held(wanted)
    assert "a read-only root, read-only mounts (/data)" in words


def test_an_ordinary_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 501)
    (words,) = holding.not_held(replace(PLAIN, uid=1000))
    assert "user 1000, as its processes are user 501's" in words
    assert not holding.not_held(replace(PLAIN, uid=501))


def test_beyond_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = replace(PLAIN, limits=Limits(cpu_quota=50000))
    assert not holding.not_held(wanted)
    monkeypatch.setattr(processes, "IS_LINUX", False)
    assert "a limit of processors" in holding.not_held(wanted)[0]
