"""Several versions of one stored object: shown by a pure function, or by a webhook."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

import pytest
from api_testing import Caller, Clock, make_server, with_default_namespace

from homeport.kube.core.types.meta import ObjectMeta
from homeport.kube.kind import Conversion, Kind, Resource
from homeport.kube.meta import Object
from homeport.kube.schema.fields import Model, doc
from homeport.store.memory import MemoryStore


class Base(Model, frozen=True):
    __schema_prefix__ = "com.example.scales.v2."


class OldScale(Base, frozen=True):
    """A scale with a plain number."""

    metadata: Annotated[ObjectMeta | None, doc("Metadata.")] = None
    grams: Annotated[int | None, doc("The weight.")] = None


class NewScale(Base, frozen=True):
    """A scale with a text."""

    metadata: Annotated[ObjectMeta | None, doc("Metadata.")] = None
    weight: Annotated[str | None, doc("The weight.")] = None


NEW = Resource("new.example.com", "v2", "scales", "NewScale")
OLD = Resource("old.example.com", "v1", "scales", "OldScale")


def to_old(obj: Object) -> Object:
    rest = {key: value for key, value in obj.items() if key != "weight"}
    return {**rest, "grams": int(obj["weight"].removesuffix("g"))}


def to_new(obj: Object) -> Object:
    rest = {key: value for key, value in obj.items() if key != "grams"}
    return {**rest, "weight": f"{obj['grams']}g"}


KINDS = (
    Kind(OLD, OldScale, subresources=frozenset(), builtin=True, conversion=Conversion(NEW, to_old, to_new)),
    Kind(NEW, NewScale, subresources=frozenset(), builtin=True),
)
OLD_PATH, NEW_PATH = OLD.path("default"), NEW.path("default")


@pytest.fixture
async def api(clock: Clock) -> AsyncIterator[Caller]:
    store = MemoryStore()
    server = make_server(store, clock, KINDS)
    yield await with_default_namespace(Caller(server, store, clock))
    await server.close()
    await store.close()


def old(name: str, grams: int, **metadata: Any) -> Object:
    return {
        "apiVersion": "old.example.com/v1",
        "kind": "OldScale",
        "metadata": {"name": name, **metadata},
        "grams": grams,
    }


async def test_one_object_is_there_in_both_versions(api: Caller) -> None:
    made = (await api.post(OLD_PATH, old("a", 3))).ok(201)
    assert (made["apiVersion"], made["kind"], made["grams"]) == ("old.example.com/v1", "OldScale", 3)
    new = (await api.get(f"{NEW_PATH}/a")).ok()
    assert (new["apiVersion"], new["kind"], new["weight"]) == ("new.example.com/v2", "NewScale", "3g")
    assert new["metadata"]["uid"] == made["metadata"]["uid"]
    (await api.post(NEW_PATH, {**new, "metadata": {"name": "a"}})).error(409, "AlreadyExists")
    (await api.put(f"{NEW_PATH}/a", {**new, "weight": "5g"})).ok()
    listed = (await api.get(OLD_PATH)).ok()
    assert listed["kind"] == "OldScaleList"
    assert [(item["kind"], item["grams"]) for item in listed["items"]] == [("OldScale", 5)]
    (await api.patch(f"{OLD_PATH}/a", {"grams": 7})).ok()
    assert (await api.get(f"{NEW_PATH}/a")).ok()["weight"] == "7g"
    applied = await api.patch(f"{OLD_PATH}/a?fieldManager=me&force=true", old("a", 8), "apply")
    assert applied.ok()["grams"] == 8
    (await api.delete(f"{OLD_PATH}/a")).ok()
    (await api.get(f"{NEW_PATH}/a")).error(404, "NotFound")


async def test_watches_and_partial_metadata_are_in_the_asked_version(api: Caller) -> None:
    async with api.watch(f"{OLD_PATH}?watch=true") as olds, api.watch(f"{NEW_PATH}?watch=true") as news:
        (await api.post(OLD_PATH, old("a", 3, labels={"x": "y"}))).ok(201)
        assert (await olds.next())["object"]["grams"] == 3
        assert (await news.next())["object"]["weight"] == "3g"
    accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
    (item,) = (await api.get(OLD_PATH, accept=accept)).ok()["items"]
    assert item["metadata"]["labels"] == {"x": "y"}
    (found,) = (await api.get(f"{OLD_PATH}?fieldSelector=metadata.name=a")).ok()["items"]
    assert found["grams"] == 3
