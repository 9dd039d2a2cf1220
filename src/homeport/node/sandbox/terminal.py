"""A container's terminals: made inside, of its own devpts, and handed out to whoever reads and writes them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct
import termios

from homeport.node.sandbox import processes, wire

TYPE = "xterm"
"""``$TERM`` of a command that has a terminal and no opinion, as container runtimes set it."""
_MULTIPLEXER, _MACHINES = "/dev/pts/ptmx", "/dev/ptmx"
"""The first is below a mount point: the one path to it that a container can't change. It is nobody's to open on the
machine itself, for processes without a root of their own."""
_TIOCSPTLCK, _TIOCGPTPEER = 0x40045431, 0x5441


def take(console: int, uid: int) -> None:
    """Give the calling process, a leader of its session, a new terminal for its input, output and errors, and send the
    other end through the socket `console`. Raises OSError."""
    master, slave = _open() if processes.IS_LINUX else os.openpty()
    # Not for one whose id does not exist here: the terminal stays with root, and is open for the process anyway.
    with contextlib.suppress(OSError):
        os.fchown(slave, uid, -1)
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    for descriptor in (0, 1, 2):
        os.dup2(slave, descriptor)
    with socket.socket(fileno=os.dup(console)) as connection:
        wire.send_descriptors(connection, {}, [master])
    os.close(slave)
    os.close(master)


def _open() -> tuple[int, int]:
    """A terminal of the container's own, both ends. Raises OSError."""
    flags = os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC
    try:
        master = os.open(_MULTIPLEXER, flags)
    except PermissionError:
        master = os.open(_MACHINES, flags)
    fcntl.ioctl(master, _TIOCSPTLCK, struct.pack("i", 0))
    return master, fcntl.ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)


def receive(console: socket.socket) -> int:
    """The terminal that :func:`take` sent. Raises OSError if it did not."""
    _, descriptors = wire.receive_descriptors(console)
    if not descriptors:
        raise ConnectionResetError("no terminal was sent")
    os.set_blocking(descriptors[0], False)
    return descriptors[0]


def resize(master: int, rows: int, columns: int) -> None:
    """Tell a terminal its size; its foreground processes get SIGWINCH. No error if its last process has gone."""
    with contextlib.suppress(OSError):
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))
