"""Static types of the Common Expression Language, and how they are unified.

A type is a name with arguments. Objects of a schema have a type of their own (:class:`ObjectType`), which knows their
fields; equal schemas make different types.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any


@dataclass(frozen=True, slots=True)
class Type:
    """A type such as ``list<string>``. `text` is how messages write its name, where that differs."""

    name: str
    args: tuple[Type, ...] = ()

    def __str__(self) -> str:
        name = _SHOWN.get(self.name, self.name)
        return f"{name}({', '.join(map(str, self.args))})" if self.args else name


_SHOWN = {
    "google.protobuf.Timestamp": "timestamp",
    "google.protobuf.Duration": "duration",
    "null_type": "null",
}


@dataclass(frozen=True, slots=True, eq=False)
class Variable(Type):
    """A type that is yet to be found. Two are never equal."""

    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __str__(self) -> str:
        return "dyn" if self.name == "_" else self.name


@dataclass(frozen=True, slots=True)
class Field:
    """A field of an object."""

    type: Type
    key: str
    """Its name in the JSON; in expressions it is escaped."""
    convert: Callable[[Any], Any] | None = None
    """From JSON to the value that expressions work with, where that is another."""


@dataclass(frozen=True, slots=True, eq=False)
class ObjectType(Type):
    """An object with known fields. Two are never equal."""

    __eq__ = object.__eq__
    __hash__ = object.__hash__

    fields: Mapping[str, Field] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class KeyedList(Type):
    """A list whose order says nothing: a set, or with `keys` a map (``x-kubernetes-list-type``)."""

    keys: tuple[str, ...] = ()


DYN = Type("dyn")
NULL = Type("null_type")
BOOL = Type("bool")
INT = Type("int")
UINT = Type("uint")
DOUBLE = Type("double")
STRING = Type("string")
BYTES = Type("bytes")
TIMESTAMP = Type("google.protobuf.Timestamp")
DURATION = Type("google.protobuf.Duration")
TYPE = Type("type")

_NEVER_NULL = frozenset({"bool", "int", "uint", "double", "string", "bytes", "list", "map", "type"})


def list_of(item: Type) -> Type:
    return Type("list", (item,))


def map_of(key: Type, value: Type) -> Type:
    return Type("map", (key, value))


def optional_of(value: Type) -> Type:
    return Type("optional_type", (value,))


def type_of(value: Type) -> Type:
    return Type("type", (value,))


# -- signatures: types written as text


@dataclass(frozen=True, slots=True)
class Signature:
    """``string.charAt(int): string``: a function's arguments, of which a member's target is the first, and result."""

    name: str
    args: tuple[Type, ...]
    result: Type
    member: bool

    def __str__(self) -> str:
        return format_call(self.args, self.member)


_TOKENS = re.compile(r"[\w.]+|[<>,]")
_ALIASES: dict[str, str | Type] = {
    "timestamp": TIMESTAMP,
    "duration": DURATION,
    "optional": "optional_type",
    "null": NULL,
}


@cache
def parse_type(text: str) -> Type:
    """``map<string, list<A>>``; capital letters of length one are variables."""
    tokens = _TOKENS.findall(text)

    def one(at: int) -> tuple[Type, int]:
        word = tokens[at]
        at += 1
        args: list[Type] = []
        if at < len(tokens) and tokens[at] == "<":
            while tokens[at] != ">":
                arg, at = one(at + 1)
                args.append(arg)
            at += 1
        if len(word) == 1 and word.isupper():
            return _letter(word), at
        alias = _ALIASES.get(word, word)
        return (alias if isinstance(alias, Type) else Type(alias, tuple(args))), at

    return one(0)[0]


@cache
def _letter(name: str) -> Variable:
    return Variable(name)


def signature(text: str, *, member: bool = False) -> Signature:
    """A signature of ``name(types): type``; with `member` the first argument is the target."""
    head, _, result = text.rpartition("): ")
    name, _, args = head.partition("(")
    return Signature(name, tuple(parse_type(arg) for arg in _split(args)), parse_type(result), member)


def _split(args: str) -> list[str]:
    parts, depth = [""], 0
    for char in args:
        depth += (char == "<") - (char == ">")
        if char == "," and not depth:
            parts.append("")
        else:
            parts[-1] += char
    return [part.strip() for part in parts if part.strip()]


def format_call(args: tuple[Type, ...], member: bool) -> str:
    """``string.(int)`` or ``(string, int)``, as messages write what a function is applied to."""
    if member and args:
        return f"{args[0]}.({', '.join(map(str, args[1:]))})"
    return f"({', '.join(map(str, args))})"


# -- unification

Substitution = dict[Variable, Type]


def resolve(type_: Type, known: Substitution) -> Type:
    """`type_` with what is known of its variables; what is unknown at the end may be anything."""
    while isinstance(type_, Variable) and type_ in known:
        type_ = known[type_]
    if type_.args and not isinstance(type_, (ObjectType, KeyedList)):
        args = tuple(resolve(arg, known) for arg in type_.args)
        if args != type_.args:
            return Type(type_.name, args)
    return type_


def instantiate(type_: Type, fresh: dict[Type, Variable]) -> Type:
    """`type_` with variables of its own, one for each in `fresh`, which it fills."""
    if isinstance(type_, Variable):
        if type_ not in fresh:
            fresh[type_] = Variable("_")
        return fresh[type_]
    if type_.args and not isinstance(type_, (ObjectType, KeyedList)):
        return Type(type_.name, tuple(instantiate(arg, fresh) for arg in type_.args))
    return type_


def unify(wanted: Type, given: Type, known: Substitution) -> bool:
    """Whether `given` may stand where `wanted` is asked for; adds to `known` what follows. On failure `known` may hold
    too much: try with a copy."""
    variable = _last(wanted, known)
    wanted, given = resolve(wanted, known), resolve(given, known)
    if wanted is given:
        return True
    if isinstance(wanted, Variable):
        return _bind(wanted, given, known)
    if isinstance(given, Variable):
        return _bind(given, wanted, known)
    if given.name == "dyn":
        if variable is not None:
            known[variable] = DYN
        return True
    if wanted.name == "dyn":
        return True
    if given.name == "null_type":
        return wanted.name not in _NEVER_NULL
    if wanted.name == "null_type":
        if given.name in _NEVER_NULL:
            return False
        if variable is not None:
            known[variable] = given
        return True
    if wanted.name == "type" and given.name == "type":
        return True
    if isinstance(wanted, ObjectType) or isinstance(given, ObjectType):
        return wanted is given
    if wanted.name != given.name or len(wanted.args) != len(given.args):
        return False
    return all(unify(a, b, known) for a, b in zip(wanted.args, given.args, strict=True))


def _last(type_: Type, known: Substitution) -> Variable | None:
    """The variable that stands for `type_`, the last of a chain; None if it is no variable."""
    last = None
    while isinstance(type_, Variable):
        last = type_
        if type_ not in known:
            break
        type_ = known[type_]
    return last


def _bind(variable: Variable, type_: Type, known: Substitution) -> bool:
    if _contains(type_, variable):
        return False
    known[variable] = type_
    return True


def _contains(type_: Type, variable: Variable) -> bool:
    return type_ is variable or any(_contains(arg, variable) for arg in type_.args)


def is_dynamic(type_: Type) -> bool:
    """Whether nothing is known of values of the type."""
    return type_.name == "dyn" or isinstance(type_, Variable)
