"""What pods have on the disk, measured all at once, and what follows from it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from homeport.node.evictor import Evictor
from homeport.node.memory import Memory, Verdict
from homeport.node.pressure import Crossing
from homeport.node.runtime import ContainerState, SandboxError


class FakeWorker:
    def __init__(self, base: Path, name: str, limit: str = "") -> None:
        resources = {"limits": {"ephemeral-storage": limit}} if limit else {}
        self.uid = name
        self.pod = {
            "metadata": {"name": name, "namespace": "default", "uid": name},
            "spec": {
                "containers": [{"name": "main", "resources": resources}],
                "volumes": [{"name": "v", "emptyDir": {}}, {"name": "m", "emptyDir": {"medium": "Memory"}}],
            },
        }
        self.directory = base / name
        self.memory = Memory()
        self.is_taken = True
        self.verdicts: list[Verdict] = []

    def containers(self) -> dict[str, ContainerState]:
        return {"main": ContainerState("main", 2, "running", 1, "")}

    def fail(self, verdict: Verdict) -> None:
        self.verdicts.append(verdict)


class FakeRuntime:
    """Each directory is as large as the test says for its pod."""

    def __init__(self, base: Path, **sizes: int) -> None:
        self.base = base
        self.sizes = sizes
        self.asked: list[list[str]] = []
        self.during: FakeWorker | None = None
        """Ends while it measures."""

    async def measure(self, paths: Sequence[str]) -> list[int]:
        pods = [str(Path(path).relative_to(self.base).parts[0]) for path in paths]
        self.asked.append(sorted(set(pods)))
        if self.during is not None:
            self.during.is_taken = False
        if "broken" in pods:
            raise SandboxError("it can't be measured: Input/output error")
        return [self.sizes[pod] for pod in pods]


def evictor(runtime: FakeRuntime, *workers: FakeWorker) -> Evictor:
    host: Any = SimpleNamespace(runtime=runtime)
    found: Any = workers
    meter: Any = None
    return Evictor(host, meter, lambda: found)


SHORT = Crossing("nodefs.available", 10, 5)


async def test_all_pods_are_measured_in_one_request(tmp_path: Path) -> None:
    runtime = FakeRuntime(tmp_path, small=10, large=1000, free=5000)
    small, large = FakeWorker(tmp_path, "small", "1Ki"), FakeWorker(tmp_path, "large", "1Ki")
    free = FakeWorker(tmp_path, "free")
    await evictor(runtime, small, large, free).relieve([])
    assert runtime.asked == [["large", "small"]], "nobody asks what a pod without limits has"
    assert (small.verdicts, free.verdicts) == ([], [])
    (verdict,) = large.verdicts
    assert "exceeds the total limit of containers 1Ki" in verdict.message


async def test_one_that_cannot_be_measured_hides_no_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    runtime = FakeRuntime(tmp_path, large=1000)
    broken, large = FakeWorker(tmp_path, "broken", "1Ki"), FakeWorker(tmp_path, "large", "1Ki")
    await evictor(runtime, broken, large).relieve([])
    assert runtime.asked == [["broken", "large"], ["broken"], ["large"]]
    assert len(large.verdicts) == 1
    assert broken.verdicts == []
    assert "what pod broken has on the disk can't be measured: it can't be measured" in caplog.text


async def test_the_largest_goes_first_unless_it_has_ended_meanwhile(tmp_path: Path) -> None:
    runtime = FakeRuntime(tmp_path, small=10, large=1000)
    small, large = FakeWorker(tmp_path, "small"), FakeWorker(tmp_path, "large")
    one = evictor(runtime, small, large)
    await one.relieve([SHORT])
    assert runtime.asked == [["large", "small"]]
    assert (len(small.verdicts), len(large.verdicts)) == (0, 1)
    runtime.during = large
    await one.relieve([SHORT])
    assert (len(small.verdicts), len(large.verdicts)) == (0, 1)
