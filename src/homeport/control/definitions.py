"""Kinds as CustomResourceDefinitions of a cluster: what ``kubectl get crds`` shows and ``kubectl wait`` waits for.

Our own API server serves its kinds from their declarations and keeps the definitions for its clients' sake only; on
a cluster they are what makes the kinds known.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence

import msgspec

from homeport.client.client import Client
from homeport.kube import core, meta
from homeport.kube.errors import NotFound
from homeport.kube.kind import Kind
from homeport.kube.meta import Object
from homeport.kube.schema import crd
from homeport.kube.schema.struct import components

DIGEST = "homeport.dev/definition"
"""Annotation: what the definition was made from, so that an unchanged one is left alone."""


def manifests(kinds: Sequence[Kind]) -> list[Object]:
    """The definitions of all kinds that are not built in, each with its digest. Takes some 0.1 s for the first."""
    wanted = [kind for kind in kinds if not kind.builtin]
    schemas = components(wanted)
    found = []
    for kind in wanted:
        manifest = crd.manifest(kind, schemas)
        digest = hashlib.sha256(msgspec.json.encode(manifest)).hexdigest()[:16]
        annotations = {**meta.annotations(manifest), DIGEST: digest}
        found.append({**manifest, "metadata": {**manifest["metadata"], "annotations": annotations}})
    return found


async def install(client: Client, kinds: Sequence[Kind]) -> None:
    """Create the definitions that are missing and replace those that differ. Definitions of others are left alone."""
    for manifest in await asyncio.to_thread(manifests, kinds):
        try:
            old = await client.get(core.CRD.resource, meta.name(manifest))
        except NotFound:
            await client.create(core.CRD.resource, manifest)
            continue
        if meta.annotations(old).get(DIGEST) not in (None, meta.annotations(manifest)[DIGEST]):
            revision = {"resourceVersion": meta.resource_version(old)}
            await client.replace(core.CRD.resource, {**manifest, "metadata": {**manifest["metadata"], **revision}})
