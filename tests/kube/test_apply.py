"""Server-side apply and the tracking of managers."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeport.kube import fieldset, merging, structured
from homeport.kube.apply import LAST_APPLIED, apply, track_update
from homeport.kube.errors import BadRequest, Conflict
from homeport.kube.merge_schema import root
from homeport.kube.meta import Object

COMPONENTS: dict[str, Any] = {
    "Container": {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "image": {"type": "string"},
            "args": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "atomic"},
            "env": {
                "type": "array",
                "x-kubernetes-patch-strategy": "merge",
                "x-kubernetes-patch-merge-key": "name",
                "items": {"type": "object", "properties": {"name": {}, "value": {}}},
            },
            "ports": {
                "type": "array",
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["protocol", "containerPort"],
                "items": {
                    "type": "object",
                    "properties": {"containerPort": {}, "protocol": {"default": "TCP"}, "hostPort": {}},
                },
            },
        },
    }
}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "metadata": {"type": "object"},
        "spec": {
            "type": "object",
            "properties": {
                "replicas": {"type": "integer"},
                "paused": {"type": "boolean"},
                "selector": {"type": "object", "x-kubernetes-map-type": "atomic", "additionalProperties": {}},
                "containers": {
                    "type": "array",
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["name"],
                    "items": {"$ref": "#/components/schemas/Container"},
                },
                "hosts": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
                "extra": {"type": "object", "properties": {"a": {}, "b": {}, "c": {}}},
                "groups": {
                    "type": "object",
                    "additionalProperties": {"type": "object", "properties": {"size": {}, "color": {}}},
                },
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            },
        },
        "status": {
            "type": "object",
            "properties": {
                "phase": {},
                "conditions": {
                    "type": "array",
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["type"],
                    "items": {"type": "object", "properties": {"type": {}, "status": {}}},
                },
            },
        },
    },
}
NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)


def config(spec: dict[str, Any] | None = None, **metadata: Any) -> Object:
    obj: Object = {"apiVersion": "apps/v1", "kind": "Thing", "metadata": {"name": "x", "namespace": "ns", **metadata}}
    if spec is not None:
        obj["spec"] = spec
    return obj


def applied(live: Object | None, wanted: Object, manager: str, *, force: bool = False, now: datetime = NOW) -> Object:
    """Apply, and check what holds for every apply."""
    before = copy.deepcopy((live, wanted))
    result = apply(live, wanted, manager, force, SCHEMA, COMPONENTS, now)
    assert (live, wanted) == before, "arguments stay as they are"
    again = apply(result, wanted, manager, False, SCHEMA, COMPONENTS, now + timedelta(days=1))
    assert again is result, "a second time changes nothing"
    return result


def updated(
    old: Object | None, new: Object, manager: str, *, now: datetime = NOW, subresource: str = "", schema: Any = SCHEMA
) -> Object:
    before = copy.deepcopy((old, new))
    result = track_update(old, new, manager, schema=schema, components=COMPONENTS, now=now, subresource=subresource)
    assert (old, new) == before, "arguments stay as they are"
    return result


def changed(obj: Object, **spec: Any) -> Object:
    """A copy of `obj` with fields of the spec replaced, or removed where None."""
    fields = {key: value for key, value in {**obj.get("spec", {}), **spec}.items() if value is not None}
    return {**copy.deepcopy(obj), "spec": fields}


def managers(obj: Object) -> dict[str, list[str]]:
    """Manager -> the paths that it manages."""
    return {
        entry["manager"]: list(fieldset.paths(entry["fieldsV1"])) for entry in obj["metadata"].get("managedFields", [])
    }


def entry(obj: Object, manager: str) -> dict[str, Any]:
    (found,) = (e for e in obj["metadata"]["managedFields"] if e["manager"] == manager)
    return dict(found)


class TestApply:
    def test_create(self) -> None:
        obj = applied(None, config({"replicas": 1, "containers": [{"name": "a", "image": "i"}]}), "me")
        assert obj["spec"] == {"replicas": 1, "containers": [{"name": "a", "image": "i"}]}
        assert obj["metadata"]["managedFields"] == [
            {
                "manager": "me",
                "operation": "Apply",
                "apiVersion": "apps/v1",
                "time": "2026-01-01T00:00:00Z",
                "fieldsType": "FieldsV1",
                "fieldsV1": {
                    "f:spec": {
                        "f:containers": {'k:{"name":"a"}': {".": {}, "f:image": {}, "f:name": {}}},
                        "f:replicas": {},
                    }
                },
            }
        ]

    def test_fields_left_out_go(self) -> None:
        obj = applied(None, config({"replicas": 1, "extra": {"a": 1, "b": 2}}, labels={"l": "1", "m": "2"}), "me")
        obj = applied(obj, config({"extra": {"a": 1}}, labels={"m": "2"}), "me", now=LATER)
        assert obj["spec"] == {"extra": {"a": 1}}
        assert obj["metadata"]["labels"] == {"m": "2"}
        assert managers(obj) == {"me": [".metadata.labels.m", ".spec.extra.a"]}
        assert entry(obj, "me")["time"] == "2026-01-01T01:00:00Z"

    def test_what_was_never_mine_stays(self) -> None:
        obj = applied(None, config({"replicas": 1, "groups": {"g": {"size": 1}}}), "me")
        obj = updated(obj, changed(obj, paused=True, groups={"g": {"size": 1}, "h": {"size": 2}}), "other")
        obj = applied(obj, config(), "me")
        assert obj["spec"] == {"paused": True, "groups": {"h": {"size": 2}}}

    def test_defaults_stay(self) -> None:
        """A default has no manager: it goes only together with the list element that it is in."""
        obj = applied(None, config({"replicas": 1, "containers": [{"name": "a"}, {"name": "b"}]}), "me")
        obj["spec"]["paused"] = False
        for container in obj["spec"]["containers"]:
            container["image"] = "default"
        obj = applied(obj, config({"containers": [{"name": "b"}]}), "me")
        assert obj["spec"] == {"paused": False, "containers": [{"name": "b", "image": "default"}]}

    def test_sharing(self) -> None:
        obj = applied(None, config({"replicas": 1, "paused": True}), "a")
        obj = applied(obj, config({"replicas": 1}), "b")
        assert managers(obj) == {"a": [".spec.paused", ".spec.replicas"], "b": [".spec.replicas"]}
        obj = applied(obj, config(), "a")
        assert obj["spec"] == {"replicas": 1}, "b wants it still"
        obj = applied(obj, config(), "b")
        assert "spec" not in obj
        assert "managedFields" not in obj["metadata"]

    def test_conflict_with_an_updater(self) -> None:
        obj = updated(None, config({"replicas": 1}), "kubectl-client-side-apply")
        with pytest.raises(Conflict) as caught:
            applied(obj, config({"replicas": 2}), "me")
        assert caught.value.message == (
            'Apply failed with 1 conflict: conflict with "kubectl-client-side-apply" using apps/v1: .spec.replicas'
        )
        assert caught.value.to_status() == {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": caught.value.message,
            "reason": "Conflict",
            "code": 409,
            "details": {
                "causes": [
                    {
                        "reason": "FieldManagerConflict",
                        "message": 'conflict with "kubectl-client-side-apply" using apps/v1',
                        "field": ".spec.replicas",
                    }
                ]
            },
        }

    def test_conflicts_with_many(self) -> None:
        obj = applied(None, config({"replicas": 1, "containers": [{"name": "c", "image": "1"}]}), "a")
        obj = updated(obj, changed(obj, paused=True), "b", subresource="scale")
        with pytest.raises(Conflict) as caught:
            applied(obj, config({"replicas": 2, "paused": False, "containers": [{"name": "c", "image": "2"}]}), "me")
        assert caught.value.message == (
            "Apply failed with 3 conflicts: "
            'conflicts with "a":\n'
            '- .spec.containers[name="c"].image\n'
            "- .spec.replicas\n"
            'conflicts with "b" with subresource "scale" using apps/v1:\n'
            "- .spec.paused"
        )

    def test_force_takes_over(self) -> None:
        obj = applied(None, config({"replicas": 1, "paused": True}), "a")
        obj = applied(obj, config({"replicas": 2}), "b", force=True)
        assert obj["spec"]["replicas"] == 2
        assert managers(obj) == {"a": [".spec.paused"], "b": [".spec.replicas"]}

    def test_equal_values_are_no_conflict(self) -> None:
        obj = updated(None, config({"replicas": 1}), "a")
        obj = applied(obj, config({"replicas": 1}), "b")
        assert managers(obj)["b"] == [".spec.replicas"]

    def test_keyed_lists_merge(self) -> None:
        obj = applied(None, config({"containers": [{"name": "a", "image": "1"}, {"name": "b"}]}), "x")
        obj = applied(obj, config({"containers": [{"name": "c"}, {"name": "a", "args": ["q"]}]}), "y")
        assert obj["spec"]["containers"] == [
            {"name": "c"},
            {"name": "a", "image": "1", "args": ["q"]},
            {"name": "b"},
        ]
        obj = applied(obj, config({"containers": [{"name": "a", "args": ["q"]}]}), "y")
        assert [c["name"] for c in obj["spec"]["containers"]] == ["a", "b"]
        obj = applied(obj, config({"containers": [{"name": "b"}]}), "x")
        assert obj["spec"]["containers"] == [{"name": "a", "args": ["q"]}, {"name": "b"}]

    def test_keys_of_several_fields_and_with_defaults(self) -> None:
        port = {"containerPort": 80, "hostPort": 1}
        obj = applied(None, config({"containers": [{"name": "a", "ports": [port]}]}), "x")
        obj["spec"]["containers"][0]["ports"][0]["protocol"] = "TCP"  # As defaulting does.
        other = [{"containerPort": 80, "protocol": "TCP"}, {"containerPort": 80, "protocol": "UDP"}]
        obj = applied(obj, config({"containers": [{"name": "a", "ports": other}]}), "y")
        assert obj["spec"]["containers"][0]["ports"] == [
            {"containerPort": 80, "hostPort": 1, "protocol": "TCP"},
            {"containerPort": 80, "protocol": "UDP"},
        ]

    def test_patch_strategy_makes_a_list_keyed(self) -> None:
        obj = applied(None, config({"containers": [{"name": "a", "env": [{"name": "A", "value": "1"}]}]}), "x")
        obj = applied(obj, config({"containers": [{"name": "a", "env": [{"name": "B", "value": "2"}]}]}), "y")
        assert [e["name"] for e in obj["spec"]["containers"][0]["env"]] == ["A", "B"]

    def test_sets(self) -> None:
        obj = applied(None, config({"hosts": ["a", "b"]}, finalizers=["f/1"]), "x")
        obj = applied(obj, config({"hosts": ["c", "b"]}, finalizers=["f/2"]), "y")
        assert sorted(obj["spec"]["hosts"]) == ["a", "b", "c"]
        assert obj["metadata"]["finalizers"] == ["f/1", "f/2"]
        obj = applied(obj, config(), "x")
        assert obj["spec"]["hosts"] == ["c", "b"]

    def test_atomic_values_have_one_owner(self) -> None:
        obj = applied(None, config({"selector": {"a": "1"}, "containers": [{"name": "c", "args": ["1", "2"]}]}), "x")
        assert managers(obj)["x"] == [
            '.spec.containers[name="c"]',
            '.spec.containers[name="c"].args',
            '.spec.containers[name="c"].name',
            ".spec.selector",
        ]
        with pytest.raises(Conflict, match=r"\.spec\.selector"):
            applied(obj, config({"selector": {"b": "2"}}), "y")
        obj = applied(obj, config({"selector": {"b": "2"}}), "y", force=True)
        assert obj["spec"]["selector"] == {"b": "2"}

    def test_orders_of_lists(self) -> None:
        obj = applied(None, config({"containers": [{"name": n} for n in "abcd"]}), "x")
        obj = updated(obj, changed(obj, containers=[{"name": n} for n in "aXbcdY"]), "other")
        obj = applied(obj, config({"containers": [{"name": n} for n in "dbca"]}), "x")
        names = "".join(c["name"] for c in obj["spec"]["containers"])
        assert [n for n in names if n in "abcd"] == list("dbca"), "as applied"
        assert sorted(names) == sorted("abcdXY")

    def test_object_that_nobody_tracked(self) -> None:
        live = config({"replicas": 1, "paused": True}, uid="u", resourceVersion="5")
        with pytest.raises(Conflict, match=r'"before-first-apply" using apps/v1: \.spec\.replicas'):
            applied(live, config({"replicas": 2}), "me")
        obj = applied(live, config({"replicas": 1}), "me")
        assert managers(obj) == {
            "me": [".spec.replicas"],
            "before-first-apply": [".spec", ".spec.paused", ".spec.replicas"],
        }

    def test_metadata_of_the_server_is_not_managed(self) -> None:
        obj = applied(None, config(uid="u", generation=1, resourceVersion="4", labels={"a": "b"}), "me")
        assert managers(obj) == {"me": [".metadata.labels.a"]}

    def test_an_empty_object_or_null_is_an_opinion(self) -> None:
        obj = applied(None, config({"extra": {}, "groups": {"g": {}}}), "x")
        assert managers(obj)["x"] == [".spec.extra", ".spec.groups.g"]
        obj = applied(obj, config({"extra": {"a": 1}}), "y")
        assert obj["spec"] == {"extra": {"a": 1}, "groups": {"g": {}}}
        obj = applied(obj, config({"extra": None, "hosts": None}), "z")
        assert obj["spec"] == {"extra": {"a": 1}, "groups": {"g": {}}, "hosts": None}

    def test_version_change_of_an_applier(self) -> None:
        obj = applied(None, config({"replicas": 1, "paused": True}), "x")
        obj["apiVersion"] = "apps/v2"
        wanted = config({"replicas": 2})
        wanted["apiVersion"] = "apps/v2"
        obj = applied(obj, wanted, "x")
        assert obj["spec"] == {"replicas": 2}
        assert [e["apiVersion"] for e in obj["metadata"]["managedFields"]] == ["apps/v2"]

    def test_subresources_have_managers_of_their_own(self) -> None:
        obj = applied(None, config({"replicas": 1}), "x")
        wanted = config()
        wanted["status"] = {"phase": "Running"}
        obj = apply(obj, wanted, "x", False, SCHEMA, COMPONENTS, NOW, subresource="status")
        assert obj["spec"] == {"replicas": 1}
        assert [e.get("subresource") for e in obj["metadata"]["managedFields"]] == [None, "status"]

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"metadata": {"name": "x", "managedFields": []}}, "metadata.managedFields must be nil"),
            ({"apiVersion": "apps/v9"}, "Specified patch version: apps/v9, expected: apps/v1"),
            (
                {"spec": {"containers": [{"name": "a"}, {"name": "a"}]}},
                "failed to create typed patch object (ns/x; apps/v1, Kind=Thing): .spec.containers: duplicate entries "
                'for key [name="a"]',
            ),
            ({"spec": {"hosts": ["a", "a"]}}, '.spec.hosts: duplicate entries for key [="a"]'),
            ({"spec": {"containers": [{"image": "a"}]}}, ".spec.containers: an element leaves out all of the list's"),
            ({"spec": {"containers": ["a"]}}, ".spec.containers: an element of a list with keys must be an object"),
            ({"spec": {"hosts": [{}]}}, ".spec.hosts: an element of a set must be"),
        ],
    )
    def test_what_cannot_be_applied(self, change: dict[str, Any], message: str) -> None:
        live = applied(None, config({"replicas": 1}), "x")
        with pytest.raises(BadRequest) as caught:
            apply(live, {**config(), **change}, "x", False, SCHEMA, COMPONENTS, NOW)
        assert message in caught.value.message

    def test_wrong_types_do_not_break_it(self) -> None:
        """Validation comes after; here a wrong type only has to get through."""
        live = applied(None, config({"extra": {"a": 1}, "containers": [{"name": "a"}], "replicas": 1}), "x")
        for spec in (
            {"extra": "text"}, {"containers": {"name": "a"}}, {"replicas": [1]}, {"replicas": {"a": 1}}, {"extra": [1]},
        ):  # fmt: skip
            assert applied(live, config(spec), "y", force=True)["spec"].items() >= spec.items()
            assert applied(live, config(spec), "x")["spec"] == spec
        assert applied(live, {**config(), "spec": "text"}, "y", force=True)["spec"] == "text"

    def test_a_stored_list_with_duplicates(self) -> None:
        live = updated(None, config({"containers": [{"name": "a", "image": "1"}, {"name": "a", "image": "2"}]}), "u")
        assert managers(live)["u"][-1] == '.spec.containers[name="a"]'
        obj = applied(live, config({"containers": [{"name": "b"}]}), "x")
        assert sorted(c["name"] for c in obj["spec"]["containers"]) == ["a", "a", "b"]
        obj = applied(live, config({"containers": [{"name": "a", "image": "3"}]}), "x", force=True)
        assert obj["spec"]["containers"] == [{"name": "a", "image": "3"}]

    def test_unknown_schema(self) -> None:
        """Without a schema, objects merge field by field and lists are replaced."""
        first = {"apiVersion": "v1", "kind": "X", "metadata": {"name": "x"}, "spec": {"a": {"b": [1, 2], "c": 1}}}
        second = {"apiVersion": "v1", "kind": "X", "metadata": {"name": "x"}, "spec": {"a": {"b": [3], "d": 1}}}
        obj = apply(None, first, "x", False, None, None, NOW)
        obj = apply(obj, second, "y", True, None, None, NOW)
        assert obj["spec"] == {"a": {"b": [3], "c": 1, "d": 1}}
        obj = apply(obj, {k: v for k, v in first.items() if k != "spec"}, "x", False, None, None, NOW)
        assert obj["spec"] == {"a": {"b": [3], "d": 1}}

    def test_schema_that_became_atomic(self) -> None:
        granular = copy.deepcopy(SCHEMA)
        del granular["properties"]["spec"]["properties"]["selector"]["x-kubernetes-map-type"]
        obj = apply(None, config({"selector": {"a": "1"}}), "x", False, granular, COMPONENTS, NOW)
        assert managers(obj)["x"] == [".spec.selector.a"]
        with pytest.raises(Conflict, match=r"\.spec\.selector$"):
            applied(obj, config({"selector": {"a": "2"}}), "y")


class TestKubectl:
    def live(self) -> Object:
        text = json.dumps(config({"replicas": 1, "paused": True}))
        return updated(
            None,
            config({"replicas": 1, "paused": True}, annotations={LAST_APPLIED: text}),
            "kubectl-client-side-apply",
        )

    def test_moving_from_client_side_apply(self) -> None:
        obj = apply(self.live(), config({"replicas": 2, "paused": True}), "kubectl", False, SCHEMA, COMPONENTS, NOW)
        assert obj["spec"] == {"replicas": 2, "paused": True}
        assert json.loads(obj["metadata"]["annotations"][LAST_APPLIED]) == config({"replicas": 2, "paused": True})

    def test_fields_that_others_changed_meanwhile_still_conflict(self) -> None:
        live = self.live()
        live = updated(live, changed(live, replicas=5), "hpa")
        with pytest.raises(Conflict, match=r'1 conflict: conflict with "hpa" using apps/v1: \.spec\.replicas'):
            apply(live, config({"replicas": 2, "paused": False}), "kubectl", False, SCHEMA, COMPONENTS, NOW)

    def test_other_managers_get_no_such_help(self) -> None:
        with pytest.raises(Conflict):
            apply(self.live(), config({"replicas": 2}), "me", False, SCHEMA, COMPONENTS, NOW)


class TestUpdate:
    def test_create(self) -> None:
        obj = updated(None, config({"replicas": 1}, labels={"a": "b"}, uid="u"), "kubectl-create")
        assert obj["metadata"]["managedFields"] == [
            {
                "manager": "kubectl-create",
                "operation": "Update",
                "apiVersion": "apps/v1",
                "time": "2026-01-01T00:00:00Z",
                "fieldsType": "FieldsV1",
                "fieldsV1": {
                    "f:metadata": {"f:labels": {".": {}, "f:a": {}}},
                    "f:spec": {".": {}, "f:replicas": {}},
                },
            }
        ]

    def test_no_change(self) -> None:
        obj = updated(None, config({"replicas": 1}), "a")
        again = json.loads(json.dumps(obj))
        assert updated(obj, again, "b", now=LATER) is again
        newer = copy.deepcopy(obj)
        newer["metadata"] |= {"resourceVersion": "9", "generation": 2}
        assert updated(obj, newer, "b", now=LATER)["metadata"]["managedFields"] == obj["metadata"]["managedFields"]

    def test_a_change_moves_the_field(self) -> None:
        obj = updated(None, config({"replicas": 1, "paused": True}), "a")
        obj = updated(obj, changed(obj, replicas=2), "b", now=LATER)
        assert managers(obj) == {"a": [".spec", ".spec.paused"], "b": [".spec.replicas"]}
        assert (entry(obj, "a")["time"], entry(obj, "b")["time"]) == ("2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z")
        obj = updated(obj, changed(obj, paused=False), "b", now=LATER)
        assert managers(obj) == {"a": [".spec"], "b": [".spec.paused", ".spec.replicas"]}

    def test_time_is_that_of_the_last_change(self) -> None:
        obj = updated(None, config({"replicas": 1}), "a")
        obj = updated(obj, changed(obj, replicas=2), "a", now=LATER)
        assert entry(obj, "a")["time"] == "2026-01-01T01:00:00Z"
        assert managers(obj) == {"a": [".spec", ".spec.replicas"]}

    def test_a_removal_takes_it_from_all(self) -> None:
        obj = applied(None, config({"replicas": 1, "paused": True}), "a")
        obj = applied(obj, config({"replicas": 1}), "b")
        obj = updated(obj, changed(obj, replicas=None), "c")
        assert managers(obj) == {"a": [".spec.paused"]}

    def test_list_elements(self) -> None:
        obj = updated(None, config({"containers": [{"name": "a"}, {"name": "b"}], "hosts": ["x", "y"]}), "a")
        obj = updated(obj, changed(obj, containers=[{"name": "b", "image": "i"}], hosts=["y", "z"]), "b")
        assert managers(obj) == {
            "a": [
                ".spec", ".spec.containers", '.spec.containers[name="b"]', '.spec.containers[name="b"].name',
                ".spec.hosts", '.spec.hosts[="y"]',
            ],
            "b": ['.spec.containers[name="b"].image', '.spec.hosts[="z"]'],
        }  # fmt: skip

    def test_another_order_changes_nothing(self) -> None:
        obj = updated(None, config({"containers": [{"name": "a"}, {"name": "b"}]}), "a")
        new = changed(obj, containers=[{"name": "b"}, {"name": "a"}])
        assert updated(obj, new, "b")["metadata"] == obj["metadata"]

    def test_versions_and_subresources_are_apart(self) -> None:
        obj = updated(None, config({"replicas": 1}), "a")
        obj = updated(obj, {**obj, "status": {"phase": "Running"}}, "a", subresource="status")
        obj = updated(obj, {**changed(obj, paused=True), "apiVersion": "apps/v2"}, "a")
        assert [
            (e["apiVersion"], e.get("subresource"), list(fieldset.paths(e["fieldsV1"])))
            for e in obj["metadata"]["managedFields"]
        ] == [
            ("apps/v1", None, [".spec", ".spec.replicas"]),
            ("apps/v1", "status", [".status", ".status.phase"]),
            ("apps/v2", None, [".spec.paused"]),
        ]

    def test_clients_that_drop_or_break_managed_fields(self) -> None:
        obj = updated(None, config({"replicas": 1}), "a")
        expected = updated(obj, changed(obj, replicas=2), "b")["metadata"]["managedFields"]
        for sent in (None, [{"manager": "x"}], "nonsense", [{"operation": "Update", "apiVersion": "v1"}], [1]):
            new = changed(obj, replicas=2)
            if sent is None:
                del new["metadata"]["managedFields"]
            else:
                new["metadata"]["managedFields"] = sent
            assert updated(obj, new, "b")["metadata"]["managedFields"] == expected

    def test_reset(self) -> None:
        obj = updated(None, config({"replicas": 1}), "a")
        for sent in ([], [{}]):
            new = changed(obj, replicas=2)
            new["metadata"]["managedFields"] = sent
            result = updated(obj, new, "b")
            assert "managedFields" not in result["metadata"]
            assert "managedFields" not in updated(result, changed(result, replicas=3), "c")["metadata"]

    def test_edited_by_a_client(self) -> None:
        obj = applied(None, config({"replicas": 1}), "a")
        new = copy.deepcopy(obj)
        new["metadata"]["managedFields"][0] |= {"manager": "z", "fieldsV1": {"f:spec": {"f:hosts": {'v: "q"': {}}}}}
        assert managers(updated(obj, new, "b")) == {"z": ['.spec.hosts[="q"]']}

    def test_a_subresource_cannot_edit_them(self) -> None:
        obj = applied(None, config({"replicas": 1}), "a")
        new = {**copy.deepcopy(obj), "status": {"phase": "x"}}
        new["metadata"]["managedFields"] = []
        result = updated(obj, new, "b", subresource="status")
        assert managers(result) == {"a": [".spec.replicas"], "b": [".status", ".status.phase"]}

    def test_many_updaters_are_merged(self) -> None:
        obj = updated(None, config({"groups": {}}), "first")
        for number in range(15):
            groups = {**obj["spec"]["groups"], f"g{number:02}": {"size": number}}
            obj = updated(obj, changed(obj, groups=groups), f"m{number:02}", now=NOW + timedelta(minutes=number + 1))
        names = [e["manager"] for e in obj["metadata"]["managedFields"]]
        assert len(names) == 10
        assert names == ["ancient-changes", *(f"m{number:02}" for number in range(6, 15))]
        assert len(managers(obj)["ancient-changes"]) == 2 + 6 * 2
        everything = {path for paths in managers(obj).values() for path in paths}
        assert {f".spec.groups.g{number:02}.size" for number in range(15)} <= everything

    def test_wrong_types_do_not_break_it(self) -> None:
        values: list[Any] = [None, 1, True, "a", [], [1], [{"name": "a"}], [None], {}, {"a": 1}, [[1]], {"a": None}]
        for schema in (SCHEMA, None):
            for old in values:
                for new in values:
                    for field in ("extra", "containers", "hosts", "selector", "replicas", "groups"):
                        before = updated(None, config({field: old}), "a", schema=schema)
                        after = {**before, "spec": {field: new}}
                        result = updated(before, after, "b", schema=schema)
                        if old == new:
                            assert result is after
                        else:
                            assert result["metadata"]["managedFields"]

    def test_entries_are_in_order(self) -> None:
        obj = updated(None, config({"replicas": 1}), "z", now=LATER)
        obj = updated(obj, changed(obj, paused=True), "y", now=NOW)
        obj = applied(obj, config({"hosts": ["a"]}), "x", now=LATER + timedelta(1))
        assert [e["manager"] for e in obj["metadata"]["managedFields"]] == ["x", "y", "z"]


_scalars = st.sampled_from([0, 1, "a", "b", True])
_containers = st.lists(
    st.fixed_dictionaries(
        {"name": st.sampled_from("abc")},
        optional={
            "image": st.sampled_from("12"),
            "args": st.lists(st.sampled_from("12"), max_size=2),
            "env": st.lists(
                st.fixed_dictionaries({"name": st.sampled_from("EF"), "value": st.sampled_from("12")}),
                max_size=2,
                unique_by=lambda e: e["name"],
            ),
        },
    ),
    max_size=3,
    unique_by=lambda c: c["name"],
)
_specs = st.fixed_dictionaries(
    {},
    optional={
        "replicas": st.integers(0, 2),
        "selector": st.dictionaries(st.sampled_from("ab"), st.sampled_from("12"), max_size=2),
        "containers": _containers,
        "hosts": st.lists(st.sampled_from("abcd"), max_size=3, unique=True),
        "extra": st.fixed_dictionaries({}, optional={"a": _scalars, "b": _scalars, "c": _scalars}),
        "groups": st.dictionaries(
            st.sampled_from("gh"), st.fixed_dictionaries({}, optional={"size": _scalars, "color": _scalars}), max_size=2
        ),
        "free": st.dictionaries(st.sampled_from("xy"), st.one_of(_scalars, st.lists(_scalars, max_size=2)), max_size=2),
    },
)
_labels = st.dictionaries(st.sampled_from("lm"), st.sampled_from("12"), max_size=2)
_configs = st.builds(lambda spec, labels: config(spec, labels=labels), _specs, _labels)


def plain(value: Any) -> Any:
    """An object without its managers, empty containers and the order of lists that have none."""
    if isinstance(value, dict):
        found = {k: plain(v) for k, v in value.items() if k != "managedFields"}
        return {k: v for k, v in found.items() if v not in ({}, [])}
    if isinstance(value, list):
        items = [plain(v) for v in value]
        return sorted(items, key=lambda item: json.dumps(item, sort_keys=True))
    return value


def check_managers(obj: Object) -> None:
    """What is managed exists; containers apart, which an update may own after it emptied them."""
    node = root(SCHEMA, COMPONENTS)
    there = set(fieldset.paths(structured.everything({k: v for k, v in obj.items() if k != "metadata"}, node)))
    there |= {f".metadata.labels.{key}" for key in obj["metadata"].get("labels", {})} | {".metadata.labels"}
    for name, paths in managers(obj).items():
        assert set(paths) <= there, name


@given(_configs, _configs)
@settings(deadline=None)
def test_applying_states_what_it_says(live: Object, wanted: Object) -> None:
    obj = applied(updated(None, live, "other"), wanted, "me", force=True)
    check_managers(obj)
    node = root(SCHEMA, COMPONENTS)
    assert plain(merging.merge(obj, wanted, node)) == plain(obj), "all that is wanted is there"
    wants = fieldset.difference(structured.fields_of(wanted, node), {"f:apiVersion": {}, "f:kind": {}})
    mine = set(managers(obj).get("me", []))
    assert mine == {path for path in fieldset.paths(wants) if path not in (".metadata.name", ".metadata.namespace")}


@given(_configs, _configs)
@settings(deadline=None)
def test_going_away_leaves_what_the_other_wants(first: Object, second: Object) -> None:
    both = applied(applied(None, first, "a"), second, "b", force=True)
    check_managers(both)
    alone = applied(both, config(), "a")
    assert plain(alone) == plain(second)


@given(_configs, _configs, _configs)
@settings(deadline=None)
def test_order_of_two_managers_does_not_matter_without_conflict(one: Object, two: Object, three: Object) -> None:
    try:
        left = applied(applied(applied(None, one, "a"), two, "b"), three, "a")
        right = applied(applied(None, three, "a"), two, "b")
    except Conflict:
        return
    assert plain(left) == plain(right), "what a applied before leaves no trace"
    assert managers(left) == managers(right)


@given(_configs, st.lists(st.tuples(_configs, st.sampled_from("abc"), st.booleans()), max_size=6))
@settings(max_examples=25, deadline=None)
def test_any_history_keeps_the_entries_true(start: Object, steps: list[tuple[Object, str, bool]]) -> None:
    obj = updated(None, start, "z")
    for wanted, manager, by_apply in steps:
        if by_apply:
            obj = applied(obj, wanted, manager, force=True)
        else:
            new = {**wanted, "metadata": {**wanted["metadata"], "managedFields": obj["metadata"].get("managedFields")}}
            before = obj
            obj = updated(before, new, manager)
            assert plain(obj) == plain(wanted)
            if before["metadata"].get("managedFields"):
                difference = structured.diff({"spec": before["spec"]}, {"spec": new["spec"]}, root(SCHEMA, COMPONENTS))
                assert set(fieldset.paths(difference.changed)) <= set(managers(obj).get(manager, []))
        check_managers(obj)
        assert json.loads(json.dumps(obj)) == obj


@settings(max_examples=40, deadline=None)
@given(_configs)
def test_fields_of_a_new_object_are_stored_in_order(obj: Object) -> None:
    node = root(SCHEMA, COMPONENTS)
    tracked = track_update(None, obj, "one", schema=SCHEMA, components=COMPONENTS, now=NOW)
    # What is worked out directly is what differs from nothing.
    changed, removed = structured.diff({}, {key: value for key, value in obj.items() if key != "metadata"}, node)
    assert not removed
    for entry in tracked["metadata"].get("managedFields") or ():
        stored = entry["fieldsV1"]
        assert json.dumps(stored) == json.dumps(fieldset.ordered(stored))
        mine = {element: child for element, child in stored.items() if element != "f:metadata"}
        assert mine == fieldset.difference(changed, {"f:apiVersion": {}, "f:kind": {}})
