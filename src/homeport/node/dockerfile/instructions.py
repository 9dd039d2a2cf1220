"""Instructions: keyword, flags and arguments, checked as far as that needs no variables. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from homeport.node.dockerfile.lexing import DockerfileError, Heredoc, Line, Text, lex
from homeport.node.dockerfile.words import json_words, split

_FLAGS: Mapping[str, frozenset[str]] = {
    "FROM": frozenset({"platform"}),
    "RUN": frozenset({"mount", "network", "security"}),
    "COPY": frozenset({"from", "chown", "chmod", "link", "parents", "exclude"}),
    "ADD": frozenset({"chown", "chmod", "link", "checksum", "keep-git-dir", "exclude"}),
    "HEALTHCHECK": frozenset({"interval", "timeout", "start-period", "start-interval", "retries"}),
}
KEYWORDS = frozenset(
    {
        "ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "MAINTAINER",
        "ONBUILD", "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR",
    }
)  # fmt: skip
_REPEATABLE = frozenset({"mount", "exclude"})


class Instruction(msgspec.Struct, frozen=True):
    line: int
    keyword: str
    rest: str
    """What follows the flags, as it is written."""
    flags: tuple[tuple[str, str], ...] = ()
    words: tuple[str, ...] | None = None
    """Of the JSON form."""
    heredocs: tuple[Heredoc, ...] = ()

    def flag(self, name: str) -> str | None:
        return next((value for key, value in self.flags if key == name), None)

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.flags if key == name]

    @property
    def text(self) -> str:
        """For people: on one line."""
        flags = "".join(f"--{name}={value} " if value else f"--{name} " for name, value in self.flags)
        return " ".join(f"{self.keyword} {flags}{self.rest}".split())


class Stage(msgspec.Struct, frozen=True):
    """What one ``FROM`` begins."""

    index: int
    line: int
    base: str
    """As it is written: an image, an earlier stage, or ``scratch``."""
    name: str
    """In small letters; empty without ``AS``."""
    platform: str
    instructions: tuple[Instruction, ...]


class Dockerfile(msgspec.Struct, frozen=True):
    escape: str
    arguments: tuple[Instruction, ...]
    """``ARG`` before the first ``FROM``."""
    stages: tuple[Stage, ...]

    def stage(self, name: str, before: int) -> Stage | None:
        """An earlier stage by its name or number."""
        for stage in self.stages[:before]:
            if name and name.lower() == stage.name:
                return stage
        if name.isdecimal() and int(name) < before:
            return self.stages[int(name)]
        return None


def parse(text: str) -> Dockerfile:
    """Raises DockerfileError."""
    found = lex(text)
    return _staged(found, [instruction(line) for line in found.lines])


def instruction(line: Line) -> Instruction:
    """Raises DockerfileError."""
    if line.keyword not in KEYWORDS:
        raise DockerfileError(f"unknown instruction: {line.keyword}", line.number)
    flags, rest = _flags(line)
    if not rest and line.keyword != "HEALTHCHECK":
        raise DockerfileError(f"{line.keyword} requires at least one argument", line.number)
    words = json_words(rest)
    if line.keyword == "SHELL" and words is None:
        raise DockerfileError("SHELL requires the arguments to be in JSON form", line.number)
    if line.keyword == "ONBUILD":
        _check_trigger(rest, line.number)
    return Instruction(
        line.number, line.keyword, rest, tuple(flags), None if words is None else tuple(words), line.heredocs
    )


def _check_trigger(rest: str, number: int) -> None:
    keyword = rest.split(None, 1)[0].upper()
    if keyword in ("ONBUILD", "FROM", "MAINTAINER") or keyword not in KEYWORDS:
        raise DockerfileError(f"{keyword} isn't allowed as an ONBUILD trigger", number)


def _flags(line: Line) -> tuple[list[tuple[str, str]], str]:
    rest = line.rest
    flags: list[tuple[str, str]] = []
    while rest.startswith("--"):
        word = split(rest)[0]
        name, _, value = word[2:].partition("=")
        known = _FLAGS.get(line.keyword, frozenset())
        if name not in known:
            hint = f"; there are {', '.join(f'--{one}' for one in sorted(known))}" if known else ""
            raise DockerfileError(f"unknown flag: --{name}{hint}", line.number)
        if name not in _REPEATABLE and any(name == other for other, _ in flags):
            raise DockerfileError(f"duplicate flag specified: --{name}", line.number)
        flags.append((name, value.strip("\"'")))
        rest = rest[len(word) :].lstrip()
    return flags, rest


def _staged(text: Text, found: list[Instruction]) -> Dockerfile:
    arguments: list[Instruction] = []
    stages: list[Stage] = []
    current: list[Instruction] = []
    for one in found:
        if one.keyword == "FROM":
            if stages:
                stages[-1] = msgspec.structs.replace(stages[-1], instructions=tuple(current))
            current = []
            stages.append(_from(one, stages))
        elif stages:
            current.append(one)
        elif one.keyword == "ARG":
            arguments.append(one)
        else:
            raise DockerfileError("no build stage in current context: a Dockerfile begins with FROM", one.line)
    if not stages:
        raise DockerfileError("file with no instructions")
    stages[-1] = msgspec.structs.replace(stages[-1], instructions=tuple(current))
    return Dockerfile(text.escape, tuple(arguments), tuple(stages))


def _from(one: Instruction, stages: list[Stage]) -> Stage:
    words = one.rest.split()
    if len(words) not in (1, 3) or (len(words) == 3 and words[1].upper() != "AS"):
        raise DockerfileError("FROM requires either one or three arguments: FROM IMAGE [AS NAME]", one.line)
    name = words[2].lower() if len(words) == 3 else ""
    if name and any(stage.name == name for stage in stages):
        raise DockerfileError(f"duplicate name {name}", one.line)
    return Stage(len(stages), one.line, words[0], name, one.flag("platform") or "", ())
