"""Classes of interchangeable pods, each under a number that always means the same one while the process lives. Pure."""

from __future__ import annotations

from homeport.scheduler.batch.model import Shape


class Shapes:
    """Counts who uses each shape, and forgets what nobody does; a number is never given twice."""

    def __init__(self) -> None:
        self._by_number: dict[int, Shape] = {}
        self._shown: dict[int, Shape] | None = None
        self._numbers: dict[Shape, int] = {}
        self._users: dict[int, int] = {}
        self._next = 0

    def hold(self, shape: Shape) -> int:
        """The number of the shape; give it back with `drop`."""
        number = self._numbers.get(shape)
        if number is None:
            number, self._next = self._next, self._next + 1
            self._numbers[shape] = number
            self._by_number[number] = shape
            self._shown = None
            self._users[number] = 0
        self._users[number] += 1
        return number

    def drop(self, number: int) -> None:
        self._users[number] -= 1
        if not self._users[number]:
            del self._users[number]
            del self._numbers[self._by_number.pop(number)]
            self._shown = None

    def snapshot(self) -> dict[int, Shape]:
        """All of them; the same mapping until one comes or goes."""
        if self._shown is None:
            self._shown = dict(self._by_number)
        return self._shown
