from __future__ import annotations

from typing import Any

import pytest

import support
from homeport.components.training import KINDS
from homeport.control import definitions
from homeport.kube import core, meta
from homeport.kube.meta import Object

CRDS = core.CRD.resource
TFJOBS = "tfjobs.kubeflow.org"


async def put(world: support.World, annotations: dict[str, Any]) -> Object:
    """The definition as somebody else, or an older version, has left it."""
    body = {"metadata": {"annotations": annotations, "labels": {"left": "over"}}}
    return await world.client.patch(CRDS, TFJOBS, "", body)


async def test_definitions_are_installed_once(world: support.World) -> None:
    await definitions.install(world.client, KINDS)
    made = await world.client.get(CRDS, TFJOBS)
    await definitions.install(world.client, KINDS)
    assert meta.resource_version(await world.client.get(CRDS, TFJOBS)) == meta.resource_version(made)


async def test_a_definition_of_an_older_version_is_brought_up_to_date(world: support.World) -> None:
    await definitions.install(world.client, KINDS)
    digest = meta.annotations(await world.client.get(CRDS, TFJOBS))[definitions.DIGEST]
    await put(world, {definitions.DIGEST: "older"})
    await definitions.install(world.client, KINDS)
    assert meta.annotations(await world.client.get(CRDS, TFJOBS))[definitions.DIGEST] == digest


async def test_a_definition_of_somebody_else_is_left_alone(world: support.World) -> None:
    await definitions.install(world.client, KINDS)
    theirs = await put(world, {definitions.DIGEST: None})
    await definitions.install(world.client, KINDS)
    assert await world.client.get(CRDS, TFJOBS) == theirs


async def test_what_this_program_has_made_is_not_made_again(
    world: support.World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await definitions.install(world.client, KINDS, maker=definitions.program())
    made = await world.client.get(CRDS, TFJOBS)
    assert meta.labels(made)[definitions.MAKER] == definitions.program()
    with monkeypatch.context() as patch:
        patch.setattr(definitions, "manifests", lambda kinds: pytest.fail("there is nothing to make"))
        await definitions.install(world.client, KINDS, maker=definitions.program())
        assert await world.client.get(CRDS, TFJOBS) == made
    await definitions.install(world.client, KINDS, maker="another")
    again = await world.client.get(CRDS, TFJOBS)
    assert (meta.labels(again)[definitions.MAKER], again["spec"]) == ("another", made["spec"])
    await world.client.patch(CRDS, TFJOBS, "", {"metadata": {"annotations": {definitions.DIGEST: None}}})
    await definitions.install(world.client, KINDS, maker=definitions.program())
    theirs = await world.client.get(CRDS, TFJOBS)
    assert meta.labels(theirs)[definitions.MAKER] == "another", "somebody else's is left alone"


async def test_versions_of_one_resource_are_one_definition(world: support.World) -> None:
    await definitions.install(world.client, KINDS)
    made = await world.client.get(CRDS, "mpijobs.kubeflow.org")
    versions = [(version["name"], version["storage"]) for version in made["spec"]["versions"]]
    assert versions == [("v1", True), ("v2beta1", False)]
    await definitions.install(world.client, KINDS)
    again = await world.client.get(CRDS, "mpijobs.kubeflow.org")
    assert meta.resource_version(again) == meta.resource_version(made)
