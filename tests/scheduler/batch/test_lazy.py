"""The batch scheduler costs nothing before there is a group of pods."""

from __future__ import annotations

import subprocess
import sys


def test_starting_up_does_not_load_numpy() -> None:
    code = "import homeport.platform.control, homeport.scheduler.binder, sys; sys.exit('numpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
