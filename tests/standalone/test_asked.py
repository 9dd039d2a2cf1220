"""How the kind of what is asked about may be written, and what is found by it."""

from __future__ import annotations

import pytest

from homeport.kube.errors import Permanent
from homeport.scheduler.batch.model import Group, Snapshot
from homeport.scheduler.batch.telling import find_groups
from homeport.standalone import asked

SNAPSHOT = Snapshot(
    groups=(
        Group("a", "default", "x-1", owner="Job default/x", owner_group="batch.volcano.sh"),
        Group("b", "default", "x-2", kind="v1", owner="Job default/x", owner_group="batch"),
        Group("c", "default", "x-3", owner="TFJob default/x", owner_group="kubeflow.org"),
        Group("d", "default", "x-4", owner="RayCluster default/x", owner_group="ray.io"),
        Group("e", "default", "x"),
        Group("f", "default", "x", kind="scheduling.x-k8s.io/v1alpha1"),
        Group("g", "elsewhere", "x", owner="TFJob elsewhere/x", owner_group="kubeflow.org"),
    )
)


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("x", "abcdef"),
        ("Job/x", "ab"),
        ("jobs/x", "ab"),
        ("vcjob/x", "a"),
        ("vj/x", "a"),
        ("jobs.batch.volcano.sh/x", "a"),
        ("job.v1alpha1.batch.volcano.sh/x", "a"),
        ("job.batch/x", "b"),
        ("job.v1.batch/x", "b"),
        ("job.v2.batch/x", ""),
        ("tfjob/x", "c"),
        ("tfjobs.kubeflow.org/x", "c"),
        ("raycluster/x", "d"),
        ("pg/x", "ef"),
        ("PodGroup/x", "ef"),
        ("podgroups.scheduling.x-k8s.io/x", "f"),
        ("deploy/x", ""),
    ],
)
def test_kinds_as_kubectl_reads_them(text: str, keys: str) -> None:
    assert "".join(group.key for group in find_groups(SNAPSHOT, asked.parse(text), "default")) == keys


def test_short_names_and_plurals_are_one_kind() -> None:
    names = ("po/p", "pod/p", "pods/p", "pods.v1/p")
    assert {asked.parse(text).known for text in names} == {frozenset({("", "Pod")})}


def test_without_a_name() -> None:
    with pytest.raises(Permanent, match='"tfjob/" has no name: say NAME or KIND/NAME'):
        asked.parse("tfjob/")
