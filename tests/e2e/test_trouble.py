"""What can go wrong on a machine: each ends in one clear message with what to do, and loses nothing."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from machinery import MakeKubectl, RunningPlatform, homeport, make_platform
from scenes import tfjob


def one_line(text: str) -> str:
    lines = text.strip().splitlines()
    assert len(lines) == 1, text
    return lines[0]


def test_a_second_platform_on_the_same_directory(shared_platform: RunningPlatform) -> None:
    for extra in ((), ("-d",)):
        done = homeport("up", "--data-dir", shared_platform.directory.path, *extra)
        assert done.returncode == 1
        said = one_line(done.stderr)
        assert str(shared_platform.pid) in said
        assert "homeport down" in said
        assert "--data-dir" in said
    assert homeport("status", "--data-dir", shared_platform.directory.path).returncode == 0


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def test_a_port_that_is_taken(taken_port: int, tmp_path: Path) -> None:
    done = homeport("up", "--data-dir", tmp_path / "data", "--port", str(taken_port))
    assert done.returncode == 1
    assert one_line(done.stderr).startswith(f"homeport: port {taken_port} can't be served: it is in use.")


def test_several_platforms_side_by_side(shared_platform: RunningPlatform, platform: RunningPlatform) -> None:
    first, second = shared_platform.directory.endpoint(), platform.directory.endpoint()
    assert first is not None
    assert second is not None
    assert first.port != second.port


def test_a_data_directory_that_is_a_file(tmp_path: Path) -> None:
    place = tmp_path / "data"
    place.write_text("")
    for extra in ((), ("-d",)):
        done = homeport("up", "--data-dir", place, *extra)
        assert done.returncode == 1
        assert "--data-dir" in one_line(done.stderr)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 48 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    done = (
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(place)], capture_output=True, text=True, check=False
        )
        if os.geteuid() == 0
        else None
    )
    if done is None or done.returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_full_disk_refuses_writes_and_recovers(small_disk: Path, make_kubectl: MakeKubectl) -> None:
    # All of this disk is less than what has to be left of a usual one.
    little = "--eviction-hard=nodefs.available<1Mi"
    with contextlib.contextmanager(make_platform)(small_disk / "data", little) as platform:
        kubectl = make_kubectl(platform)
        assert "created" in kubectl.create("ConfigMap", "before", data={"a": "1"})
        ballast = small_disk / "ballast"
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 16))
        said = ""
        for number in range(40):  # what is left in the last pages of files may hold some writes more
            said = kubectl.create("ConfigMap", f"during-{number}", data={"a": "x" * 100_000})
            if "created" not in said:
                break
        assert "disk" in said.lower() or "space" in said.lower(), said
        assert kubectl("get", "configmap", "before", "-o", "jsonpath={.data.a}") == "1"
        ballast.unlink()
        assert "created" in kubectl.create("ConfigMap", "after", data={"a": "1"})
        kubectl("apply", "-f", "-", stdin=tfjob("after", workers=1))
        kubectl("wait", "--for=condition=Succeeded", "--timeout=60s", "tfjob/after", timeout=70)


def fill(place: Path) -> Path:
    ballast = place / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 16))
    return ballast


IMAGE = """
apiVersion: homeport.dev/v1alpha1
kind: Image
names: [some-environment]
packages: [pip]
"""
MESSAGES = "jsonpath={.items[*].message}"


def test_a_full_disk_while_an_image_is_built(
    small_disk: Path, tmp_path: Path, make_kubectl: MakeKubectl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pod waits, says what to do, and goes on by itself; nothing half-made is left."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(small_disk))
    cache = small_disk / "homeport" / "images"
    images = tmp_path / "data" / "images"
    images.mkdir(parents=True)
    (images / "some.yaml").write_text(IMAGE)
    with contextlib.contextmanager(make_platform)(tmp_path / "data") as platform:
        kubectl = make_kubectl(platform)
        ballast = fill(small_disk)
        with ballast.open("r+b") as file:
            file.truncate(ballast.stat().st_size - (4 << 20))  # enough to begin
        container = {"name": "main", "image": "some-environment", "command": ["python3", "-m", "pip", "--version"]}
        kubectl.create("Pod", "waits", spec={"restartPolicy": "Never", "containers": [container]})
        state = "jsonpath={.status.containerStatuses[0].state.waiting.%s}"
        for reason in ("ErrImagePull", "ImagePullBackOff"):
            kubectl("wait", "--for", f"{state % 'reason'}={reason}", "pod/waits", "--timeout=60s", timeout=70)
        assert "image" in kubectl("get", "pod", "waits", "-o", state % "message")
        events = kubectl("get", "events", "--field-selector=involvedObject.name=waits,type=Warning", "-o", MESSAGES)
        assert "the disk is full: free some space and the build is tried again" in events
        assert [path.name for path in cache.glob(".*.part")] == []
        assert not [path for path in cache.glob("some*") if path.is_dir()]
        ballast.unlink()
        kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/waits", "--timeout=60s", timeout=70)
        assert "pip" in kubectl("logs", "waits")


def test_a_new_platform_on_a_full_disk(small_disk: Path) -> None:
    with contextlib.suppress(OSError), (small_disk / "ballast").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 16))
    done = homeport("up", "--data-dir", small_disk / "data")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr + done.stdout
    assert "space" in done.stderr.lower() or "disk" in done.stderr.lower()
