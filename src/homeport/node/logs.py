"""Reading what a container wrote: from a place on, the last lines, or as it comes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

import msgspec

from homeport.kube import meta
from homeport.kube.errors import BadRequest
from homeport.kube.meta import Object
from homeport.node.cri import Decoder, is_line_end
from homeport.node.inotify import Watches
from homeport.node.launchers import without_summary
from homeport.node.logchain import Chain, remove
from homeport.node.memory import Memory
from homeport.node.pod import members
from homeport.node.status import container_statuses

_BLOCK = 1 << 18
_KEPT_ATTEMPTS = 2
_LAST_LINES = 80
_STREAMS = {"Stdout": b"stdout", "Stderr": b"stderr"}
_LAST_BYTES = 2048


class LogOptions(Protocol):
    """The fields of the API server's log options that the node reads (``PodLogOptions``)."""

    @property
    def follow(self) -> bool: ...
    @property
    def previous(self) -> bool: ...
    @property
    def timestamps(self) -> bool: ...
    @property
    def tail_lines(self) -> int | None: ...
    @property
    def since_seconds(self) -> int | None: ...
    @property
    def since(self) -> datetime | None: ...
    @property
    def limit_bytes(self) -> int | None: ...
    @property
    def stream(self) -> str: ...


class LogSource(msgspec.Struct, frozen=True):
    """One attempt's log. `ended` returns once the container has ended and its last line is in the file."""

    path: Path
    ended: Callable[[], Awaitable[None]]


def path_of(pod_directory: Path, container: str, attempt: int) -> Path:
    return pod_directory / "logs" / container / f"{attempt}.log"


def prepare(pod_directory: Path, container: str, attempt: int) -> Path:
    """Make the log file of a new attempt, and remove those that nobody can ask for any more."""
    path = path_of(pod_directory, container, attempt)
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o640))
    for old in range(attempt - _KEPT_ATTEMPTS, -1, -1):
        try:
            remove(path_of(pod_directory, container, old))
        except FileNotFoundError:
            break
    return path


def choose_attempt(pod: Object, status: Object, memory: Memory, container: str, *, previous: bool) -> int:
    """The attempt whose log is meant. Raises BadRequest, in the kubelet's words, if there is none."""
    name = meta.name(pod)
    if container not in {member.name for member in members(pod)}:
        raise BadRequest(f"container {container} is not valid for pod {name}")
    known = memory.of(container)
    entries = container_statuses(status)
    waiting = next((e["state"]["waiting"] for e in entries if e["name"] == container and "waiting" in e["state"]), None)
    if previous:
        # While a container waits for its restart, the newest attempt is its last state.
        state = (known.current if waiting is not None else None) or known.previous
        if state is None:
            raise BadRequest(f'previous terminated container "{container}" in pod "{name}" not found')
        return state.attempt
    state = known.current or known.previous
    if state is None:
        reason = (waiting or {}).get("reason") or "ContainerCreating"
        raise BadRequest(f'container "{container}" in pod "{name}" is waiting to start: {reason}')
    return state.attempt


async def read(source: LogSource, options: LogOptions, watches: Watches, now: datetime) -> AsyncGenerator[bytes, None]:
    """The container's output as the options ask for it, in chunks. Ends when a followed container has ended."""
    left = options.limit_bytes
    async with aclosing(_lines(source, options, watches, now)) as chunks:
        async for chunk in chunks:
            if left is None:
                yield chunk
                continue
            yield chunk[:left]
            left -= len(chunk)
            if left <= 0:
                return


