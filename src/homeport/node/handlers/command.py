"""Running a command in a container and waiting for its end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from homeport.node.handlers.target import LONGEST_OUTPUT, Target
from homeport.node.runtime import Reader, Wanted


async def run(target: Target, command: Sequence[str], seconds: float | None) -> tuple[int, str]:
    """(exit code, what it wrote, cut). Raises TimeoutError after `seconds`, and then the command is killed; StartError
    or SandboxError if it can't be started, ConnectionError if nobody knows how it ended."""
    async with asyncio.timeout(seconds):
        session = await target.sandbox.execute(target.container, command, Wanted(stdout=True, stderr=True))
        try:
            output = bytearray()
            readers = [reader for reader in (session.stdout, session.stderr) if reader is not None]
            code, _ = await asyncio.gather(session.wait(), _collect_all(readers, output))
        except BaseException:
            # Nobody waits for it any more.
            session.kill()
            raise
        finally:
            session.close()
    return code, output.decode(errors="replace")


async def _collect_all(readers: Sequence[Reader], output: bytearray) -> None:
    await asyncio.gather(*(_collect(reader, output) for reader in readers))


async def _collect(reader: Reader, output: bytearray) -> None:
    """Read to the end, so that the command never waits for a reader, and keep the beginning."""
    while data := await reader.read():
        output += data[: max(LONGEST_OUTPUT - len(output), 0)]
