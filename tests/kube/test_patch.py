"""JSON patch, merge patch and strategic merge patch."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeport.kube.errors import BadRequest, Invalid, TooLarge
from homeport.kube.patch import MAX_OPERATIONS, difference, json_patch, merge_patch, strategic_merge_patch


def jsonpatched(obj: Any, *operations: dict[str, Any]) -> Any:
    before = copy.deepcopy((obj, operations))
    result = json_patch(obj, list(operations))
    assert (obj, operations) == before, "arguments stay as they are"
    return result


class TestJsonPatch:
    OBJECT: dict[str, Any] = {"a": {"b": [1, 2, 3], "c": {"d": 1}}, "x/y": "slash", "m~n": "tilde", "": "empty"}

    @pytest.mark.parametrize(
        ("operation", "changed"),
        [
            ({"op": "add", "path": "/new", "value": 1}, {"new": 1}),
            ({"op": "add", "path": "/x~1y", "value": 1}, {"x/y": 1}),
            ({"op": "add", "path": "/a/c/d", "value": [2]}, {"a": {"b": [1, 2, 3], "c": {"d": [2]}}}),
            ({"op": "add", "path": "/a/b/0", "value": 0}, {"a": {"b": [0, 1, 2, 3], "c": {"d": 1}}}),
            ({"op": "add", "path": "/a/b/3", "value": 4}, {"a": {"b": [1, 2, 3, 4], "c": {"d": 1}}}),
            ({"op": "add", "path": "/a/b/-", "value": 4}, {"a": {"b": [1, 2, 3, 4], "c": {"d": 1}}}),
            ({"op": "add", "path": "/a/b/-1", "value": 4}, {"a": {"b": [1, 2, 3, 4], "c": {"d": 1}}}),
            ({"op": "remove", "path": "/a/b/1"}, {"a": {"b": [1, 3], "c": {"d": 1}}}),
            ({"op": "remove", "path": "/a/b/-1"}, {"a": {"b": [1, 2], "c": {"d": 1}}}),
            ({"op": "replace", "path": "/a/b/1", "value": None}, {"a": {"b": [1, None, 3], "c": {"d": 1}}}),
            ({"op": "replace", "path": "/a/c", "value": 5}, {"a": {"b": [1, 2, 3], "c": 5}}),
            ({"op": "replace", "path": "/", "value": 5}, {"": 5}),
            ({"op": "move", "from": "/a/b/0", "path": "/a/c/e"}, {"a": {"b": [2, 3], "c": {"d": 1, "e": 1}}}),
            ({"op": "move", "from": "/a/b", "path": "/a/b"}, {}),
            ({"op": "copy", "from": "/a/c", "path": "/e"}, {"e": {"d": 1}}),
            ({"op": "copy", "from": "/m~0n", "path": "/m~0n2"}, {"m~n2": "tilde"}),
            ({"op": "test", "path": "/a/b", "value": [1, 2, 3]}, {}),
            ({"op": "test", "path": "/a/c", "value": {"d": 1.0}}, {}),
            ({"op": "test", "path": "/missing", "value": None}, {}),
            ({"op": "test", "path": "/missing"}, {}),
        ],
    )
    def test_operations(self, operation: dict[str, Any], changed: dict[str, Any]) -> None:
        assert jsonpatched(self.OBJECT, operation) == {**self.OBJECT, **changed}

    def test_the_whole_document(self) -> None:
        assert jsonpatched(self.OBJECT, {"op": "replace", "path": "", "value": {"z": 1}}) == {"z": 1}
        assert jsonpatched(self.OBJECT, {"op": "add", "path": "", "value": {"z": 1}}) == {"z": 1}
        assert jsonpatched(self.OBJECT, {"op": "test", "path": "", "value": self.OBJECT}) == self.OBJECT
        assert jsonpatched(self.OBJECT) == self.OBJECT
        with pytest.raises(Invalid, match="the result is not an object"):
            jsonpatched(self.OBJECT, {"op": "replace", "path": "", "value": [1]})

    def test_a_copy_is_apart(self) -> None:
        result = jsonpatched(
            self.OBJECT,
            {"op": "add", "path": "/a/c/l", "value": [{}]},
            {"op": "copy", "from": "/a", "path": "/e"},
            {"op": "add", "path": "/e/c/l/0/q", "value": 1},
            {"op": "add", "path": "/a/c/l/0/r", "value": 2},
        )
        assert result["a"]["c"]["l"] == [{"r": 2}]
        assert result["e"]["c"]["l"] == [{"q": 1}]

    def test_values_of_the_patch_stay_as_they_are(self) -> None:
        result = jsonpatched(
            {},
            {"op": "add", "path": "/a", "value": {"b": []}},
            {"op": "add", "path": "/a/b/-", "value": 1},
        )
        assert result == {"a": {"b": [1]}}

    @pytest.mark.parametrize(
        ("operation", "problem"),
        [
            ({"op": "test", "path": "/a/c/d", "value": 2}, "test failed"),
            ({"op": "test", "path": "/a/c/d", "value": True}, "test failed"),
            ({"op": "test", "path": "/a/c/d", "value": "1"}, "test failed"),
            ({"op": "test", "path": "/a/b", "value": [1, 2]}, "test failed"),
            ({"op": "test", "path": "/q/w", "value": 1}, "the path does not exist"),
            ({"op": "remove", "path": "/q"}, "the path does not exist"),
            ({"op": "remove", "path": ""}, "the whole document cannot be removed"),
            ({"op": "replace", "path": "/q", "value": 1}, "the path does not exist"),
            ({"op": "add", "path": "/q/w", "value": 1}, "the path does not exist"),
            ({"op": "add", "path": "/a/c/d/e", "value": 1}, "the path does not exist"),
            ({"op": "add", "path": "/a/b/4", "value": 1}, "index 4 is out of bounds"),
            ({"op": "add", "path": "/a/b/01", "value": 1}, '"01" is not an array index'),
            ({"op": "add", "path": "/a/b/x", "value": 1}, '"x" is not an array index'),
            ({"op": "remove", "path": "/a/b/-"}, '"-" is not an array index'),
            ({"op": "remove", "path": "/a/b/3"}, "index 3 is out of bounds"),
            ({"op": "move", "from": "/a", "path": "/a/c/x"}, "a value cannot be moved into itself"),
            ({"op": "move", "from": "/q", "path": "/r"}, "the path does not exist"),
            ({"op": "copy", "from": "/a/b/9", "path": "/r"}, "the path does not exist"),
        ],
    )
    def test_what_does_not_fit_is_unprocessable(self, operation: dict[str, Any], problem: str) -> None:
        with pytest.raises(Invalid) as caught:
            jsonpatched(self.OBJECT, {"op": "add", "path": "/ok", "value": 1}, operation)
        assert problem in caught.value.message
        assert "operation 1" in caught.value.message
        assert caught.value.code == 422

    @pytest.mark.parametrize(
        "patch",
        [
            {}, None, "x", [1], [{}], [{"op": "nope", "path": "/a"}], [{"op": ["add"], "path": "/a"}],
            [{"op": "add", "value": 1}], [{"op": "add", "path": "a", "value": 1}],
            [{"op": "add", "path": "/a~2", "value": 1}], [{"op": "move", "path": "/a"}],
            [{"op": "copy", "from": "x", "path": "/a"}],
            [{"op": "remove", "path": 1}],
        ],
    )  # fmt: skip
    def test_malformed(self, patch: Any) -> None:
        with pytest.raises(BadRequest):
            json_patch(self.OBJECT, patch)

    def test_value_that_is_left_out_is_null(self) -> None:
        assert json_patch({"a": 1}, [{"op": "add", "path": "/b"}, {"op": "replace", "path": "/a"}]) == {
            "a": None,
            "b": None,
        }

    def test_limits(self) -> None:
        operation = {"op": "test", "path": "/a", "value": 1}
        assert json_patch({"a": 1}, [operation] * MAX_OPERATIONS) == {"a": 1}
        with pytest.raises(TooLarge, match="is 10000, got 10001"):
            json_patch({"a": 1}, [operation] * (MAX_OPERATIONS + 1))
        doubling = [{"op": "copy", "from": "/a", "path": f"/a/{n}"} for n in range(40)]
        with pytest.raises(Invalid, match="accumulated size increase of copy"):
            json_patch({"a": {"x": "y" * 1000}}, doubling)


_keys = st.sampled_from(["a", "b", "c", "d/e", "~"])
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=2),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(_keys, children, max_size=3),
    max_leaves=12,
)
_objects = st.dictionaries(_keys, _json, max_size=4)


def operations_between(old: Any, new: Any, path: str = "") -> list[dict[str, Any]]:
    """A JSON patch from one document to another."""
    if isinstance(old, dict) and isinstance(new, dict):
        found: list[dict[str, Any]] = []
        for key in old.keys() | new.keys():
            below = f"{path}/{key.replace('~', '~0').replace('/', '~1')}"
            if key not in new:
                found.append({"op": "remove", "path": below})
            elif key not in old:
                found.append({"op": "add", "path": below, "value": new[key]})
            else:
                found += operations_between(old[key], new[key], below)
        return found
    if isinstance(old, list) and isinstance(new, list):
        found = [{"op": "remove", "path": f"{path}/0"} for _ in old]
        return found + [{"op": "add", "path": f"{path}/-", "value": value} for value in new]
    return [{"op": "test", "path": path, "value": old}, {"op": "replace", "path": path, "value": new}]


@given(_objects, _objects)
@settings(deadline=None)
def test_json_patch_round_trip(old: Any, new: Any) -> None:
    assert jsonpatched(old, *operations_between(old, new)) == new


def patch_between(old: Any, new: Any) -> Any:
    """A merge patch; `new` must be without nulls in objects, which a merge patch cannot say."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    patch = {key: patch_between(old.get(key), value) for key, value in new.items() if old.get(key) != value}
    return patch | {key: None for key in old if key not in new}


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return value


