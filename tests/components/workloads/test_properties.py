"""Whatever becomes of pods: what a workload promises holds at every moment, and in the end it is as wanted."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from homeport.components.workloads import rollout
from homeport.components.workloads.amounts import fenceposts
from homeport.components.workloads.daemon_plan import Place, Plan
from homeport.components.workloads.lineage import DESIRED, MOST, Lineage
from homeport.components.workloads.rollout import Limits
from homeport.components.workloads.stateful_plan import Planner, Rules
from homeport.components.workloads.stateful_pods import ordinal
from homeport.control.testing import _DEFAULT_NOW as NOW
from homeport.kube import meta
from homeport.kube.meta import Object

AMOUNTS = st.one_of(st.integers(0, 5), st.integers(0, 100).map(lambda number: f"{number}%"))


def deployment(replicas: int, surge: Any, unavailable: Any) -> Object:
    rolling = {"maxSurge": surge, "maxUnavailable": unavailable}
    strategy = {"type": "RollingUpdate", "rollingUpdate": rolling}
    return {"metadata": {"name": "web"}, "spec": {"replicas": replicas, "strategy": strategy}, "status": {}}


def replica_set(name: str, size: int, available: int, desired: int, most: int) -> Object:
    annotations = {DESIRED: str(desired), MOST: str(most)}
    return {
        "metadata": {"name": name, "creationTimestamp": f"2026-01-01T00:00:0{name[-1]}Z", "annotations": annotations},
        "spec": {"replicas": size},
        "status": {"replicas": size, "availableReplicas": available},
    }


@given(st.integers(0, 200), AMOUNTS, AMOUNTS)
def test_a_rolling_update_can_always_go_on(replicas: int, surge: Any, unavailable: Any) -> None:
    more, fewer = fenceposts({"maxSurge": surge, "maxUnavailable": unavailable}, replicas)
    assert more >= 0
    assert fewer >= 0
    assert more + fewer > 0


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(0, 20), AMOUNTS, AMOUNTS)
def test_a_rollout_keeps_its_limits_and_ends(data: st.DataObject, replicas: int, surge: Any, unavailable: Any) -> None:
    """Pods become available in any order, if at all; none is lost by itself."""
    parent = deployment(replicas, surge, unavailable)
    limits = Limits.of(parent)
    old = [replica_set("a1", replicas, replicas, replicas, limits.most)]
    size, available = rollout.first_size(limits, old), 0
    old_size = old_available = replicas
    for step in range(10 * replicas + 20):
        new = replica_set("b2", size, available, replicas, limits.most)
        sets = Lineage(new, (replica_set("a1", old_size, old_available, replicas, limits.most),))
        assert size + old_size <= limits.most
        assert available + old_available >= limits.least_available
        sizes = rollout.rolling(limits, sets)
        if not sizes and available == size:
            break
        size, old_size = sizes.get("b2", size), sizes.get("a1", old_size)
        old_available = min(old_available, old_size)
        least = 0 if step % 3 else min(1, size - available)
        available += data.draw(st.integers(least, size - available))
    assert (size, old_size) == (replicas, 0)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 20), min_size=2, max_size=4), st.integers(0, 60), AMOUNTS)
def test_scaling_shares_all_there_is(counts: list[int], replicas: int, surge: Any) -> None:
    before = sum(counts)
    parent = deployment(replicas, surge, "25%")
    limits = Limits.of(parent)
    made = [replica_set(f"s{number}", count, 0, before, before) for number, count in enumerate(counts)]
    sizes = rollout.proportional(parent, limits, Lineage(made[-1], tuple(made[:-1])))
    assert sum(sizes.values()) == (limits.most if replicas else 0)
    assert all(size >= 0 for size in sizes.values())


def pod(name: str, revision: str, state: str) -> Object:
    ready = state == "ready"
    since = "2020-01-01T00:00:00Z"
    metadata: Object = {"name": name, "namespace": "d", "labels": {"controller-revision-hash": revision}}
    if state == "terminating":
        metadata["deletionTimestamp"] = since
    phase = {"failed": "Failed", "pending": "Pending"}.get(state, "Running")
    condition = {"type": "Ready", "status": "True" if ready else "False", "lastTransitionTime": since}
    return {"kind": "Pod", "metadata": metadata, "status": {"phase": phase, "conditions": [condition]}}


STATES = st.sampled_from(["ready", "unready", "pending", "failed", "terminating", "missing"])


def stateful(replicas: int, start: int, parallel: bool, partition: int) -> Object:
    return {
        "metadata": {"name": "web", "namespace": "d"},
        "spec": {
            "replicas": replicas,
            "ordinals": {"start": start},
            "podManagementPolicy": "Parallel" if parallel else "OrderedReady",
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": partition}},
        },
    }


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 5),
    st.integers(0, 3),
    st.booleans(),
    st.integers(0, 4),
    st.lists(st.tuples(STATES, st.sampled_from(["old", "new"])), max_size=9),
)
def test_a_stateful_set_keeps_its_order_and_comes_to_rest(
    replicas: int, start: int, parallel: bool, partition: int, states: list[tuple[str, str]]
) -> None:
    parent = stateful(replicas, start, parallel, partition)
    members = {
        f"web-{number}": pod(f"web-{number}", revision, state)
        for number, (state, revision) in enumerate(states)
        if state != "missing"
    }
    for _ in range(60):
        steps = Planner(parent, members, "new", frozenset(), NOW).plan()
        if not parallel:
            assert len(steps.make) + len(steps.delete) <= 1
            for number in steps.make:
                below = [members.get(f"web-{each}") for each in range(start, number)]
                assert all(each is not None and meta.is_condition_true(each, "Ready") for each in below)
        old = {name for name in steps.delete if ordinal(parent, members[name]) in Rules.of(parent).numbers}
        for name in old:
            number = ordinal(parent, members[name]) or 0
            assert number >= start + partition or meta.status(members[name])["phase"] == "Failed"
        # Everything that was begun ends well.
        before = dict(members)
        members = {
            name: each if meta.is_condition_true(each, "Ready") else pod(name, revision_of(each), "ready")
            for name, each in members.items()
            if name not in steps.delete and not meta.is_deleting(each) and meta.status(each)["phase"] != "Failed"
        }
        members |= {f"web-{number}": pod(f"web-{number}", "new", "ready") for number in steps.make}
        if members == before and not steps.make and not steps.delete:
            break
    assert sorted(members) == sorted(f"web-{number}" for number in range(start, start + replicas))
    for name, each in members.items():
        if (ordinal(parent, each) or 0) >= start + partition:
            assert revision_of(each) == "new", name


def revision_of(each: Object) -> str:
    return meta.labels(each)["controller-revision-hash"]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.tuples(STATES, st.sampled_from(["old", "new"])), max_size=3), min_size=1, max_size=5),
    st.one_of(
        st.fixed_dictionaries({"maxUnavailable": st.integers(1, 3)}),
        st.fixed_dictionaries({"maxUnavailable": st.just(0), "maxSurge": st.integers(1, 3)}),
    ),
)
def test_a_daemon_set_ends_with_one_new_pod_on_each_node(
    nodes: list[list[tuple[str, str]]], update: dict[str, int]
) -> None:
    strategy = {"type": "RollingUpdate", "rollingUpdate": update}
    parent = {"metadata": {"name": "web", "namespace": "d"}, "spec": {"updateStrategy": strategy}}
    on = {
        f"n{where}": {
            f"p{where}-{number}": pod(f"p{where}-{number}", revision, state)
            for number, (state, revision) in enumerate(states)
            if state != "missing"
        }
        for where, states in enumerate(nodes)
    }
    for turn in range(60):
        places = [Place(node, True, True, tuple(found.values())) for node, found in on.items()]
        steps = Plan(parent, places, {"new"}, {}, NOW).make()
        begun = bool(steps.make or steps.delete)
        for node, found in on.items():
            rest = {
                name: each if meta.is_condition_true(each, "Ready") else pod(name, revision_of(each), "ready")
                for name, each in found.items()
                if name not in steps.delete and not meta.is_deleting(each) and meta.status(each)["phase"] != "Failed"
            }
            begun |= rest != found
            on[node] = rest | ({f"m{turn}{node}": pod(f"m{turn}{node}", "new", "ready")} if node in steps.make else {})
        if not begun:
            break
    assert all([revision_of(each) for each in found.values()] == ["new"] for found in on.values())
