"""The two servers, for all tests here."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # test files share aggregation_world.py

from aggregation_world import certificates, world

__all__ = ["certificates", "world"]
