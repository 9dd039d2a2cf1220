"""Label and field selectors: from query text, from ``LabelSelector`` objects, and matching (upstream: apimachinery
``pkg/labels`` and ``pkg/fields``)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

import msgspec

from homeport.kube import field, names
from homeport.kube.errors import BadRequest
from homeport.kube.remembered import of_short_texts

Operator: TypeAlias = Literal["in", "notin", "exists", "!", "gt", "lt"]

_INT64: Final = 2**63
_INTEGER: Final = re.compile(r"[+-]?[0-9]+", re.ASCII)
_TOKEN: Final = re.compile(r"\s*(?:(?P<special>==|!=|[=!(),<>])|(?P<word>[^\s=!(),<>]+)|(?P<end>$))", re.ASCII)


class Requirement(msgspec.Struct, frozen=True):
    """One term of a label selector. ``=`` is ``in`` with one value, ``!=`` is ``notin`` with one value."""

    key: str
    operator: Operator
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """As upstream: ``notin`` and ``!`` hold for objects without the label, all others need it."""
        value = labels.get(self.key)
        match self.operator:
            case "in":
                return value in self.values
            case "notin":
                return value not in self.values
            case "exists":
                return value is not None
            case "!":
                return value is None
        number, bound = _integer(value), _integer(next(iter(self.values)))
        if number is None or bound is None:
            return False
        return number > bound if self.operator == "gt" else number < bound

    def __str__(self) -> str:
        values = ",".join(sorted(self.values))
        match self.operator:
            case "in":
                return f"{self.key}={values}" if len(self.values) == 1 else f"{self.key} in ({values})"
            case "notin":
                return f"{self.key}!={values}" if len(self.values) == 1 else f"{self.key} notin ({values})"
            case "exists":
                return self.key
            case "!":
                return f"!{self.key}"
            case "gt":
                return f"{self.key}>{values}"
        return f"{self.key}<{values}"


class Selector:
    """A conjunction of requirements on labels. Immutable."""

    __slots__ = ("_equal", "_others", "nothing", "requirements")

    def __init__(self, requirements: Iterable[Requirement] = (), *, nothing: bool = False) -> None:
        self.requirements = tuple(sorted(requirements, key=lambda r: r.key))
        self.nothing = nothing
        """True for the selector that matches no object at all (an absent ``LabelSelector``)."""
        equal: dict[str, str] = {}
        others: list[Requirement] = []
        for requirement in self.requirements:
            if requirement.operator == "in" and len(requirement.values) == 1 and requirement.key not in equal:
                (equal[requirement.key],) = requirement.values
            else:
                others.append(requirement)
        self._equal = equal
        self._others = tuple(others)

    @property
    def everything(self) -> bool:
        """True if every object matches."""
        return not self.requirements and not self.nothing

    @property
    def needs(self) -> str:
        """A label without which no object matches; empty if there is none."""
        return next((each.key for each in self.requirements if each.operator in ("in", "exists")), "")

    def matches(self, labels: Mapping[str, str]) -> bool:
        if self.nothing or not self._equal.items() <= labels.items():
            return False
        return not self._others or all(requirement.matches(labels) for requirement in self._others)

    def __str__(self) -> str:
        """As query text."""
        return ",".join(map(str, self.requirements))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Selector) and self.requirements == other.requirements and self.nothing == other.nothing

    def __hash__(self) -> int:
        return hash((self.requirements, self.nothing))

    def __repr__(self) -> str:
        return "Selector(nothing)" if self.nothing else f"Selector({str(self)!r})"


EVERYTHING: Final = Selector()
NOTHING: Final = Selector(nothing=True)


@of_short_texts(1024)
def parse_labels(text: str) -> Selector:
    """A selector from query text such as ``a=b,c!=d,e in (x, y),f notin (z),g,!h``; raises BadRequest."""
    return Selector(_Parser(text).parse()) if text.strip() else EVERYTHING


def from_label_selector(selector: Mapping[str, Any] | None) -> Selector:
    """The selector of a ``metav1.LabelSelector``: None matches nothing, ``{}`` everything. Raises BadRequest."""
    if selector is None:
        return NOTHING
    labels = selector.get("matchLabels") or {}
    requirements = [Requirement(key, "in", frozenset((value,))) for key, value in labels.items()]
    requirements += map(_expression, selector.get("matchExpressions") or ())
    for requirement in requirements:
        _check(requirement)
    return Selector(requirements) if requirements else EVERYTHING


def _expression(expression: Mapping[str, Any]) -> Requirement:
    word = str(expression.get("operator", ""))
    operator = OPERATORS.get(word)
    if operator is None or operator in ("gt", "lt"):
        raise BadRequest(f'"{word}" is not a valid label selector operator')
    return Requirement(str(expression.get("key", "")), operator, frozenset(map(str, expression.get("values") or ())))


OPERATORS: Final[Mapping[str, Operator]] = {
    "In": "in",
    "NotIn": "notin",
    "Exists": "exists",
    "DoesNotExist": "!",
    "Gt": "gt",
    "Lt": "lt",
}
"""The operators of ``matchExpressions``; the last two are for node affinity only."""


class FieldRequirement(msgspec.Struct, frozen=True):
    """``path=value``, or ``path!=value`` when not `equal`."""

    path: str
    value: str
    equal: bool = True


class FieldSelector:
    """A conjunction of comparisons of an object's fields. Immutable."""

    __slots__ = ("requirements",)

    def __init__(self, requirements: Iterable[FieldRequirement] = ()) -> None:
        self.requirements = tuple(dict.fromkeys(requirements))

    @property
    def everything(self) -> bool:
        return not self.requirements

    def paths(self) -> Sequence[str]:
        """The fields that it asks for; a server refuses those that it does not support."""
        return [requirement.path for requirement in self.requirements]

    def equality(self, path: str) -> str | None:
        """The one value that the field must have, or None."""
        for requirement in self.requirements:
            if requirement.equal and requirement.path == path:
                return requirement.value
        return None

    def matches(self, get: Callable[[str], str]) -> bool:
        """`get` gives the text of a field by its path, empty if the object lacks it."""
        return all((get(r.path) == r.value) is r.equal for r in self.requirements)

    def __str__(self) -> str:
        return ",".join(r.path + ("=" if r.equal else "!=") + _escape(r.value) for r in self.requirements)


