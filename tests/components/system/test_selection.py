"""Objects and selectors found by labels: the same as by looking at all of them."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from homeport.components.system.selection import Selectors, matching
from homeport.control.cache import Cache, key_of
from homeport.kube.meta import Object, labels, name, namespace
from homeport.kube.selector import from_label_selector

_KEYS, _VALUES = st.sampled_from(["a", "b", "c"]), st.sampled_from(["1", "2", "3"])
_LABELS = st.dictionaries(_KEYS, _VALUES)
_EXPRESSIONS = st.one_of(
    st.builds(
        lambda key, operator, values: {"key": key, "operator": operator, "values": values},
        _KEYS,
        st.sampled_from(["In", "NotIn"]),
        st.lists(_VALUES, min_size=1, max_size=2, unique=True),
    ),
    st.builds(
        lambda key, operator: {"key": key, "operator": operator}, _KEYS, st.sampled_from(["Exists", "DoesNotExist"])
    ),
)
_SELECTORS: st.SearchStrategy[Any] = st.none() | st.builds(
    lambda equal, expressions: {"matchLabels": equal, "matchExpressions": expressions},
    st.dictionaries(_KEYS, _VALUES, max_size=2),
    st.lists(_EXPRESSIONS, max_size=2),
)
_PLACES = st.sampled_from(["one", "other"])
_NAMES = st.sampled_from(["p", "q", "r"])
_OBJECTS = st.lists(st.tuples(_PLACES, _NAMES, st.none() | _LABELS), max_size=12)


def made(place: str, own: str, marks: dict[str, str]) -> Object:
    return {"metadata": {"namespace": place, "name": own, "labels": marks}}


@settings(max_examples=150)
@given(_OBJECTS, _OBJECTS, _SELECTORS, _PLACES)
def test_objects_that_a_selector_matches(before: list[Any], after: list[Any], given_: Any, place: str) -> None:
    cache, selector = Cache(), from_label_selector(given_)
    for turn in (before, after):
        for where, own, marks in turn:
            if marks is None:
                cache._remove((where, own))
            else:
                cache._put(made(where, own, marks))
        found = {name(obj) for obj in matching(cache, place, selector)}
        assert found == {name(obj) for obj in cache if namespace(obj) == place and selector.matches(labels(obj))}


@settings(max_examples=150)
@given(st.lists(st.tuples(_PLACES, _NAMES, _SELECTORS), max_size=10), _PLACES, _LABELS)
def test_selectors_that_match_an_object(put: list[Any], place: str, marks: dict[str, str]) -> None:
    selectors, last = Selectors(), {}
    for where, own, given_ in put:
        last[where, own] = from_label_selector(given_)
        selectors.put((where, own), last[where, own])
    obj = made(place, "x", marks)
    expected = {key for key, each in last.items() if key[0] == place and each.matches(marks)}
    assert selectors.about(obj) == expected
    for key in last:
        selectors.put(key, None)
    assert not selectors._filed
    assert key_of(obj) == (place, "x")
