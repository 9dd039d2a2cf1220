"""Who wants to be near whom: pod affinity, anti-affinity and topology spread."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from placing import add_node, bound, scheduling
from placing import pod as pod_of

import support
from homeport.kube import core
from homeport.kube.meta import Object
from homeport.scheduler.assign import Assigner, Crowd, Load
from homeport.scheduler.company import (
    AFFINITY_REASON,
    ANTI_AFFINITY_REASON,
    SHUNNED_REASON,
    SPREAD_REASON,
    Company,
    Resident,
)
from homeport.scheduler.model import Node, Pod, parse_pod

HOST = "kubernetes.io/hostname"


def node(name: str, **labels: str) -> Node:
    return Node(name, labels={HOST: name, **labels}, allocatable={"cpu": 4000, "pods": 110})


def term(key: str = HOST, **labels: str) -> Object:
    return {"topologyKey": key, "labelSelector": {"matchLabels": labels}}


def required(kind: str, *terms: Object) -> Object:
    return {"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": list(terms)}}}


def preferred(kind: str, weight: int, one: Object) -> Object:
    rule = {"weight": weight, "podAffinityTerm": one}
    return {"affinity": {kind: {"preferredDuringSchedulingIgnoredDuringExecution": [rule]}}}


def spread(key: str = HOST, *, skew: int = 1, when: str = "DoNotSchedule", **more: Any) -> Object:
    selector = {"matchLabels": {"app": "web"}}
    constraint = {"topologyKey": key, "maxSkew": skew, "whenUnsatisfiable": when, "labelSelector": selector}
    return {"topologySpreadConstraints": [{**constraint, **more}]}


def pod(name: str, spec: Object | None = None, *, namespace: str = "ns", **labels: str) -> Pod:
    meta = {"name": name, "namespace": namespace, "uid": f"{namespace}/{name}", "labels": labels}
    return parse_pod({"metadata": meta, "spec": {"containers": [{"name": "main"}], **(spec or {})}})


def place(
    asked: Pod,
    nodes: Iterable[Node],
    there: Iterable[tuple[str, Pod]] = (),
    spaces: dict[str, dict[str, str]] | None = None,
) -> str:
    residents = [Resident(on, other) for on, other in there]
    loads: dict[str, Load] = {}
    for resident in residents:
        loads.setdefault(resident.node, Load()).add(resident.pod.demand)
    crowd = Crowd(residents, [resident for resident in residents if resident.is_shy], spaces or {"ns": {}})
    placement = Assigner(nodes, loads, crowd).place(asked)
    return placement.node or placement.message


def refused(*reasons: str) -> str:
    listed = ", ".join(sorted(f"{count} {reason}" for reason, count in {r: reasons.count(r) for r in reasons}.items()))
    return f"0/{len(reasons)} nodes are available: {listed}."


ONE, TWO = [node("a")], [node("a", zone="x"), node("b", zone="y")]
WEB = pod("web-0", app="web")


def test_near_to_others() -> None:
    near = pod("p", required("podAffinity", term(app="web")))
    assert place(near, TWO) == refused(AFFINITY_REASON, AFFINITY_REASON)
    assert place(near, TWO, [("b", WEB)]) == "b"
    assert place(near, TWO, [("b", pod("web-0", app="web", namespace="other"))]) == refused(*[AFFINITY_REASON] * 2)
    assert place(pod("p", required("podAffinity", term("zone", app="web"))), ONE, [("a", WEB)]) == refused(
        AFFINITY_REASON
    )
    both = pod("p", required("podAffinity", term(app="web"), term("zone", tier="front")))
    assert place(both, TWO, [("a", WEB), ("b", pod("o", tier="front"))]) == refused(*[AFFINITY_REASON] * 2)
    assert place(both, TWO, [("a", pod("o", app="web", tier="front"))]) == "a"


def test_the_first_of_those_who_want_to_be_together() -> None:
    assert place(pod("web-1", required("podAffinity", term(app="web")), app="web"), ONE) == "a"
    assert place(pod("web-1", required("podAffinity", term("zone", app="web")), app="web"), ONE) == refused(
        AFFINITY_REASON
    )


def test_far_from_others_whoever_asks_for_it() -> None:
    far = required("podAntiAffinity", term(app="web"))
    shy = pod("web-1", far, app="web")
    assert place(shy, ONE) == "a"
    assert place(shy, ONE, [("a", WEB)]) == refused(ANTI_AFFINITY_REASON)
    assert place(shy, TWO, [("a", WEB)]) == "b"
    assert place(WEB, ONE, [("a", shy)]) == refused(SHUNNED_REASON)
    assert place(pod("db", app="db"), ONE, [("a", shy)]) == "a"
    by_zone = pod("web-1", required("podAntiAffinity", term("zone", app="web")), app="web")
    assert place(by_zone, [*TWO, node("c", zone="x")], [("a", WEB)]) == "b"
    assert place(by_zone, ONE, [("a", WEB)]) == "a", "a node without the label is nowhere"


@pytest.mark.parametrize(
    ("more", "meant"),
    [
        ({}, {"ns"}),
        ({"namespaces": ["one"]}, {"one"}),
        ({"namespaceSelector": {}}, {"ns", "one", "two"}),
        ({"namespaceSelector": {"matchLabels": {"team": "b"}}}, {"two"}),
        ({"namespaceSelector": {"matchLabels": {"team": "b"}}, "namespaces": ["one"]}, {"one", "two"}),
    ],
)
def test_of_which_namespaces(more: Object, meant: set[str]) -> None:
    spaces = {"ns": {}, "one": {"team": "a"}, "two": {"team": "b"}}
    shy = pod("p", required("podAntiAffinity", {**term(app="web"), **more}))
    for space in spaces:
        found = place(shy, ONE, [("a", pod("web-0", app="web", namespace=space))], spaces)
        assert (found != "a") == (space in meant)


def test_keys_of_which_the_pod_says_the_value() -> None:
    old, new = pod("o", app="web", revision="1"), pod("n", app="web", revision="2")
    same = pod("p", required("podAntiAffinity", {**term(app="web"), "matchLabelKeys": ["revision"]}), revision="2")
    assert place(same, ONE, [("a", old)]) == "a"
    assert place(same, ONE, [("a", new)]) != "a"
    other = pod("p", required("podAntiAffinity", {**term(app="web"), "mismatchLabelKeys": ["revision"]}), revision="2")
    assert place(other, ONE, [("a", old)]) != "a"
    assert place(other, ONE, [("a", new)]) == "a"
    evenly = pod("p", spread(matchLabelKeys=["revision"]), app="web", revision="2")
    assert place(evenly, TWO, [("a", old), ("a", old), ("b", new)]) == "a"


def test_preferences_decide_between_nodes() -> None:
    assert place(pod("p", preferred("podAffinity", 50, term(app="web"))), TWO, [("b", WEB)]) == "b"
    assert place(pod("p", preferred("podAntiAffinity", 50, term(app="web"))), TWO, [("a", pod("x")), ("b", WEB)]) == "a"
    soft = spread("zone", when="ScheduleAnyway")
    assert place(pod("p", soft, app="web"), TWO, [("a", WEB), ("b", pod("x")), ("b", pod("y"))]) == "b"


def test_evenly() -> None:
    p = pod("p", spread(), app="web")
    assert place(p, TWO, [("a", WEB)]) == "b"
    assert place(p, ONE, [("a", WEB)] * 3) == "a", "there is no other place"
    assert place(pod("p", spread(minDomains=2), app="web"), ONE, [("a", WEB)]) == refused(SPREAD_REASON)
    assert place(pod("p", spread("zone"), app="web"), ONE) == refused(f"{SPREAD_REASON} (missing required label)")
    full = Node("b", labels={HOST: "b"}, allocatable={"cpu": 0, "pods": 0})
    assert place(p, [node("a"), full], [("a", WEB)]) == refused(SPREAD_REASON, "Too many pods")
    cordoned = Node("b", labels={HOST: "b"}, allocatable={"pods": 110}, unschedulable=True)
    assert place(p, [node("a"), cordoned], [("a", WEB)]) == refused(SPREAD_REASON, "node(s) were unschedulable")
    # A node that the pod may not go to by its own selector does not count as a place.
    assert place(pod("p", {**spread(), "nodeSelector": {"zone": "x"}}, app="web"), TWO, [("a", WEB)]) == "a"
    ignoring = pod("p", {**spread(nodeAffinityPolicy="Ignore"), "nodeSelector": {"zone": "x"}}, app="web")
    assert place(ignoring, TWO, [("a", WEB)]).startswith("0/2")


@given(st.lists(st.sampled_from("abc"), max_size=9), st.integers(1, 3))
def test_no_place_is_ever_too_far_ahead(there: list[str], skew: int) -> None:
    """However uneven it is: a pod never goes where it would make it more uneven than allowed."""
    nodes = [node(name) for name in "abc"]
    counts = {name: there.count(name) for name in "abc"}
    residents = [(on, pod(f"p{index}", app="web")) for index, on in enumerate(there)]
    found = place(pod("new", spread(skew=skew), app="web"), nodes, residents)
    assert found in counts, "the emptiest place is always allowed"
    assert counts[found] + 1 - min(counts.values()) <= skew


async def test_those_who_want_to_be_alone_wait_for_each_other(world: support.World) -> None:
    await add_node(world)
    await world.client.patch(core.NODE.resource, "n", "", {"metadata": {"labels": {HOST: "n"}}})
    alone = required("podAntiAffinity", term(app="web"))
    async with scheduling(world):
        for name in ("a", "b"):
            made = pod_of(name, "1", **alone)
            made["metadata"]["labels"] = {"app": "web"}
            await world.client.create(core.POD.resource, made)
        await bound(world, "a")
        await world.client.delete(core.POD.resource, "a", "default", grace_period=0)
        await bound(world, "b")


@pytest.mark.parametrize("late", ["pod", "label"])
async def test_company_that_comes_later(world: support.World, late: str) -> None:
    await add_node(world)
    await world.client.patch(core.NODE.resource, "n", "", {"metadata": {"labels": {HOST: "n"}}})
    near = required("podAffinity", term(app="web"))
    leader, labels = pod_of("leader", "1"), {"app": "web"}
    async with scheduling(world):
        await world.client.create(core.POD.resource, pod_of("follower", "1", **near))
        if late == "pod":
            leader["metadata"]["labels"] = labels
        await world.client.create(core.POD.resource, leader)
        if late == "label":
            await bound(world, "leader")
            await world.client.patch(core.POD.resource, "leader", "default", {"metadata": {"labels": labels}})
        await bound(world, "follower", "leader")


async def test_pods_that_are_alike_but_for_whom_others_mind(world: support.World) -> None:
    """The first of them may be kept away by its label: the others don't wait with it."""
    await add_node(world)
    await world.client.patch(core.NODE.resource, "n", "", {"metadata": {"labels": {HOST: "n"}}})
    async with scheduling(world):
        for name, cpu, more in (
            ("shy", "1", required("podAntiAffinity", term(app="web"))),
            ("big", "3", {}),
            ("early", "2", {}),
            ("late", "2", {}),
        ):
            made = pod_of(name, cpu, **more)
            made["metadata"]["labels"] = {"app": "web"} if name == "early" else {}
            await world.client.create(core.POD.resource, made)
        await bound(world, "shy", "big")
        await world.client.delete(core.POD.resource, "big", "default", grace_period=0)
        await bound(world, "shy", "late")


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["web", "db"]), st.booleans()), max_size=8),
    st.sets(st.integers(0, 7)),
    st.sampled_from(["podAffinity", "podAntiAffinity", "spread"]),
)
def test_who_is_thought_away_counts_no_more(there: list[tuple[str, str, bool]], away: set[int], kind: str) -> None:
    """The look for victims takes residents away and back: it must see what a fresh count would."""
    far = required("podAntiAffinity", term(app="web"))
    residents = [Resident(on, pod(f"p{i}", far if shy else None, app=app)) for i, (on, app, shy) in enumerate(there)]
    asked = pod("new", spread() if kind == "spread" else required(kind, term(app="web")), app="web")
    nodes = {one.name: one for one in TWO}
    staying = [resident for i, resident in enumerate(residents) if i not in away]
    company, fresh = Company(asked, nodes, residents, {"ns": {}}), Company(asked, nodes, staying, {"ns": {}})
    before = [company.refusal(one) for one in TWO]
    gone = [resident for i, resident in enumerate(residents) if i in away]
    for resident in gone:
        company.count(resident, -1)
    assert [company.refusal(one) for one in TWO] == [fresh.refusal(one) for one in TWO]
    for resident in gone:
        company.count(resident, 1)
    assert [company.refusal(one) for one in TWO] == before
