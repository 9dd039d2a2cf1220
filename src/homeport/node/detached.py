"""Starting the processes that outlive the platform: helpers, and supervisors of plain pods. They find their program
without looking at the platform's environment, and write what goes wrong to a log of their own."""

from __future__ import annotations

import asyncio
import os
import sys

from homeport.node.sandbox import __main__ as program

_PROGRAM = os.path.abspath(program.__file__)


def open_log(path: str) -> int:
    """Raises OSError."""
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)


async def start(*arguments: str, log: int, keep: int) -> asyncio.subprocess.Process:
    """Start :mod:`homeport.node.sandbox` with these arguments, in a session of its own. `log` is a descriptor that it
    writes to, `keep` another that it inherits under the same number; both stay the caller's. Raises OSError."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", _PROGRAM, *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        pass_fds=(keep,),
        start_new_session=True,
        cwd="/",
        env={"LC_ALL": "C.UTF-8"},
    )


async def probe(what: str) -> bool:
    """Whether the machine can do something, which a process without threads has to try."""
    tried = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", _PROGRAM, what), stdin=asyncio.subprocess.DEVNULL
    )
    return await tried.wait() == 0
