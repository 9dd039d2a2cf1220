"""Instructions that change an image's configuration only. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from homeport.node.dockerfile.instructions import Instruction
from homeport.node.dockerfile.lexing import DockerfileError
from homeport.node.dockerfile.state import State
from homeport.node.dockerfile.words import WordError, expand, json_words, pairs, split
from homeport.node.imagefile import port

_DURATION = re.compile(r"^(?:(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h))+$")
_NANOSECONDS = {"ns": 1, "us": 1e3, "µs": 1e3, "ms": 1e6, "s": 1e9, "m": 6e10, "h": 3.6e12}


class Context(msgspec.Struct, frozen=True):
    escape: str
    given: Mapping[str, str]
    """What the user gave for ``ARG`` (``--build-arg``), and what is known of the machine."""
    defaults: Mapping[str, str]
    """``ARG`` before the first ``FROM``, for those that a stage declares without a value."""


Change = Callable[[State, Instruction, Context], State]


def apply(state: State, one: Instruction, context: Context) -> State:
    """The state after an instruction that makes no layer. Raises DockerfileError."""
    try:
        return _CHANGES[one.keyword](state, one, context).did(one.text)
    except (WordError, ValueError) as error:
        raise DockerfileError(f"{one.keyword}: {error}", one.line) from error


def replaced(text: str, state: State, context: Context) -> str:
    return expand(text, state.values(), context.escape)


def _arg(state: State, one: Instruction, context: Context) -> State:
    arguments = dict(state.arguments)
    for word in split(one.rest, context.escape):
        name, equals, default = word.partition("=")
        if name in context.given:
            arguments[name] = context.given[name]
        elif equals:
            arguments[name] = expand(default, {**arguments, **state.env}, context.escape)
        elif name in context.defaults:
            arguments[name] = context.defaults[name]
    return msgspec.structs.replace(state, arguments=arguments)


def _env(state: State, one: Instruction, context: Context) -> State:
    found = pairs(one.rest, lambda text: replaced(text, state, context), context.escape)
    return msgspec.structs.replace(state, env={**state.env, **dict(found)})


def _label(state: State, one: Instruction, context: Context) -> State:
    found = pairs(one.rest, lambda text: replaced(text, state, context), context.escape)
    return state.with_setting("Labels", {**(state.settings.get("Labels") or {}), **dict(found)})


def _maintainer(state: State, one: Instruction, context: Context) -> State:
    return state.with_setting("Labels", {**(state.settings.get("Labels") or {}), "maintainer": one.rest})


def _user(state: State, one: Instruction, context: Context) -> State:
    return state.with_setting("User", replaced(one.rest, state, context))


def _expose(state: State, one: Instruction, context: Context) -> State:
    ports = dict(state.settings.get("ExposedPorts") or {})
    for word in split(one.rest, context.escape):
        text, slash, protocol = replaced(word, state, context).partition("/")
        first, dash, last = text.partition("-")
        if not (first.isdecimal() and (last.isdecimal() or not dash)) or (dash and int(last) < int(first)):
            raise ValueError(f"invalid containerPort: {word}")
        for number in range(int(first), int(last or first) + 1):
            ports[port(f"{number}{slash}{protocol}", word)] = {}
    return state.with_setting("ExposedPorts", ports)


def _volume(state: State, one: Instruction, context: Context) -> State:
    words = one.words if one.words is not None else split(one.rest, context.escape)
    places: dict[str, Any] = {replaced(word, state, context): {} for word in words}
    if "" in places:
        raise ValueError("a path can't be empty")
    return state.with_setting("Volumes", {**(state.settings.get("Volumes") or {}), **places})


def _command(state: State, one: Instruction, context: Context) -> State:
    words = list(one.words) if one.words is not None else [*state.shell, one.rest]
    return msgspec.structs.replace(state.with_setting("Cmd", words), has_command=True)


def _entrypoint(state: State, one: Instruction, context: Context) -> State:
    words = list(one.words) if one.words is not None else [*state.shell, one.rest]
    changed = state.with_setting("Entrypoint", words)
    # Arguments for the base's entry point mean nothing to another one.
    return changed if state.has_command else changed.with_setting("Cmd", None)


def _shell(state: State, one: Instruction, context: Context) -> State:
    if not one.words:
        raise ValueError("requires at least one argument")
    return msgspec.structs.replace(state.with_setting("Shell", list(one.words)), shell=one.words)


def _stop_signal(state: State, one: Instruction, context: Context) -> State:
    return state.with_setting("StopSignal", replaced(one.rest, state, context))


def _on_build(state: State, one: Instruction, context: Context) -> State:
    return state.with_setting("OnBuild", [*(state.settings.get("OnBuild") or ()), one.rest])


def _health_check(state: State, one: Instruction, context: Context) -> State:
    kind, _, rest = one.rest.partition(" ")
    if kind.upper() == "NONE" and not rest.strip():
        return state.with_setting("Healthcheck", {"Test": ["NONE"]})
    if kind.upper() != "CMD" or not rest.strip():
        raise ValueError("must be NONE, or CMD and a command")
    words = json_words(rest.strip())
    check: dict[str, Any] = {"Test": ["CMD", *words] if words is not None else ["CMD-SHELL", rest.strip()]}
    for flag, name in (("interval", "Interval"), ("timeout", "Timeout"), ("start-period", "StartPeriod"),
                       ("start-interval", "StartInterval")):  # fmt: skip
        if (value := one.flag(flag)) is not None:
            check[name] = _nanoseconds(value)
    if (retries := one.flag("retries")) is not None:
        if not retries.isdecimal():
            raise ValueError(f"--retries={retries}: must be a number")
        check["Retries"] = int(retries)
    return state.with_setting("Healthcheck", check)


def _nanoseconds(text: str) -> int:
    if _DURATION.match(text) is None:
        raise ValueError(f'"{text}" is no duration such as 30s or 1m30s')
    parts = re.findall(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)", text)
    return int(sum(float(number) * _NANOSECONDS[unit] for number, unit in parts))


_CHANGES: Mapping[str, Change] = {
    "ARG": _arg,
    "CMD": _command,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "HEALTHCHECK": _health_check,
    "LABEL": _label,
    "MAINTAINER": _maintainer,
    "ONBUILD": _on_build,
    "SHELL": _shell,
    "STOPSIGNAL": _stop_signal,
    "USER": _user,
    "VOLUME": _volume,
}
KEYWORDS = frozenset(_CHANGES)
