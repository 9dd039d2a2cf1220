"""Who is spared when the machine has no memory left."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from homeport.node import sparing

SPARED = """
import subprocess
from pathlib import Path
from homeport.node import sparing
sparing.spare_this()
child = subprocess.Popen(["sleep", "100"])
print(Path("/proc/self/oom_score_adj").read_text().strip())
print(Path(f"/proc/{child.pid}/oom_score_adj").read_text().strip())
sparing.give_up_to_need(child.pid)
print(Path(f"/proc/{child.pid}/oom_score_adj").read_text().strip())
child.kill()
child.wait()
"""


def scores() -> list[int]:
    done = subprocess.run([sys.executable, "-c", SPARED], capture_output=True, text=True, check=True)
    return [int(line) for line in done.stdout.split()]


def test_the_platform_is_spared_and_what_it_starts_is_not() -> None:
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff:")]
    if not int(line.split()[1], 16) >> 24 & 1:
        pytest.skip("sparing a process takes CAP_SYS_RESOURCE, which this one lacks")
    assert scores() == [-999, -999, 0]


def test_who_may_not_spare_itself_goes_on() -> None:
    own = int(Path("/proc/self/oom_score_adj").read_text())
    platform, _, child = scores()
    assert platform in (-999, own)
    assert child in (0, own)


def test_a_child_that_has_ended_needs_no_sparing() -> None:
    pid = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(pid, 0)
    sparing.give_up_to_need(pid)
