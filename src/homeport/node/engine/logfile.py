"""A container's log, from the engine's into the file that all containers' logs are read from."""

from __future__ import annotations

import asyncio
import contextlib
import os
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from homeport.node import logchain
from homeport.node.engine.api import Engine
from homeport.node.engine.frames import Entries, Written, written
from homeport.node.sandbox.logs import LogFile

_RETRY_SECONDS = 1.0
_TAIL = 64 << 10


class Place(NamedTuple):
    """Where a container's log is, and how much of it stays (:class:`homeport.node.runtime.ContainerSpec`)."""

    path: str
    most_bytes: int = 0
    most_files: int = 2


async def follow(engine: Engine, container: str, place: Place, *, tty: bool) -> None:
    """Append to the log what the engine has of the container's output and the file does not, until the
    container ends. What the engine keeps is not lost while nobody follows. Raises OSError, EngineError."""
    await _append(engine, container, place, tty=tty, follow=True)
    # Who follows is not always told the end of what a container wrote last (Docker 20.10); all of it is there by now.
    await _append(engine, container, place, tty=tty, follow=False)


async def _append(engine: Engine, container: str, place: Place, *, tty: bool, follow: bool) -> None:
    numbers = logchain.numbers(Path(place.path))
    after = resume(place.path)
    if after is None and numbers:  # it has just made room
        after = resume(str(logchain.cut_off(Path(place.path), numbers[-1])))
    entries = Entries(framed=not tty, after=after)
    query = {"follow": str(follow).lower(), "stdout": "true", "stderr": "true", "timestamps": "true"}
    if after:
        query["since"] = since(after.stamp.decode())
    log = LogFile(place.path, place.most_bytes, place.most_files, number=numbers[-1] if numbers else 0)
    try:
        async with contextlib.aclosing(engine.stream("GET", f"/containers/{container}/logs", query=query)) as chunks:
            async for chunk in chunks:
                await _write(log, entries.feed(chunk))
        await _write(log, entries.end())
    finally:
        log.close()


def since(stamp: str) -> str:
    """A time of a log as Docker wants it in a query: seconds of the epoch with nanoseconds, not RFC 3339."""
    whole, _, fraction = stamp.removesuffix("Z").partition(".")
    seconds = int(datetime.fromisoformat(f"{whole}+00:00").timestamp())
    return f"{seconds}.{fraction:0<9}"


async def _write(log: LogFile, data: bytes) -> None:
    """With the disk full the engine keeps what comes until there is room again."""
    log.write(data)
    while log.is_stuck:
        await asyncio.sleep(_RETRY_SECONDS)
        log.flush()


def resume(path: str) -> Written | None:
    """How far the log has got; an entry that was not finished goes."""
    try:
        with open(path, "r+b") as file:
            size = file.seek(0, os.SEEK_END)
            tail = _TAIL
            while True:
                file.seek(max(0, size - tail))
                data = file.read()
                if tail < size:
                    data = data[data.find(b"\n") + 1 :]
                whole = data.rfind(b"\n") + 1
                found = written(data)
                # All entries of the last time stamp have to be seen.
                if tail >= size or (found is not None and not data.startswith(found.stamp)):
                    file.truncate(size - len(data) + whole)
                    return found
                tail *= 4
    except FileNotFoundError:
        return None
