"""Snapshots as JSON."""

from __future__ import annotations

import msgspec
import pytest

from homeport.scheduler.batch.model import (
    Carried,
    Clock,
    Group,
    HyperNode,
    Queue,
    Reservation,
    Shape,
    Snapshot,
    Task,
    TaskStatus,
    from_json,
    to_json,
)
from homeport.scheduler.model import Node, Taint, parse_pod

_POD = {
    "metadata": {"name": "p", "namespace": "ns", "uid": "u", "labels": {"app": "a"}},
    "spec": {
        "containers": [{"name": "c", "resources": {"requests": {"cpu": "1500m"}}, "ports": [{"hostPort": 80}]}],
        "tolerations": [{"operator": "Exists"}],
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [{"matchExpressions": [{"key": "k", "operator": "In", "values": ["b", "a"]}]}]
                }
            },
            "podAntiAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": [
                    {"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "a"}}},
                    {"topologyKey": "host"},
                ]
            },
        },
    },
}


def test_a_snapshot_survives_the_way_to_json_and_back() -> None:
    pod = parse_pod(_POD)
    shape = Shape("ns", pod.demand, pod.rules)
    task = Task("u", "ns", "p", 7, TaskStatus.RUNNING, "n", labels=pod.labels)
    snapshot = Snapshot(
        nodes=(Node("n", {"zone": "a"}, (Taint("k", "v", "NoSchedule"),), allocatable={"cpu": 4000}),),
        shapes={7: shape},
        queues=(Queue("default", deserved={"cpu": 1}),),
        groups=(Group("g", "ns", "g", tasks=(task,), min_resources={"cpu": 1500}),),
        loose={"n": (task,)},
        held={"n": {"cpu": 1}},
        namespaces={"ns": {"team": "a"}},
        hypernodes=(HyperNode("rack", 1, frozenset({"n"})),),
        carried=Carried({"g": Clock(waiting=1.0)}, Reservation("g", ("n",), 1.0), {"ns": 0.5}, 2.0),
    )
    assert from_json(to_json(snapshot)) == snapshot


def test_what_is_no_snapshot_is_refused_with_the_path() -> None:
    with pytest.raises(msgspec.ValidationError, match=r"\$\.nodes\[0\]\.name"):
        from_json(b'{"nodes": [{"name": 1}]}')
