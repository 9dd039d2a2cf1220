"""Filters of system calls as the kernel runs them: classic BPF programs over ``struct seccomp_data`` (seccomp(2)).

A filter is a decision for each number of a system call. Neighbours with the same decision are one range, and the ranges
are found by halving, so that a long list costs as little per call as a short one.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

ALLOW, KILL_PROCESS, KILL_THREAD, LOG = 0x7FFF0000, 0x80000000, 0x00000000, 0x7FFC0000
_ERRNO, _TRAP, _TRACE = 0x00050000, 0x00030000, 0x7FF00000
_MOST_INSTRUCTIONS = 4096
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""``AUDIT_ARCH_*``."""
_X32_BIT = 0x40000000
_LOAD, _EQUAL, _GREATER, _AT_LEAST, _AND, _JUMP, _RETURN = 0x20, 0x15, 0x25, 0x35, 0x54, 0x05, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
_LAST_NUMBER = 0xFFFFFFFF

Comparison = Literal["EQ", "NE", "LT", "LE", "GT", "GE", "MASKED_EQ"]


def fails(number: int) -> int:
    """The action of a call that does nothing but fail with that errno."""
    return _ERRNO | (number & 0xFFFF)


def traps(number: int = 0) -> int:
    return _TRAP | (number & 0xFFFF)


def traces(number: int = 0) -> int:
    return _TRACE | (number & 0xFFFF)


class Condition(NamedTuple):
    """On one argument of a call, unsigned. For ``MASKED_EQ``: ``argument & value == other``."""

    argument: int
    comparison: Comparison
    value: int
    other: int = 0


class Rule(NamedTuple):
    """What happens to calls that meet all conditions."""

    action: int
    conditions: tuple[Condition, ...] = ()


class TooLong(ValueError):
    """The kernel takes no program as long as that."""


class _Code:
    """Instructions with labels instead of distances."""

    def __init__(self) -> None:
        self._lines: list[tuple[int, str, str, int]] = []
        self._labels: dict[str, int] = {}
        self._count = 0

    def label(self) -> str:
        self._count += 1
        return f"l{self._count}"

    def place(self, label: str) -> None:
        self._labels[label] = len(self._lines)

    def add(self, code: int, value: int, if_true: str = "", if_false: str = "") -> None:
        """An empty label is the next instruction."""
        self._lines.append((code, if_true, if_false, value))

    def jump(self, label: str) -> None:
        self._lines.append((_JUMP, label, "", 0))

    def assembled(self) -> bytes:
        if len(self._lines) > _MOST_INSTRUCTIONS:
            raise TooLong(f"the filter has {len(self._lines)} instructions, more than {_MOST_INSTRUCTIONS}")
        out = bytearray()
        for place, (code, if_true, if_false, value) in enumerate(self._lines):
            far = [self._labels[label] - place - 1 if label else 0 for label in (if_true, if_false)]
            if code == _JUMP:
                far, value = [0, 0], far[0]
            out += struct.pack("=HBBI", code, far[0], far[1], value & 0xFFFFFFFF)
        return bytes(out)


def compile_filter(machine: str, default: int, rules: Mapping[int, Sequence[Rule]]) -> bytes:
    """An array of ``struct sock_filter``. `rules` by number of the call: the first whose conditions are met counts,
    none means `default`. Calls of another architecture than the machine's own (32 bits, x32) are not there (ENOSYS).
    Raises TooLong; KeyError for a machine that is not known."""
    code = _Code()
    foreign, begin = code.label(), code.label()
    code.add(_LOAD, _ARCHITECTURE)
    code.add(_EQUAL, ARCHITECTURES[machine], begin, "")
    code.place(foreign)
    code.add(_RETURN, fails(errno.ENOSYS))
    code.place(begin)
    code.add(_LOAD, _NUMBER)
    ranges = _ranges(default, rules)
    if machine == "x86_64":
        ranges = [entry for entry in ranges if entry[0] < _X32_BIT]
        ranges.append((_X32_BIT, (Rule(fails(errno.ENOSYS)),)))
    _search(code, ranges, default)
    return code.assembled()


def _ranges(default: int, rules: Mapping[int, Sequence[Rule]]) -> list[tuple[int, tuple[Rule, ...]]]:
    """First number -> what holds from there on."""
    found: list[tuple[int, tuple[Rule, ...]]] = [(0, (Rule(default),))]
    for number in sorted(rules):
        _append(found, number, tuple(rules[number]))
        if number < _LAST_NUMBER and number + 1 not in rules:
            _append(found, number + 1, (Rule(default),))
    return found


def _append(found: list[tuple[int, tuple[Rule, ...]]], number: int, wanted: tuple[Rule, ...]) -> None:
    if found[-1][0] == number:
        found.pop()
    if not found or found[-1][1] != wanted:
        found.append((number, wanted))


def _search(code: _Code, ranges: list[tuple[int, tuple[Rule, ...]]], default: int) -> None:
    if len(ranges) == 1:
        _decide(code, ranges[0][1], default)
        return
    middle = len(ranges) // 2
    below, above = code.label(), code.label()
    # A conditional jump reaches 255 instructions, a plain one any.
    code.add(_AT_LEAST, ranges[middle][0], "", below)
    code.jump(above)
    code.place(below)
    _search(code, ranges[:middle], default)
    code.place(above)
    _search(code, ranges[middle:], default)


def _decide(code: _Code, rules: Sequence[Rule], default: int) -> None:
    for rule in rules:
        missed = code.label()
        for condition in rule.conditions:
            _check(code, condition, missed)
        code.add(_RETURN, rule.action)
        if not rule.conditions:
            return
        code.place(missed)
    code.add(_RETURN, default)


def _check(code: _Code, condition: Condition, missed: str) -> None:
    """Go on if it is met, else to `missed`. Registers hold 32 bits, arguments 64."""
    low = _ARGUMENTS + 8 * condition.argument
    value = condition.value
    met = code.label()
    match condition.comparison:
        case "MASKED_EQ":
            for offset, shift in ((low + 4, 32), (low, 0)):
                code.add(_LOAD, offset)
                code.add(_AND, (value >> shift) & 0xFFFFFFFF)
                code.add(_EQUAL, (condition.other >> shift) & 0xFFFFFFFF, "", missed)
        case "EQ" | "NE":
            differs = missed if condition.comparison == "EQ" else met
            code.add(_LOAD, low + 4)
            code.add(_EQUAL, value >> 32, "", differs)
            code.add(_LOAD, low)
            if condition.comparison == "EQ":
                code.add(_EQUAL, value & 0xFFFFFFFF, "", missed)
            else:
                code.add(_EQUAL, value & 0xFFFFFFFF, missed, "")
        case "GT" | "GE" | "LT" | "LE":
            wants_more = condition.comparison in ("GT", "GE")
            more, less = (met, missed) if wants_more else (missed, met)
            code.add(_LOAD, low + 4)
            code.add(_GREATER, value >> 32, more, "")
            code.add(_EQUAL, value >> 32, "", less)
            code.add(_LOAD, low)
            # Greater for GT and LE, at least for GE and LT.
            test = _GREATER if condition.comparison in ("GT", "LE") else _AT_LEAST
            code.add(test, value & 0xFFFFFFFF, more, less)
    code.place(met)