class TestMergePatch:
    @pytest.mark.parametrize(
        ("obj", "patch", "result"),
        [
            # The examples of RFC 7386, appendix A, with objects at the top.
            ({"a": "b"}, {"a": "c"}, {"a": "c"}),
            ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
            ({"a": "b"}, {"a": None}, {}),
            ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
            ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
            ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
            ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
            ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
            ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
            ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
            ({"a": "x"}, {"a": {"b": None, "c": 1}}, {"a": {"c": 1}}),
            ({"a": 1}, {"a": [{"b": None}]}, {"a": [{"b": None}]}),
        ],
    )
    def test_examples(self, obj: Any, patch: Any, result: Any) -> None:
        before = copy.deepcopy((obj, patch))
        assert merge_patch(obj, patch) == result
        assert (obj, patch) == before

    @pytest.mark.parametrize("patch", [None, [], "x", 1])
    def test_malformed(self, patch: Any) -> None:
        with pytest.raises(BadRequest):
            merge_patch({}, patch)

    @given(_objects, _objects)
    def test_reaches_any_object(self, old: Any, new: Any) -> None:
        new = without_nulls(new)
        old = without_nulls(old)
        assert merge_patch(old, patch_between(old, new)) == new

    @given(_objects, _objects)
    def test_laws(self, obj: Any, patch: Any) -> None:
        once = merge_patch(obj, patch)
        assert merge_patch(once, patch) == once, "idempotent"
        assert merge_patch(obj, {}) == obj
        assert merge_patch({}, patch) == without_nulls(patch)


