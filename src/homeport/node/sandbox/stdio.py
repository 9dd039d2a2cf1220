"""The standard input, output and errors of a process in a container: pipes or a terminal, and who holds which end."""

from __future__ import annotations

import os
import socket

from homeport.node.sandbox import terminal


class Streams:
    """Made before the fork; afterwards the parent has one end of each and the child takes the others.

    Without `stdin` the child's input is empty. With `tty` all three are one terminal, which exists once the child has
    made it.
    """

    __slots__ = ("_console", "_far", "_far_console", "stderr", "stdin", "stdout")

    def __init__(self, *, stdin: bool, tty: bool, stdout: bool = True, stderr: bool = True) -> None:
        """Raises OSError. What is not wanted of the outputs goes nowhere."""
        self.stdin: int | None = None
        """Where the process's input is written; the terminal, if there is one."""
        self.stdout: int | None = None
        self.stderr: int | None = None
        self._far: dict[int, int] = {}
        """The child's ends, by the number that each gets there."""
        self._console: socket.socket | None = None
        self._far_console: socket.socket | None = None
        try:
            if tty:
                self._console, self._far_console = socket.socketpair()
                return
            if stdin:
                self._far[0], self.stdin = os.pipe()
            if stdout:
                self.stdout, self._far[1] = os.pipe()
            if stderr:
                self.stderr, self._far[2] = os.pipe()
        except BaseException:
            self.close()
            raise
        for end in (self.stdin, self.stdout, self.stderr):
            if end is not None:
                os.set_blocking(end, False)

    @classmethod
    def of(cls, far: dict[int, int]) -> Streams:
        """The child's side of streams that another process has made: its ends by the number that each gets there."""
        made = cls(stdin=False, tty=False, stdout=False, stderr=False)
        made._far = dict(far)
        return made

    @property
    def is_terminal(self) -> bool:
        return self._console is not None

    @property
    def far_ends(self) -> list[int]:
        """The child's ends."""
        return [*self._far.values(), *([self._far_console.fileno()] if self._far_console is not None else [])]

    def take(self, uid: int) -> None:
        """In the child, in its own root: have them as 0, 1 and 2. Raises OSError."""
        if self._far_console is not None:
            terminal.take(self._far_console.fileno(), uid)
            return
        # The container's own, not the machine's.
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        for number in (0, 1, 2):
            os.dup2(self._far.get(number, null), number)

    def close_far_ends(self) -> None:
        """In the parent, once the child is there."""
        for end in self._far.values():
            os.close(end)
        self._far.clear()
        if self._far_console is not None:
            self._far_console.close()
            self._far_console = None

    def receive_terminal(self) -> None:
        """In the parent, once the command runs: the terminal becomes ``stdin`` and ``stdout``. Raises OSError."""
        if self._console is None:
            return
        with self._console as console:
            master = terminal.receive(console)
        self.stdin, self.stdout = master, os.dup(master)

    def close(self) -> None:
        """Let go of everything that is still held here."""
        self.close_far_ends()
        for end in (self.stdin, self.stdout, self.stderr):
            if end is not None:
                os.close(end)
        self.stdin = self.stdout = self.stderr = None
        if self._console is not None:
            self._console.close()
