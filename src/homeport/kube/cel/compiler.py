"""A tree to a typed, executable expression: types are inferred and a closure is made in one walk.

Where types are known the closure does the work and nothing else; where they are not (``dyn``) it looks at its values.
Upstream: ``checker/`` and ``interpreter/`` of cel-go.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

from homeport.kube.cel import access, equality, loops
from homeport.kube.cel.functions import Functions, Overload, Run, invoke, result_of
from homeport.kube.cel.parser import qualified
from homeport.kube.cel.scope import Scope, always, is_absolute
from homeport.kube.cel.syntax import Bind, Call, Ident, ListLiteral, Literal, Loop, MapLiteral, Message, Node, Select
from homeport.kube.cel.types import (
    BOOL,
    DYN,
    INT,
    STRING,
    ObjectType,
    Substitution,
    Type,
    Variable,
    format_call,
    instantiate,
    is_dynamic,
    list_of,
    map_of,
    optional_of,
    resolve,
    type_of,
    unify,
)
from homeport.kube.cel.values import NO_OVERLOAD, EvaluationError


class Compiler:
    """Compiles one expression. Collects what is wrong with it in `issues`."""

    def __init__(
        self,
        functions: Functions,
        variables: Mapping[str, Type],
        *,
        container: str = "",
        homogeneous: bool = True,
        messages: frozenset[str] = frozenset(),
    ) -> None:
        self._functions = functions
        self._homogeneous = homogeneous
        self._messages = messages
        self.scope = Scope(variables, container)
        self._known: Substitution = {}
        self.cost = 0
        """Of the steps outside of loops; a loop charges its own for every turn."""
        self.issues: list[tuple[int, str]] = []

    def compile(self, node: Node) -> Run:
        match node:
            case Literal():
                return always(node.value)
            case Ident():
                return self._ident(node)
            case Select():
                return self._select(node)
            case Call():
                return self._call(node)
            case ListLiteral():
                return self._list(node)
            case MapLiteral():
                return self._map(node)
            case Loop():
                return self._loop(node)
            case Bind():
                return self._bind(node)
            case Message():
                return self._message(node)
        raise TypeError(node)

    def type_of(self, node: Node) -> Type:
        """The node's type as far as it is known by now."""
        return resolve(node.type, self._known)

    def _fail(self, node: Node, message: str) -> Run:
        self.issues.append((node.at, message))
        node.type = DYN
        return _never

    def _undeclared(self, node: Node, name: str) -> Run:
        return self._fail(node, f"undeclared reference to '{name}' (in container '{self.scope.container}')")

    # -- names

    def _named(self, node: Node, name: str, *, absolute: bool) -> Run | None:
        """A variable or a type by its name, which may be qualified."""
        found = self.scope.find(name, absolute=absolute)
        if found is None:
            return None
        run, node.type = found
        return run

    def _ident(self, node: Ident) -> Run:
        local = None if node.absolute else self.scope.local(node.name)
        if local is not None:
            slot, node.type = local
            return operator.itemgetter(slot)
        return self._named(node, node.name, absolute=node.absolute) or self._undeclared(node, node.name)

    # -- selection

    def _select(self, node: Select) -> Run:
        if not node.test and not node.optional:
            name = qualified(node)
            if name is not None and not self.scope.covers(node):
                found = self._named(node, name, absolute=is_absolute(node))
                if found is not None:
                    return found
        operand = self.compile(node.operand)
        self.cost += 1
        type_ = self.type_of(node.operand)
        through = type_.name == "optional_type"
        if through:
            type_ = resolve(type_.args[0], self._known)
        if isinstance(type_, ObjectType):
            field = type_.fields.get(node.field)
            if field is None:
                return self._fail(node, f"undefined field '{node.field}'")
            value, key, convert = field.type, field.key, field.convert
        elif type_.name == "map":
            value, key, convert = resolve(type_.args[1], self._known), node.field, None
            if not unify(type_.args[0], STRING, self._known):
                return self._fail(node, f"type '{type_}' does not support field selection")
        elif is_dynamic(type_):
            value, key, convert = DYN, node.field, None
        else:
            return self._fail(node, f"type '{type_}' does not support field selection")
        if node.test:
            node.type = BOOL
            return access.has(operand, key)
        if node.optional or through:
            node.type = value if value.name == "optional_type" else optional_of(value)
            return access.select_optional(operand, key, convert)
        node.type = value
        if is_dynamic(type_):
            return access.select_dynamic(operand, key)
        return access.select(operand, key, convert)

    # -- calls

    def _call(self, node: Call) -> Run:
        special = _SPECIAL.get(node.function)
        if special is not None and node.target is None:
            return special(self, node)
        if node.target is not None:
            name = qualified(node.target)
            if name is not None and not self.scope.covers(node.target):
                overloads, full = self._find_function(f"{name}.{node.function}", is_absolute(node.target))
                if overloads:
                    return self._invoke(node, full, overloads, node.args, member=False)
            overloads = list(self._functions.find(node.function, member=True))
            args = [node.target, *node.args]
            if not overloads:
                for arg in args:
                    self.compile(arg)
                return self._undeclared(node, node.function)
            return self._invoke(node, node.function, overloads, args, member=True)
        overloads, full = self._find_function(node.function)
        if not overloads:
            for arg in node.args:
                self.compile(arg)
            return self._undeclared(node, node.function)
        return self._invoke(node, full, overloads, node.args, member=False)

    def _find_function(self, name: str, absolute: bool = False) -> tuple[list[Overload], str]:
        container = "" if absolute else self.scope.container
        while True:
            full = f"{container}.{name}" if container else name
            found = self._functions.find(full, member=False)
            if found or not container:
                return list(found), full
            container = container.rpartition(".")[0]

    def _invoke(self, node: Call, name: str, overloads: list[Overload], args: list[Node], *, member: bool) -> Run:
        runs = [self.compile(arg) for arg in args]
        if any(run is _never for run in runs):
            node.type = DYN  # said already
            return _never
        self.cost += 1
        types = [self.type_of(arg) for arg in args]
        keyed = equality.keyed_operator(name, types)
        matching: list[tuple[Overload, Type, Substitution]] = []
        for overload in overloads:
            if len(overload.signature.args) != len(types):
                continue
            known, fresh = dict(self._known), dict[Type, Variable]()
            wanted = [instantiate(arg, fresh) for arg in overload.signature.args]
            if all(unify(a, b, known) for a, b in zip(wanted, types, strict=True)):
                matching.append((overload, instantiate(overload.signature.result, fresh), known))
        if not matching:
            words = f"found no matching overload for '{name}' applied to '{format_call(tuple(types), member)}'"
            return self._fail(node, words)
        if len(matching) == 1:
            _, result, self._known = matching[0]
            node.type = resolve(result, self._known)
        else:
            node.type = result_of([resolve(result, known) for _, result, known in matching]) or DYN
        if keyed is not None:
            return keyed(*runs)
        if name in ("_==_", "_!=_"):
            return equality.equality(name, types, runs)
        certain = len(matching) == 1 and not any(map(is_dynamic, types))
        if certain and equality.is_plain_in(name, types):
            return invoke([equality.plain_in(matching[0][0])], runs, certain=True)
        return invoke([overload for overload, _, _ in matching], runs, certain=certain)

    def logical(self, node: Call) -> Run:
        """``&&`` and ``||``: an error on one side does not matter if the other decides."""
        operands: list[Node] = []
        pending: list[Node] = [node]
        while pending:
            part = pending.pop()
            if isinstance(part, Call) and part.function == node.function and part.target is None:
                pending += reversed(part.args)
                part.type = BOOL
            else:
                operands.append(part)
        runs = []
        for part in operands:
            run = self.compile(part)
            self.cost += 1
            type_ = self.type_of(part)
            if run is not _never and not unify(BOOL, type_, self._known):
                self._fail(part, f"expected type 'bool' but found '{type_}'")
            runs.append(run)
        node.type = BOOL
        return access.either(runs, decisive=node.function == "_||_")

    def ternary(self, node: Call) -> Run:
        condition, yes, no = (self.compile(arg) for arg in node.args)
        self.cost += 1
        types = [self.type_of(arg) for arg in node.args]
        result = Variable("_")
        known = dict(self._known)
        if not (unify(BOOL, types[0], known) and unify(result, types[1], known) and unify(result, types[2], known)):
            words = f"found no matching overload for '_?_:_' applied to '{format_call(tuple(types), False)}'"
            return self._fail(node, words)
        self._known = known
        node.type = resolve(result, known)

        def run(frame: list[Any]) -> Any:
            chosen = condition(frame)
            if chosen is True:
                return yes(frame)
            if chosen is False:
                return no(frame)
            raise EvaluationError(NO_OVERLOAD)

        return run

    def type_function(self, node: Call) -> Run:
        """``type(x)``, whose result knows what it is the type of."""
        if len(node.args) != 1:
            return self._fail(node, f"found no matching overload for 'type' applied to '{format_call((), False)}'")
        (arg,) = (self.compile(arg) for arg in node.args)
        self.cost += 1
        node.type = type_of(self.type_of(node.args[0]))
        return access.type_value(arg)

    # -- literals

    def _list(self, node: ListLiteral) -> Run:
        item: Type = Variable("_")
        runs = []
        for index, part in enumerate(node.items):
            runs.append(self.compile(part))
            type_ = self.type_of(part)
            if index in node.optional:
                type_ = self._inside_optional(part, type_)
            item = self._joined(part, item, type_)
        self.cost += 10
        node.type = list_of(resolve(item, self._known))
        return access.make_list(runs, node.optional)

    def _map(self, node: MapLiteral) -> Run:
        key_type: Type = Variable("_")
        value_type: Type = Variable("_")
        entries = []
        for key, value, optional in node.entries:
            entries.append((self.compile(key), self.compile(value), optional))
            key_type = self._joined(key, key_type, self.type_of(key))
            type_ = self.type_of(value)
            value_type = self._joined(value, value_type, self._inside_optional(value, type_) if optional else type_)
        self.cost += 30
        node.type = map_of(resolve(key_type, self._known), resolve(value_type, self._known))
        return access.make_map(entries)

    def _message(self, node: Message) -> Run:
        """An object of a type whose fields are not known here: its values are of any type."""
        if node.name.partition(".")[0] not in self._messages:
            return self._undeclared(node, node.name)
        entries: list[tuple[Run, Run, bool]] = []
        for name, value, optional in node.fields:
            entries.append((always(name), self.compile(value), optional))
            if optional:
                self._inside_optional(value, self.type_of(value))
        self.cost += 30
        node.type = DYN
        return access.make_map(entries)

    def _inside_optional(self, node: Node, type_: Type) -> Type:
        if is_dynamic(type_):
            return DYN
        if type_.name != "optional_type":
            self._fail(node, f"expected type 'optional_type(dyn)' but found '{type_}'")
            return DYN
        return resolve(type_.args[0], self._known)

    def _joined(self, node: Node, before: Type, type_: Type) -> Type:
        """The type of elements of both types; an issue where Kubernetes wants all elements to be of one."""
        known = dict(self._known)
        if unify(before, type_, known):
            self._known = known
            return before if is_dynamic(before) and before.name == "dyn" else resolve(before, known)
        if self._homogeneous:
            self._fail(node, f"expected type '{resolve(before, self._known)}' but found '{type_}'")
        return DYN

    # -- macros

    def _loop(self, node: Loop) -> Run:
        source = self.compile(node.source)
        type_ = self.type_of(node.source)
        two = len(node.variables) == 2
        types: tuple[Type, ...]
        if type_.name == "list":
            item = resolve(type_.args[0], self._known)
            types = (INT, item) if two else (item,)
        elif type_.name == "map":
            key, value = (resolve(arg, self._known) for arg in type_.args)
            types = (key, value) if two else (key,)
        elif is_dynamic(type_):
            types = (DYN,) * len(node.variables)
        else:
            words = f"expression of type '{type_}' cannot be range of a comprehension (must be list, map, or dynamic)"
            return self._fail(node.source, words)
        outside = self.cost
        self.cost = 0
        slots = self.scope.enter(node.variables, types)
        condition = body = None
        if node.condition is not None:
            condition = self.compile(node.condition)
            found = self.type_of(node.condition)
            if condition is not _never and not unify(BOOL, found, self._known):
                self._fail(node.condition, f"found no matching overload for '_&&_' applied to '(bool, {found})'")
        if node.body is not None:
            body = self.compile(node.body)
        self.scope.leave(node.variables)
        turn, self.cost = self.cost + 2, outside + 1
        node.type = self._loop_type(node, types)
        return loops.make(node.kind, source, slots, condition, body, turn)

    def _loop_type(self, node: Loop, types: tuple[Type, ...]) -> Type:
        made = DYN if node.body is None else self.type_of(node.body)
        match node.kind:
            case "all" | "exists" | "exists_one":
                return BOOL
            case "filter":
                return list_of(types[0])
            case "map" | "transformList":
                return list_of(made)
            case "transformMap":
                return map_of(types[0], made)
        return made if made.name == "map" else map_of(DYN, DYN)

    def _bind(self, node: Bind) -> Run:
        value = self.compile(node.value)
        type_ = self.type_of(node.value)
        if node.kind != "bind":
            type_ = self._inside_optional(node.value, type_)
        (slot,) = self.scope.enter((node.name,), (type_,))
        body = self.compile(node.body)
        self.scope.leave((node.name,))
        made = self.type_of(node.body)
        node.type = optional_of(made) if node.kind == "optMap" else made
        return loops.bind(node.kind, slot, value, body)


_SPECIAL: Mapping[str, Callable[[Compiler, Call], Run]] = {
    "_&&_": Compiler.logical,
    "_||_": Compiler.logical,
    "_?_:_": Compiler.ternary,
    "type": Compiler.type_function,
}


def _never(frame: list[Any]) -> Any:
    raise EvaluationError("the expression does not compile")
