"""Rules of CustomResourceDefinitions (``x-kubernetes-validations``): compiled once for a schema, evaluated for objects.

Upstream: ``apiextensions-apiserver/pkg/apiserver/schema/cel`` (compilation, validation) and
``pkg/apis/apiextensions/validation`` (what a definition may say).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Any, NamedTuple

from homeport.kube import field
from homeport.kube.cel import (
    BOOL,
    CALL_LIMIT,
    OBJECT_LIMIT,
    STRING,
    Budget,
    BudgetExceeded,
    CelError,
    Environment,
    EvaluationError,
    Program,
)
from homeport.kube.cel.schema import Convert, converter, is_embedded, type_of_schema
from homeport.kube.cel.types import Type, optional_of
from homeport.kube.cel.values import NONE, Optional
from homeport.kube.errors import FieldError
from homeport.kube.schema import RULES, JsonSchema
from homeport.kube.schema.checks import MapKey, Path, path_text

_MAX_MESSAGE = 5 * 1024
"""Characters of what a messageExpression gives."""
_REASONS = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")
_BLOCKING = frozenset(
    {
        "FieldValueNotSupported",
        "FieldValueRequired",
        "FieldValueTooLong",
        "FieldValueTooMany",
        "FieldValueTypeInvalid",
    }
)
_STEP = re.compile(r"\.(?P<name>[^.\[\]']+)|\['(?P<quoted>(?:[^'\\]|\\.)*)'\]")
_ESCAPE = re.compile(r"\\([abfnrtv'\\])")


@dataclass(frozen=True, slots=True)
class Rule:
    """One compiled rule."""

    program: Program
    message: Program | None
    """The messageExpression."""
    said: str
    """The message, without one the rule's text."""
    default: str
    """What is said where there is no messageExpression, or none that works."""
    reason: str
    path: tuple[Any, ...]
    """Steps from the value to the field that is to blame."""
    transition: bool
    """Whether it compares with what was there before."""
    optional: bool
    """Whether it applies also where nothing was there before: oldSelf is an optional then."""


@dataclass(slots=True, eq=False)
class Level:
    """The rules of one schema and of those below it."""

    rules: tuple[Rule, ...] = ()
    kind: str = ""
    convert: Convert | None = None
    properties: dict[str, Level] = dataclass_field(default_factory=dict)
    additional: Level | None = None
    items: Level | None = None
    all_of: tuple[Level, ...] = ()
    keys: tuple[str, ...] | None = None
    """The keys of a map list, whose items correspond to those of before; None for other lists."""
    atomic: bool = False
    """An object whose fields do not correspond to those of before."""

    @property
    def empty(self) -> bool:
        return not (self.rules or self.properties or self.additional or self.items or self.all_of)


# -- compiling


class Compilation:
    """The rules of a schema, and what is wrong with them, as paths and errors."""

    def __init__(self, schema: JsonSchema, path: str = "") -> None:
        self.errors: list[FieldError] = []
        self._ruled: dict[int, bool] = {}
        self._find_rules(schema)
        level = self._level(schema, schema, type_of_root(schema), path, None)
        self.root = None if level.empty else level

    def _find_rules(self, schema: JsonSchema) -> bool:
        """Notes of each part of the schema whether there are rules in it, by its identity."""
        inner: list[Any] = [schema.get("items"), schema.get("additionalProperties"), *(schema.get("allOf") or ())]
        inner += (schema.get("properties") or {}).values()
        found = bool(schema.get(RULES))
        for part in inner:
            if isinstance(part, dict) and self._find_rules(part):
                found = True
        self._ruled[id(schema)] = found
        return found

    def _has_rules(self, schema: JsonSchema) -> bool:
        return self._ruled[id(schema)]

    def _level(
        self, said: JsonSchema, schema: JsonSchema, type_: Type | None, path: str, uncorrelated: str | None
    ) -> Level:
        """The rules that `said` has for values of `schema`; the two differ inside of ``allOf``."""
        level = Level(kind=schema.get("type", ""), atomic=schema.get("x-kubernetes-map-type") == "atomic")
        if type_ is not None:
            level.convert = converter(type_, schema)
            rules = said.get(RULES) or ()
            if rules:
                level.rules = tuple(self._rules(rules, schema, type_, path, uncorrelated))
        inside = uncorrelated or (path if level.atomic else None)
        parts = schema.get("properties") or {}
        for name, part in (said.get("properties") or {}).items():
            spine = parts.get(name)
            if isinstance(part, dict) and spine is not None and self._has_rules(part):
                below = self._level(part, spine, _type_of(spine), f"{path}.properties[{name}]", inside)
                if not below.empty:
                    level.properties[name] = below
        additional, spine = said.get("additionalProperties"), schema.get("additionalProperties")
        if isinstance(additional, dict) and isinstance(spine, dict) and self._has_rules(additional):
            below = self._level(additional, spine, _type_of(spine), f"{path}.additionalProperties", inside)
            level.additional = None if below.empty else below
        items, spine = said.get("items"), schema.get("items")
        if isinstance(items, dict) and isinstance(spine, dict) and self._has_rules(items):
            if schema.get("x-kubernetes-list-type") == "map":
                level.keys = tuple(schema.get("x-kubernetes-list-map-keys") or ())
            apart = uncorrelated or (path if level.keys is None else None)
            below = self._level(items, spine, _type_of(spine), f"{path}.items", apart)
            level.items = None if below.empty else below
        alternatives = [part for part in said.get("allOf") or () if isinstance(part, dict) and self._has_rules(part)]
        level.all_of = tuple(
            below
            for index, part in enumerate(alternatives)
            if not (below := self._level(part, schema, type_, f"{path}.allOf[{index}]", uncorrelated)).empty
        )
        return level

    def _rules(
        self, rules: Sequence[Any], schema: JsonSchema, type_: Type, path: str, uncorrelated: str | None
    ) -> Iterator[Rule]:
        plain = Environment({"self": type_, "oldSelf": type_})
        optional = Environment({"self": type_, "oldSelf": optional_of(type_)})
        for index, rule in enumerate(rules):
            where = f"{path}.{RULES}[{index}]"
            before = len(self.errors)
            self.errors += _form_errors(rule, where)
            steps = self._field_path(rule, schema, where)
            if len(self.errors) > before:
                continue
            environment = optional if rule.get("optionalOldSelf") else plain
            program = self._compile(environment, rule, "rule", BOOL, where)
            message = None
            if program is not None and rule.get("messageExpression"):
                message = self._compile(environment, rule, "messageExpression", STRING, where)
            if program is None:
                continue
            transition = "oldSelf" in program.variables
            if transition and uncorrelated is not None:
                words = f"oldSelf cannot be used on the uncorrelatable portion of the schema within {uncorrelated}"
                self.errors.append(field.invalid(f"{where}.rule", rule["rule"], words))
            if not transition and rule.get("optionalOldSelf") is not None:
                words = "may not be set if oldSelf is not used in rule"
                self.errors.append(field.invalid(f"{where}.optionalOldSelf", rule["optionalOldSelf"], words))
            text, words = rule["rule"].strip(), (rule.get("message") or "").strip()
            yield Rule(
                program,
                message,
                words or text,
                words or f"failed rule: {text}",
                rule.get("reason") or "FieldValueInvalid",
                steps,
                transition,
                bool(rule.get("optionalOldSelf")),
            )

    def _compile(
        self, environment: Environment, rule: Mapping[str, Any], key: str, wanted: Type, where: str
    ) -> Program | None:
        try:
            program = environment.compile(rule[key])
        except CelError as error:
            words = "compilation failed" if key == "rule" else "messageExpression compilation failed"
            self.errors.append(field.invalid(f"{where}.{key}", rule, f"{words}: {error}"))
            return None
        if program.result != wanted and program.result.name != "dyn":
            what = "cel expression" if key == "rule" else "messageExpression"
            words = f"{what} must evaluate to a {wanted}"
            self.errors.append(field.invalid(f"{where}.{key}", rule, words))
            return None
        return program

    def _field_path(self, rule: Mapping[str, Any], schema: JsonSchema, where: str) -> tuple[Any, ...]:
        text = rule.get("fieldPath")
        if not text or not isinstance(text, str):
            return ()
        steps = _steps(text, schema)
        if steps is None:
            self.errors.append(field.invalid(f"{where}.fieldPath", text, "must be a valid path"))
            return ()
        return steps


