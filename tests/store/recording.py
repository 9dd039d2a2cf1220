"""Records what SQLite writes to its files and when it has it made durable, to replay power cuts (see test_crash.py).

Run as a script it opens a store in a directory, works, and leaves the recording there. The recorder sits between SQLite
and the operating system: it exchanges three functions (write, truncate, sync) of each file that SQLite opens. What it
does not see is the wal-index (``-shm``), which is rebuilt after a crash, and what the store does to directories.
"""

from __future__ import annotations

import asyncio
import ctypes
import pickle
import random
import sys
from ctypes import CFUNCTYPE, POINTER, Structure, byref, c_char_p, c_int, c_int64, c_void_p, cast, string_at
from pathlib import Path
from typing import Any, NamedTuple


class Step(NamedTuple):
    kind: str
    """``write``, ``truncate``, ``sync`` or ``ack``."""
    file: str
    at: int
    """Offset of a write, size after a truncation, revision of an acknowledgement."""
    data: bytes
    """What was written; of an acknowledgement ``NAME=TEXT NAME=TEXT ...``."""


_CLOSE, _READ, _WRITE = CFUNCTYPE(c_int, c_void_p), c_void_p, CFUNCTYPE(c_int, c_void_p, c_void_p, c_int, c_int64)
_TRUNCATE, _SYNC = CFUNCTYPE(c_int, c_void_p, c_int64), CFUNCTYPE(c_int, c_void_p, c_int)


class _Methods(Structure):
    """``sqlite3_io_methods``, version 3."""

    _fields_ = [
        ("version", c_int),
        ("close", c_void_p),
        ("read", c_void_p),
        ("write", _WRITE),
        ("truncate", _TRUNCATE),
        ("sync", _SYNC),
        ("others", c_void_p * 13),
    ]


class _File(Structure):
    _fields_ = [("methods", POINTER(_Methods))]


_OPEN = CFUNCTYPE(c_int, c_void_p, c_void_p, POINTER(_File), c_int, POINTER(c_int))


class _Vfs(Structure):
    """The beginning of ``sqlite3_vfs``."""

    _fields_ = [
        ("version", c_int),
        ("file_size", c_int),
        ("longest_path", c_int),
        ("next", c_void_p),
        ("name", c_char_p),
        ("data", c_void_p),
        ("open", _OPEN),
    ]


class Recorder:
    """Records from when it is made, for the rest of the process."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._names: dict[int, str] = {}
        self._kept: list[Any] = []  # what C points to must stay
        self._methods: dict[int, _Methods] = {}
        library = ctypes.CDLL("libsqlite3.so.0")
        library.sqlite3_vfs_find.restype = POINTER(_Vfs)
        self._vfs = library.sqlite3_vfs_find(None).contents
        self._open = cast(self._vfs.open, c_void_p).value
        original = _OPEN(self._open)

        def opened(vfs: int, name: int | None, file: Any, flags: int, out: Any) -> int:
            code = original(vfs, name, file, flags, out)
            if code == 0 and name is not None:
                self._names[cast(file, c_void_p).value or 0] = Path(string_at(name).decode()).name
                self._exchange(file.contents)
            return int(code)

        hook = _OPEN(opened)
        self._kept += [original, hook]
        self._vfs.open = hook

    def _exchange(self, file: _File) -> None:
        address = cast(file.methods, c_void_p).value
        assert address is not None
        mine = self._methods.get(address)
        if mine is None:
            mine = self._methods[address] = _Methods()
            theirs = file.methods.contents
            ctypes.memmove(byref(mine), byref(theirs), ctypes.sizeof(_Methods))
            write = _WRITE(cast(theirs.write, c_void_p).value)
            truncate = _TRUNCATE(cast(theirs.truncate, c_void_p).value)
            sync = _SYNC(cast(theirs.sync, c_void_p).value)

            def written(handle: int, data: int, size: int, at: int) -> int:
                self.steps.append(Step("write", self._names[handle], at, string_at(data, size)))
                return int(write(handle, data, size, at))

            def truncated(handle: int, size: int) -> int:
                self.steps.append(Step("truncate", self._names[handle], size, b""))
                return int(truncate(handle, size))

            def synced(handle: int, flags: int) -> int:
                code = int(sync(handle, flags))
                if code == 0:
                    self.steps.append(Step("sync", self._names[handle], 0, b""))
                return code

            mine.write, mine.truncate, mine.sync = _WRITE(written), _TRUNCATE(truncated), _SYNC(synced)
            self._kept += [write, truncate, sync]
        file.methods = ctypes.pointer(mine)


async def record(directory: Path, seed: int, writes: int, workers: int) -> list[Step]:
    import crash_worker

    from homeport.store import log
    from homeport.store.sqlite import SqliteStore

    crash_worker.make_small()
    recorder = Recorder()
    append = log.append

    def appended(file: int, size: int) -> int:
        added = append(file, size)
        recorder.steps.append(Step("write", "store.db-wal", size, bytes(added)))
        return added

    log.append = appended
    store = SqliteStore.open(directory / "store.db", crash_worker.LIMITS)
    rng = random.Random(seed)

    async def work(number: int) -> None:
        for _ in range(writes // workers):
            operations, said = crash_worker.choose(store, rng, number)
            records = await store.write(*operations)
            recorder.steps.append(Step("ack", "", records[0].revision, said.encode()))

    await asyncio.gather(*(work(number) for number in range(workers)))
    steps = list(recorder.steps)  # without what closing does
    await store.close()
    return steps


if __name__ == "__main__":
    place = Path(sys.argv[1])
    recorded = asyncio.run(record(place, int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
    (place / "steps").write_bytes(pickle.dumps([tuple(step) for step in recorded]))
