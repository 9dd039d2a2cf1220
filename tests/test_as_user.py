"""The tool that runs tests as an ordinary user."""

from __future__ import annotations

import importlib.util
import os
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

_FIRST = 700_100_000


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("as_user", Path(__file__).parents[1] / "tools" / "as_user.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def test_the_ids_that_an_account_is_given(tool: ModuleType) -> None:
    text = "other:1:2\nhp1:100000:65536\nhp11:5:5\nhp1:7:1\n"
    assert tool.given_to("hp1", text) == [range(100000, 165536), range(7, 8)]


@pytest.mark.skipif(os.geteuid() != 0, reason="takes the ids of others, which takes root")
def test_what_was_left_by_the_ids_of_an_account_is_theirs(tool: ModuleType) -> None:
    who = tool.Account("nobody-else", _FIRST, _FIRST, [range(_FIRST + 1, _FIRST + 10)])
    started = [
        subprocess.Popen(["/bin/sleep", "600"], user=user, group=user, extra_groups=[])
        for user in (_FIRST, _FIRST + 5, _FIRST + 10)
    ]
    try:
        assert {pid for pid, _ in tool.processes(who)} == {process.pid for process in started[:2]}
    finally:
        for process in started:
            process.kill()
            process.wait()