COMPONENTS: dict[str, Any] = {
    "Container": {
        "properties": {
            "name": {"type": "string"},
            "image": {"type": "string"},
            "args": {"type": "array", "items": {"type": "string"}},
            "env": {
                "type": "array",
                "x-kubernetes-patch-merge-key": "name",
                "x-kubernetes-patch-strategy": "merge",
                "items": {"$ref": "#/components/schemas/EnvVar"},
            },
            "ports": {
                "type": "array",
                "x-kubernetes-patch-merge-key": "containerPort",
                "x-kubernetes-patch-strategy": "merge",
                "items": {"properties": {"containerPort": {}, "protocol": {}}},
            },
        }
    },
    "EnvVar": {"properties": {"name": {}, "value": {}, "valueFrom": {}}},
    "Volume": {"properties": {"name": {}, "emptyDir": {}, "hostPath": {"properties": {"path": {}}}}},
    "Strategy": {"properties": {"type": {}, "rollingUpdate": {"properties": {"maxSurge": {}}}}},
}
SCHEMA: dict[str, Any] = {
    "properties": {
        "metadata": {
            "properties": {
                "labels": {"additionalProperties": {"type": "string"}},
                "finalizers": {
                    "type": "array",
                    "items": {"type": "string"},
                    "x-kubernetes-patch-strategy": "merge",
                },
            }
        },
        "spec": {
            "properties": {
                "replicas": {},
                "containers": {
                    "type": "array",
                    "x-kubernetes-patch-merge-key": "name",
                    "x-kubernetes-patch-strategy": "merge",
                    "items": {"allOf": [{"$ref": "#/components/schemas/Container"}], "default": {}},
                },
                "volumes": {
                    "type": "array",
                    "x-kubernetes-patch-merge-key": "name",
                    "x-kubernetes-patch-strategy": "merge,retainKeys",
                    "items": {"$ref": "#/components/schemas/Volume"},
                },
                "strategy": {
                    "allOf": [{"$ref": "#/components/schemas/Strategy"}],
                    "x-kubernetes-patch-strategy": "retainKeys",
                },
                "whole": {"x-kubernetes-patch-strategy": "replace", "properties": {"a": {}, "b": {}}},
                "tolerations": {"type": "array", "items": {"properties": {"key": {}}}},
                "pools": {"additionalProperties": {"$ref": "#/components/schemas/Container"}},
            }
        },
    }
}


