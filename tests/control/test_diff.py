from __future__ import annotations

import copy
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.control.controller import Child, Controller, Desired, Observed
from homeport.control.diff import covers, merge_patch, outdated, plan
from homeport.kube.errors import Permanent
from homeport.kube.kind import Resource
from homeport.kube.meta import Object

JOBS = Resource("example.com", "v1", "jobs", "Job")
PODS = Resource("", "v1", "pods", "Pod")
SERVICES = Resource("", "v1", "services", "Service")
NODES = Resource("", "v1", "nodes", "Node", namespaced=False)
PARENT: Object = {
    "apiVersion": "example.com/v1",
    "kind": "Job",
    "metadata": {"name": "j", "namespace": "ns", "uid": "u1"},
    "status": {"phase": "Running", "count": 1},
}
CONTROLLER = Controller(
    name="job",
    parent=JOBS,
    sync=lambda observed: Desired(),
    children=(Child(PODS, update="never"), Child(SERVICES)),
)


def observed(children: dict[str, dict[str, Object]] | None = None) -> Observed:
    return Observed(parent=PARENT, children=children or {}, related={}, now=datetime(2026, 1, 1, tzinfo=UTC))


def pod(name: str, **spec: Any) -> Object:
    return {"kind": "Pod", "metadata": {"name": name}, "spec": spec}


def service(name: str, **spec: Any) -> Object:
    return {"kind": "Service", "metadata": {"name": name, "labels": {"app": "x"}}, "spec": spec}


def live(obj: Object, **metadata: Any) -> Object:
    found = {"apiVersion": "v1", **copy.deepcopy(obj)}
    found["metadata"] |= {"namespace": "ns", "uid": f"uid-{obj['metadata']['name']}", "resourceVersion": "7"} | metadata
    reference = {
        "apiVersion": "example.com/v1",
        "kind": "Job",
        "name": "j",
        "uid": "u1",
        "controller": True,
        "blockOwnerDeletion": True,
    }
    found["metadata"].setdefault("ownerReferences", [reference])
    return found


def test_a_missing_child_is_created_with_namespace_and_owner() -> None:
    (write,) = plan(CONTROLLER, observed(), Desired(children=(pod("p"),))).creates
    assert write.object["apiVersion"] == "v1"
    assert write.object["metadata"]["namespace"] == "ns"
    assert write.object["metadata"]["ownerReferences"] == live(pod("p"))["metadata"]["ownerReferences"]


def test_what_is_no_longer_desired_is_deleted_unless_kept() -> None:
    world = observed({"Pod": {"a": live(pod("a")), "b": live(pod("b"))}})
    todo = plan(CONTROLLER, world, Desired(keep=frozenset({("Pod", "b")})))
    assert [item.object["metadata"]["name"] for item in todo.deletes] == ["a"]


def test_a_child_that_is_being_deleted_is_left_alone() -> None:
    world = observed({"Pod": {"a": live(pod("a"), deletionTimestamp="2026-01-01T00:00:00Z")}})
    assert plan(CONTROLLER, world, Desired()).empty
    assert plan(CONTROLLER, world, Desired(children=(pod("a"),))).empty


def test_a_pod_is_never_updated_and_a_service_only_if_it_differs() -> None:
    grown = live(service("s", clusterIP="None"))
    grown["spec"]["sessionAffinity"] = "None"
    world = observed({"Pod": {"p": live(pod("p", restartPolicy="Always"))}, "Service": {"s": grown}})
    same = Desired(children=(pod("p", restartPolicy="Never"), service("s", clusterIP="None")))
    assert plan(CONTROLLER, world, same).empty
    other = Desired(children=(pod("p"), service("s", clusterIP="None", ports=[{"port": 1}])))
    assert [write.object["metadata"]["name"] for write in plan(CONTROLLER, world, other).applies] == ["s"]


def test_a_field_that_is_no_longer_desired_is_found_by_our_ownership() -> None:
    desired = {**service("s", selector={"a": "1"}), "apiVersion": "v1"}
    found = live(service("s", selector={"a": "1", "b": "2"}, type="ClusterIP"))
    fields = {
        "f:metadata": {"f:labels": {"f:app": {}}},
        "f:spec": {"f:selector": {"f:a": {}, "f:b": {}}, "f:type": {}},
    }
    found["metadata"]["managedFields"] = [{"manager": "job", "operation": "Update", "fieldsV1": fields}]
    assert outdated(found, desired, "job")
    assert not outdated(found, desired, "somebody-else")
    del fields["f:spec"]["f:selector"]["f:b"]
    assert not outdated(found, desired, "job")  # type is a default: an Update entry lists those too
    found["metadata"]["managedFields"][0]["operation"] = "Apply"
    assert outdated(found, desired, "job")


def test_list_items_are_found_by_their_keys_in_managed_fields() -> None:
    desired = {**service("s", ports=[{"port": 80}]), "apiVersion": "v1"}
    found = live(service("s", ports=[{"port": 80, "protocol": "TCP"}]))
    item = {".": {}, "f:port": {}}
    fields: dict[str, Any] = {"f:spec": {"f:ports": {'k:{"port":80,"protocol":"TCP"}': item}}}
    found["metadata"]["managedFields"] = [{"manager": "job", "operation": "Apply", "fieldsV1": fields}]
    assert not outdated(found, desired, "job")
    fields["f:spec"]["f:ports"]['k:{"port":81,"protocol":"TCP"}'] = item
    assert outdated(found, desired, "job")


@pytest.mark.parametrize(
    ("child", "said"),
    [
        ({"kind": "Secret", "metadata": {"name": "x"}}, "not declared"),
        ({"kind": "Pod", "metadata": {}}, "no name"),
        ({"kind": "Pod", "metadata": {"name": "x", "namespace": "other"}}, "parent's namespace"),
    ],
)
def test_a_child_that_can_not_be_is_a_permanent_error(child: Object, said: str) -> None:
    with pytest.raises(Permanent, match=said):
        plan(CONTROLLER, observed(), Desired(children=(child,)))


def test_two_children_of_one_name_are_a_permanent_error() -> None:
    with pytest.raises(Permanent, match="twice"):
        plan(CONTROLLER, observed(), Desired(children=(pod("a"), pod("a"))))


def test_status_is_left_alone_if_none_or_equal() -> None:
    assert plan(CONTROLLER, observed(), Desired()).status is None
    assert plan(CONTROLLER, observed(), Desired(status={"phase": "Running", "count": 1})).status is None
    assert plan(CONTROLLER, observed(), Desired(status={"phase": "Done"})).status == {"phase": "Done", "count": None}


SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "a", "b"])
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=3),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.sampled_from("abcd"), JSON, max_size=4)


def rfc7386(target: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = rfc7386(result.get(key), value)
    return result


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return value


@given(OBJECTS, OBJECTS)
def test_a_merge_patch_turns_old_into_new(old: Object, new: Object) -> None:
    patch = merge_patch(without_nulls(old), new)
    assert rfc7386(without_nulls(old), patch) == without_nulls(new)
    assert (patch == {}) == (without_nulls(old) == without_nulls(new))


@given(OBJECTS)
def test_everything_covers_itself(obj: Object) -> None:
    assert covers(obj, copy.deepcopy(obj))


@given(OBJECTS, st.dictionaries(st.sampled_from("xyz"), JSON))
def test_what_others_add_does_not_matter(obj: Object, more: Object) -> None:
    assert covers({**obj, **more}, obj)
