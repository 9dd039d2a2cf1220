"""The files of a cgroup: what limits are to the kernel in version 1 and in version 2, and reading and writing them."""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Iterator

from homeport.node.sandbox import files
from homeport.node.sandbox.spec import Limits

PERIOD = 100_000
"""Microseconds of the period that a quota of processor time is for, as the kubelet has it."""
_UNLIMITED_SHARES = 2
DEFAULTS = frozenset(
    {
        ("cpu.cfs_period_us", str(PERIOD)),
        ("cpu.cfs_quota_us", "-1"),
        ("cpu.max", f"max {PERIOD}"),
        ("memory.limit_in_bytes", "-1"),
        ("memory.memsw.limit_in_bytes", "-1"),
        ("memory.max", "max"),
        ("memory.swap.max", "max"),
        ("pids.max", "max"),
    }
)
"""What a new group has anyway."""


def settings(
    version: int, controllers: frozenset[str], limits: Limits, *, divided: bool = False
) -> Iterator[tuple[str, str]]:
    """The files of a group and what is to be in them; of one that is `divided` its own processes are not meant."""
    if "cpu" in controllers:
        shares = limits.cpu_shares or _UNLIMITED_SHARES
        if version == 1:
            yield "cpu.shares", str(shares)
            yield "cpu.cfs_period_us", str(PERIOD)
            yield "cpu.cfs_quota_us", str(limits.cpu_quota or -1)
        else:
            yield "cpu.weight", str(weight(shares))
            yield "cpu.max", f"{limits.cpu_quota or 'max'} {PERIOD}"
    if "memory" in controllers:
        if version == 1:
            yield from _memory_1(limits.memory)
        else:
            yield "memory.max", str(limits.memory or "max")
            # As the kubelet has it: what may use so much memory may not use swap beside it.
            yield "memory.swap.max", "0" if limits.memory else "max"
            if not divided:
                # One process less would leave a container that works no more, without saying so.
                yield "memory.oom.group", "1"
    if "pids" in controllers:
        yield "pids.max", str(limits.pids or "max")


def _memory_1(memory: int) -> Iterator[tuple[str, str]]:
    value = str(memory or -1)
    # The limit with swap may never be below the one without: raised first, and lowered last.
    yield "memory.memsw.limit_in_bytes", "-1"
    yield "memory.limit_in_bytes", value
    yield "memory.memsw.limit_in_bytes", value


def weight(shares: int) -> int:
    """Version 1's shares (2 to 262144, 1024 by default) as version 2's weight (1 to 10000, 100 by default).

    The curve through these three points that container runtimes agree on (runc 1.3.2, crun 1.24)."""
    if shares <= 2:
        return 1
    if shares >= 262144:
        return 10000
    curve = math.log2(shares)
    return math.ceil(10 ** ((curve * curve + 125 * curve) / 612 - 7 / 34))


def put(path: str, name: str, value: str) -> None:
    file = os.path.join(path, name)
    try:
        if name == "memory.max" and value != "max" and _number(os.path.join(path, "memory.current")) > int(value):
            # Version 1 refuses this; version 2 would end processes until the rest fits.
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), file)
        files.write(file, value)
    except FileNotFoundError:
        # Not every kernel counts swap, has quotas, or ends whole groups.
        if name in ("memory.max", "memory.limit_in_bytes", "pids.max"):
            raise
    except OSError as error:
        # A quota may not be more than that of the group above: then that one is the limit, and no other is needed.
        if not (name == "cpu.cfs_quota_us" and error.errno == errno.EINVAL):
            raise
        files.write(file, "-1")


def _number(path: str) -> int:
    try:
        return int(files.read(path))
    except (OSError, ValueError):
        return 0


def counter(path: str, name: str) -> int:
    for line in files.read(path).splitlines():
        key, _, value = line.partition(b" ")
        if key == name.encode():
            return int(value)
    return 0
