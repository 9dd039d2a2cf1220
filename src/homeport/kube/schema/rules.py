"""Rules of CustomResourceDefinitions (``x-kubernetes-validations``): compiled once for a schema, evaluated for objects.

Upstream: ``apiextensions-apiserver/pkg/apiserver/schema/cel`` (compilation, validation) and
``pkg/apis/apiextensions/validation`` (what a definition may say).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from homeport.kube import field
from homeport.kube.cel import (
    CALL_LIMIT,
    OBJECT_LIMIT,
    Budget,
    BudgetExceeded,
    EvaluationError,
    Program,
)
from homeport.kube.cel.values import NONE, Optional
from homeport.kube.errors import FieldError
from homeport.kube.schema import JsonSchema, Laborious
from homeport.kube.schema.checks import MapKey, Path, path_text
from homeport.kube.schema.rule_compiler import Compilation, Level, Rule

_PATIENCE = 100_000
"""What judging an object may cost where others wait for it, in the units of budgets: 20 ms or so."""
_CALL = 30
"""What evaluating a rule takes beside its steps, in the same units."""
_MAX_MESSAGE = 5 * 1024
"""Characters of what a messageExpression gives."""
_BLOCKING = frozenset(
    {
        "FieldValueNotSupported",
        "FieldValueRequired",
        "FieldValueTooLong",
        "FieldValueTooMany",
        "FieldValueTypeInvalid",
    }
)


# -- evaluating


class Verdict(NamedTuple):
    """What rules say of an object."""

    errors: list[FieldError]
    warnings: list[str]
    """Of rules that fail for what an update leaves as it was: they are no reason to refuse the update."""


class Rules:
    """The rules of a schema without errors."""

    def __init__(self, root: Level) -> None:
        self._root = root

    @classmethod
    def of(cls, schema: JsonSchema) -> Rules | None:
        """None for a schema without rules."""
        root = Compilation(schema).root
        return None if root is None else cls(root)

    def validate(self, obj: Any, old: Any = None, found: Sequence[FieldError] = (), *, patient: bool = True) -> Verdict:
        """Judge `obj`. `found` is what is wrong with it otherwise: rules take for granted that types are right.

        Raises Laborious where that takes longer than some 20 ms, unless `patient`.
        """
        if any(error.reason in _BLOCKING for error in found):
            words = (
                "some validation rules were not checked because the object was invalid; correct the existing errors to "
                "complete validation"
            )
            return Verdict([field.invalid("<nil>", None, words)], [])
        run = _Run(patient)
        with suppress(_Stop):
            run.level(self._root, obj, None, _Before(old, old is not None, None))
        return Verdict(run.errors, run.warnings)


class _Stop(Exception):
    """No further rules are evaluated."""


class _Before(NamedTuple):
    """What corresponds to a value in the old object."""

    value: Any
    known: bool
    """Whether anything does."""
    unchanged: tuple[Any, Any] | None
    """The next value above that had a counterpart, and this."""

    def same(self, value: Any) -> bool:
        """Whether an update leaves the value as it was, by itself or with something around it."""
        if self.known:
            return bool(value == self.value)
        return self.unchanged is not None and bool(self.unchanged[0] == self.unchanged[1])

    def below(self, value: Any, old: Any, known: bool) -> _Before:
        return _Before(old, known, (value, self.value) if self.known else self.unchanged)


class _Run:
    """One evaluation of all rules."""

    def __init__(self, patient: bool) -> None:
        self._patience = CALL_LIMIT if patient else _PATIENCE
        self.errors: list[FieldError] = []
        self.warnings: list[str] = []
        self._left = OBJECT_LIMIT

    def level(self, level: Level, value: Any, path: Path, before: _Before) -> None:
        if value is None:
            return
        if level.rules:
            self._rules(level, value, path, before)
        for part in level.all_of:
            self.level(part, value, path, before)
        kind = type(value)
        if kind is dict:
            self._object(level, value, path, before)
        elif kind is list and level.items is not None:
            self._list(level, level.items, value, path, before)

    def _object(self, level: Level, value: dict[str, Any], path: Path, before: _Before) -> None:
        old = before.value if before.known and not level.atomic and isinstance(before.value, dict) else {}
        for name, part in level.properties.items():
            if name in value:
                known = name in old
                self.level(part, value[name], (path, name), before.below(value, old.get(name), known))
        if level.additional is not None:
            for name, item in value.items():
                known = name in old
                step = (path, MapKey(name))
                self.level(level.additional, item, step, before.below(value, old.get(name), known))

    def _list(self, level: Level, items: Level, value: list[Any], path: Path, before: _Before) -> None:
        former: dict[Any, Any] = {}
        keys = level.keys
        if keys is not None and before.known and isinstance(before.value, list):
            former = {_identity(keys, item): item for item in before.value if isinstance(item, dict)}
        for index, item in enumerate(value):
            place = _identity(keys, item) if keys is not None and isinstance(item, dict) else None
            known = place is not None and place in former
            self.level(items, item, (path, index), before.below(value, former.get(place), known))

    def _rules(self, level: Level, value: Any, path: Path, before: _Before) -> None:
        kind = level.kind
        try:
            shown = value if level.convert is None else level.convert(value)
            old = before.value
            if before.known and old is not None and level.convert is not None:
                old = level.convert(old)
        except (EvaluationError, TypeError, ValueError) as error:
            self.errors.append(field.invalid(_text(path), kind, str(error)))
            return
        has_old = before.known and before.value is not None
        plain = {"self": shown, "oldSelf": old} if has_old else {"self": shown}
        for rule in level.rules:
            if rule.transition and not has_old and not rule.optional:
                continue
            bindings = plain
            if rule.optional:
                bindings = {"self": shown, "oldSelf": Optional(old) if has_old else NONE}
            result = self._evaluate(rule, bindings, kind, path)
            if result is True or result is None:
                continue
            where = path
            for step in rule.path:
                where = (where, step)
            failure = self._error(rule, bindings, level, value, where)
            if not rule.transition and before.same(value):
                self.warnings.append(str(failure))
            else:
                self.errors.append(failure)

    def _evaluate(self, rule: Rule, bindings: Mapping[str, Any], kind: str, path: Path) -> bool | None:
        """The rule's value; None after an error that is noted. Raises _Stop when the budget is spent."""
        limit = min(CALL_LIMIT, self._patience)
        budget = Budget(limit)
        try:
            result = rule.program.evaluate(bindings, budget)
        except BudgetExceeded as exceeded:
            if limit < CALL_LIMIT:
                raise Laborious from None
            why = "no further validation rules will be run due to call cost exceeds limit for rule"
            words = f"'{exceeded}': {why}: {rule.said}"
            self._note(path, kind, words)
            raise _Stop from None
        except EvaluationError as error:
            words = str(error)
            if words.startswith("no such overload"):
                self._note(
                    path,
                    kind,
                    f"'{words}': call arguments did not match a supported operator, function or macro signature for "
                    f"rule: {rule.said}",
                )
            else:
                self._note(path, kind, f"{words} evaluating rule: {rule.said}")
            result = None
        spent = limit - budget.left
        self._left -= spent
        if limit < CALL_LIMIT:
            self._patience -= spent + _CALL
            if self._patience < 0:
                raise Laborious
        if self._left < 0:
            words = "validation failed due to running out of cost budget, no further validation rules will be run"
            self._note(path, kind, words)
            raise _Stop
        return result if result is None else result is True

    def _note(self, path: Path, kind: str, words: str) -> None:
        self.errors.append(field.invalid(_text(path), kind, words))

    def _error(self, rule: Rule, bindings: Mapping[str, Any], level: Level, value: Any, path: Path) -> FieldError:
        words = rule.default
        if rule.message is not None:
            words = self._message(rule.message, bindings) or words
        shown = field.OMITTED if level.kind in ("object", "array") else value
        text = _text(path)
        match rule.reason:
            case "FieldValueForbidden":
                return field.forbidden(text, words)
            case "FieldValueRequired":
                return field.required(text, words)
            case "FieldValueDuplicate":
                return field.duplicate(text, shown)
        return field.invalid(text, shown, words)

    def _message(self, program: Program, bindings: Mapping[str, Any]) -> str | None:
        """What a messageExpression gives; None where it gives nothing that can be shown."""
        budget = Budget(min(CALL_LIMIT, max(0, self._left)))
        start = budget.left
        try:
            made = program.evaluate(bindings, budget)
        except EvaluationError:
            made = None
        self._left -= start - budget.left
        words = made.strip() if isinstance(made, str) else ""
        return words if words and len(words) <= _MAX_MESSAGE and "\n" not in words else None


def _identity(keys: tuple[str, ...], item: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(_hashable(item.get(key)) for key in keys)


def _hashable(value: Any) -> Any:
    return value if not isinstance(value, (dict, list)) else repr(value)


def _text(path: Path) -> str:
    return path_text(path) or "<nil>"
