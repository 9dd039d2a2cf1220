"""The platform's side of :mod:`homeport.node.layers`: a process that works on layers, asked one thing at a time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from homeport.kube.errors import HomeportError
from homeport.node import layers
from homeport.node.sparing import give_up_to_need

_PROGRAM = str(Path(layers.__file__).with_name("__main__.py"))
_LONGEST_ANSWER = 8 << 20


class LayerError(HomeportError):
    """A layer can't be made; the text says why."""


class LayerWork:
    """Starts the process with the first request; leaving the context ends it, and whatever it was doing."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._one = asyncio.Lock()

    async def __aenter__(self) -> LayerWork:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """End the process. The next request starts another."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def request(self, op: str, *, progress: Callable[[int], None] | None = None, **fields: Any) -> dict[str, Any]:
        """The answer. `progress` hears of bytes. Raises LayerError."""
        async with self._one:
            process = await self._started()
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps({"op": op, **fields}).encode() + b"\n")
            while line := await process.stdout.readline():
                answer: dict[str, Any] = json.loads(line)
                if "progress" in answer:
                    if progress is not None:
                        progress(answer["progress"])
                elif "done" in answer:
                    done: dict[str, Any] = answer["done"]
                    return done
                else:
                    raise LayerError(answer.get("error") or answer["refused"])
            raise LayerError("the process that works on layers has ended; is the machine out of memory?")

    async def _started(self) -> asyncio.subprocess.Process:
        if self._process is None:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", _PROGRAM),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=_LONGEST_ANSWER,
            )
            give_up_to_need(self._process.pid)
        return self._process
