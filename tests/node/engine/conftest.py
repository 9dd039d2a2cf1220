"""What the tests of runtimes share: an engine."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import engines
import pytest


@pytest.fixture(scope="session")
def engine() -> Iterator[str]:
    """The socket of an engine of the tests' own."""
    if reason := engines.missing():
        pytest.skip(reason)
    directory = Path(tempfile.mkdtemp(prefix="homeport-engine-"))
    with engines.service(directory) as path:
        yield path
    shutil.rmtree(directory, ignore_errors=True)
