r"""Kubernetes' dialect of JSONPath, as printer columns and ``kubectl`` use it (upstream: client-go ``util/jsonpath``).

``.a.b``, ``{.a.b}``, ``$.a``, ``['a.b']``, ``.a\.b``, ``.*``, ``[*]``, ``[0]``, ``[-1]``, ``[1:3]``, ``[::2]``,
``[0,2]``, ``..name``, ``[?(@.type=="Ready")]``, ``[?(@.ready)]``. An expression is compiled once to closures.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Final, TypeAlias

Evaluate: TypeAlias = Callable[[Any], list[Any]]

MAX_LENGTH: Final = 4096
"""Characters of a path. Those that people write have less than a hundred."""
MAX_FOUND: Final = 100_000
"""Values that one evaluation may look at. ``$..[?(@..a)]`` grows by the object's size with every ``..``."""


class _Spent(Exception):
    """An evaluation has looked at more values than it may."""


class _Budget:
    """What one evaluation, with the filters within it, may still look at."""

    def __init__(self) -> None:
        self._left = MAX_FOUND

    def spend(self, values: int) -> None:
        self._left -= values
        if self._left < 0:
            raise _Spent


_Inner: TypeAlias = Callable[[Any, _Budget], list[Any]]
_Step: TypeAlias = Callable[[list[Any], _Budget], list[Any]]

