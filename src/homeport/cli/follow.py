"""Following the logs of containers: every line once, in order, across restarts of containers and of the platform.

The server stamps lines (``timestamps=true``). After a break the log is read from the second of the last line on, and
what had been seen is skipped. A log is complete when it was read to its end after the container was known to have
ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from homeport.cli.connection import Connection, is_temporary
from homeport.cli.replicas import Container, Replica
from homeport.kube import core
from homeport.kube.errors import ApiError, BadRequest, HomeportError, NotFound

_GRACE = 1.0
"""Seconds that a container's status may lag behind the end of its log."""


Stamp = tuple[str, str]
"""A moment as something that sorts: seconds, nanoseconds."""


@dataclass(frozen=True, slots=True)
class Extent:
    """How much of the logs is wanted."""

    since: str = ""
    """``sinceTime``: RFC 3339, or empty for all."""
    tail: int | None = None
    """Lines at the end of each container's log."""
    container: str = ""
    """Only containers of this name."""
    previous: bool = False
    """What was written before the last restart."""

    def takes(self, container: str) -> bool:
        return self.container in ("", container)


WHOLE = Extent()


def log_query(uid: str, container: str, extent: Extent, *, follow: bool = False) -> list[tuple[str, str]]:
    """The query of a request for the log of a container of the pod of that uid, with stamps.

    Homeport's server has it also when the pod is gone, if it was a job's. Others don't know the uid, and look at the
    name alone.
    """
    query = [("container", container), ("podUID", uid), ("timestamps", "true")]
    if follow:
        query.append(("follow", "true"))
    if extent.previous:
        query.append(("previous", "true"))
    if extent.since:
        query.append(("sinceTime", extent.since))
    if extent.tail is not None:
        query.append(("tailLines", str(extent.tail)))
    return query


def stamped(line: str) -> tuple[Stamp | None, str]:
    """When a line was written (UTC), and its text; None and the line itself if it is not stamped."""
    stamp, _, text = line.partition(" ")
    moment, zone = _moment(stamp)
    if moment is None:
        return None, line
    if zone != "Z":
        seconds = datetime.fromisoformat(moment[0] + zone).astimezone(UTC)
        moment = seconds.strftime("%Y-%m-%dT%H:%M:%S"), moment[1]
    return moment, text


class Cursor:
    """How far a container's log has been seen. Pure: feed it stamped lines, it gives back the new ones' texts."""

    def __init__(self) -> None:
        self._last = ("", "")
        self._zone = "Z"
        self._repeats = 0
        """How many lines with the last stamp have been seen."""
        self._to_skip = 0
        self._catching_up = False

    @property
    def since(self) -> str:
        """The ``sinceTime`` that misses nothing; empty at the beginning."""
        return self._last[0] + self._zone if self._last[0] else ""

    def resume(self) -> None:
        """The log comes again from `since` on."""
        self._catching_up = bool(self._last[0])
        self._to_skip = self._repeats

    def take(self, line: str) -> str | None:
        """The text of a line, None if it was seen before."""
        stamp, _, text = line.partition(" ")
        moment, zone = _moment(stamp)
        if moment is None:
            return line  # not stamped: a server's own words, such as a note that the log was cut
        if self._catching_up:
            if moment < self._last:
                return None
            if moment == self._last and self._to_skip:
                self._to_skip -= 1
                return None
            self._catching_up = False
        self._repeats = self._repeats + 1 if moment == self._last else 1
        self._last, self._zone = moment, zone
        return text


def _moment(stamp: str) -> tuple[tuple[str, str] | None, str]:
    """An RFC 3339 time as something that sorts (seconds, nanoseconds), and its zone."""
    if len(stamp) < 20 or stamp[4] != "-" or stamp[10] != "T":
        return None, ""
    seconds, rest = stamp[:19], stamp[19:]
    end = next((at for at, char in enumerate(rest) if char in "Z+-"), None)
    if end is None:
        return None, ""
    return (seconds, rest[:end].lstrip(".").ljust(9, "0")), rest[end:]


class LineSplitter:
    """Cuts a stream of bytes into lines of text."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> Iterator[str]:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            yield line.decode(errors="replace")

    def end(self) -> Iterator[str]:
        if self._rest:
            yield self._rest.decode(errors="replace")
        self._rest = b""


class PodLogs:
    """Follows all containers of one pod. `update` brings news of the pod; `done` is set once everything was read."""

    def __init__(
        self,
        connection: Connection,
        replica: Replica,
        emit: Callable[[Replica, Container, str], None],
        extent: Extent = WHOLE,
    ) -> None:
        self._connection = connection
        self._emit = emit
        self._extent = extent
        self._changed = asyncio.Event()
        self.replica = replica
        self.gone = False
        self.done = asyncio.Event()

    def update(self, replica: Replica, *, gone: bool) -> None:
        self.replica = replica
        self.gone = self.gone or gone
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def run(self) -> None:
        """Read until the pod has ended and its logs were read to the end."""
        async with asyncio.TaskGroup() as group:
            for container in self.replica.containers:
                if not self._extent.takes(container.name):
                    continue
                group.create_task(self._follow(container.name), name=f"log of {self.replica.name} {container.name}")
        self.done.set()

    def _container(self, name: str) -> Container:
        return next(container for container in self.replica.containers if container.name == name)

    async def _news(self, timeout: float | None = None) -> None:
        try:
            async with asyncio.timeout(timeout):
                await self._changed.wait()
        except TimeoutError:
            return

    async def _follow(self, name: str) -> None:
        cursor = Cursor()
        # The last lines of a log are those of this attempt; what comes after them is wanted all.
        attempt = 0 if self._extent.tail is None else self._container(name).attempt
        read = False
        """Whether `attempt` was read to its end."""
        while True:
            now = self._container(name)
            if not read and now.attempt > attempt and now.has_log:
                # It was restarted before its log ended here. Kubernetes gives the attempt before this one, no older.
                await self._read(now, cursor, follow=False, previous=True)
                read = True
            if now.attempt > attempt:
                attempt, read = now.attempt, False
            over = self.gone or self.replica.is_final
            if (read and over) or (over and not now.has_log):
                return
            if read or not now.has_log:
                await self._news()
                continue
            ended = now.state != "running"
            complete = await self._read(now, cursor, follow=not ended, previous=False)
            if self.gone:
                return
            if complete and ended:
                read = True
            elif self._container(name) == now:
                await self._news(_GRACE)

    async def _read(self, container: Container, cursor: Cursor, *, follow: bool, previous: bool) -> bool:
        """Read to the end of the stream; False if it broke off."""
        cursor.resume()
        lines = LineSplitter()
        extent = self._extent if not cursor.since else Extent(cursor.since)
        query = log_query(self.replica.uid, container.name, replace(extent, previous=previous), follow=follow)
        path = core.POD.resource.path(self.replica.namespace, self.replica.name, "log")
        try:
            async with self._connection.client.stream(path, query) as chunks:
                self._connection.found()
                async for chunk in chunks:
                    for line in lines.feed(chunk):
                        self._show(container, cursor, line)
            for line in lines.end():
                self._show(container, cursor, line)
        except (NotFound, BadRequest):
            # Gone in this moment, or not begun yet: the news that will come say which.
            return previous
        except HomeportError as error:
            if not is_temporary(error):
                raise
            if isinstance(error, ApiError):
                return False
            await self._connection.lost(error)
            return False
        return True

    def _show(self, container: Container, cursor: Cursor, line: str) -> None:
        text = cursor.take(line)
        if text is not None:
            self._emit(self.replica, container, text)
