"""Aggregated cluster roles follow what their selectors choose (upstream: the tests of ``clusterroleaggregation``)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

import support
from homeport.components.system.clusterroles import ClusterRoleAggregation
from homeport.control.informer import Informers
from homeport.kube import core
from homeport.kube.core.rbac import aggregated_rules
from homeport.kube.meta import Object

ROLES = core.CLUSTER_ROLE.resource


def rule(verb: str) -> Object:
    return {"verbs": [verb], "apiGroups": [""], "resources": ["pods"]}


def role(name: str, *verbs: str, **labels: str) -> Object:
    return core.CLUSTER_ROLE.new(name, metadata={"labels": labels}, rules=[rule(verb) for verb in verbs])


def combined(name: str, *selectors: dict[str, str], verbs: tuple[str, ...] = (), **labels: str) -> Object:
    chosen = [{"matchLabels": selector} for selector in selectors]
    return {**role(name, *verbs, **labels), "aggregationRule": {"clusterRoleSelectors": chosen}}


@pytest.mark.parametrize(
    ("others", "selectors", "verbs"),
    [
        ([], [{"a": "b"}], ""),
        ([role("hammer", "hammer", a="b")], [{"a": "b"}], "hammer"),
        ([role("two", "x", a="b"), role("one", "y", "x", a="b")], [{"a": "b"}], "y x"),
        ([role("chisel", "chisel", c="d"), role("hammer", "hammer", a="b")], [{"c": "d"}, {"a": "b"}], "chisel hammer"),
        ([role("hammer", "hammer", a="no")], [{"a": "b"}], ""),
        ([combined("self", {"a": "b"}, verbs=("own",), a="b")], [{"a": "b"}], ""),
    ],
)
def test_what_is_gathered(others: list[Object], selectors: list[dict[str, str]], verbs: str) -> None:
    assert aggregated_rules(combined("self", *selectors), others) == [rule(verb) for verb in verbs.split()]


def test_a_plain_role_gathers_nothing() -> None:
    assert aggregated_rules(role("plain", "get"), [role("other", "get")]) is None


@asynccontextmanager
async def aggregating(world: support.World) -> AsyncIterator[None]:
    informers = Informers(world.client)
    controller = ClusterRoleAggregation(world.client, informers)
    async with support.running(informers.run(), controller.run()):
        await controller.ready.wait()
        yield


async def test_roles_come_and_go(world: support.World) -> None:
    async def has(name: str, *verbs: str) -> None:
        async def right() -> bool:
            found = await world.client.get(ROLES, name)
            return [item["verbs"] for item in found.get("rules") or ()] == [[verb] for verb in verbs]

        await world.eventually(right)

    create = world.client.create
    await create(ROLES, role("before", "get", to="inner"))
    async with aggregating(world):
        await create(ROLES, combined("outer", {"to": "outer"}, verbs=("lost",)))
        await create(ROLES, combined("inner", {"to": "inner"}, to="outer"))
        await has("inner", "get")
        await has("outer", "get")
        await create(ROLES, role("addon", "list", to="inner"))
        await has("outer", "list", "get")

        def unlabelled(obj: Any) -> None:
            obj["metadata"]["labels"] = {}

        await world.update(ROLES, "before", "", unlabelled)
        await has("outer", "list")
        await world.client.delete(ROLES, "addon")
        await has("outer")
        revision = world.store.revision
        await create(ROLES, role("unrelated", "get"))
        await create(ROLES, role("unrelated-2", "get"))
        assert world.store.revision == revision + 2
        managers = (await world.client.get(ROLES, "outer"))["metadata"]["managedFields"]
        assert ("clusterrole-aggregation-controller", "Apply") in [(m["manager"], m["operation"]) for m in managers]