_ESCAPED: Final = re.compile(r"[\\,=]")


def _escape(value: str) -> str:
    return _ESCAPED.sub(r"\\\g<0>", value)


_TERM: Final = re.compile(r"(?P<path>.*?)(?P<operator>!=|==|=)(?P<value>.*)", re.DOTALL)


@of_short_texts(1024)
def parse_fields(text: str) -> FieldSelector:
    """A selector from query text such as ``metadata.name=x,spec.nodeName!=y``. In values a backslash escapes a comma,
    an equals sign or itself. Raises BadRequest."""
    requirements = []
    for term in _terms(text):
        if not term:
            continue
        match = _TERM.fullmatch(term)
        if match is None:
            raise BadRequest(f"invalid selector: '{text}'; can't understand '{term}'")
        requirements.append(FieldRequirement(match["path"], _unescaped(match["value"]), match["operator"] != "!="))
    return FieldSelector(requirements)


def _terms(text: str) -> list[str]:
    """Split at commas that no backslash escapes; the escapes stay."""
    terms = [""]
    escaped = False
    for character in text:
        if character == "," and not escaped:
            terms.append("")
            continue
        terms[-1] += character
        escaped = character == "\\" and not escaped
    return terms


def _unescaped(text: str) -> str:
    if not _ESCAPED.search(text):
        return text
    value, at = [], 0
    while at < len(text):
        character = text[at]
        if character == "\\":
            at += 1
            character = text[at : at + 1]
            if not character or character not in "\\,=":
                raise BadRequest(f"invalid field selector: invalid escape sequence: \\{character}")
        elif character in ",=":
            raise BadRequest(f"invalid field selector: unescaped character in value: {character}")
        value.append(character)
        at += 1
    return "".join(value)


