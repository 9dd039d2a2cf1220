"""The data directory: one platform each, and a word to the user when it can't be used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from homeport.datadir import DataDir, Endpoint, Taken
from homeport.kube.errors import Permanent

ENDPOINT = Endpoint(pid=4321, host="127.0.0.1", port=6443, started="2026-01-01T00:00:00Z", version="1")


def made(path: Path) -> DataDir:
    directory = DataDir.at(path)
    directory.create()
    return directory


def test_only_the_owner_reads_it(tmp_path: Path) -> None:
    directory = made(tmp_path / "data")
    directory.write_endpoint(ENDPOINT)
    assert directory.path.stat().st_mode & 0o077 == 0
    assert (directory.path / "endpoint.json").stat().st_mode & 0o077 == 0


def test_the_second_lock_names_the_first_holder(tmp_path: Path) -> None:
    directory = made(tmp_path)
    lock = directory.lock()
    directory.write_endpoint(ENDPOINT)
    with pytest.raises(Taken, match=r"process 4321, https://127\.0\.0\.1:6443.*--data-dir"):
        directory.lock()
    assert directory.is_running()
    lock.close()
    assert not directory.is_running()
    directory.lock().close()


def test_the_lock_ends_with_its_process_however_that_ends(tmp_path: Path) -> None:
    directory = made(tmp_path)
    program = (
        "import sys, time; from homeport.datadir import DataDir; lock = DataDir.at(sys.argv[1]).lock();"
        "print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        assert directory.is_running()
        process.kill()
        process.wait()
        assert not directory.is_running()


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Permanent, match=r"file/data can't be used: .*--data-dir"):
        DataDir.at(tmp_path / "file" / "data").create()


def test_an_endpoint_file_that_is_no_endpoint_is_none(tmp_path: Path) -> None:
    directory = made(tmp_path)
    assert directory.endpoint() is None
    directory.write_endpoint(ENDPOINT)
    assert directory.endpoint() == ENDPOINT
    (tmp_path / "endpoint.json").write_text("{")
    assert directory.endpoint() is None
