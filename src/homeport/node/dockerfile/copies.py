"""``COPY`` and ``ADD``: what is asked for, and fetching what is not in a directory yet."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import posixpath
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec

from homeport.node.dockerfile.instructions import Instruction
from homeport.node.dockerfile.lexing import DockerfileError
from homeport.node.dockerfile.settings import Context, replaced
from homeport.node.dockerfile.state import State

_SECONDS = 60.0
_LARGEST = 32 << 30


class Copy(msgspec.Struct, frozen=True):
    sources: tuple[str, ...]
    target: str
    """Absolute, with a slash at the end for a directory."""
    stage: str
    owner: str
    mode: int | None
    texts: tuple[tuple[str, str], ...] = ()
    """Files that are in the Dockerfile itself: name and content."""
    checksum: str = ""


def asked(one: Instruction, state: State, context: Context) -> Copy:
    """Raises DockerfileError or WordError."""
    for flag in ("parents", "exclude", "keep-git-dir"):
        if one.flag(flag) is not None:
            raise DockerfileError(f"{one.keyword} --{flag} is not supported", one.line)
    words = list(one.words) if one.words is not None else one.rest.split()
    if len(words) < 2:
        raise DockerfileError(f"{one.keyword} requires at least two arguments", one.line)
    heredocs = {heredoc.word: heredoc for heredoc in one.heredocs}
    *sources, target = words
    texts, paths = [], []
    for word in sources:
        if word in heredocs:
            heredoc = heredocs[word]
            content = replaced_lines(heredoc.content, state, context) if heredoc.expands else heredoc.content
            texts.append((heredoc.name, content))
            paths.append(heredoc.name)
        else:
            paths.append(replaced(word, state, context))
    return Copy(
        sources=tuple(paths),
        target=state.absolute(replaced(target, state, context)),
        stage=replaced(one.flag("from") or "", state, context),
        owner=replaced(one.flag("chown") or "", state, context),
        mode=_mode(replaced(one.flag("chmod") or "", state, context), one.line),
        texts=tuple(texts),
        checksum=one.flag("checksum") or "",
    )


def replaced_lines(content: str, state: State, context: Context) -> str:
    """Variables in a heredoc: quotes mean nothing there."""
    marked = content.replace("'", "\\'").replace('"', '\\"') if context.escape == "\\" else content
    return replaced(marked, state, context)


def _mode(text: str, line: int) -> int | None:
    if not text:
        return None
    try:
        mode = int(text, 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o7777:
        raise DockerfileError(f"--chmod={text}: must be an octal number such as 755", line)
    return mode


def is_address(source: str) -> bool:
    return source.startswith(("http://", "https://", "git@", "git://", "ssh://"))


async def fetch(source: str, directory: Path, checksum: str, line: int) -> str:
    """Fetch a file of the web into a directory; its name there. Raises DockerfileError."""
    parts = urlsplit(source)
    if parts.scheme not in ("http", "https") or parts.path.endswith(".git"):
        raise DockerfileError(f"ADD {source}: git repositories are not supported; clone it and COPY it", line)
    name = posixpath.basename(unquote(parts.path))
    if not name or name in (".", ".."):
        raise DockerfileError(f"ADD {source}: the address names no file", line)
    try:
        found = await asyncio.to_thread(_fetch, source, directory / name)
    except (OSError, ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        code = f"{error.code} " if isinstance(error, urllib.error.HTTPError) else ""
        raise DockerfileError(
            f"ADD {source}: it can't be fetched ({code}{reason}). Without a network, put the file into the context",
            line,
        ) from error
    if checksum and checksum != f"sha256:{found}":
        raise DockerfileError(f"ADD {source}: its checksum is sha256:{found}, not {checksum}", line)
    return name


def _fetch(source: str, target: Path) -> str:
    digest, count = hashlib.sha256(), 0
    with contextlib.closing(urllib.request.urlopen(source, timeout=_SECONDS)) as answer, open(target, "wb") as file:
        while data := answer.read(1 << 20):
            count += len(data)
            if count > _LARGEST:
                raise ValueError(f"it is larger than {_LARGEST} bytes")
            digest.update(data)
            file.write(data)
    os.chmod(target, 0o600)
    return digest.hexdigest()
