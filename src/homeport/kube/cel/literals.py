"""Checks of literal arguments when an expression is compiled, so that no user waits for what can never work.

Upstream: cel-go's ``ValidateDurationLiterals``, ``ValidateTimestampLiterals`` and ``ValidateRegexLiterals``.
"""

from __future__ import annotations

from collections.abc import Iterator

from homeport.kube import regex
from homeport.kube.cel.library import temporal
from homeport.kube.cel.syntax import Call, Literal, Node, parts
from homeport.kube.cel.values import EvaluationError


def check_literals(root: Node) -> Iterator[tuple[int, str]]:
    """Issues, each with its position."""
    pending = [root]
    while pending:
        node = pending.pop()
        pending += parts(node)
        if not isinstance(node, Call) or not node.args:
            continue
        literal = node.args[-1] if node.function in ("matches", "find") else node.args[0]
        if not isinstance(literal, Literal) or not isinstance(literal.value, str):
            continue
        try:
            if node.function in ("matches", "find", "findAll"):
                regex.compile(literal.value)
            elif node.function == "duration" and node.target is None:
                temporal.parse_duration(literal.value)
            elif node.function == "timestamp" and node.target is None:
                temporal.parse_timestamp(literal.value)
        except (EvaluationError, regex.PatternError):
            yield literal.at, f"invalid {node.function} argument"
