from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from logreading import NOW, Options

from homeport.kube.errors import BadRequest, NotFound
from homeport.node import logs
from homeport.node.inotify import Inotify
from homeport.node.logs import LogSource
from homeport.node.memory import ContainerMemory, Memory
from homeport.node.podlogs import PodLogs
from homeport.node.runtime import ContainerState


@pytest.fixture
async def inotify() -> AsyncIterator[Inotify]:
    watcher = Inotify()
    yield watcher
    watcher.close()


class Container:
    """Writes a log as the supervisor does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.over = asyncio.Event()
        path.touch()

    @property
    def source(self) -> LogSource:
        async def ended() -> None:
            await self.over.wait()

        return LogSource(self.path, ended)

    def write(self, *lines: str, tag: str = "F", second: int = 0) -> None:
        with self.path.open("a") as file:
            for line in lines:
                file.write(f"2026-01-01T00:00:{second:02}.000000000Z stdout {tag} {line}\n")


async def collect(container: Container, inotify: Inotify, **options: Any) -> bytes:
    return b"".join([chunk async for chunk in logs.read(container.source, Options(**options), inotify, NOW)])


async def test_what_is_there(tmp_path: Path, inotify: Inotify) -> None:
    container = Container(tmp_path / "0.log")
    container.write("a", second=1)
    container.write("b", second=30)
    assert await collect(container, inotify) == b"a\nb\n"
    assert await collect(container, inotify, since_seconds=40) == b"b\n"
    assert await collect(container, inotify, since=datetime(2026, 1, 1, 0, 0, 30, tzinfo=UTC)) == b"b\n"
    assert await collect(container, inotify, limit_bytes=3) == b"a\nb"
    assert await collect(container, inotify, tail_lines=1) == b"b\n"
    assert await collect(container, inotify, tail_lines=0) == b""


@pytest.mark.parametrize("tail_lines", [None, 1])
async def test_what_comes_while_a_log_is_read_is_not_part_of_it(
    tmp_path: Path, inotify: Inotify, tail_lines: int | None
) -> None:
    container = Container(tmp_path / "0.log")
    container.write("last")
    read = []
    async for chunk in logs.read(container.source, Options(tail_lines=tail_lines), inotify, NOW):
        read.append(chunk)
        if len(read) > 3:
            break
        container.write("later")
    assert read == [b"last\n"]


async def test_following_gets_every_line_and_ends_with_the_container(tmp_path: Path, inotify: Inotify) -> None:
    container = Container(tmp_path / "0.log")
    container.write("first")
    chunks = logs.read(container.source, Options(follow=True), inotify, NOW)
    assert await anext(chunks) == b"first\n"
    container.write("second")
    assert await asyncio.wait_for(anext(chunks), 5) == b"second\n"
    container.write("par", tag="P")
    container.write("tial")
    assert await asyncio.wait_for(anext(chunks), 5) == b"partial\n"
    container.write("last")
    container.over.set()
    assert [chunk async for chunk in chunks] == [b"last\n"]


async def test_the_log_of_a_removed_pod_ends_after_its_last_line(tmp_path: Path, inotify: Inotify) -> None:
    container = Container(tmp_path / "pod" / "0.log") if (tmp_path / "pod").mkdir() is None else None
    assert container is not None
    chunks = logs.read(container.source, Options(follow=True), inotify, NOW)
    container.write("one")
    assert await anext(chunks) == b"one\n"
    container.write("two")
    shutil.rmtree(tmp_path / "pod")
    container.over.set()
    assert [chunk async for chunk in chunks] == [b"two\n"]


async def test_several_followers_of_one_file(tmp_path: Path, inotify: Inotify) -> None:
    container = Container(tmp_path / "0.log")
    readers = [asyncio.create_task(collect(container, inotify, follow=True)) for _ in range(3)]
    for number in range(20):
        container.write(str(number))
        await asyncio.sleep(0)
    container.over.set()
    assert await asyncio.gather(*readers) == ["".join(f"{n}\n" for n in range(20)).encode()] * 3


async def test_a_reader_that_leaves_leaves_nothing(tmp_path: Path, inotify: Inotify) -> None:
    container = Container(tmp_path / "0.log")
    container.write("x")
    chunks = logs.read(container.source, Options(follow=True), inotify, NOW)
    assert await anext(chunks) == b"x\n"
    await chunks.aclose()
    assert inotify._waiters == {}
    await asyncio.sleep(0)
    assert not [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]


@given(
    lines=st.lists(st.text(alphabet="ab ", max_size=9), max_size=30),
    parts=st.sets(st.integers(0, 29)),
    count=st.integers(0, 12),
    block=st.integers(40, 200),
)
def test_the_tail_is_the_end_of_the_whole(
    tmp_path_factory: Any, lines: list[str], parts: set[int], count: int, block: int
) -> None:
    path = tmp_path_factory.mktemp("tail") / "0.log"
    with path.open("w") as file:
        for index, line in enumerate(lines):
            tag = "P" if index in parts and index + 1 < len(lines) else "F"
            file.write(f"2026-01-01T00:00:00.000000000Z stdout {tag} {line}\n")
    old, logs._BLOCK = logs._BLOCK, block

    async def both() -> tuple[bytes, bytes]:
        inotify = Inotify()
        try:
            source = LogSource(path, lambda: asyncio.sleep(0))
            whole = b"".join([c async for c in logs.read(source, Options(), inotify, NOW)])
            tail = b"".join([c async for c in logs.read(source, Options(tail_lines=count), inotify, NOW)])
            return whole, tail
        finally:
            inotify.close()

    try:
        whole, tail = asyncio.run(both())
    finally:
        logs._BLOCK = old
    assert tail == b"".join(whole.splitlines(keepends=True)[-count:] if count else [])


def test_files_of_old_attempts_go(tmp_path: Path) -> None:
    for attempt in range(4):
        logs.prepare(tmp_path, "main", attempt)
    assert sorted(p.name for p in (tmp_path / "logs/main").iterdir()) == ["2.log", "3.log"]


def state(attempt: int, phase: str = "exited") -> ContainerState:
    return ContainerState("main", attempt, phase, 1, "")  # type: ignore[arg-type]


POD: dict[str, Any] = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "main"}]}}
WAITING = {"containerStatuses": [{"name": "main", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}
RUNNING: dict[str, Any] = {"containerStatuses": [{"name": "main", "state": {"running": {}}}]}


def choose(memory: ContainerMemory, status: dict[str, Any], *, previous: bool) -> int:
    return logs.choose_attempt(POD, status, Memory({"main": memory}), "main", previous=previous)


def test_which_attempt_is_meant() -> None:
    running = ContainerMemory(state(3, "running"), state(2), 4)
    assert choose(running, RUNNING, previous=False) == 3
    assert choose(running, RUNNING, previous=True) == 2
    crashed = ContainerMemory(state(3), state(2), 4)
    assert choose(crashed, WAITING, previous=False) == 3
    assert choose(crashed, WAITING, previous=True) == 3
    with pytest.raises(BadRequest, match=r'container "main" in pod "p" is waiting to start: ContainerCreating'):
        choose(ContainerMemory(), {}, previous=False)
    with pytest.raises(BadRequest, match='previous terminated container "main" in pod "p" not found'):
        choose(ContainerMemory(state(0, "running"), None, 1), RUNNING, previous=True)
    with pytest.raises(BadRequest, match="container other is not valid for pod p"):
        logs.choose_attempt(POD, {}, Memory(), "other", previous=False)


def test_the_last_words_of_a_log_without_an_end_of_a_line(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    stamp = b"2026-01-01T00:00:00.000000000Z"
    with path.open("wb") as file:
        for number in range(100):
            file.write(b"%s stdout P %s\n" % (stamp, b"%06d" % number * 2730))
        file.write(b"%s stdout P the end\n" % stamp)
    words = logs.last_words(path)
    assert len(words) == 2048
    assert words.endswith("000099the end")


def test_the_last_words_are_whole_lines_where_they_fit(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    path.write_text("".join(f"2026-01-01T00:00:00.000000000Z stderr F line {n}\n" for n in range(20_000)))
    assert logs.last_words(path).splitlines() == [f"line {n}" for n in range(19_920, 20_000)]


def test_a_log_that_is_gone(tmp_path: Path) -> None:
    """As after the restoration of a backup that has the pod, which was deleted since with its directory."""
    memory = Memory({"main": ContainerMemory(state(0, "exited"), None, 1)})
    with pytest.raises(NotFound, match='the log of container "main" in pod "p" is not there any more'):
        PodLogs(tmp_path).source(POD, {}, memory, "main", previous=False)
