from __future__ import annotations

import pytest

from homeport.scheduler.batch.configfile import Unreadable, parse, passed_over
from homeport.scheduler.batch.configuration import Configuration, PluginOption
from homeport.scheduler.batch.decide import ACTIONS, PLUGINS
from homeport.scheduler.batch.plugins.arguments import number

VOLCANO = """
actions: "enqueue, allocate, backfill"
tiers:
- plugins:
  - name: priority
  - name: gang
    enablePreemptable: false
  - name: conformance
- plugins:
  - name: overcommit
  - name: drf
    enablePreemptable: false
  - name: predicates
    arguments:
      predicate.CacheEnable: true
  - name: proportion
  - name: nodeorder
    arguments:
      leastrequested.weight: 2
  - name: binpack
    enableHierarchy: true
configurations:
- name: enqueue
  arguments:
    overcommit-factor: 1.5
"""


def test_volcanos_own_file_is_read() -> None:
    found = parse(VOLCANO)
    assert found.actions == ("enqueue", "allocate", "backfill")
    assert [[plugin.name for plugin in tier] for tier in found.tiers] == [
        ["priority", "gang", "conformance"],
        ["overcommit", "drf", "predicates", "proportion", "nodeorder", "binpack"],
    ]
    assert found.tiers[0][1] == PluginOption("gang", disabled=frozenset({"preemptable"}))
    assert found.tiers[1][2].arguments == {"predicate.CacheEnable": "true"}
    assert found.tiers[1][4].arguments == {"leastrequested.weight": "2"}
    assert found.tiers[1][5].enabled == {"hierarchy"}
    assert found.arguments == {"enqueue": {"overcommit-factor": "1.5"}}


def test_what_is_not_said_is_as_volcano_has_it() -> None:
    assert parse("") == Configuration()
    assert parse("actions: allocate").tiers == Configuration().tiers
    assert parse("staleTimeout: 1m30s").stale_seconds == 90.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "it is not a mapping"),
        ("actions: [allocate]", 'actions: has to be text, names with commas between them ("enqueue, allocate'),
        ("actions: ', '", "actions: none is named"),
        ("actions: allocate, fly", 'actions: there is no action "fly"; there are allocate, enqueue'),
        ("tier: []", "tier: there is no such field"),
        ("tiers: {}", "tiers: has to be a list"),
        ("tiers:\n- plugins:\n  - nam: gang", "tiers[0].plugins[0].nam: there is no such field"),
        ("tiers:\n- plugins:\n  - arguments: {}", "tiers[0].plugins[0].name: has to be the name of a plugin"),
        ("tiers:\n- plugins:\n  - name: wings", 'tiers[0].plugins[0].name: there is no plugin "wings"; there are gang'),
        (
            "tiers:\n- plugins:\n  - {name: gang, enableJobOrder: maybe}",
            "tiers[0].plugins[0].enableJobOrder: has to be true or false, not 'maybe'",
        ),
        (
            "tiers:\n- plugins: [{name: gang}]\n- plugins: [{name: gang}]",
            'tiers[1].plugins[0].name: "gang" is at tiers[0].plugins[0] already',
        ),
        ("staleTimeout: soon", 'staleTimeout: time: invalid duration "soon"'),
        ("staleTimeout: 5", 'staleTimeout: has to be a length of time such as "5m", not 5'),
        ("actions: a\nactions: b", 'line 2: key "actions" already set in map'),
        ("actions: 'open", "line"),
    ],
)
def test_errors_name_the_place(text: str, message: str) -> None:
    with pytest.raises(Unreadable) as raised:
        parse(text, actions=("enqueue", "allocate"), plugins=("gang",))
    assert str(raised.value).startswith(message) or message == "line"
    assert message in str(raised.value)


