"""Compiling and evaluating: messages, Kubernetes' libraries, budgets."""

from __future__ import annotations

import time
from typing import Any

import pytest

from homeport.kube.cel import (
    BOOL,
    DYN,
    INT,
    STRING,
    Budget,
    BudgetExceeded,
    CelError,
    Environment,
    EvaluationError,
    LazyMap,
)
from homeport.kube.cel.library.authorization import AUTHORIZER, Attributes, Authorizer, Verdict
from homeport.kube.cel.types import list_of

ENVIRONMENT = Environment({"object": DYN, "n": INT, "s": STRING, "names": list_of(STRING), "authorizer": AUTHORIZER})


def evaluate(text: str, **bindings: Any) -> Any:
    return ENVIRONMENT.compile(text).evaluate(bindings)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("n +", "ERROR: <input>:1:4: Syntax error: mismatched input '<EOF>' expecting an expression\n | n +\n | ...^"),
        (
            "n + s",
            "ERROR: <input>:1:3: found no matching overload for '_+_' applied to '(int, string)'\n | n + s\n | ..^",
        ),
        ("x", "ERROR: <input>:1:1: undeclared reference to 'x' (in container '')\n | x\n | ^"),
        ("s.foo()", "undeclared reference to 'foo' (in container '')"),
        ("s.foo", "type 'string' does not support field selection"),
        ("[1, 'a']", "expected type 'int' but found 'string'"),
        ("n ? 1 : 2", "found no matching overload for '_?_:_' applied to '(int, int, int)'"),
        ("n.all(x, x)", "expression of type 'int' cannot be range of a comprehension (must be list, map, or dynamic)"),
        ("has(s)", "invalid argument to has() macro"),
        ("names.all(1, true)", "argument must be a simple name"),
        ("s.matches('(a')", "invalid matches argument"),
        ("duration('1x') == duration('1s')", "invalid duration argument"),
        ("(" * 200 + "1" + ")" * 200, "expression recursion limit exceeded: 100"),
        (" + ".join(["1"] * 500), "expression recursion limit exceeded: 150"),
        ("'abc", "token recognition error"),
        ("package == 1", "reserved identifier: package"),
    ],
)
def test_what_does_not_compile_is_said_as_upstream_says_it(text: str, message: str) -> None:
    with pytest.raises(CelError) as caught:
        ENVIRONMENT.compile(text)
    assert message in str(caught.value)


def test_every_issue_is_told_with_its_line() -> None:
    with pytest.raises(CelError) as caught:
        ENVIRONMENT.compile("x == 1 &&\n  y == 2")
    assert [at for at, _ in caught.value.issues] == [0, 12]
    assert "ERROR: <input>:2:3: undeclared reference to 'y'" in str(caught.value)


def test_a_program_knows_its_type_and_its_variables() -> None:
    program = ENVIRONMENT.compile("n > 3 && s == 'x'", BOOL)
    assert program.result == BOOL
    assert program.variables == {"n", "s"}
    with pytest.raises(CelError, match="must evaluate to bool"):
        ENVIRONMENT.compile("n + 1", BOOL)


@pytest.mark.parametrize(
    "text",
    [
        "quantity('1.5Gi').isGreaterThan(quantity('1Gi')) && quantity('200M').compareTo(quantity('0.2G')) == 0",
        "quantity('50k').add(20) == quantity('50020') && sign(quantity('-1')) == -1 && isQuantity('1Z') == false",
        "url('https://user:p@[::1]:80/a b?k=1&k=2').getHostname() == '::1'",
        "url('https://example.com/path with spaces/').getEscapedPath() == '/path%20with%20spaces/'",
        "url('https://x/?k1=a&k2=b&k2=c').getQuery() == {'k1': ['a'], 'k2': ['b', 'c']}",
        "isURL('/absolute-path') && !isURL('../relative-path') && !isURL('https://a:b:c/')",
        "semver('1.2.3').isLessThan(semver('1.10.0')) && semver('v01.2', true).minor() == 2 && !isSemver('v1.0')",
        "semver('1.0.0-alpha.1').isLessThan(semver('1.0.0-alpha.beta'))",
        "semver('1.0.0-rc').isLessThan(semver('1.0.0'))",
        "!format.dns1123Label().validate('my-name').hasValue() && format.named('uuid').hasValue()",
        "format.dns1123Label().validate('My_Name').value().size() == 1",
        "cidr('192.168.0.0/16').containsCIDR('192.168.10.0/24') && cidr('10.0.0.1/8').masked() == cidr('10.0.0.0/8')",
        "ip('fe80::1').isLinkLocalUnicast() && !ip.isCanonical('2001:DB8::ABCD') && !isIP('::ffff:1.2.3.4')",
        "[1, 2, 2, 3].isSorted() && [3, 1].min() == 1 && [1.5, 2.5].sum() == 4.0",
        "['a', 'b', 'a'].lastIndexOf('a') == 2 && [2, 3].indexOf(3) == 1 && [1].includes(1)",
        "'abc 123 def 456'.findAll('[0-9]+') == ['123', '456'] && 'abc 123'.find('[0-9]+') == '123'",
        "sets.contains([1, 2, 3], [2]) && sets.equivalent([1, 1], [1]) && !sets.intersects([1], [2])",
        "[3, 1, 2].sort() == [1, 2, 3] && [1, 1].distinct() == [1] && [[1], [2]].flatten() == [1, 2]",
        "{'a': 1}.all(k, v, k == 'a' && v == 1) && ['a'].transformMap(i, v, v + 'x') == {0: 'ax'}",
        "object.?spec.?missing.orValue('none') == 'none' && object.spec.list[?5].hasValue() == false",
        "object.spec.list.exists(x, x == 2) && object.metadata['name'] == 'x' && has(object.spec.list)",
        "type(object.spec.port) == string ? object.spec.port.endsWith('%') : object.spec.port < 5",
        "timestamp('2024-01-01T00:00:00Z') + duration('1h30m') == timestamp('2024-01-01T01:30:00Z')",
        "n in [1, 5] && s in names && !('z' in names)",
    ],
)
def test_kubernetes_libraries(text: str) -> None:
    object = {"metadata": {"name": "x"}, "spec": {"list": [1, 2], "port": "5%"}}
    assert evaluate(text, object=object, n=5, s="a", names=["a", "b"]) is True


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("9223372036854775807 + n > 0", "integer overflow"),
        ("n / 0 == 1", "division by zero"),
        ("object.missing == 1", "no such key: missing"),
        ("names[7] == ''", "index out of bounds: 7"),
        ("object.x + 1 == 2", "no such overload"),
        ("ip('1.2.3.4.5').family() == 4", "parse error"),
    ],
)
def test_errors_of_evaluation(text: str, words: str) -> None:
    with pytest.raises(EvaluationError, match=words):
        evaluate(text, n=1, names=["a"], object={"x": "text"})


