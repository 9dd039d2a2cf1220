"""Settings of the whole test suite, and how its tests share a machine.

With ``pytest -n 2`` (pytest-xdist) two workers take tests in turn, each with its own processes, temporary directories
and ports. Tests marked ``alone`` bound how long something takes: while one of them runs, no other worker runs a test.
"""

from __future__ import annotations

import fcntl
import functools
import os
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

import pytest
from hypothesis import settings

from homeport.node.sandbox import idmap

# How long an example takes says more about the machine's other work than about the code; tests that measure do so
# themselves. `pytest --hypothesis-profile=thorough` looks longer.
settings.register_profile("homeport", deadline=None, max_examples=40)
settings.register_profile("thorough", deadline=None, max_examples=200)
settings.load_profile("homeport")


class Turns:
    """Locks that the workers of a test run share. They are of the process: children that a test leaves hold none."""

    def __init__(self, directory: Path) -> None:
        self._door, self._room = ((directory / name).open("a+") for name in ("door", "room"))

    @contextmanager
    def turn(self, alone: bool) -> Generator[None]:
        """Be in the room together with others, or alone. Who waits for the others to leave keeps the door shut."""
        with ExitStack() as stack:
            with _locked(self._door, fcntl.LOCK_EX):
                stack.enter_context(_locked(self._room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH))
            yield


@contextmanager
def _locked(file: IO[str], how: int) -> Generator[None]:
    fcntl.lockf(file, how)
    try:
        yield
    finally:
        fcntl.lockf(file, fcntl.LOCK_UN)


_TURNS = pytest.StashKey[Turns]()


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):  # one of several workers: its directory is in that of the run
        config.stash[_TURNS] = Turns(Path(config.option.basetemp).parent)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that run alone come first: later, they might have to wait for another worker's test of many minutes."""
    items.sort(key=lambda item: item.get_closest_marker("alone") is None)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("needs_ids") is not None and not has_ids():
        pytest.skip("needs several ids, and this user has no range of them in /etc/subuid and /etc/subgid")


@functools.cache
def has_ids() -> bool:
    """Whether others than one user exist in the namespaces that this process can make."""
    helpers = idmap.helper("newuidmap") and idmap.helper("newgidmap")
    ranges = all(idmap.read_ranges(path) for path in ("/etc/subuid", "/etc/subgid"))
    return os.geteuid() == 0 or bool(helpers and ranges)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    turns = item.config.stash.get(_TURNS, None)
    if turns is None:
        return (yield)
    with turns.turn(alone=item.get_closest_marker("alone") is not None):
        return (yield)
