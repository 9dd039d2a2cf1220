"""A Dockerfile's text into logical lines: parser directives, comments, continuations, heredocs. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from homeport.kube.errors import Permanent

_DIRECTIVE = re.compile(r"^#\s*([A-Za-z][A-Za-z0-9]*)\s*=\s*(.*?)\s*$")
_HEREDOC = re.compile(r"^\d*<<(-?)(?:\"([^\"<]+)\"|'([^'<]+)'|([A-Za-z_][A-Za-z0-9_.-]*))$")
_WITH_HEREDOCS = frozenset({"RUN", "COPY", "ADD"})
_LARGEST = 1 << 20


class DockerfileError(Permanent):
    """The Dockerfile is wrong; the text names the line."""

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(f"line {line}: {message}" if line else message)
        self.line = line


class Heredoc(msgspec.Struct, frozen=True):
    name: str
    content: str
    expands: bool
    """Whether variables in it are replaced: its name was not in quotes."""
    word: str
    """As it was introduced: ``<<EOF``."""


class Line(msgspec.Struct, frozen=True):
    """One instruction as it is written, without continuations."""

    number: int
    """Of its first line; the first is 1."""
    keyword: str
    """In capital letters."""
    rest: str
    heredocs: tuple[Heredoc, ...] = ()


class Text(msgspec.Struct, frozen=True):
    lines: tuple[Line, ...]
    escape: str = "\\"


def lex(text: str) -> Text:
    """Raises DockerfileError."""
    if len(text) > _LARGEST:
        raise DockerfileError(f"a Dockerfile of {len(text)} characters is no Dockerfile")
    physical = text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
    escape, begin = _directives(physical)
    return Text(tuple(_logical(physical, begin, escape)), escape)


def _directives(physical: list[str]) -> tuple[str, int]:
    """The escape character, and where the first line is that is no directive."""
    escape, seen = "\\", set()
    for index, line in enumerate(physical):
        match = _DIRECTIVE.match(line.strip())
        if match is None or match[1].lower() not in ("syntax", "escape", "check"):
            return escape, index
        name = match[1].lower()
        if name in seen:
            raise DockerfileError(f"only one {name} parser directive can be used", index + 1)
        seen.add(name)
        if name == "escape":
            if match[2] not in ("\\", "`"):
                raise DockerfileError(f"invalid ESCAPE '{match[2]}'. Must be ` or \\", index + 1)
            escape = match[2]
    return escape, len(physical)


def _logical(physical: list[str], index: int, escape: str) -> Iterator[Line]:
    continued = re.compile(rf"(?<!{re.escape(escape)}){re.escape(escape)}[ \t]*$")
    while index < len(physical):
        if _is_empty(physical[index]):
            index += 1
            continue
        number, text = index + 1, ""
        while index < len(physical):
            line = physical[index]
            index += 1
            if text and _is_empty(line):
                continue  # comments and empty lines between the lines of an instruction
            if continued.search(line) is None:
                text += line
                break
            text += continued.sub("", line)
        keyword, _, rest = text.strip().partition(" ")
        if "\t" in keyword:
            keyword, _, rest = text.strip().partition("\t")
        heredocs: list[Heredoc] = []
        if keyword.upper() in _WITH_HEREDOCS:
            for word in rest.split():
                if (match := _HEREDOC.match(word)) is not None:
                    content, index = _content(physical, index, match, number)
                    name = match[2] or match[3] or match[4]
                    heredocs.append(Heredoc(name, content, match[4] is not None, word))
        yield Line(number, keyword.upper(), rest.strip(), tuple(heredocs))


def _is_empty(line: str) -> bool:
    return not line.strip() or line.lstrip().startswith("#")


def _content(physical: list[str], index: int, match: re.Match[str], number: int) -> tuple[str, int]:
    name = match[2] or match[3] or match[4]
    content: list[str] = []
    while index < len(physical):
        line = physical[index].lstrip("\t") if match[1] else physical[index]
        index += 1
        if line == name:
            return "".join(f"{one}\n" for one in content), index
        content.append(line)
    raise DockerfileError(f"unterminated heredoc {name}", number)
