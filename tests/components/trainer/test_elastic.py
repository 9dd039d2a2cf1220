"""What an elastic job's policy comes to, and when its last nodes are no longer waited for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.components.trainer import elastic
from homeport.kube.meta import Object

NOW = datetime(2026, 1, 1, 12, 1, tzinfo=UTC)
FIELDS = ("trainer", "elasticPolicy", "minNodes", "maxNodes", "numNodes", "image")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 5) | st.text(max_size=2),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4),
    max_leaves=8,
)


def runtime(policy: Object | None, nodes: int | None = 1) -> Object:
    return {"spec": {"mlPolicy": {"numNodes": nodes, "torch": {"elasticPolicy": policy}}}}


@pytest.mark.parametrize(
    ("trainer", "of_runtime", "nodes", "limits"),
    [
        ({}, {"maxNodes": 3}, 1, (1, 3)),
        ({}, {"minNodes": 2, "maxNodes": 3}, 2, (2, 3)),
        ({"elasticPolicy": {"maxNodes": 8}}, {"minNodes": 2, "maxNodes": 3}, 2, (2, 8)),
        ({"elasticPolicy": {"minNodes": 1, "maxNodes": 8}, "numNodes": 4}, None, 4, (1, 8)),
        ({"numNodes": 4}, None, 4, None),
    ],
)
def test_the_policy_is_written_into_the_job(trainer: Object, of_runtime: Any, nodes: int, limits: Any) -> None:
    made = elastic.completed({"spec": {"trainer": trainer}}, None, runtime(of_runtime))["spec"]["trainer"]
    policy = made.get("elasticPolicy")
    assert made["numNodes"] == nodes
    assert (None if policy is None else (policy["minNodes"], policy["maxNodes"])) == limits


@given(JSON, st.booleans())
def test_whatever_is_sent_is_left_for_others_to_refuse(spec: Any, is_stored: bool) -> None:
    stored: Object = {"spec": {"trainer": {"numNodes": 2, "elasticPolicy": {"minNodes": 1, "maxNodes": 2}}}}
    once = elastic.completed({"spec": spec}, stored if is_stored else None, runtime({"maxNodes": 3}))
    assert elastic.completed(once, stored if is_stored else None, runtime({"maxNodes": 3})) == once


def pod(index: int, phase: str, *, ended: str = "2026-01-01T12:00:50Z", attempt: str = "0") -> Object:
    labels = {"jobset.sigs.k8s.io/replicatedjob-name": "node", "jobset.sigs.k8s.io/restart-attempt": attempt}
    annotations = {"batch.kubernetes.io/job-completion-index": str(index)}
    states = [{"state": {"terminated": {"finishedAt": ended}}}] if phase == "Succeeded" else []
    return {
        "metadata": {"labels": labels, "annotations": annotations},
        "status": {"phase": phase, "containerStatuses": states},
    }


@pytest.mark.parametrize(
    ("pods", "expected"),
    [
        ([pod(0, "Running"), pod(1, "Succeeded")], None),
        ([pod(0, "Succeeded", attempt="1"), pod(1, "Running")], None),
        ([pod(0, "Succeeded"), pod(1, "Running"), pod(2, "Succeeded")], (1, 20.0)),
        ([pod(0, "Succeeded"), pod(1, "Succeeded"), pod(2, "Failed")], (2, 20.0)),
    ],
    ids=["node 0 goes on", "of another attempt", "one goes on", "the last has failed"],
)
def test_which_nodes_are_waited_for(pods: list[Object], expected: Any) -> None:
    assert elastic.ending({}, pods, "node", NOW) == expected


def test_that_node_0_has_succeeded_is_news() -> None:
    assert elastic.has_ended_first(pod(0, "Running"), pod(0, "Succeeded"))
    assert not elastic.has_ended_first(pod(0, "Succeeded"), pod(0, "Succeeded"))
    assert not elastic.has_ended_first(pod(1, "Running"), pod(1, "Succeeded"))
