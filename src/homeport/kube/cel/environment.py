"""Environments, in which expressions are compiled, and compiled expressions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from homeport.kube.cel.compiler import Compiler
from homeport.kube.cel.functions import Functions, Library, Run
from homeport.kube.cel.library import (
    authorization,
    conversions,
    formats,
    jsonpatches,
    lists,
    network,
    operators,
    optionals,
    patterns,
    quantities,
    strings,
    temporal,
    urls,
    versions,
)
from homeport.kube.cel.literals import check_literals
from homeport.kube.cel.parser import parse
from homeport.kube.cel.scope import UNSET
from homeport.kube.cel.syntax import CelError, Node
from homeport.kube.cel.types import Type, format_call
from homeport.kube.cel.values import Budget, EvaluationError

CALL_LIMIT = 1_000_000
"""What one evaluation may cost, as upstream (``apis/cel/config.go``)."""
OBJECT_LIMIT = 10_000_000
"""What all evaluations for one object may cost together."""

STANDARD: tuple[Library, ...] = tuple(
    module.LIBRARY
    for module in (
        operators, conversions, temporal, strings, patterns, optionals, lists, urls, network, quantities, versions,
        formats, jsonpatches, authorization,
    )
)  # fmt: skip
"""All libraries that Kubernetes has."""


class Program:
    """A compiled expression. Immutable, and safe to be shared."""

    __slots__ = ("_names", "_run", "_slots", "cost", "result", "text", "tree", "variables")

    def __init__(self, text: str, tree: Node, run: Run, names: tuple[str, ...], slots: int, compiler: Compiler) -> None:
        self.text = text
        self.tree = tree
        self.result = compiler.type_of(tree)
        """The static type of its value."""
        self.variables = frozenset(compiler.scope.used)
        """The variables that it uses."""
        self.cost = compiler.cost + 1
        """Of one evaluation but for its loops and long texts, which are counted as they happen."""
        self._run = run
        self._names = names
        self._slots = slots

    def evaluate(self, bindings: Mapping[str, Any], budget: Budget | None = None) -> Any:
        """The expression's value. Raises EvaluationError, and BudgetExceeded when `budget` (by default that of one
        call) is spent."""
        budget = budget or Budget(CALL_LIMIT)
        frame: list[Any] = [budget, *[bindings.get(name, UNSET) for name in self._names]]
        frame += [None] * (self._slots - len(frame))
        budget.charge(self.cost)
        try:
            return self._run(frame)
        except (TypeError, AttributeError, KeyError, IndexError, OverflowError) as error:
            # A value that is not what its static type says: null in a nullable field.
            raise EvaluationError("no such overload") from error
        except (RecursionError, MemoryError) as error:
            raise EvaluationError("the expression's values are too large or nested too deeply") from error


class Environment:
    """Variables with their types, and libraries. Making one is cheap, but not so cheap that each expression should
    have its own.

    `homogeneous` refuses lists and maps of mixed types, as Kubernetes does. `container` is the namespace in which names
    are looked up; Kubernetes has none. `messages` are the first parts of names of types that expressions may make
    objects of: ``Object`` allows ``Object.spec{replicas: 1}``.
    """

    def __init__(
        self,
        variables: Mapping[str, Type],
        *,
        libraries: Iterable[Library] = STANDARD,
        homogeneous: bool = True,
        container: str = "",
        messages: Iterable[str] = (),
    ) -> None:
        self._variables = dict(variables)
        self._functions = _standard() if libraries is STANDARD else Functions(libraries)
        self._homogeneous = homogeneous
        self._container = container
        self._messages = frozenset(messages)

    def compile(self, text: str, result: Type | None = None) -> Program:
        """Raises CelError, which has every issue with its position.

        With `result`, a value of another type is an issue, too; it may be unknown (``dyn``) at this time.
        """
        tree = parse(text)
        compiler = Compiler(
            self._functions,
            self._variables,
            container=self._container,
            homogeneous=self._homogeneous,
            messages=self._messages,
        )
        run = compiler.compile(tree)
        issues = compiler.issues or list(check_literals(tree))
        if issues:
            raise CelError(text, sorted(issues))
        program = Program(text, tree, run, tuple(self._variables), compiler.scope.slots, compiler)
        if result is not None and program.result.name not in ("dyn", "_", result.name):
            raise CelError(text, [(tree.at, f"must evaluate to {format_call((result,), False)[1:-1]}")])
        return program


_cache: list[Functions] = []


def _standard() -> Functions:
    if not _cache:
        _cache.append(Functions(STANDARD))
    return _cache[0]
