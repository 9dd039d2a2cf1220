"""Logs that are cut into several files as they grow: nothing is torn, and whoever reads does not notice."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from logreading import NOW, Options

from homeport.node import logchain, logs
from homeport.node.inotify import Inotify
from homeport.node.logs import LogSource
from homeport.node.sandbox.logs import LogFile


@pytest.fixture
async def inotify() -> AsyncIterator[Inotify]:
    watcher = Inotify()
    yield watcher
    watcher.close()


def entry(text: str) -> bytes:
    return f"2026-01-01T00:00:00.000000000Z stdout F {text}\n".encode()


def source(path: Path, over: asyncio.Event | None = None) -> LogSource:
    async def ended() -> None:
        if over is not None:
            await over.wait()

    return LogSource(path, ended)


async def collect(path: Path, inotify: Inotify, **options: Any) -> list[str]:
    chunks = logs.read(source(path), Options(**options), inotify, NOW)
    return b"".join([chunk async for chunk in chunks]).decode().split()


def parts(path: Path) -> list[str]:
    return sorted(name for name in os.listdir(path.parent) if name.startswith(path.name))


async def test_the_newest_files_stay(tmp_path: Path, inotify: Inotify) -> None:
    path = tmp_path / "logs" / "0.log"
    log = LogFile(str(path), most_bytes=100, most_files=3)
    for number in range(9):  # 46 bytes each: three to a file
        log.write(entry(f"l{number}"))
    assert parts(path) == ["0.log", "0.log.2", "0.log.3"]
    assert logchain.numbers(path) == [2, 3]
    log.write(entry("l9"))
    assert await collect(path, inotify) == ["l3", "l4", "l5", "l6", "l7", "l8", "l9"]
    assert await collect(path, inotify, tail_lines=2) == ["l8", "l9"]
    assert await collect(path, inotify, tail_lines=5) == ["l5", "l6", "l7", "l8", "l9"]
    assert await collect(path, inotify, tail_lines=50) == ["l3", "l4", "l5", "l6", "l7", "l8", "l9"]
    assert logs.last_words(path).split() == ["l3", "l4", "l5", "l6", "l7", "l8", "l9"]
    log.close()
    logchain.remove(path)
    assert parts(path) == []


def test_without_a_size_it_is_one_file(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    log = LogFile(str(path))
    log.write(entry("x" * 100_000))
    log.close()
    assert parts(path) == ["0.log"]


def test_a_file_that_cannot_make_room_grows_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "0.log"
    log = LogFile(str(path), most_bytes=100)

    def refuse(*_: object) -> None:
        raise OSError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", refuse)
        for number in range(4):
            log.write(entry(str(number)))
    assert not log.is_stuck
    log.write(entry("4"))
    log.close()
    with logchain.Chain(path) as chain:
        assert chain.read(10_000) == b"".join(entry(str(number)) for number in range(5))
        assert chain.read(10_000) == b""


async def test_whoever_follows_goes_from_file_to_file(tmp_path: Path, inotify: Inotify) -> None:
    path = tmp_path / "0.log"
    log = LogFile(str(path), most_bytes=200, most_files=3)
    over = asyncio.Event()
    seen: list[str] = []

    async def follow() -> None:
        async for chunk in logs.read(source(path, over), Options(follow=True), inotify, NOW):
            seen.extend(chunk.decode().split())

    follower = asyncio.create_task(follow())
    async with asyncio.timeout(20):
        for number in range(40):
            log.write(entry(str(number)))
            while len(seen) <= number:
                await asyncio.sleep(0.001)
        # Faster than it can read, but no more than is kept.
        for number in range(40, 50):
            log.write(entry(str(number)))
        over.set()
        await follower
    assert seen == [str(number) for number in range(50)]
    log.close()


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 300), max_size=30),
    most=st.integers(60, 400),
    files=st.integers(2, 4),
    wanted=st.integers(0, 12),
)
def test_any_lines_come_back(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], most: int, files: int, wanted: int
) -> None:
    path = tmp_path_factory.mktemp("log") / "0.log"
    log = LogFile(str(path), most_bytes=most, most_files=files)
    lines = [f"{number}:" + "x" * size for number, size in enumerate(sizes)]
    for line in lines:
        log.write(entry(line))
    log.close()

    async def read(**options: Any) -> list[str]:
        watcher = Inotify()
        try:
            return await collect(path, watcher, **options)
        finally:
            watcher.close()

    everything = asyncio.run(read())
    assert everything == lines[len(lines) - len(everything) :], "the end of it, without a gap"
    assert len(parts(path)) <= files
    assert asyncio.run(read(tail_lines=wanted)) == (everything[-wanted:] if wanted else [])
