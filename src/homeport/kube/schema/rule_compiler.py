"""Rules of CustomResourceDefinitions (``x-kubernetes-validations``): from a schema to programs.

Upstream: ``apiextensions-apiserver/pkg/apiserver/schema/cel`` (compilation, validation) and
``pkg/apis/apiextensions/validation`` (what a definition may say).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from homeport.kube import field
from homeport.kube.cel import (
    BOOL,
    STRING,
    CelError,
    Environment,
    Program,
)
from homeport.kube.cel.schema import Convert, converter, is_embedded, type_of_schema
from homeport.kube.cel.sizes import Sized, cardinality
from homeport.kube.cel.types import Type, optional_of
from homeport.kube.errors import FieldError
from homeport.kube.schema import RULES, JsonSchema
from homeport.kube.schema.checks import MapKey
from homeport.kube.schema.rule_costs import Costs

_REASONS = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")
_STEP = re.compile(r"\.(?P<name>[^.\[\]']+)|\['(?P<quoted>(?:[^'\\]|\\.)*)'\]")
_ESCAPE = re.compile(r"\\([abfnrtv'\\])")


class Rule(msgspec.Struct, frozen=True):
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


class Level(msgspec.Struct, eq=False):
    """The rules of one schema and of those below it."""

    rules: tuple[Rule, ...] = ()
    kind: str = ""
    convert: Convert | None = None
    properties: dict[str, Level] = msgspec.field(default_factory=dict)
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


class _Place(NamedTuple):
    """Where in the schema a level is."""

    uncorrelated: str | None
    """The part around it whose values do not correspond to those of before."""
    often: int | None
    """How often its values can be in one object; None for as often as fits."""
    root: bool = False


class Compilation:
    """The rules of a schema, and what is wrong with them, as paths and errors."""

    def __init__(self, schema: JsonSchema, path: str = "", costs: Costs | None = None) -> None:
        """With `costs`, those of the rules are estimated, too: a new definition must not have rules that take too
        long."""
        self.errors: list[FieldError] = []
        self._costs = costs
        self._ruled: dict[int, bool] = {}
        self._find_rules(schema)
        level = self._level(schema, schema, type_of_root(schema), path, _Place(None, 1, True))
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

    def _level(self, said: JsonSchema, schema: JsonSchema, type_: Type | None, path: str, place: _Place) -> Level:
        """The rules that `said` has for values of `schema`; the two differ inside of ``allOf``."""
        level = Level(kind=schema.get("type", ""), atomic=schema.get("x-kubernetes-map-type") == "atomic")
        if type_ is not None:
            level.convert = converter(type_, schema)
            rules = said.get(RULES) or ()
            if rules:
                level.rules = tuple(self._rules(rules, schema, type_, path, place))
        count = cardinality(schema, place.often)
        inside = place.uncorrelated or (path if level.atomic else None)
        parts = schema.get("properties") or {}
        for name, part in (said.get("properties") or {}).items():
            spine = parts.get(name)
            if isinstance(part, dict) and spine is not None and self._has_rules(part):
                below = self._level(part, spine, _type_of(spine), f"{path}.properties[{name}]", _Place(inside, count))
                if not below.empty:
                    level.properties[name] = below
        additional, spine = said.get("additionalProperties"), schema.get("additionalProperties")
        if isinstance(additional, dict) and isinstance(spine, dict) and self._has_rules(additional):
            below = self._level(
                additional, spine, _type_of(spine), f"{path}.additionalProperties", _Place(inside, count)
            )
            level.additional = None if below.empty else below
        items, spine = said.get("items"), schema.get("items")
        if isinstance(items, dict) and isinstance(spine, dict) and self._has_rules(items):
            if schema.get("x-kubernetes-list-type") == "map":
                level.keys = tuple(schema.get("x-kubernetes-list-map-keys") or ())
            apart = place.uncorrelated or (path if level.keys is None else None)
            below = self._level(items, spine, _type_of(spine), f"{path}.items", _Place(apart, count))
            level.items = None if below.empty else below
        alternatives = [part for part in said.get("allOf") or () if isinstance(part, dict) and self._has_rules(part)]
        level.all_of = tuple(
            below
            for index, part in enumerate(alternatives)
            if not (below := self._level(part, schema, type_, f"{path}.allOf[{index}]", place)).empty
        )
        return level

    def _rules(self, rules: Sequence[Any], schema: JsonSchema, type_: Type, path: str, place: _Place) -> Iterator[Rule]:
        plain = Environment({"self": type_, "oldSelf": type_})
        optional = Environment({"self": type_, "oldSelf": optional_of(type_)})
        sized = None if self._costs is None else Sized(schema, root=place.root or is_embedded(schema))
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
            if self._costs is not None and sized is not None:
                self.errors += self._costs.of_rule(program, message, sized, place.often, where)
            transition = "oldSelf" in program.variables
            if transition and place.uncorrelated is not None:
                words = (
                    f"oldSelf cannot be used on the uncorrelatable portion of the schema within {place.uncorrelated}"
                )
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