def type_of_root(schema: JsonSchema) -> Type | None:
    return type_of_schema(schema, root=True)


def _type_of(schema: JsonSchema) -> Type | None:
    return type_of_schema(schema, root=is_embedded(schema))


def _form_errors(rule: Mapping[str, Any], where: str) -> Iterator[FieldError]:
    text, message = str(rule.get("rule") or ""), str(rule.get("message") or "")
    if not text.strip():
        yield field.required(f"{where}.rule", "rule is not specified")
    elif message and not message.strip():
        yield field.invalid(f"{where}.message", message, "must be non-empty if specified")
    elif "\n" in message.strip():
        yield field.invalid(f"{where}.message", message, "must not contain line breaks")
    elif "\n" in text.strip() and not message.strip():
        yield field.required(f"{where}.message", "message must be specified if rule contains line breaks")
    expression = rule.get("messageExpression") or ""
    if expression and not str(expression).strip():
        yield field.required(f"{where}.messageExpression", "messageExpression must be non-empty if specified")
    reason = rule.get("reason")
    if reason is not None and reason not in _REASONS:
        yield field.not_supported(f"{where}.reason", reason, _REASONS)
    path = rule.get("fieldPath") or ""
    if path and not str(path).strip():
        yield field.invalid(f"{where}.fieldPath", path, "must be non-empty if specified")
    if "\n" in str(path):
        yield field.invalid(f"{where}.fieldPath", path, "must not contain line breaks")


def _steps(text: str, schema: JsonSchema) -> tuple[Any, ...] | None:
    """A fieldPath such as ``.spec['x']`` as steps; None if the schema has no such field."""
    steps: list[Any] = []
    at = 0
    while at < len(text):
        match = _STEP.match(text, at)
        if match is None:
            return None
        name = match["name"]
        if name is None:
            name = _ESCAPE.sub(lambda found: _UNESCAPED[found[1]], match["quoted"])
        properties, additional = schema.get("properties"), schema.get("additionalProperties")
        if properties:
            if name not in properties:
                return None
            schema = properties[name]
            steps.append(name)
        elif isinstance(additional, dict):
            schema = additional
            steps.append(MapKey(name))
        else:
            return None
        at = match.end()
    return tuple(steps)


_UNESCAPED = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "'": "'", "\\": "\\"}


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

    def validate(self, obj: Any, old: Any = None, found: Sequence[FieldError] = ()) -> Verdict:
        """Judge `obj`. `found` is what is wrong with it otherwise: rules take for granted that types are right."""
        if any(error.reason in _BLOCKING for error in found):
            words = (
                "some validation rules were not checked because the object was invalid; correct the existing errors to "
                "complete validation"
            )
            return Verdict([field.invalid("<nil>", None, words)], [])
        run = _Run()
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

    def __init__(self) -> None:
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
        budget = Budget(CALL_LIMIT)
        try:
            result = rule.program.evaluate(bindings, budget)
        except BudgetExceeded as exceeded:
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
        self._left -= CALL_LIMIT - budget.left
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