def test_what_volcano_has_is_no_mistake_where_it_is_passed_over() -> None:
    text = 'actions: "enqueue, shuffle"\ntiers: [{plugins: [{name: gang}, {name: tdm}]}]'
    found = parse(text, actions=ACTIONS, plugins=PLUGINS)
    assert list(passed_over(found, actions=ACTIONS, plugins=PLUGINS)) == [
        "actions: action shuffle does not exist here and is passed over",
        "tiers[0].plugins[1].name: plugin tdm does not exist here and is passed over",
    ]
    with pytest.raises(Unreadable, match=r'tiers\[0\].plugins\[0\].name: there is no plugin "gangg"'):
        parse("tiers: [{plugins: [{name: gangg}]}]", actions=ACTIONS, plugins=PLUGINS)


@pytest.mark.parametrize(
    ("plugins", "told"),
    [
        ("[{name: overcommit, arguments: {overcommit-factor: 1.5}}]", ""),
        ("[{name: overcommit, arguments: {overcommit-factor: 0.5}}]", "has to be 1 or more; 1 is used"),
        ("[{name: overcommit, arguments: {overcommit-factor: much}}]", 'has to be a number, not "much"'),
        ("[{name: overcommit, arguments: {overcommit-factor: nan}}]", 'has to be a number, not "nan"'),
        ("[{name: binpack, arguments: {binpack.weight: inf}}]", 'has to be a number, not "inf"'),
        ("[{name: overcommit, arguments: {factor: 2}}]", "there is no such argument here"),
        ("[{name: gang, arguments: {weight: 2}}]", "it is passed over; there is none"),
        ("[{name: binpack, arguments: {binpack.resources: a, binpack.resources.a: 2}}]", ""),
        ("[{name: binpack, arguments: {binpack.resources.a: two}}]", "has to be a number"),
        ("[{name: nodeorder, arguments: {imagelocality.weight: 2}}]", "there are balancedresource.weight, "),
        ("[{name: nodeorder, arguments: {podaffinity.weight: 2, podtopologyspread.weight: 1}}]", ""),
        ("[{name: nodeorder, arguments: {podaffinity.weight: two}}]", 'has to be a number, not "two"'),
        ("[{name: sla, arguments: {sla-waiting-time: 1h}}]", ""),
        (
            "[{name: sla, arguments: {sla-waiting-time: soon}}]",
            "has to be a length of time such as",
        ),
        ("[{name: proportion}, {name: capacity}]", "tiers: proportion and capacity all say"),
        ("[{name: drf, enableHierarchy: true}]", ""),
        ("[{name: drf}, {name: proportion}]", ""),
        (
            "[{name: drf, enableHierarchy: true}, {name: proportion}]",
            "tiers: proportion and drf with enableHierarchy all say",
        ),
    ],
)
def test_what_counts_for_nothing_is_told_with_its_place(plugins: str, told: str) -> None:
    found = parse(f"tiers: [{{plugins: {plugins}}}]", actions=ACTIONS, plugins=PLUGINS)
    all_told = list(passed_over(found, actions=ACTIONS, plugins=PLUGINS))
    assert len(all_told) == bool(told)
    assert told in "".join(all_told)
    assert all(text.startswith(("tiers[0].plugins[0].arguments.", "tiers: ")) for text in all_told)


def test_arguments_of_actions_are_passed_over() -> None:
    found = parse("configurations: [{name: allocate, arguments: {a: b}}]", actions=ACTIONS, plugins=PLUGINS)
    assert list(passed_over(found, actions=ACTIONS, plugins=PLUGINS)) == [
        "configurations: action allocate has no argument a here; it is passed over"
    ]


def test_a_syntax_error_is_one_line() -> None:
    with pytest.raises(Unreadable) as raised:
        parse("actions: 'open\ntiers: [\n")
    assert "\n" not in str(raised.value)


def test_what_can_not_be_reckoned_with_counts_as_not_given() -> None:
    given = {"huge": "inf", "none": "nan", "word": "two", "good": "2"}
    assert [number(given, name, 1.0) for name in (*given, "missing")] == [1.0, 1.0, 1.0, 2.0, 1.0]
