"""What a build reads before its first step, and how the commands of its steps are put together."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from homeport.kube.errors import Permanent
from homeport.node.dockerfile.instructions import Dockerfile, Instruction
from homeport.node.dockerfile.lexing import DockerfileError
from homeport.node.dockerfile.state import State
from homeport.node.dockerfile.words import WordError, expand
from homeport.node.layers import ignore
from homeport.node.local.record import architecture


class BuildFailed(Permanent):
    """A step failed; the text says which, in which line, and why."""


def global_arguments(dockerfile: Dockerfile, given: Mapping[str, str]) -> dict[str, str]:
    """``ARG`` before the first ``FROM``, and what is known of the platform. Raises DockerfileError."""
    values: dict[str, str] = {}
    for side in ("TARGET", "BUILD"):
        values[f"{side}PLATFORM"] = f"linux/{architecture()}"
        values |= {f"{side}OS": "linux", f"{side}ARCH": architecture(), f"{side}VARIANT": ""}
    for one in dockerfile.arguments:
        name, equals, default = one.rest.partition("=")
        if name in given:
            values[name] = given[name]
        elif equals:
            try:
                values[name] = expand(default, values, dockerfile.escape)
            except WordError as error:
                raise DockerfileError(f"ARG: {error}", one.line) from error
    return values


def command(one: Instruction, state: State) -> list[str]:
    """The argument vector of a ``RUN``."""
    if one.words is not None:
        return list(one.words)
    if not one.heredocs:
        return [*state.shell, one.rest]
    (first, *others) = one.heredocs
    if not others and one.rest == first.word:
        if first.content.startswith("#!"):
            # A script of its own: put where it can be run.
            path = "/tmp/.homeport-script"
            text = (
                f"printf %s {shlex.quote(first.content)} > {path} && chmod 755 {path} && {path}; "
                f"code=$?; rm -f {path}; exit $code"
            )
            return ["/bin/sh", "-c", text]
        return [*state.shell, first.content]
    text = one.rest + "\n"
    for heredoc in one.heredocs:
        text += f"{heredoc.content}{heredoc.name}\n"
    return [*state.shell, text]


def ignored(context: Path, dockerfile: Path) -> list[str]:
    """The rules of the file for this Dockerfile alone, or of the context's. Raises BuildFailed."""
    own = dockerfile.with_name(f"{dockerfile.name}.dockerignore")
    for path in (own, context / ".dockerignore"):
        try:
            return ignore.read(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError) as error:
            raise BuildFailed(f"{path}: {error}") from error
    return []