class _Parser:
    """Recursive descent over the tokens of a label selector. ``in`` and ``notin`` are words except as operators."""

    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, bool]] = []
        at = 0
        while at < len(text):
            match = _TOKEN.match(text, at)
            assert match is not None, "every character is special, a space or part of a word"
            if match["end"] is None:
                self._tokens.append((match["special"] or match["word"], match["special"] is None))
            at = match.end()
            if match["end"] is not None:
                break
        self._at = 0

    def parse(self) -> list[Requirement]:
        found = []
        while True:
            found.append(self._requirement())
            token, _ = self._next()
            if not token:
                return found
            if token != ",":
                raise _bad(f"found '{token}', expected: ',' or 'end of string'", "")
            token, is_word = self._peek()
            if not is_word and token != "!":
                raise _bad(f"found '{token}', expected: identifier after ','", "")

    def _peek(self) -> tuple[str, bool]:
        return self._tokens[self._at] if self._at < len(self._tokens) else ("", False)

    def _next(self) -> tuple[str, bool]:
        token = self._peek()
        self._at += 1
        return token

    def _requirement(self) -> Requirement:
        key, is_word = self._next()
        absent = key == "!" and not is_word
        if absent:
            key, is_word = self._next()
            if not is_word:
                raise _bad(f"found '{key}', expected: identifier")
        elif not is_word:
            raise _bad(f"found '{key}', expected: !, identifier, or 'end of string'", "")
        _check_key(key)
        if self._peek()[0] in ("", ","):
            return Requirement(key, "!" if absent else "exists")
        if absent:
            raise _bad(f"found '{self._peek()[0]}', expected: ',' or 'end of string'", "")
        token, _ = self._next()
        operator = _TOKENS.get(token)
        if operator is None:
            raise _bad(f"found '{token}', expected: in, notin, =, ==, !=, gt, lt")
        values = self._set() if token in ("in", "notin") else frozenset((self._value(),))
        requirement = Requirement(key, operator, values)
        _check(requirement)
        return requirement

    def _value(self) -> str:
        token, is_word = self._peek()
        if not is_word and token in ("", ","):
            return ""
        self._at += 1
        if not is_word:
            raise _bad(f"found '{token}', expected: identifier")
        return token

    def _set(self) -> frozenset[str]:
        token, _ = self._next()
        if token != "(":
            raise _bad(f"found '{token}', expected: '('")
        values = []
        while True:
            token, is_word = self._peek()
            if is_word:
                values.append(token)
                self._at += 1
            else:
                values.append("")
            token, is_word = self._next()
            if token == ")" and not is_word:
                return frozenset(values)
            if token != "," or is_word:
                raise _bad(f"found '{token}', expected: ',' or ')'")


_TOKENS: Final[Mapping[str, Operator]] = {
    "in": "in", "notin": "notin", "=": "in", "==": "in", "!=": "notin", ">": "gt", "<": "lt",
}  # fmt: skip


def _bad(text: str, prefix: str = "unable to parse requirement: ") -> BadRequest:
    return BadRequest(prefix + text)


def _check(requirement: Requirement) -> None:
    """Upstream's rules for a requirement; raises BadRequest."""
    _check_key(requirement.key)
    values = sorted(requirement.values)
    problem = ""
    match requirement.operator:
        case "in" | "notin" if not values:
            problem = "for 'in', 'notin' operators, values set can't be empty"
        case "exists" | "!" if values:
            problem = "values set must be empty for exists and does not exist"
        case "gt" | "lt" if len(values) != 1:
            problem = "for 'Gt', 'Lt' operators, exactly one value is required"
    if problem:
        raise _bad(str(field.invalid("values", values, problem)))
    for index, value in enumerate(values):
        path = f"values[{index}]"
        if requirement.operator in ("gt", "lt") and _integer(value) is None:
            raise _bad(str(field.invalid(path, value, "for 'Gt', 'Lt' operators, the value must be an integer")))
        if errors := names.label_value(value):
            raise _bad(str(field.invalid(f"{path}[{requirement.key}]", value, "; ".join(errors))))


def _check_key(key: str) -> None:
    if errors := names.qualified_name(key):
        raise _bad(str(field.invalid("key", key, "; ".join(errors))))


def _integer(text: str | None) -> int | None:
    """A signed 64-bit integer as Go's ParseInt reads it."""
    if text is None or not _INTEGER.fullmatch(text) or len(text) > 30:
        return None
    number = int(text)
    return number if -_INT64 <= number < _INT64 else None
