"""Facts of the language's own conformance suite. Not among them: protocol buffers, enums, unchecked expressions and the
extensions that Kubernetes does not have (math, encoders, blocks)."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from homeport.kube.cel import CelError, Environment, EvaluationError
from homeport.kube.cel.values import Duration, Timestamp, TypeValue, UInt, to_key

ENVIRONMENT = Environment({}, homogeneous=False)


def facts() -> dict[str, list[tuple[str, Any]]]:
    found: dict[str, list[tuple[str, Any]]] = {}
    for line in (Path(__file__).parent / "facts.jsonl").read_text().splitlines():
        if line.startswith("#"):
            section = line.removeprefix("# ")
        else:
            found.setdefault(section, []).append(tuple(json.loads(line)))
    return found


def value_of(told: Any) -> Any:
    if isinstance(told, list):
        return [value_of(item) for item in told]
    if not isinstance(told, dict):
        return told
    ((kind, value),) = told.items()
    match kind:
        case "uint":
            return UInt(value)
        case "double":
            return float(value)
        case "bytes":
            return bytes.fromhex(value)
        case "map":
            return {to_key(value_of(key)): value_of(item) for key, item in value}
        case "type":
            return TypeValue(value)
        case "timestamp":
            return Timestamp(value)
        case "duration":
            return Duration(value)
    raise ValueError(told)


def same(a: Any, b: Any) -> bool:
    """Equal and of equal types."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float) and math.isnan(a):
        return math.isnan(b)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return len(a) == len(b) and all(key in b and same(value, b[key]) for key, value in a.items())
    return bool(a == b)


@pytest.mark.parametrize("section", facts())
def test_facts(section: str) -> None:
    wrong = []
    for expression, told in facts()[section]:
        try:
            value = ENVIRONMENT.compile(expression).evaluate({})
        except (CelError, EvaluationError) as error:
            if told != {"error": True}:
                wrong.append((expression, str(error)))
            continue
        if told == {"error": True} or not same(value, value_of(told)):
            wrong.append((expression, repr(value)))
    assert wrong == []
