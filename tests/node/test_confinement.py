"""A node in a container has what the container has."""

from __future__ import annotations

from pathlib import Path

from homeport.node import confinement

GIB = 1 << 30


def test_the_tightest_limit_counts(tmp_path: Path) -> None:
    own = tmp_path / "a" / "b"
    own.mkdir(parents=True)
    for place, limit in ((tmp_path, "max"), (tmp_path / "a", str(2 * GIB)), (own, str(3 * GIB))):
        (place / "memory.max").write_text(f"{limit}\n")
    (tmp_path / "a" / "memory.current").write_text(f"{GIB}\n")
    (tmp_path / "a" / "memory.stat").write_text("anon 5\ninactive_file 1000\n")
    mountinfo = f"1 2 0:3 / {tmp_path} rw - cgroup2 c rw"
    found = confinement.find(16 * GIB, mountinfo, "0::/a/b\n")
    assert found is not None
    assert (found.limit, found.directory) == (2 * GIB, str(tmp_path / "a"))
    assert found.used() == GIB - 1000
    assert confinement.find(GIB, mountinfo, "0::/a/b\n") is None


def test_version_1(tmp_path: Path) -> None:
    """Where the container's group is all that is seen; a number of the size of the address space is no limit."""
    (tmp_path / "memory.limit_in_bytes").write_text(f"{GIB}\n")
    (tmp_path / "memory.usage_in_bytes").write_text("900\n")
    (tmp_path / "memory.stat").write_text("cache 5\ntotal_inactive_file 300\n")
    mountinfo = f"1 2 0:3 /docker/x {tmp_path} rw - cgroup c rw,memory"
    found = confinement.find(16 * GIB, mountinfo, "4:memory:/docker/x\n")
    assert found is not None
    assert (found.limit, found.used()) == (GIB, 600)
    (tmp_path / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert confinement.find(16 * GIB, mountinfo, "4:memory:/docker/x\n") is None


def test_this_process() -> None:
    found = confinement.find(1 << 60)
    assert found is None or found.used() >= 0
