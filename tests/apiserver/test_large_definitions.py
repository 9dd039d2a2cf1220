"""Definitions of a megabyte: others are served while one is worked on, and what stays the same is not done twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

from api_testing import Caller

BASE = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
OBJECTS = "/apis/large.example.com/v1/namespaces/default/hulks"


def large(fields: int = 2500) -> dict[str, Any]:
    """A definition with thousands of described fields and some rules."""
    text = "What the field is for, at some length, as generated definitions have it for each of their many fields. " * 2
    leaf: dict[str, Any] = {"type": "string", "description": text, "maxLength": 63}
    groups = {
        f"group{index}": {
            "type": "object",
            "properties": {f"field{number}": leaf for number in range(50)},
            "x-kubernetes-validations": [{"rule": "!has(self.field1) || self.field1 != 'x'"}],
        }
        for index in range(fields // 50)
    }
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": groups}}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "hulks.large.example.com"},
        "spec": {
            "group": "large.example.com",
            "scope": "Namespaced",
            "names": {"plural": "hulks", "kind": "Hulk", "singular": "hulk", "listKind": "HulkList"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }


def hulk(name: str, **group: str) -> dict[str, Any]:
    return {
        "apiVersion": "large.example.com/v1",
        "kind": "Hulk",
        "metadata": {"name": name},
        "spec": {"group0": group},
    }


class _Turns:
    """Counts how often others get their turn."""

    count = 0

    async def tick(self) -> None:
        while True:
            self.count += 1
            await asyncio.sleep(0)

    async def during(self, work: Awaitable[Any]) -> tuple[Any, int]:
        before = self.count
        result = await work
        return result, self.count - before


@asynccontextmanager
async def counting() -> AsyncIterator[_Turns]:
    turns = _Turns()
    task = asyncio.create_task(turns.tick())
    yield turns
    task.cancel()


async def test_others_are_served_while_a_large_definition_is_worked_on(api: Caller) -> None:
    async with counting() as turns:
        created, during = await turns.during(api.post(BASE, large()))
        created.ok(201)
        assert during > 20
        # The definition is served when its write is answered.
        first, during = await turns.during(api.post(OBJECTS, hulk("a", field1="y")))
        first.ok(201)
        assert during > 5
        applied, during = await turns.during(
            api.patch(f"{BASE}/hulks.large.example.com?fieldManager=me&force=true", large(2600), "apply")
        )
        applied.ok()
        assert during > 20
        refused = await api.post(OBJECTS, hulk("b", field1="x"))
        refused.error(422, "Invalid", "spec.group0", "failed rule")


async def test_a_schema_that_stays_the_same_is_compiled_once(api: Caller) -> None:
    (await api.post(BASE, large(100))).ok(201)
    (await api.post(OBJECTS, hulk("a"))).ok(201)
    served = api.server._api.registry.find("large.example.com", "v1", "hulks")
    assert served is not None
    (await api.patch(f"{BASE}/hulks.large.example.com", {"metadata": {"labels": {"a": "b"}}})).ok()
    again = api.server._api.registry.find("large.example.com", "v1", "hulks")
    assert again is not None
    assert again.definition is served.definition
    assert again.changed_at == served.changed_at
    (await api.put(f"{OBJECTS}/a", (await api.get(f"{OBJECTS}/a")).json)).ok()


async def test_a_write_to_a_large_definition_that_somebody_else_was_faster_with(api: Caller) -> None:
    (await api.post(BASE, large())).ok(201)
    path = f"{BASE}/hulks.large.example.com"
    answers = await asyncio.gather(
        *(api.patch(path, {"metadata": {"labels": {name: "yes"}}}) for name in ("first", "second", "third"))
    )
    assert {answer.status for answer in answers} == {200}
    labels = (await api.get(path)).ok()["metadata"]["labels"]
    assert labels == {"first": "yes", "second": "yes", "third": "yes"}


async def test_rules_that_take_long_hold_up_nobody(api: Caller) -> None:
    definition = large(50)
    numbers = {"type": "array", "maxItems": 400, "items": {"type": "integer"}}
    rule = {"rule": "self.all(a, self.all(b, a + b >= 0))", "message": "must not be negative"}
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    schema["properties"]["numbers"] = numbers | {"x-kubernetes-validations": [rule]}
    (await api.post(BASE, definition)).ok(201)
    (await api.post(OBJECTS, hulk("small") | {"numbers": [1]})).ok(201)
    async with counting() as turns:
        answer, during = await turns.during(api.post(OBJECTS, hulk("a") | {"numbers": [1] * 400}))
        answer.ok(201)
        assert during > 5
        answer, during = await turns.during(api.post(OBJECTS, hulk("b") | {"numbers": [0] * 399 + [-1]}))
        answer.error(422, "Invalid", "must not be negative")
        answer, during = await turns.during(api.patch(f"{OBJECTS}/small", {"numbers": [1] * 400}))
        answer.ok()
        assert during > 5
