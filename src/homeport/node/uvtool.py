"""Running uv: what it says turned into progress, and its errors into one line."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from homeport.kube.errors import HomeportError
from homeport.node.sparing import give_up_to_need

_LONGEST_REASON = 400
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class UvError(HomeportError):
    """uv refused; the text is its own reason on one line."""


class Progress:
    """Follows uv's output. ``line`` gives what to tell people, or an empty text."""

    def __init__(self) -> None:
        self._packages = 0
        self._downloads: dict[str, str] = {}
        self._done = 0

    def line(self, text: str) -> str:
        text = text.strip()
        if match := re.match(r"Resolved (\d+) packages?", text):
            self._packages = int(match[1])
            return f"resolved {self._packages} packages"
        if match := re.match(r"Downloading (?:cpython\S*|\S+) \((.+)\)", text):
            name = text.split()[1]
            self._downloads[name] = _size(match[1])
            return self._downloading(name)
        if match := re.match(r"Downloaded (\S+)", text):
            if match[1] in self._downloads:
                self._done += 1
                del self._downloads[match[1]]
            return self._downloading(next(iter(self._downloads))) if self._downloads else ""
        if match := re.match(r"Building (\S+)", text):
            return f"building {match[1]}"
        if re.match(r"Prepared \d+ packages?", text):
            return f"installing {self._packages} packages" if self._packages else "installing"
        if re.match(r"Installed \d+ packages?", text):
            return "compiling bytecode"
        return ""

    def _downloading(self, name: str) -> str:
        known = len(self._downloads) + self._done
        return f"downloading {name} {self._downloads[name]} ({self._done + 1}/{known})"


def _size(text: str) -> str:
    """``272.0MiB`` as ``272 MiB``."""
    match = re.match(r"([\d.]+)\s*([KMGT]?i?B)", text)
    if match is None:
        return text
    number = float(match[1])
    return f"{number:.0f} {match[2]}" if number >= 10 else f"{number:.1f} {match[2]}"


def reason(output: str) -> str:
    """Why uv failed, from all that it said: its error and its causes, on one line."""
    lines = [re.sub(r"^[^\w\"'`(\[]+", "", _ANSI.sub("", line)).strip() for line in output.splitlines()]
    begin = next((i for i, line in enumerate(lines) if line.startswith("error")), None)
    if begin is None:
        begin = next((i for i, line in enumerate(lines) if line.startswith("No solution")), max(len(lines) - 3, 0))
    words: list[str] = []
    for line in lines[begin:]:
        line = re.sub(r"^(error|cause|Caused by):\s*", "", line)
        if line and not line.startswith(("hint:", "Using Python")) and line not in words:
            words.append(line)
    text = ": ".join(words) or "uv ended without saying why"
    if "No space left on device" in text:
        text = "the disk is full: free some space and the build is tried again"
    return text if len(text) <= _LONGEST_REASON else text[: _LONGEST_REASON - 3] + "..."


def uv_binary() -> str:
    """Where uv is. Raises UvError."""
    from uv import find_uv_bin

    try:
        return str(find_uv_bin())
    except FileNotFoundError as error:
        raise UvError(f"uv is not installed next to homeport ({error}): pip install uv") from error


async def run(
    arguments: Sequence[str],
    *,
    environ: Mapping[str, str],
    cwd: Path,
    log: BinaryIO,
    inherit: Sequence[int] = (),
    heard: Callable[[str], None] = lambda line: None,
) -> str:
    """Run uv and return what it said; all of it also goes to `log`. Raises UvError.

    `inherit` are descriptors that uv keeps open as long as it runs, so that a lock outlives this process with it.
    """
    command = [uv_binary(), *arguments]
    # Values of options may hold credentials; what uv itself prints has them struck out.
    log.write(f"$ uv {' '.join(word for word in arguments if '://' not in word)}\n".encode())
    log.flush()
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=cwd,
        env={**environ, "NO_COLOR": "1", "UV_NO_PROGRESS": "1"},
        pass_fds=tuple(inherit),
        limit=1 << 20,
    )
    give_up_to_need(process.pid)
    said: list[str] = []
    try:
        assert process.stdout is not None
        async for raw in process.stdout:
            log.write(raw)
            line = _ANSI.sub("", raw.decode(errors="replace"))
            said.append(line)
            heard(line)
        code = await process.wait()
    finally:
        log.flush()
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            await process.wait()
    output = "".join(said)
    if code != 0:
        raise UvError(reason(output))
    return output