def patched(spec: Any, patch: Any) -> Any:
    obj, whole = {"spec": spec}, {"spec": patch}
    before = copy.deepcopy((obj, whole))
    result = strategic_merge_patch(obj, whole, SCHEMA, COMPONENTS)
    assert (obj, whole) == before, "arguments stay as they are"
    assert "$" not in json.dumps(result), "no directive is left in the object"
    return result["spec"]


class TestStrategicMergePatch:
    A: dict[str, Any] = {"name": "a", "image": "1", "args": ["x"], "env": [{"name": "E", "value": "1"}]}
    B: dict[str, Any] = {"name": "b", "image": "1"}

    def test_lists_merge_by_key(self) -> None:
        patch = {"containers": [{"name": "a", "image": "2", "args": ["y"], "env": [{"name": "F", "value": "2"}]}]}
        assert patched({"containers": [self.B, self.A]}, patch) == {
            "containers": [
                self.B,
                {
                    "name": "a",
                    "image": "2",
                    "args": ["y"],
                    "env": [{"name": "F", "value": "2"}, {"name": "E", "value": "1"}],
                },
            ]
        }

    def test_new_elements_come_first_as_upstream_orders_them(self) -> None:
        assert patched({"containers": [self.A, self.B]}, {"containers": [{"name": "c"}]})["containers"] == [
            {"name": "c"},
            self.A,
            self.B,
        ]

    def test_null_removes(self) -> None:
        assert patched({"replicas": 1, "containers": [self.A]}, {"replicas": None}) == {"containers": [self.A]}
        merged = patched({"containers": [self.A]}, {"containers": [{"name": "a", "image": None, "env": None}]})
        assert merged == {"containers": [{"name": "a", "args": ["x"]}]}

    def test_nulls_and_directives_do_not_get_into_new_values(self) -> None:
        patch = {
            "containers": [{"name": "n", "image": None, "env": [{"name": "E", "value": None}, {"$patch": "replace"}]}],
            "pools": {"p": {"name": None, "$retainKeys": ["name"]}, "q": {"$patch": "delete"}},
        }
        assert patched({}, patch) == {"containers": [{"name": "n", "env": [{"name": "E"}]}], "pools": {"p": {}}}

    def test_delete_an_element(self) -> None:
        patch = {"containers": [{"$patch": "delete", "name": "a"}, {"name": "b", "image": "2"}]}
        assert patched({"containers": [self.A, self.B]}, patch) == {"containers": [{"name": "b", "image": "2"}]}
        assert patched({"containers": [self.B]}, {"containers": [{"$patch": "delete", "name": "a"}]}) == {
            "containers": [self.B]
        }

    def test_replace_a_list(self) -> None:
        patch = {"containers": [{"name": "z"}, {"$patch": "replace"}]}
        assert patched({"containers": [self.A, self.B]}, patch) == {"containers": [{"name": "z"}]}
        assert patched({"containers": [self.A]}, {"containers": [{"$patch": "replace"}]}) == {"containers": []}

    def test_replace_and_delete_an_object(self) -> None:
        strategy = {"type": "Rolling", "rollingUpdate": {"maxSurge": 1}}
        assert patched({"strategy": strategy}, {"strategy": {"$patch": "replace", "type": "Recreate"}}) == {
            "strategy": {"type": "Recreate"}
        }
        assert patched({"strategy": strategy}, {"strategy": {"$patch": "delete"}}) == {"strategy": {}}
        assert patched({"whole": {"a": 1}}, {"whole": {"b": 2}}) == {"whole": {"b": 2}}, "strategy replace"

    def test_retain_keys(self) -> None:
        strategy = {"type": "Rolling", "rollingUpdate": {"maxSurge": 1}}
        patch = {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}
        assert patched({"strategy": strategy}, patch) == {"strategy": {"type": "Recreate"}}
        volumes = [{"name": "v", "emptyDir": {}}, {"name": "w", "emptyDir": {}}]
        patch = {"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/p"}}]}
        assert patched({"volumes": volumes}, patch) == {
            "volumes": [{"name": "v", "hostPath": {"path": "/p"}}, {"name": "w", "emptyDir": {}}]
        }

    def test_lists_of_scalars(self) -> None:
        obj = {"metadata": {"finalizers": ["a", "b"]}}

        def merged(patch: dict[str, Any]) -> Any:
            return strategic_merge_patch(obj, {"metadata": patch}, SCHEMA, COMPONENTS)["metadata"]["finalizers"]

        assert sorted(merged({"finalizers": ["b", "c"]})) == ["a", "b", "c"]
        assert merged({"$deleteFromPrimitiveList/finalizers": ["a", "z"]}) == ["b"]
        assert merged(
            {
                "$deleteFromPrimitiveList/finalizers": ["a"],
                "$setElementOrder/finalizers": ["c", "b"],
                "finalizers": ["c"],
            }
        ) == ["c", "b"]

    def test_set_element_order(self) -> None:
        c = {"name": "c"}
        patch = {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}
        assert patched({"containers": [self.A, self.B]}, patch) == {"containers": [self.B, self.A]}
        patch = {
            "$setElementOrder/containers": [{"name": "n"}, {"name": "b"}, {"name": "a"}],
            "containers": [{"name": "n"}, {"name": "a", "image": "2"}],
        }
        names = [x["name"] for x in patched({"containers": [self.A, c, self.B]}, patch)["containers"]]
        assert [name for name in names if name != "c"] == ["n", "b", "a"]
        assert "c" in names, "elements of others stay"
        assert patched({}, {"$setElementOrder/containers": [{"name": "a"}], "containers": [self.A]}) == {
            "containers": [self.A]
        }
        assert patched({"replicas": 1}, {"$setElementOrder/containers": [{"name": "a"}]}) == {"replicas": 1}

    def test_order_of_what_others_added(self) -> None:
        """The live order decides where an element goes that the patch does not know."""
        live = [{"name": name} for name in ("first", "a", "mid", "b", "last")]
        patch = {
            "$setElementOrder/containers": [{"name": "a"}, {"name": "b"}],
            "containers": [{"name": "b", "image": "2"}],
        }
        assert [x["name"] for x in patched({"containers": live}, patch)["containers"]] == [
            "first", "a", "mid", "b", "last",
        ]  # fmt: skip

    def test_maps_of_objects(self) -> None:
        patch = {"pools": {"p": {"env": [{"name": "F", "value": "2"}]}, "q": {"name": "q"}}}
        assert patched({"pools": {"p": self.A}}, patch) == {
            "pools": {
                "p": {**self.A, "env": [{"name": "F", "value": "2"}, {"name": "E", "value": "1"}]},
                "q": {"name": "q"},
            }
        }

    def test_lists_without_a_key_are_replaced(self) -> None:
        assert patched({"tolerations": [{"key": "a"}]}, {"tolerations": [{"key": "b"}]}) == {
            "tolerations": [{"key": "b"}]
        }

    def test_the_schema_may_be_a_reference(self) -> None:
        components = {**COMPONENTS, "Whole": SCHEMA}
        obj, patch = {"spec": {"containers": [self.A]}}, {"spec": {"containers": [{"name": "new"}]}}
        expected = strategic_merge_patch(obj, patch, SCHEMA, COMPONENTS)
        assert len(expected["spec"]["containers"]) == 2
        assert strategic_merge_patch(obj, patch, {"$ref": "#/components/schemas/Whole"}, components) == expected

    def test_unknown_fields_merge_as_in_a_merge_patch(self) -> None:
        obj, patch = {"q": {"l": [1], "m": {"a": 1, "b": 2}}}, {"q": {"l": [2], "m": {"a": None, "c": 3}}}
        assert strategic_merge_patch(obj, patch, None, {}) == {"q": {"l": [2], "m": {"b": 2, "c": 3}}}
        assert patched(obj, patch) == {"q": {"l": [2], "m": {"b": 2, "c": 3}}}

    def test_other_types_replace(self) -> None:
        assert patched({"containers": "text"}, {"containers": [self.A]}) == {"containers": [self.A]}
        assert patched({"strategy": {"type": "x"}}, {"strategy": 1}) == {"strategy": 1}

    @pytest.mark.parametrize(
        ("patch", "problem"),
        [
            ({"containers": [{"image": "2"}]}, "does not contain declared merge key: name"),
            ({"containers": [{"$patch": "delete"}]}, "does not contain declared merge key: name"),
            ({"containers": [{"$patch": "merge", "name": "a"}]}, "merging lists cannot yet be specified"),
            ({"containers": [{"$patch": "nope", "name": "a"}]}, "unknown patch type: nope"),
            ({"containers": [{"name": "a"}, "text"]}, "must all be objects or all be scalars"),
            ({"strategy": {"$patch": "nope"}}, "unknown patch type: nope"),
            ({"strategy": {"$retainKeys": ["type"], "rollingUpdate": {}}}, "invalid patch format of retainKeys"),
            ({"strategy": {"$retainKeys": "type"}}, "invalid patch format of retainKeys"),
            ({"$setElementOrder/containers": "x"}, "invalid patch format of setElementOrder list"),
            (
                {"$setElementOrder/containers": [{"name": "b"}], "containers": [{"name": "a"}]},
                "doesn't match $setElementOrder list",
            ),
            ({"$deleteFromPrimitiveList/containers": 1}, "invalid patch format of primitive list"),
        ],
    )
    def test_malformed(self, patch: dict[str, Any], problem: str) -> None:
        with pytest.raises(BadRequest) as caught:
            patched({"containers": [self.A, self.B], "strategy": {"type": "x"}}, patch)
        assert problem in caught.value.message

    @pytest.mark.parametrize("patch", [None, [], "x"])
    def test_not_an_object(self, patch: Any) -> None:
        with pytest.raises(BadRequest):
            strategic_merge_patch({}, patch, SCHEMA, COMPONENTS)

    @given(_objects, _objects)
    def test_without_schema_it_is_a_merge_patch(self, obj: Any, patch: Any) -> None:
        def plain(value: Any) -> Any:
            """Nulls in lists and in new objects go in a strategic merge patch."""
            if isinstance(value, dict):
                return {key: plain(item) for key, item in value.items() if item is not None}
            return [plain(item) for item in value] if isinstance(value, list) else value

        assert plain(strategic_merge_patch(obj, patch, None, {})) == plain(merge_patch(obj, patch))

    @given(
        st.lists(st.sampled_from("abcd"), unique=True),
        st.lists(st.sampled_from("abcdef"), unique=True),
        st.lists(st.sampled_from("abcdef"), unique=True),
    )
    def test_orders(self, live: list[str], order: list[str], subset: list[str]) -> None:
        """The result holds the live elements and the patch's; those of the order list are in its order."""
        patch = [{"name": name, "image": "new"} for name in order if name in subset]
        result = patched(
            {"containers": [{"name": name} for name in live]},
            {"$setElementOrder/containers": [{"name": name} for name in order], "containers": patch},
        )["containers"]
        names = [item["name"] for item in result]
        assert set(names) == set(live) | {item["name"] for item in patch}
        assert [name for name in names if name in order] == [name for name in order if name in names]
        assert [name for name in names if name not in order] == [name for name in live if name not in order]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2) | st.sampled_from(["", "a", "b/c", "~"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b/c", "~", "d"]), inner),
    max_leaves=10,
)
_OBJECTS = st.dictionaries(st.sampled_from(["a", "b/c", "~", "d"]), _JSON)


@settings(max_examples=200)
@given(_OBJECTS, _OBJECTS)
def test_a_difference_makes_one_of_the_other(old: dict[str, Any], new: dict[str, Any]) -> None:
    operations = difference(old, new)
    made = json_patch(old, operations) if operations else old
    assert json.dumps(made, sort_keys=True) == json.dumps(new, sort_keys=True)
    assert difference(new, new) == []