_NAME: Final = re.compile(r"(?:\\.|[^\s.,\[\]$@{}()'\"=!<>\\])+")
_SUBSCRIPT: Final = re.compile(
    r"\s*(?:(?P<quoted>'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\")|(?P<slice>[-+\d:]+)|(?P<all>\*))\s*"
)
_SLICE: Final = re.compile(r"(-?\d+)?(:)?(-?\d+)?(?::(-?\d+)?)?")
_OPERATOR: Final = re.compile(r"\s*(==|!=|<=|>=|<|>)\s*")
_NUMBER: Final = re.compile(r"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
_COMPARE: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_MISSING: Final = object()


@lru_cache(maxsize=1024)
def compile(path: str) -> Evaluate:
    """A function that gives everything in an object that `path` selects, in order.

    What the object lacks selects nothing, and so does a path that would look at more than MAX_FOUND values: the
    function never raises. Raises ValueError for a malformed path.
    """
    if len(path) > MAX_LENGTH:
        raise ValueError(f"JSONPath of {len(path)} characters: may not be longer than {MAX_LENGTH}")
    text = path.strip()
    if text.startswith("{"):
        if not text.endswith("}"):
            raise ValueError(f"JSONPath {path!r}: unclosed action")
        text = text[1:-1].strip()
    parser = _Parser(path, text)
    try:
        evaluate = parser.path(root="$")
    except RecursionError:
        raise ValueError(f"JSONPath {path!r}: filters are nested too deep") from None
    parser.end()

    def bounded(obj: Any) -> list[Any]:
        try:
            return evaluate(obj, _Budget())
        except _Spent:
            return []

    return bounded


def first(path: str, obj: Any, default: Any = None) -> Any:
    """The first thing that `path` selects in `obj`, else `default`."""
    found = compile(path)(obj)
    return found[0] if found else default


class _Parser:
    def __init__(self, path: str, text: str) -> None:
        self._path = path
        self._text = text
        self._at = 0

    def path(self, root: str) -> _Inner:
        """Steps up to the first character that starts none."""
        text = self._text
        if self._peek() == root:
            self._at += 1
        elif self._peek() not in (".", "["):
            self._fail("expected '.' or '['")
        names: list[str] = []
        steps: list[_Step] = []
        while self._at < len(text):
            if text.startswith("..", self._at):
                self._at += 2
                steps.append(_descend)
                if self._peek() != "[":
                    steps.append(self._field())
            elif text[self._at] == ".":
                self._at += 1
                if self._peek() == "[":
                    continue
                if self._at == len(text) and not steps:
                    break  # "." is the object itself.
                name = self._name()
                steps.append(_children if name is None else _by_name(name))
                if name is not None:
                    names.append(name)
            elif text[self._at] == "[":
                steps.append(self._subscript())
            else:
                break
        if len(names) == len(steps):
            return _plain(tuple(names))
        return _chain(tuple(steps))

    def end(self) -> None:
        if self._at < len(self._text):
            self._fail(f"unexpected {self._text[self._at]!r}")

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _fail(self, problem: str) -> None:
        raise ValueError(f"JSONPath {self._path!r}: {problem} at character {self._at + 1} of {self._text!r}")

    def _expect(self, token: str) -> None:
        if not self._text.startswith(token, self._at):
            self._fail(f"expected {token!r}")
        self._at += len(token)

    def _name(self) -> str | None:
        """A field's name; None for ``*``."""
        match = _NAME.match(self._text, self._at)
        if match is None:
            self._fail("expected a field name")
            raise AssertionError
        self._at = match.end()
        return None if match[0] == "*" else re.sub(r"\\(.)", r"\1", match[0])

    def _field(self) -> _Step:
        name = self._name()
        return _children if name is None else _by_name(name)

    def _subscript(self) -> _Step:
        self._expect("[")
        if self._text.startswith("?(", self._at):
            self._at += 2
            step = self._filter()
            self._expect(")")
            self._expect("]")
            return step
        steps = [self._subscript_item()]
        while self._peek() == ",":
            self._at += 1
            steps.append(self._subscript_item())
        self._expect("]")
        return steps[0] if len(steps) == 1 else _union(tuple(steps))

    def _subscript_item(self) -> _Step:
        match = _SUBSCRIPT.match(self._text, self._at)
        if match is None:
            self._fail("expected an index, a slice, a quoted name or '*'")
            raise AssertionError
        self._at = match.end()
        if match["all"]:
            return _children
        if match["quoted"]:
            return _by_name(re.sub(r"\\(.)", r"\1", match["quoted"][1:-1]))
        parts = _SLICE.fullmatch(match["slice"])
        if parts is None:
            self._fail("invalid array index")
            raise AssertionError
        start, colon, stop, step = parts.groups()
        if colon is None:
            if start is None:
                self._fail("invalid array index")
            return _index(int(start))
        if step is not None and int(step) <= 0:
            self._fail("step must be > 0")
        return _slice(slice(*(None if part is None else int(part) for part in (start, stop, step))))

    def _filter(self) -> _Step:
        left = self._operand()
        match = _OPERATOR.match(self._text, self._at)
        if match is None:
            return _filtered(lambda item, budget: bool(left(item, budget)))
        self._at = match.end()
        right = self._operand()
        compare = _COMPARE[match[1]]
        return _filtered(lambda item, budget: _holds(compare, left(item, budget), right(item, budget)))

    def _operand(self) -> _Inner:
        self._at += len(self._text[self._at :]) - len(self._text[self._at :].lstrip())
        character = self._peek()
        if character == "@":
            evaluate = self.path(root="@")
        elif character in ("'", '"'):
            match = _SUBSCRIPT.match(self._text, self._at)
            if match is None or not match["quoted"]:
                self._fail("unterminated quoted string")
                raise AssertionError
            self._at = match.end()
            evaluate = _constant(re.sub(r"\\(.)", r"\1", match["quoted"][1:-1]))
        elif match := _NUMBER.match(self._text, self._at):
            self._at = match.end()
            evaluate = _constant(float(match[0]) if set(match[0]) & set(".eE") else int(match[0]))
        elif match := re.compile(r"(true|false)\b").match(self._text, self._at):
            self._at = match.end()
            evaluate = _constant(match[0] == "true")
        else:
            self._fail("expected '@', a string, a number, true or false")
            raise AssertionError
        self._at += len(self._text[self._at :]) - len(self._text[self._at :].lstrip())
        return evaluate


def _constant(value: Any) -> _Inner:
    return lambda *_: [value]


def _holds(compare: Callable[[Any, Any], bool], left: Sequence[Any], right: Sequence[Any]) -> bool:
    """Compares single values of the same type; upstream fails for others, which filters nothing in."""
    if len(left) != 1 or len(right) != 1:
        return False
    kinds = [
        bool if isinstance(v, bool) else float if isinstance(v, (int, float)) else type(v) for v in (*left, *right)
    ]
    if kinds[0] is not kinds[1] or kinds[0] not in (bool, float, str):
        return False
    return compare(left[0], right[0])


def _plain(names: tuple[str, ...]) -> _Inner:
    """The common case, a chain of field names, without lists in between."""

    def evaluate(obj: Any, _: _Budget) -> list[Any]:
        for name in names:
            if not isinstance(obj, dict):
                return []
            obj = obj.get(name, _MISSING)
        return [] if obj is _MISSING else [obj]

    return evaluate


def _chain(steps: tuple[_Step, ...]) -> _Inner:
    def evaluate(obj: Any, budget: _Budget) -> list[Any]:
        found = [obj]
        for step in steps:
            found = step(found, budget)
            budget.spend(len(found))
            if not found:
                break
        return found

    return evaluate


def _by_name(name: str) -> _Step:
    return lambda found, _: [item[name] for item in found if isinstance(item, dict) and name in item]


def _children(found: list[Any], _: _Budget) -> list[Any]:
    children: list[Any] = []
    for item in found:
        if isinstance(item, dict):
            children.extend(item.values())
        elif isinstance(item, list):
            children.extend(item)
    return children


def _descend(found: list[Any], budget: _Budget) -> list[Any]:
    """Each item and everything below it, parents first."""

    def below(item: Any) -> Iterator[Any]:
        budget.spend(1)
        yield item
        if isinstance(item, (dict, list)):
            for child in item.values() if isinstance(item, dict) else item:
                yield from below(child)

    return [descendant for item in found for descendant in below(item)]


def _index(index: int) -> _Step:
    return lambda found, _: [
        item[index] for item in found if isinstance(item, list) and -len(item) <= index < len(item)
    ]


def _slice(part: slice) -> _Step:
    return lambda found, _: [child for item in found if isinstance(item, list) for child in item[part]]


def _union(steps: tuple[_Step, ...]) -> _Step:
    def evaluate(found: list[Any], budget: _Budget) -> list[Any]:
        budget.spend(len(found) * len(steps))
        return [child for item in found for step in steps for child in step([item], budget)]

    return evaluate


def _filtered(condition: Callable[[Any, _Budget], bool]) -> _Step:
    return lambda found, budget: [
        child for item in found if isinstance(item, list) for child in item if condition(child, budget)
    ]
