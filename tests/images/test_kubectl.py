"""The program ``kubectl`` of launchers' images."""

from __future__ import annotations

import http.client
import importlib.util
import json
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PROGRAM = Path(__file__).parents[2] / "src" / "homeport" / "images" / "programs" / "kubectl"


@pytest.fixture(scope="module")
def program() -> ModuleType:
    loader = SourceFileLoader("launchers_kubectl", str(PROGRAM))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


class Cluster:
    """Answers each watch with the next of some answers: lines, and what breaks it after them."""

    def __init__(self, *answers: tuple[list[bytes], Exception | None]) -> None:
        self.left = list(answers)

    def get(self, path: str) -> Iterator[bytes]:
        lines, error = self.left.pop(0)
        yield from lines
        if error is not None:
            raise error


def event(type: str = "MODIFIED", **status: Any) -> bytes:
    return json.dumps({"type": type, "object": {"message": "too old", "status": status}}).encode()


def test_waiting_for_a_worker_outlives_the_api_server(program: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    naps: list[float] = []
    monkeypatch.setattr(program.time, "sleep", naps.append)
    runs = event(phase="Running", containerStatuses=[{"started": True}])
    cluster = Cluster(
        ([], ConnectionRefusedError("nobody is there")),
        ([event(phase="Pending")], http.client.IncompleteRead(b"")),
        ([event(phase="Running", containerStatuses=[{"started": False}]), b'{"type": "MOD'], None),
        ([event("ERROR")], None),
        ([event(phase="Pending")], None),
        ([event("DELETED", phase="Running"), runs], AssertionError("it looks no further")),
    )
    program._wait(cluster, "default", "digits-worker-0")
    assert cluster.left == []
    assert naps == [1, 1, 1, 1]


def test_what_the_server_forbids_is_not_tried_again(program: ModuleType) -> None:
    with pytest.raises(program.Refused):
        program._wait(Cluster(([], program.Refused("no"))), "default", "digits-worker-0")
