from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parent)]  # support.py, volcano_world.py


@pytest.fixture(scope="session")
def world() -> Any:
    import volcano_world

    return volcano_world.World
