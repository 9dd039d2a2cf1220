"""A container's log as one long file, though the supervisor has cut it into several: ``0.log.1``, ``0.log.2``, ..., and
``0.log``, which is being written. The next one begins where an entry ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_TRIES = 10


def numbers(path: Path) -> list[int]:
    """The numbers of the files that were cut off, in the order in which they were written."""
    begin = f"{path.name}."
    try:
        names = os.listdir(path.parent)
    except FileNotFoundError:
        return []
    return sorted(int(rest) for name in names if name.startswith(begin) and (rest := name[len(begin) :]).isdigit())


def cut_off(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")


def remove(path: Path) -> None:
    """Delete the log with all its parts. Raises FileNotFoundError if there is none."""
    for number in numbers(path):
        cut_off(path, number).unlink(missing_ok=True)
    path.unlink()


class Chain:
    """The parts of a log, open for reading: what is deleted meanwhile can still be read. Seeks and reads as a file."""

    def __init__(self, path: Path) -> None:
        """Raises FileNotFoundError if there is no such log."""
        self._path = path
        self._files = _open(path)
        self._sizes = [os.fstat(file.fileno()).st_size for file in self._files]
        self._index = 0

    def __enter__(self) -> Chain:
        return self

    def __exit__(self, *_error: object) -> None:
        for file in self._files:
            file.close()

    @property
    def size(self) -> int:
        """How long it was when it was opened."""
        return sum(self._sizes)

    def tell(self) -> int:
        return sum(self._sizes[: self._index]) + self._files[self._index].tell()

    def seek(self, position: int) -> None:
        for index, size in enumerate(self._sizes):
            if position < size or index + 1 == len(self._files):
                self._index = index
                self._files[index].seek(position)
                break
            position -= size
        for file in self._files[self._index + 1 :]:
            file.seek(0)

    def read(self, size: int) -> bytes:
        """What is there, at most `size` bytes; empty at the end of what there is now."""
        while True:
            data = self._files[self._index].read(size)
            if data or self._index + 1 == len(self._files):
                return data
            self._index += 1

    @property
    def newest(self) -> int:
        """A descriptor of the part that was opened last."""
        return self._files[-1].fileno()

    @property
    def is_cut_off(self) -> bool:
        """Whether nothing is written any more to the part that was opened last, since there is one behind it."""
        try:
            return not os.path.samestat(os.fstat(self.newest), os.stat(self._path))
        except FileNotFoundError:
            return False  # the log has been deleted as a whole

    def go_on(self) -> bool:
        """Open the part behind the one that was opened last. False if it is not there any more."""
        try:
            behind = list(self._behind(os.fstat(self.newest)))
        except FileNotFoundError:
            return False
        if not behind:
            return False
        # What has been read is let go.
        for file in self._files[: self._index]:
            file.close()
        self._files = [*self._files[self._index :], behind[0]]
        self._sizes = [os.fstat(file.fileno()).st_size for file in self._files]
        self._index = 0
        for file in behind[1:]:
            file.close()
        return True

    def _behind(self, current: os.stat_result) -> Iterator[BinaryIO]:
        """The parts that came after the one of that identity; all that are left if it is not among them any more."""
        files = _open(self._path)
        places = [i for i, file in enumerate(files) if os.path.samestat(os.fstat(file.fileno()), current)]
        begin = places[0] + 1 if places else 0
        for file in files[:begin]:
            file.close()
        yield from files[begin:]


def _open(path: Path) -> list[BinaryIO]:
    """All parts in their order, although one may be cut off in this moment."""
    for last in range(_TRIES):
        before = numbers(path)
        files: list[BinaryIO] = []
        try:
            names = (*(cut_off(path, number) for number in before), path)
            files.extend(name.open("rb", buffering=0) for name in names)
            if numbers(path) == before or last + 1 == _TRIES:
                return files
        except FileNotFoundError:
            if not path.exists():
                raise
        for file in files:
            file.close()
    raise FileNotFoundError(path)
