"""What rules allow and cover: upstream's tables (``policy_comparator_test.go``, ``rbac_test.go``)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rbac_testing import allows

from homeport.apiserver.rbac.rules import Rule, compacted, uncovered
from homeport.apiserver.routes import RequestInfo


def rule(verbs: str = "", groups: str = "", resources: str = "", names: str = "", urls: str = "") -> Rule:
    """Lists as words with spaces between them; ``-`` is the core group."""

    def words(text: str) -> tuple[str, ...]:
        return tuple("" if word == "-" else word for word in text.split())

    return Rule(words(verbs), words(groups), words(resources), words(names), words(urls))


@pytest.mark.parametrize(
    ("owned", "wanted", "missing"),
    [
        # cover all versus star
        ([rule("get delete create update", "v1", "deployments builds")], [rule("get", "v1", "builds")], []),
        ([rule("get", "v1", "*")], [rule("get", "v1", "foo")], []),
        ([rule("*", "v1", "roles")], [rule("get", "v1", "roles")], []),
        ([rule("get", "*", "roles")], [rule("get", "group2", "roles")], []),
        # ruleset by ruleset
        (
            [rule("get", "v1", "deployments"), rule("delete", "v1", "deployments"), rule("update", "v1", "builds")],
            [rule("delete get", "v1", "deployments"), rule("update", "v1", "builds")],
            [],
        ),
        (
            [rule("get delete", "v1", "deployments")],
            [rule("get delete", "v1", "deployments builds")],
            [rule("get", "v1", "builds"), rule("delete", "v1", "builds")],
        ),
        # no star from parts, names
        ([rule("get", "v1", "foo bar")], [rule("get", "v1", "*")], [rule("get", "v1", "*")]),
        ([rule("get", "v1", "roles", "bob")], [rule("get", "v1", "roles")], [rule("get", "v1", "roles")]),
        ([rule("get", "v1", "roles")], [rule("get", "v1", "roles", "bob")], []),
        (
            [rule("get", "v1", "roles", "bob")],
            [rule("get", "v1", "roles", "bob jane")],
            [rule("get", "v1", "roles", "jane")],
        ),
        # subresources
        ([rule("*", "*", "*/scale")], [rule("get", "apps", "foo/scale")], []),
        ([rule("*", "*", "*/scale")], [rule("get", "apps", "foo")], [rule("get", "apps", "foo")]),
        ([rule("*", "*", "*/scale")], [rule("get", "apps", "foo/status")], [rule("get", "apps", "foo/status")]),
        ([rule("*", "*", "*/scale")], [rule("get", "apps", "foo/*")], [rule("get", "apps", "foo/*")]),
        ([rule("*", "*", "*/pod/foo")], [rule("get", "apps", "bar/pod/foo")], []),
        # paths
        ([rule("get", urls="/apis")], [rule("get", urls="/apis")], []),
        ([rule("get", urls="*")], [rule("get", urls="/apis /api/v1 /foo/bar")], []),
        ([rule("get", urls="/apis/*")], [rule("get", urls="/apis/v1 /apis/")], []),
        ([rule("get", urls="/apis/*")], [rule("get", urls="/apis")], [rule("get", urls="/apis")]),
        ([rule("get", urls="/apis/v1")], [rule("get", urls="/apis/*")], [rule("get", urls="/apis/*")]),
        (
            [rule("get", urls="/foo")],
            [rule("get post", urls="/foo /bar")],
            [rule("post", urls="/foo"), rule("get", urls="/bar"), rule("post", urls="/bar")],
        ),
    ],
)
def test_covering(owned: list[Rule], wanted: list[Rule], missing: list[Rule]) -> None:
    assert uncovered(owned, wanted) == missing


def test_the_core_group_and_many_lists_are_broken_down() -> None:
    parts = uncovered([], [rule("get list", "- apps", "a b", "x y")])
    assert len(parts) == 16
    assert parts[0] == rule("get", "-", "a", "x")
    assert uncovered([rule("get list", "- apps", "a b", "x y")], parts) == []


def test_a_rule_of_billions_of_parts_takes_no_time() -> None:
    words = " ".join(f"w{number}" for number in range(2000))
    huge = rule(words, words, words, words)
    held = [rule("get", "v1", "pods")] * 3
    assert uncovered(held, [huge, rule("get", "v1", "pods"), rule("list", "v1", "pods")]) == [
        huge,
        rule("list", "v1", "pods"),
    ]
    assert uncovered([rule("*", "*", "*")], [huge]) == []


@pytest.mark.parametrize(
    ("rules", "compact"),
    [
        ([], []),
        ([rule("get", "-", "a"), rule("list", "-", "a")], [rule("get list", "-", "a")]),
        (
            [rule("get", "-", "a"), rule("get", "apps", "a"), rule("list", "apps", "a")],
            [rule("get", "-", "a"), rule("get list", "apps", "a")],
        ),
        # what is not simple stays
        (
            [rule("get", "-", "a"), rule("list", "-", "a", "x"), rule("get", urls="/a"), rule("list", "-", "a b")],
            [rule("list", "-", "a", "x"), rule("get", urls="/a"), rule("list", "-", "a b"), rule("get", "-", "a")],
        ),
    ],
)
def test_compacting(rules: list[Rule], compact: list[Rule]) -> None:
    assert compacted(rules) == compact


def test_rules_in_messages() -> None:
    assert str(rule("get list", "- apps", "pods", "x")) == (
        '{APIGroups:["" "apps"], Resources:["pods"], ResourceNames:["x"], Verbs:["get" "list"]}'
    )
    assert str(rule("get", urls="/healthz")) == '{NonResourceURLs:["/healthz"], Verbs:["get"]}'
    assert str(Rule()) == "{}"


def asked(verb: str, resource: str = "", name: str = "", group: str = "", path: str = "") -> RequestInfo:
    plain, _, subresource = resource.partition("/")
    return RequestInfo(verb, path, not path, group, "v1", plain, "ns", name, subresource)


@pytest.mark.parametrize(
    ("one", "allowed", "refused"),
    [
        (
            rule("*", "*", "*"),
            [asked("get", "pods"), asked("list", "a/b", "c", "apps"), asked("bind", "x", "y")],
            [asked("get", path="/metrics")],
        ),
        (
            rule("get", "-", "pods"),
            [asked("get", "pods"), asked("get", "pods", "x")],
            [asked("get", "pods/log", "x"), asked("list", "pods"), asked("get", "pods", group="metrics.k8s.io")],
        ),
        (
            rule("get", "-", "pods/log"),
            [asked("get", "pods/log", "x")],
            [asked("get", "pods", "x"), asked("get", "pods/exec", "x"), asked("get", "log")],
        ),
        (
            rule("update", "*", "*/scale"),
            [asked("update", "deployments/scale", "d", "apps")],
            [asked("update", "deployments", "d", "apps"), asked("update", "scale"), asked("update", "x/upscale", "d")],
        ),
        (
            rule("get watch", "-", "secrets", "one two"),
            [asked("get", "secrets", "one"), asked("watch", "secrets", "two")],
            [asked("get", "secrets", "three"), asked("get", "secrets")],
        ),
        (
            rule("get", urls="/apis /healthz/*"),
            [asked("get", path="/apis"), asked("get", path="/healthz/ping"), asked("get", path="/healthz/")],
            [asked("get", path="/apis/apps"), asked("get", path="/healthz"), asked("post", path="/apis")],
        ),
        (rule("get", urls="*"), [asked("get", path="/"), asked("get", path="/a/b")], [asked("get", "pods")]),
    ],
)
def test_allowing(one: Rule, allowed: list[RequestInfo], refused: list[RequestInfo]) -> None:
    assert all(allows(one, info) for info in allowed)
    assert not any(allows(one, info) for info in refused)


_verbs = st.lists(st.sampled_from(("get", "list", "*")), min_size=1, max_size=2).map(tuple)
_any_rule = st.one_of(
    st.builds(
        Rule,
        _verbs,
        st.lists(st.sampled_from(("", "apps", "*")), min_size=1, max_size=2).map(tuple),
        st.lists(st.sampled_from(("pods", "pods/log", "*/log", "*")), min_size=1, max_size=2).map(tuple),
        st.lists(st.sampled_from(("x", "y")), max_size=2).map(tuple),
    ),
    st.builds(
        Rule, _verbs, urls=st.lists(st.sampled_from(("/a", "/a/*", "*", "/a/b")), min_size=1, max_size=2).map(tuple)
    ),
)
_questions = [
    *(
        RequestInfo(verb, "", True, group, "v1", "pods", "ns", name, subresource)
        for verb in ("get", "list", "watch")
        for group in ("", "apps", "other")
        for name in ("", "x", "z")
        for subresource in ("", "log", "exec")
    ),
    *(RequestInfo(verb, path) for verb in ("get", "post") for path in ("/a", "/a/b", "/c")),
]


@settings(deadline=None)
@given(st.lists(_any_rule, max_size=4), st.lists(_any_rule, max_size=3))
def test_nobody_gets_more_by_what_is_covered(owned: list[Rule], wanted: list[Rule]) -> None:
    """What is allowed by `wanted` without the parts that are missing is allowed by `owned`."""
    missing = uncovered(owned, wanted)
    for info in _questions:
        if any(allows(one, info) for one in wanted) and not any(allows(one, info) for one in owned):
            assert any(allows(one, info) for one in missing), info
