"""Limits of what rules may cost, which a definition is checked for. Upstream: ``pkg/apis/apiextensions/validation``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from homeport.kube import field
from homeport.kube.cel import Program
from homeport.kube.cel.estimate import LIMIT, estimate
from homeport.kube.cel.sizes import Sized, times
from homeport.kube.errors import FieldError

RULE_LIMIT: Final = 10_000_000
"""What one rule may cost by estimate, for all of the places in an object that it applies to."""
DEFINITION_LIMIT: Final = 100_000_000
"""What all rules of a version may cost together."""
_SHOWN = 4
"""How many of the most expensive rules are named where the sum is too high."""


class Costs:
    """The estimated costs of the rules of one schema."""

    def __init__(self) -> None:
        self._total = 0
        self._most: list[tuple[int, str]] = []

    def of_rule(
        self, rule: Program, message: Program | None, sized: Sized, count: int | None, where: str
    ) -> Iterator[FieldError]:
        """Counts a rule, and says if it is too expensive by itself. There are at most `count` of its values."""
        variables = {"self": sized, "oldSelf": sized}
        cost = min(LIMIT, estimate(rule.tree, variables) * times(sized, count))
        yield from self._counted(cost, "estimated rule cost", f"{where}.rule")
        if message is not None:
            cost = estimate(message.tree, variables)
            yield from self._counted(cost, "estimated messageExpression cost", f"{where}.messageExpression")

    def _counted(self, cost: int, what: str, path: str) -> Iterator[FieldError]:
        self._total = min(LIMIT, self._total + cost)
        if cost >= DEFINITION_LIMIT // 100:
            self._most.append((cost, path))
        if cost > RULE_LIMIT:
            yield field.forbidden(path, _too_much(what, cost, RULE_LIMIT))

    def total_errors(self, path: str) -> Iterator[FieldError]:
        """What is wrong with the rules of the schema at `path` together."""
        if self._total <= DEFINITION_LIMIT:
            return
        for _, rule in sorted(self._most, key=lambda pair: -pair[0])[:_SHOWN]:
            words = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"
            yield field.forbidden(rule, words)
        what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema"
        yield field.forbidden(path, _too_much(what, self._total, DEFINITION_LIMIT))


def _too_much(what: str, cost: int, limit: int) -> str:
    factor = cost / limit
    shown = "more than 100x" if factor > 100 else f"{factor:.6f}x" if factor < 1.5 else f"{factor:.1f}x"
    return (
        f"{what} exceeds budget by factor of {shown} (try simplifying the rule, or adding maxItems, maxProperties, and "
        "maxLength where arrays, maps, and strings are declared)"
    )
