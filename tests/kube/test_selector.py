"""Label and field selectors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.kube.errors import BadRequest
from homeport.kube.selector import (
    EVERYTHING,
    NOTHING,
    OPERATORS,
    FieldRequirement,
    FieldSelector,
    Requirement,
    Selector,
    from_label_selector,
    parse_fields,
    parse_labels,
)

LABELS = {"a": "b", "env": "prod", "tier": "web", "n": "7", "empty": "", "example.com/x": "y"}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("  ", True),
        ("a=b", True),
        ("a==b", True),
        ("a=c", False),
        ("a!=c", True),
        ("a!=b", False),
        ("missing!=b", True),
        ("a", True),
        ("missing", False),
        ("!missing", True),
        ("! missing", True),
        ("!a", False),
        ("env in (prod, dev)", True),
        ("env in (dev)", False),
        ("missing in (dev)", False),
        ("env notin (dev)", True),
        ("missing notin (dev)", True),
        ("env notin (prod)", False),
        ("empty=", True),
        ("empty in ()", True),
        ("a in ()", False),
        ("a in (,b)", True),
        ("a=b,env=prod,tier in (web),!zone", True),
        ("a=b,env=dev", False),
        ("a=b,a=c", False),
        ("n>6", True),
        ("n>7", False),
        ("n<8,n>6", True),
        ("a>5", False),
        ("missing<5", False),
        ("example.com/x=y", True),
        ("env in(prod),a=b", True),
        ("in notin (in)", True),
        (" a = b , tier ", True),
    ],
)
def test_matching(text: str, matches: bool) -> None:
    assert parse_labels(text).matches(LABELS) is matches


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,", "found '', expected: identifier after ','"),
        ("a,,b", "found ',', expected: identifier after ','"),
        ("=", "found '=', expected: !, identifier, or 'end of string'"),
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("a in b", "unable to parse requirement: found 'b', expected: '('"),
        ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'"),
        ("a in (b c)", "unable to parse requirement: found 'c', expected: ',' or ')'"),
        ("!", "unable to parse requirement: found '', expected: identifier"),
        ("a=b=c", "found '=', expected: ',' or 'end of string'"),
        ("a=!", "unable to parse requirement: found '!', expected: identifier"),
        ("a>x", "for 'Gt', 'Lt' operators, the value must be an integer"),
        ("a/b/c", "a valid label key must consist of"),
        ("/a", "prefix part must be non-empty"),
        ("-a", "name part must consist of"),
        ("a=" + "x" * 64, "must be no more than 63 bytes"),
        ("a=-", "a valid label must be an empty string or consist of"),
    ],
)
def test_malformed(text: str, message: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_labels(text)
    assert message in caught.value.message


def test_a_selector_without_terms_matches_everything() -> None:
    assert not parse_labels("a=b,c in (d),e in (f,g),h!=i,j").everything
    assert EVERYTHING.everything
    assert not NOTHING.everything


def test_label_selector_objects() -> None:
    selector = from_label_selector(
        {
            "matchLabels": {"a": "b"},
            "matchExpressions": [
                {"key": "env", "operator": "In", "values": ["prod", "dev"]},
                {"key": "zone", "operator": "DoesNotExist"},
                {"key": "tier", "operator": "Exists"},
                {"key": "n", "operator": "NotIn", "values": ["8"]},
            ],
        }
    )
    assert selector.matches(LABELS)
    assert not selector.matches(LABELS | {"zone": "z"})
    assert str(selector) == "a=b,env in (dev,prod),n!=8,tier,!zone"
    assert parse_labels(str(selector)) == selector


def test_absent_and_empty_selectors() -> None:
    assert not from_label_selector(None).matches(LABELS)
    assert from_label_selector({}).matches({})


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ({"key": "a", "operator": "in", "values": ["b"]}, '"in" is not a valid label selector operator'),
        ({"key": "a", "operator": "Gt", "values": ["1"]}, '"Gt" is not a valid label selector operator'),
        ({"key": "a", "operator": "In"}, "values set can't be empty"),
        ({"key": "a", "operator": "Exists", "values": ["b"]}, "values set must be empty"),
        ({"operator": "Exists"}, "name part must be non-empty"),
    ],
)
def test_bad_label_selector_objects(expression: dict[str, object], message: str) -> None:
    with pytest.raises(BadRequest, match=message.replace("(", r"\(")):
        from_label_selector({"matchExpressions": [expression]})


def test_node_affinity_compares_numbers() -> None:
    assert Requirement("n", OPERATORS["Gt"], frozenset({"6"})).matches(LABELS)
    assert not Requirement("n", OPERATORS["Lt"], frozenset({"6"})).matches(LABELS)


label_text = st.from_regex(r"\A[a-z]([a-z0-9]{0,4})\Z")
requirements = st.one_of(
    st.builds(
        Requirement, label_text, st.sampled_from(["in", "notin"]), st.frozensets(label_text, min_size=1, max_size=3)
    ),
    st.builds(Requirement, label_text, st.sampled_from(["exists", "!"])),
    st.builds(
        Requirement, label_text, st.sampled_from(["gt", "lt"]), st.integers(0, 99).map(lambda n: frozenset({str(n)}))
    ),
)


@given(st.lists(requirements, min_size=1, max_size=5), st.dictionaries(label_text, label_text, max_size=5))
def test_text_round_trip_and_conjunction(terms: list[Requirement], labels: dict[str, str]) -> None:
    selector = Selector(terms)
    again = parse_labels(str(selector))
    assert again.matches(labels) == selector.matches(labels) == all(term.matches(labels) for term in terms)


def test_field_selectors() -> None:
    selector = parse_fields(r"metadata.name=x,metadata.name=x,spec.nodeName!=,a==b\,c\=\\")
    assert selector.requirements == (
        FieldRequirement("metadata.name", "x"),
        FieldRequirement("spec.nodeName", "", equal=False),
        FieldRequirement("a", "b,c=\\"),
    )
    values = {"metadata.name": "x", "spec.nodeName": "node", "a": "b,c=\\"}
    assert selector.matches(lambda path: values[path])
    assert selector.equality("metadata.name") == "x"
    assert selector.equality("spec.nodeName") is None
    assert list(selector.paths()) == ["metadata.name", "spec.nodeName", "a"]
    assert parse_fields("").everything


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("metadata.name", "invalid selector: 'metadata.name'; can't understand 'metadata.name'"),
        ("a=b=c", "invalid field selector: unescaped character in value: ="),
        (r"a=\b", r"invalid field selector: invalid escape sequence: \b"),
        ("a=b\\", "invalid field selector: invalid escape sequence: \\"),
    ],
)
def test_malformed_field_selectors(text: str, message: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_fields(text)
    assert caught.value.message == message


@given(st.text(), st.booleans())
def test_field_selector_values_round_trip(value: str, equal: bool) -> None:
    selector = FieldSelector([FieldRequirement("spec.x", value, equal)])
    assert parse_fields(str(selector)).requirements == selector.requirements
