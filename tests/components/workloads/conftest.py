from __future__ import annotations

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]  # cluster.py; support.py, virtual_time.py

from virtual_time import pytest_asyncio_loop_factories  # noqa: E402, F401
