"""Kinds as CustomResourceDefinitions of a cluster: what ``kubectl get crds`` shows and ``kubectl wait`` waits for.

Our own API server serves its kinds from their declarations and keeps the definitions for its clients' sake only; on
a cluster they are what makes the kinds known.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

import homeport
from homeport.client.client import Client
from homeport.kube import core, meta
from homeport.kube.errors import NotFound
from homeport.kube.kind import Kind
from homeport.kube.meta import Object
from homeport.kube.schema import JsonSchema, crd
from homeport.kube.schema.struct import components

DIGEST = "homeport.dev/definition"
"""Annotation: what the definition was made from, so that an unchanged one is left alone."""
MAKER = "homeport.dev/made-by"
"""Label: which program made it."""


def manifests(kinds: Sequence[Kind]) -> Iterator[Object]:
    """The definitions of all kinds that are not built in, each with its digest, made one by one: a definition takes
    a megabyte while it is here, and the first some 0.1 s."""
    wanted = [kind for kind in kinds if not kind.builtin]
    schemas = components(wanted)
    by_name: dict[str, list[Kind]] = {}
    for kind in wanted:
        by_name.setdefault(kind.resource.qualified, []).append(kind)
    for versions in by_name.values():
        yield _with_digest(_manifest(versions, schemas))


def _manifest(versions: Sequence[Kind], schemas: Mapping[str, JsonSchema]) -> Object:
    """The definition of a resource."""
    found = [crd.manifest(kind, schemas) for kind in versions]
    for kind, manifest in zip(versions, found, strict=True):
        manifest["spec"]["versions"][0]["storage"] = kind.conversion is None or len(versions) == 1
    first = found[0]
    first["spec"]["versions"] = [version for manifest in found for version in manifest["spec"]["versions"]]
    return first


def _with_digest(manifest: Object) -> Object:
    digest = hashlib.sha256(msgspec.json.encode(manifest)).hexdigest()[:16]
    annotations = {**meta.annotations(manifest), DIGEST: digest}
    return {**manifest, "metadata": {**manifest["metadata"], "annotations": annotations}}


def _as_it_is(manifest: Object) -> Object:
    return manifest


def program() -> str:
    """Tells this program from others: definitions that the same one made need not be made again to be compared.

    What definitions are made from is all over the kinds' modules, so it goes by the files, as Python does that decides
    whether to compile one anew: by their sizes and times.
    """
    root = Path(homeport.__file__).parent
    digest = hashlib.sha256(f"{homeport.__version__} {msgspec.__version__} {sys.version}".encode())
    for directory in ("components", "control", "kube"):
        for place, _, names in sorted(os.walk(root / directory)):
            for name in sorted(names):
                if name.endswith(".py"):
                    found = os.stat(f"{place}/{name}")
                    digest.update(f"{place}/{name} {found.st_size} {found.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


async def install(
    client: Client, kinds: Sequence[Kind], suit: Callable[[Object], Object] = _as_it_is, *, maker: str = ""
) -> None:
    """Create the definitions that are missing and replace those that differ. Definitions of others are left alone.
    `suit`: what a definition has to look like for this cluster.

    With `maker` (see :func:`program`) they say who made them, and where all are of this maker, none is made: that takes
    half a second of the processor and some megabytes.
    """
    if maker and await _made_by(client, maker, kinds):
        return
    wanted = manifests(kinds)
    while (manifest := await asyncio.to_thread(next, wanted, None)) is not None:
        manifest = suit(manifest)
        if maker:
            manifest["metadata"]["labels"] = {**meta.labels(manifest), MAKER: maker}
        try:
            old = await client.get(core.CRD.resource, meta.name(manifest))
        except NotFound:
            await client.create(core.CRD.resource, manifest)
            continue
        before = meta.annotations(old).get(DIGEST)
        is_same = before == meta.annotations(manifest)[DIGEST] and (not maker or meta.labels(old).get(MAKER) == maker)
        if before is not None and not is_same:
            revision = {"resourceVersion": meta.resource_version(old)}
            await client.replace(core.CRD.resource, {**manifest, "metadata": {**manifest["metadata"], **revision}})


async def _made_by(client: Client, maker: str, kinds: Sequence[Kind]) -> bool:
    """Whether all of the kinds' definitions are there, from this maker."""
    theirs = await client.list(core.CRD.resource, labels=f"{MAKER}={maker}", metadata_only=True)
    return {meta.name(found) for found in theirs.items}.issuperset(
        kind.resource.qualified for kind in kinds if not kind.builtin
    )
