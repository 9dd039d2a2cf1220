"""Estimated costs. The figures are upstream's (``TestCostEstimation`` of apiextensions-apiserver): which rules are too
expensive must be the same here."""

from __future__ import annotations

from typing import Any

import pytest

from homeport.kube.cel import Environment
from homeport.kube.cel.estimate import LIMIT, estimate
from homeport.kube.cel.schema import type_of_schema
from homeport.kube.cel.sizes import Sized, cardinality, times

Schema = dict[str, Any]


def of(kind: str) -> Schema:
    """A scalar's schema."""
    if kind == "int-or-string":
        return {"x-kubernetes-int-or-string": True}
    if kind in ("duration", "date", "date-time", "byte"):
        return {"type": "string", "format": kind}
    return {"type": kind}


def array(items: Schema | str, most: int | None = None) -> Schema:
    return {"type": "array", "items": of(items) if isinstance(items, str) else items} | limit("maxItems", most)


def mapping(values: Schema | str, most: int | None = None) -> Schema:
    values = of(values) if isinstance(values, str) else values
    return {"type": "object", "additionalProperties": values} | limit("maxProperties", most)


def text(most: int | None = None, **more: Any) -> Schema:
    return {"type": "string", **more} | limit("maxLength", most)


def limit(key: str, most: int | None) -> Schema:
    return {} if most is None else {key: most}


THING = {"type": "object", "required": ["required"], "properties": {"required": text(), "optional": text()}}


def all_bounded(most: int | None) -> Schema:
    return array(mapping(THING, most), most)


def one_bounded(most: int | None) -> Schema:
    return array(mapping(THING, most))


def objects(most: int | None) -> Schema:
    return array(THING, most)


def nested(most: int | None) -> Schema:
    return mapping(text(most), most)


def enum(most: int | None) -> Schema:
    return text(most, enum=["A", "B", "C", "LongValue"])


def cost(schema: Schema, rule: str) -> int:
    type_ = type_of_schema(schema)
    assert type_ is not None
    sized = Sized(schema)
    program = Environment({"self": type_, "oldSelf": type_}).compile(rule)
    return estimate(program.tree, {"self": sized, "oldSelf": sized})


def arrays(kind: str) -> Any:
    return lambda most: array(kind, most)


def maps(kind: str) -> Any:
    return lambda most: mapping(kind, most)


@pytest.mark.parametrize(
    ("make", "rule", "unbounded", "most", "bounded"),
    [
        (arrays("number"), "self.all(x, true)", 4718591, 10, 32),
        (arrays("string"), "self.all(x, true)", 3145727, 20, 62),
        (arrays("boolean"), "self.all(x, true)", 1887437, 5, 17),
        (lambda most: array(array("number"), most), "self.all(x, true)", 3145727, 100, 302),
        (maps("number"), "self.all(x, true)", 1348169, 10, 32),
        (maps("string"), "self.all(x, true)", 1179647, 3, 11),
        (maps("boolean"), "self.all(x, true)", 943718, 100, 302),
        (text, "self.contains('test')", 314574, 10, 5),
        (text, "self.startsWith('test')", 2, 15, 2),
        (text, "self.endsWith('test')", 2, 30, 2),
        (text, 'size(self + "hello") > size("hello")', 314578, 4, 7),
        (arrays("number"), "self[1] == 0.0", 2, 5000, 2),
        (arrays("string"), "self[1] == self[1]", 314577, 8, 314577),
        (arrays("number"), "self.all(x, self.all(y, true))", None, 10, 352),
        (arrays("number"), "self.all(x, self.all(y, self.all(z, true)))", None, 10, 3552),
        (text, 'self.matches("x")', 314574, 50, 22),
        (text, '"".matches("(((((((((())))))))))[0-9]")', 7, 10, 7),
        (text, 'self.matches("")', 1, 100, 1),
        (nested, "self.all(x, x.contains(self[x]))", 2752507, 10, 72),
        (maps("number"), 'self["x"] == 0.0', 2, 0, 2),
        (text, 'self == "x"', 2, 0, 1),
        (lambda most: text(most, format="byte"), 'self == b"x"', 2, 0, 1),
        (arrays("number"), "self.all(x, x == 0.0)", 6291454, 3 * 1024 * 2048, 25165826),
        (all_bounded, 'self.all(x, x["y"].required == "z")', 7340027, 10, 72),
        (one_bounded, 'self.all(x, x["y"].required == "z")', 7340027, 10, 7340027),
        (arrays("int-or-string"), "self.all(x, true)", 4718591, 10, 32),
        (arrays("int-or-string"), "self[0] == 5", 3, 10, 3),
        (arrays("boolean"), "self[0] == false", 2, 25, 2),
        (objects, "self[0] == null", 2, 422, 2),
        (lambda most: array(array("number"), most), "self[0][0] == -1.0", 3, 51, 3),
        (lambda most: array(mapping("number"), most), "self.all(x, x.y == 25.2)", 6291452, 12, 74),
        (lambda most: array(mapping("number"), most), "self[0].x > 2.0", 4, 3000, 4),
        (arrays("duration"), "self.all(x, true)", 2359295, 5, 17),
        (arrays("duration"), "self[0].getHours() == 2", 4, 525, 4),
        (arrays("date"), "self.all(x, true)", 725936, 15, 47),
        (arrays("date"), "self[2].getDayOfMonth() == 13", 4, 42, 4),
        (arrays("date-time"), "self.all(x, true)", 428963, 25, 77),
        (maps("int-or-string"), "self.all(x, true)", 1348169, 15, 47),
        (lambda most: mapping(THING, most), "self.all(x, true)", 428963, 20, 62),
        (lambda most: mapping(mapping("number"), most), "self.all(x, true)", 1179647, 10, 32),
        (lambda most: mapping(array("number"), most), "self.all(x, true)", 1179647, 25, 77),
        (maps("duration"), "self.all(x, true)", 1048577, 5, 17),
        (maps("date"), "self.all(x, true)", 524288, 10, 32),
        (maps("date-time"), "self.all(x, true)", 349526, 25, 77),
        (text, "self.find('[0-9]+') == ''", 629147, 10, 11),
        (maps("integer"), "oldSelf.size() == self.size()", 5, 10, 5),
        (maps("date-time"), 'self["a"] == self["b"]', 8, 7, 8),
        (maps("duration"), 'self["c"] == self["d"]', 8, 42, 8),
        (enum, "self.contains('A')", 2, 1000, 401),
    ],
)
def test_estimates_are_upstreams(make: Any, rule: str, unbounded: int | None, most: int, bounded: int) -> None:
    if unbounded is None:
        assert cost(make(None), rule) > 10_000_000
    else:
        assert cost(make(None), rule) == unbounded
    assert cost(make(most), rule) == bounded


def test_nothing_overflows() -> None:
    rule = "self.all(a, self.all(b, self.all(c, self.all(d, a == b && c == d))))"
    assert cost(array("string"), rule) == LIMIT


def test_how_often_a_part_can_be_there() -> None:
    bounded, free = array("string", 5), mapping("string")
    assert cardinality(bounded, 3) == 15
    assert cardinality(free, 3) is None
    assert cardinality({"type": "object"}, 3) == 3
    assert times(Sized({"type": "string"}), None) == 3 * 1024 * 1024 // 3
    assert times(Sized({"type": "string"}), 15) == 15
