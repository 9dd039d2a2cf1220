"""Environment files: variables that a container has written into a volume for others (``fileKeyRef``). Pure but for
:func:`read`.

The format is the kubelet's since 1.35 (upstream: ``pkg/util/env``), a part of the shell's: ``NAME='value'``, with the
value in single quotes, taken as it is, perhaps over several lines; comments, and lines with nothing in them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from homeport.node.references import Unresolved
from homeport.node.runtime import Sandbox
from homeport.node.volumes import VolumePlaces

LONGEST_KEY = 128
LONGEST_VALUE = 32 << 10


class EnvFile(NamedTuple):
    volume: str
    path: str


def wanted(container: Mapping[str, Any]) -> Iterator[EnvFile]:
    """The files that a container's environment names."""
    for variable in container.get("env") or ():
        if selector := (variable.get("valueFrom") or {}).get("fileKeyRef"):
            yield file_of(selector)


def file_of(selector: Mapping[str, Any]) -> EnvFile:
    return EnvFile(selector.get("volumeName") or "", selector.get("path") or "")


async def read(
    container: Mapping[str, Any], places: VolumePlaces, sandbox: Sandbox
) -> dict[tuple[str, str], str | None]:
    """What is in the files; None for one that is not there. Raises SandboxError."""
    found: dict[tuple[str, str], str | None] = {}
    for file in set(wanted(container)):
        content = await sandbox.read(str(places.of(file.volume)), file.path)
        found[file] = None if content is None else content.decode(errors="surrogateescape")
    return found


def value(selector: Mapping[str, Any], files: Mapping[tuple[str, str], str | None]) -> str | None:
    """What a ``fileKeyRef`` stands for; None if it is optional and missing. Raises Unresolved."""
    file, key = file_of(selector), selector.get("key") or ""
    if len(key) > LONGEST_KEY:
        raise Unresolved(f'environment variable key "{key}" exceeds maximum length of {LONGEST_KEY} characters')
    content = files.get(file)
    try:
        found = None if content is None else parse(content, key)
    except ValueError as error:
        raise Unresolved(f'couldn\'t parse env file "{file.path}" of volume "{file.volume}": {error}') from None
    if found is None:
        if selector.get("optional"):
            return None
        if content is None:
            raise Unresolved(f'couldn\'t open env file "{file.path}" of volume "{file.volume}": it does not exist')
        raise Unresolved(f'environment variable key "{key}" not found in file "{file.path}"')
    if len(found.encode(errors="surrogateescape")) > LONGEST_VALUE:
        raise Unresolved(f'environment variable value for key "{key}" exceeds maximum size of {LONGEST_VALUE} bytes')
    return found


def parse(text: str, key: str) -> str | None:
    """The value of one variable, None if the file does not have it. What follows it is not looked at. Raises ValueError
    with the line."""
    lines = enumerate((line.removesuffix("\r") for line in text.split("\n")), 1)
    for number, raw in lines:
        line = raw.lstrip(" \t")
        if not line or line.startswith("#"):
            continue
        name, equals, rest = line.partition("=")
        if not equals:
            raise _bad(number, "missing '='")
        if not name.strip(" \t"):
            raise _bad(number, "empty variable name")
        if name != name.rstrip(" \t"):
            raise _bad(number, "whitespace before '=' is not allowed")
        if rest.startswith((" ", "\t")):
            found = ""  # as the shell has it: the assignment ends there
        elif not rest.startswith("'"):
            raise _bad(number, "value must be enclosed in single quotes")
        else:
            found = _quoted(rest[1:], number, lines)
        if name == key:
            return found
    return None


def _quoted(rest: str, number: int, lines: Iterator[tuple[int, str]]) -> str:
    """What is in quotes, whose first line is `rest`."""
    parts, began = [], number
    while "'" not in rest:
        parts.append(rest)
        number, rest = next(lines, (0, ""))
        if not number:
            raise ValueError(f"invalid environment variable format starting at line {began}: unclosed single quote")
    last, _, after = rest.partition("'")
    after = after.lstrip(" \t")
    if after and not after.startswith("#"):
        raise _bad(number, "unexpected content after closing quote")
    return "\n".join([*parts, last])


def _bad(line: int, what: str) -> ValueError:
    return ValueError(f"invalid environment variable format at line {line}: {what}")
