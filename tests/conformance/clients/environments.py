"""Python environments for clients whose dependencies conflict: one each, built once and kept between runs."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]
PLACE = Path(os.environ.get("HOMEPORT_TEST_TOOLS") or REPOSITORY / ".cache" / "tools") / "clients"


def python_with(name: str, *requirements: str) -> Path:
    """The interpreter of an environment that has `requirements`. Skips the test if they can't be had."""
    wanted = "\n".join([sys.version.partition(" ")[0], *requirements])
    place = PLACE / f"{name}-{hashlib.sha256(wanted.encode()).hexdigest()[:12]}"
    python, complete = place / "bin" / "python", place / "complete"
    if complete.exists():
        return python
    PLACE.mkdir(parents=True, exist_ok=True)
    with place.with_suffix(".lock").open("w") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)  # another worker may be building it
        if not complete.exists():
            # An environment can't be moved, so it is built in its place; a mark says that it is whole.
            shutil.rmtree(place, ignore_errors=True)
            uv = [sys.executable, "-m", "uv", "--quiet"]
            _run([*uv, "venv", "--python", sys.executable, str(place)])
            _run([*uv, "pip", "install", "--python", str(python), *requirements])
            complete.touch()
    return python


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        pytest.skip(f"the client's packages can't be installed: {done.stderr.strip()[-500:]}")
