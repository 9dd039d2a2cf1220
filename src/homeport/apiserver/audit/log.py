"""The file that events go to: written by a thread of its own, one batch at a time, and rotated by size.

The event loop never waits for it. When the disk can't keep up the queue fills to its limit, and what comes then is
lost; the log of the platform says how much.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from homeport.apiserver.audit import event

log = logging.getLogger(__name__)

MAX_QUEUED = 10_000
"""Events that may wait, as upstream."""
MAX_QUEUED_BYTES = 64 << 20
"""Bytes of what was sent and answered that events may wait with."""
_BATCH = 400
_COMPLAIN_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Rotation:
    """When a log file makes room for a new one, and what becomes of old ones (0: no limit)."""

    megabytes: int = 100
    backups: int = 0
    days: int = 0


class LogFile:
    """Appends events to the file at `path`, which only its owner reads; ``-`` is the standard output."""

    def __init__(self, path: str, rotation: Rotation | None = None) -> None:
        self._path = None if path == "-" else Path(path).absolute()
        self._rotation = rotation or Rotation()
        self._queue: deque[tuple[int, event.Facts]] = deque()
        """With the size of each."""
        self._bytes = 0
        self._lost = 0
        self._complained = -_COMPLAIN_SECONDS
        self._is_closed = False
        self._news = threading.Condition()
        self._descriptor = self._open()
        self._size = os.fstat(self._descriptor).st_size if self._path is not None else 0
        self._thread = threading.Thread(target=self._run, name="audit log", daemon=True)
        self._thread.start()

    def _open(self) -> int:
        if self._path is None:
            return sys.stdout.fileno()
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def put(self, facts: event.Facts) -> None:
        """Have the event written soon. Never waits."""
        request = facts.request
        size = len(request.body) + len(facts.body) + len(request.path) + sum(map(len, request.headers.values()))
        with self._news:
            if self._is_closed or len(self._queue) >= MAX_QUEUED or self._bytes + size > MAX_QUEUED_BYTES:
                self._lost += 1
            else:
                self._queue.append((size, facts))
                self._bytes += size
                if len(self._queue) == 1:
                    self._news.notify()

    def close(self) -> None:
        """Write what waits, and end. Blocks for as long as that takes."""
        with self._news:
            self._is_closed = True
            self._news.notify()
        self._thread.join()
        if self._path is not None:
            os.close(self._descriptor)

    # The thread.

    def _run(self) -> None:
        while True:
            with self._news:
                while not self._queue and not self._is_closed:
                    self._news.wait()
                if not self._queue:
                    return
                batch = [self._queue.popleft() for _ in range(min(_BATCH, len(self._queue)))]
                self._bytes -= sum(size for size, _ in batch)
                lost, self._lost = self._lost, 0
            try:
                self._write(b"".join(self._line(facts) for _, facts in batch))
            except OSError as error:
                self._complain(f"{len(batch)} audit events could not be written: {error}")
            if lost:
                self._complain(f"{lost} audit events were lost: more came than could be written")

    @staticmethod
    def _line(facts: event.Facts) -> bytes:
        try:
            return event.line(facts)
        except Exception:
            # A mistake in one event must not cost the others; the event may hold secrets, so only its id is told.
            log.exception("audit event %s could not be made", facts.id)
            return b""

    def _complain(self, text: str) -> None:
        """Once a minute is enough: a full disk would fill with complaints."""
        if time.monotonic() - self._complained >= _COMPLAIN_SECONDS:
            self._complained = time.monotonic()
            log.error("%s", text)

    def _write(self, data: bytes) -> None:
        if self._path is not None and self._size and self._size + len(data) > self._rotation.megabytes << 20:
            self._rotate(self._path)
        view = memoryview(data)
        while view:
            written = os.write(self._descriptor, view)
            self._size += written
            view = view[written:]

    def _rotate(self, path: Path) -> None:
        now = datetime.now(UTC)
        old = path.with_name(f"{path.stem}-{now:%Y-%m-%dT%H-%M-%S.%f}{path.suffix}")
        os.rename(path, old)
        fresh = self._open()
        os.close(self._descriptor)
        self._descriptor, self._size = fresh, 0
        backups = sorted(path.parent.glob(f"{_escaped(path.stem)}-[0-9]*{_escaped(path.suffix)}"), reverse=True)
        if self._rotation.days:
            limit = (now - timedelta(days=self._rotation.days)).timestamp()
            expired = {backup for backup in backups if backup.stat().st_mtime < limit}
        else:
            expired = set()
        if self._rotation.backups:
            expired.update(backups[self._rotation.backups :])
        for backup in expired:
            backup.unlink(missing_ok=True)


def _escaped(text: str) -> str:
    """`text` without a meaning of its own in a glob pattern."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in text)