def test_a_missing_binding_is_an_error_that_the_other_side_may_outweigh() -> None:
    with pytest.raises(EvaluationError, match="no such attribute"):
        evaluate("n == 1")
    assert evaluate("n == 1 || true") is True


def test_no_expression_runs_on_for_ever() -> None:
    nested = ENVIRONMENT.compile("names.all(a, names.all(b, names.all(c, a + b + c != '')))", BOOL)
    start = time.process_time()
    with pytest.raises(BudgetExceeded):
        nested.evaluate({"names": ["x"] * 1000})
    assert time.process_time() - start < 5
    budget = Budget(1000)
    ENVIRONMENT.compile("names.exists(x, x == 'z')").evaluate({"names": ["a"] * 10}, budget)
    assert 900 < budget.left < 1000
    with pytest.raises(BudgetExceeded):
        evaluate("s.matches('(a+)+$') && s.contains(s) && s.replace('a', s).size() > 0", s="a" * 50_000)


MANY, LONG = list(range(20_000)), "a" * 1_000_000
DEEP: Any = 1
for _ in range(20):
    DEEP = [DEEP, DEEP, DEEP]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("object.turns.all(x, object.a == object.b)", {"a": MANY, "b": [*MANY]}),
        ("object.turns.all(x, object.a == object.b)", {"a": {"x": MANY}, "b": {"x": [*MANY]}}),
        ("object.turns.all(x, string(object.a) == string(object.b))", {"a": LONG, "b": LONG[1:] + "a"}),
        ("object.turns.all(x, string(object.a) <= string(object.b))", {"a": LONG, "b": LONG[1:] + "b"}),
        ("object.turns.all(x, object.a in object.b)", {"a": MANY, "b": [[*MANY]]}),
        ("object.turns.all(x, object.b.indexOf(object.a) >= 0)", {"a": MANY, "b": [[*MANY]]}),
        ("sets.contains(object.turns.map(x, object.a), [object.b])", {"a": MANY, "b": [*MANY]}),
        ("object.turns.all(x, '%s'.format([object.a]).size() > 0)", {"a": MANY}),
        ("object.a == object.b", {"a": DEEP, "b": [DEEP[0], DEEP[1], DEEP[2]]}),
        ("'%s'.format([object.a]) != ''", {"a": DEEP}),
        ("object.a.flatten(30).size() > 0", {"a": DEEP}),
    ],
)
def test_what_is_compared_counts(text: str, values: dict[str, Any]) -> None:
    program = ENVIRONMENT.compile(text)
    start = time.process_time()
    with pytest.raises(BudgetExceeded):
        program.evaluate({"object": {"turns": MANY, **values}}, Budget(100_000))
    assert time.process_time() - start < 3  # it was minutes, or all memory


def test_the_authorizer_is_asked_what_the_expression_says() -> None:
    asked: list[Attributes] = []

    def decide(attributes: Attributes) -> Verdict:
        asked.append(attributes)
        return Verdict(attributes.verb == "get", "because")

    text = "authorizer.group('apps').resource('deployments').namespace('ns').name('x').check('get').allowed()"
    assert evaluate(text, authorizer=Authorizer(decide)) is True
    assert asked == [Attributes(group="apps", resource="deployments", namespace="ns", name="x", verb="get")]
    text = "authorizer.serviceAccount('ns', 'sa').path('/healthz').check('post').reason()"
    assert evaluate(text, authorizer=Authorizer(decide)) == "because"
    assert asked[-1].service_account == ("ns", "sa")


def test_variables_are_worked_out_when_they_are_needed() -> None:
    made = []

    def make() -> int:
        made.append(1)
        return 5

    environment = Environment({"variables": DYN})
    program = environment.compile("variables.n + variables.n == 10 && has(variables.n) && !has(variables.other)")
    assert program.evaluate({"variables": LazyMap({"n": make})}) is True
    assert made == [1]
