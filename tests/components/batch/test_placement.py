"""Exclusive placement of job sets' pods, decided by what is stored."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from homeport.components.batch.jobset.placement import mutate, validate
from homeport.kube import core
from homeport.kube.admission import Refusal
from homeport.kube.kind import Resource
from homeport.kube.meta import Object

RACK = "alpha.jobset.sigs.k8s.io/exclusive-topology"
BY_SELECTOR = "alpha.jobset.sigs.k8s.io/node-selector"
SET = "jobset.sigs.k8s.io/"


def pod(index: int, name: str = "", owner: str = "job-1", node: str = "", **annotations: str) -> Object:
    marks = {SET + "jobset-name": "train", SET + "replicatedjob-name": "w", SET + "job-index": "0"}
    own = {"batch.kubernetes.io/job-completion-index": str(index), SET + "jobset-name": "train", **annotations}
    spec: dict[str, Any] = {"priority": 5}
    if node:
        spec["nodeName"] = node
    metadata = {
        "name": name or f"train-w-0-{index}-abcde",
        "namespace": "team",
        "labels": {**marks, SET + "job-key": "key"},
        "annotations": own,
        "ownerReferences": [{"kind": "Job", "name": "train-w-0", "uid": owner, "controller": True}],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


class Stored:
    def __init__(self, *objects: Object) -> None:
        self._objects = objects

    def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        return next((each for each in self.find(resource, namespace, name)), None)

    def find(self, resource: Resource, namespace: str, prefix: str = "") -> Iterator[Object]:
        for each in self._objects:
            about, place = each["metadata"], each["metadata"].get("namespace", "")
            if (each["kind"], place) == (resource.kind, namespace) and about["name"].startswith(prefix):
                yield each


NODE = core.NODE.new("n", metadata={"labels": {"rack": "r1"}})
ASKED = {RACK: "rack"}


def admitted(new: Object, stored: Stored) -> Object:
    placed = mutate(new, stored)
    assert mutate(placed, stored) == placed, "it is asked again after others have changed the pod"
    validate(placed, None, stored)
    return placed


def test_pods_that_ask_for_nothing() -> None:
    placed = admitted(pod(1), Stored())
    assert placed["metadata"]["labels"][SET + "priority"] == "5"
    assert placed["spec"] == {"priority": 5}
    by_hand = pod(1, **ASKED, **{BY_SELECTOR: "true"})
    assert admitted(by_hand, Stored()) == by_hand


def test_a_sibling_goes_where_the_first_is() -> None:
    stored = Stored(pod(0, node="n"), NODE)
    assert admitted(pod(1, **ASKED), stored)["spec"]["nodeSelector"] == {"rack": "r1"}


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        (Stored(NODE), "follower pod node selector not set"),
        (Stored(pod(0), NODE), "follower pod node selector not set"),
        (Stored(pod(0, owner="job-0", node="n"), NODE), "follower pod node selector not set"),
        (Stored(pod(0, node="n")), 'nodes "n" not found'),
        (Stored(pod(0, node="n"), core.NODE.new("n")), "node does not have topology label: rack"),
    ],
    ids=["no first pod", "without a node", "of a former job", "no such node", "node outside"],
)
def test_a_sibling_that_can_not_be_placed(stored: Stored, words: str) -> None:
    with pytest.raises(Refusal, match=words):
        admitted(pod(1, **ASKED), stored)


@pytest.mark.parametrize(
    ("selector", "stored", "words"),
    [
        ({"zone": "z"}, Stored(pod(0, node="n")), "missing selector: rack"),
        ({"rack": "r1"}, Stored(), r"expected 1 leader pod \(train-w-0-0\), but got 0"),
        ({"rack": "r1"}, Stored(pod(0)), "leader pod not yet scheduled"),
        (
            {"rack": "r1"},
            Stored(pod(0, owner="job-0", node="n")),
            r"UID \(job-1\) != leader pod owner UID \(job-0",
        ),
    ],
)
def test_siblings_with_a_selector_of_their_own(selector: dict[str, str], stored: Stored, words: str) -> None:
    new = pod(1, **ASKED)
    with pytest.raises(Refusal, match=words):
        validate({**new, "spec": {"nodeSelector": selector}}, None, stored)
