"""Which of the machine's loopback addresses a node has for its pods: 127.N.0.0/16, and no other node of the machine has
the same.

A claim is a file of the machine's, ``/tmp/.homeport-127.N``, with the node's directory in it. It holds as long as the
directory is there, whoever runs; a restart of the machine takes it away, and the node claims the same again.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import ipaddress
import json
import os
import socket
import stat
import zlib

from homeport.node.sandbox import record

FIRST, COUNT = 16, 224
"""Of the networks that nodes have; 127.0.0.0/16 and 127.1.0.0/16 are everybody's."""
SHARED = ipaddress.IPv4Network("127.0.0.1/32")
"""In their place on systems whose loopback has no other address (macOS), and where nothing can be done about the
addresses that programs name."""
_LONGEST = 4096
"""Bytes of a path (PATH_MAX)."""
_PLACE, _RECORD = "/tmp/.homeport-127.", "block.json"


def recorded(directory: str) -> ipaddress.IPv4Network:
    """What the node in that directory had last; what it would claim first if it had none."""
    with contextlib.suppress(OSError, ValueError, TypeError), open(os.path.join(directory, _RECORD)) as file:
        return ipaddress.IPv4Network(json.load(file))
    return _network(_first(directory))


def claim(directory: str, *, are_apart: bool = True, place: str = _PLACE) -> ipaddress.IPv4Network:
    """The node's own, as before if it had one; what all pods share unless `are_apart`. Raises OSError if there is none
    left."""
    found = SHARED
    if are_apart and has_loopback():
        former = recorded(directory)
        first = _first(directory) if former == SHARED else former.network_address.packed[1]
        numbers = (FIRST + (first - FIRST + step) % COUNT for step in range(COUNT))
        found = next((_network(number) for number in numbers if _take(f"{place}{number}", directory)), SHARED)
        if found == SHARED:
            raise OSError(errno.EADDRNOTAVAIL, "every network of the machine's loopback belongs to another node")
    record.write(os.path.join(directory, _RECORD), str(found))
    return found


def has_loopback() -> bool:
    """Whether all of 127.0.0.0/8 is this machine's."""
    with socket.socket() as probe:
        try:
            probe.bind((str(_network(FIRST).network_address + 1), 0))
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                return False
            raise
    return True


def _first(directory: str) -> int:
    return FIRST + zlib.crc32(directory.encode()) % COUNT


def _network(number: int) -> ipaddress.IPv4Network:
    return ipaddress.IPv4Network(f"127.{number}.0.0/16")


def release(directory: str, *, place: str = _PLACE) -> None:
    """Nothing of the node runs any more: others may have its network. The file stays, empty, as somebody may be about
    to claim it."""
    number = recorded(directory).network_address.packed[1]
    with contextlib.suppress(OSError), open(f"{place}{number}", "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if os.fsdecode(file.read()) == directory:
            file.truncate(0)


def _take(path: str, directory: str) -> bool:
    """Whether it is the directory's now. Every user may write to the file, as others' claims end, too."""
    try:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            os.fchmod(descriptor, 0o666)
        except FileExistsError:
            descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):  # anybody can make anything there
        os.close(descriptor)
        return False
    with open(descriptor, "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        owner = os.fsdecode(file.read(_LONGEST))
        if owner and owner != directory and _exists(owner):
            return False
        file.seek(0)
        file.truncate()
        file.write(os.fsencode(directory))
        return True


def _exists(directory: str) -> bool:
    try:
        os.stat(directory)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # or no path at all
        return False
    except OSError:
        return True  # another user's, who keeps it from us
    return True
