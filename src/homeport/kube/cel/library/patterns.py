"""Regular expressions: ``matches``, and Kubernetes' ``find`` and ``findAll``."""

from __future__ import annotations

from itertools import islice

from homeport.kube import regex
from homeport.kube.cel.functions import Library
from homeport.kube.cel.values import EvaluationError

LIBRARY = Library()
_function, _member = LIBRARY.function, LIBRARY.member


def _cost(text: str, pattern: str, *rest: int) -> int:
    return (len(text) // 10 + 1) * (len(pattern) // 4 + 1)


def _compiled(pattern: str) -> regex.Pattern:
    try:
        return regex.compile_data(pattern)
    except regex.PatternError as error:
        raise EvaluationError(str(error)) from error


@_function("matches(string, string): bool", cost=_cost)
@_member("matches(string, string): bool", cost=_cost)
def _matches(text: str, pattern: str) -> bool:
    return _compiled(pattern).search(text)


@_member("find(string, string): string", cost=_cost)
def _find(text: str, pattern: str) -> str:
    return _compiled(pattern).find(text) or ""


@_member("findAll(string, string): list<string>", "findAll(string, string, int): list<string>", cost=_cost)
def _find_all(text: str, pattern: str, limit: int = -1) -> list[str]:
    return list(islice(_compiled(pattern).find_all(text), None if limit < 0 else limit))