async def _lines(
    source: LogSource, options: LogOptions, watches: Watches, now: datetime
) -> AsyncGenerator[bytes, None]:
    decoder = Decoder(timestamps=options.timestamps, since=_since(options, now), stream=_STREAMS.get(options.stream))
    with Chain(source.path) as file:
        end = file.size
        file.seek(0 if options.tail_lines is None else _tail_start(file, end, options.tail_lines))
        if options.follow:
            async with aclosing(_follow(file, source, decoder, watches)) as chunks:
                async for chunk in chunks:
                    yield chunk
            return
        cutter = _Cutter()
        # What is written from now on is not asked for: with it, the last line would be two, and a busy log endless.
        while block := file.read(min(_BLOCK, end - file.tell())):
            if text := b"".join(decoder.feed(cutter.feed(block))):
                yield text
            # A long log must not keep everybody else from running.
            await asyncio.sleep(0)
        if rest := decoder.end():
            yield rest


async def _follow(file: Chain, source: LogSource, decoder: Decoder, watches: Watches) -> AsyncGenerator[bytes, None]:
    cutter = _Cutter()
    ended = asyncio.ensure_future(source.ended())
    try:
        last = False
        while not last:
            # By descriptor: the name may be gone already, the file is not.
            with watches.watch(file.newest) as changed:
                while True:
                    last = ended.done()
                    changed.clear()
                    has_more = file.is_cut_off
                    while block := file.read(_BLOCK):
                        if text := b"".join(decoder.feed(cutter.feed(block))):
                            yield text
                        await asyncio.sleep(0)
                    if has_more and file.go_on():
                        last = False
                        break
                    if last:
                        break
                    news = asyncio.ensure_future(changed.wait())
                    try:
                        await asyncio.wait((news, ended), return_when=asyncio.FIRST_COMPLETED)
                    finally:
                        news.cancel()
        if rest := decoder.end():
            yield rest
    finally:
        ended.cancel()


class _Cutter:
    """Cuts blocks into lines, whatever their borders."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, block: bytes) -> list[bytes]:
        *lines, self._rest = (self._rest + block).split(b"\n")
        return lines


def _since(options: LogOptions, now: datetime) -> datetime | None:
    if options.since_seconds is not None:
        return now - timedelta(seconds=options.since_seconds)
    return options.since


def last_words(path: Path) -> str:
    """The end of a log as a termination message: at most 80 lines and 2048 bytes, as upstream has it. Without what a
    launcher says below them of the program that failed (upstream: with it)."""
    try:
        with Chain(path) as file:
            # Far more than those bytes take as entries; a log without an end of a line is not read as a whole.
            begin = max(file.size - _BLOCK, 0)
            file.seek(begin)
            entries = b"".join(iter(lambda: file.read(_BLOCK), b"")).split(b"\n")[:-1]
    except FileNotFoundError:
        return ""
    decoder = Decoder()
    text = b"".join(decoder.feed(entries[1:] if begin else entries)) + decoder.end()
    lines = without_summary(text.strip(b"\n").split(b"\n"))[-_LAST_LINES:]
    return b"\n".join(lines)[-_LAST_BYTES:].decode(errors="replace").strip("\n")


def _tail_start(file: Chain, end: int, count: int) -> int:
    """Where the last `count` lines before `end` begin. Reads from there: a long log costs no more than a short one."""
    if count <= 0:
        return end
    position, tail, wanted = end, b"", count
    while position > 0:
        size = min(_BLOCK, position)
        position -= size
        file.seek(position)
        tail = _exactly(file, size) + tail
        begin = _nth_line_from_end(tail, wanted, whole=position == 0)
        if begin is not None:
            return position + begin
    return 0


def _exactly(file: Chain, size: int) -> bytes:
    """Bytes that are there, from one part or several."""
    data = b""
    while len(data) < size and (part := file.read(size - len(data))):
        data += part
    return data


def _nth_line_from_end(tail: bytes, count: int, *, whole: bool) -> int | None:
    """The offset at which the `count`-th line from the end of `tail` begins; None if it begins before `tail`."""
    stop = len(tail)
    found = 0
    first = True
    while stop > 0:
        border = tail.rfind(b"\n", 0, stop - 1)
        if border < 0 and not whole:
            return None
        entry = tail[border + 1 : stop]
        if first or is_line_end(entry):
            found += 1
            if found > count:
                return stop
        first = False
        stop = border + 1
    return 0 if whole else None
