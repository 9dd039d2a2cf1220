"""Definitions for the release of Kubernetes that a cluster runs: without the fields that it doesn't know yet.

A cluster refuses to apply a definition with such a field.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from homeport.client.client import Client
from homeport.kube.errors import HomeportError
from homeport.kube.meta import Object
from homeport.kube.schema import RULES, JsonSchema

OLDEST = 16
"""The first minor release with ``apiextensions.k8s.io/v1`` and server-side apply; 1.20 is the oldest that was tried."""
_RULES_SINCE = 25
"""When ``x-kubernetes-validations`` are on by default."""
_TEXT = re.compile(r"v?1\.(\d+)(\..*)?")


def minor(text: str) -> int:
    """1.27, v1.27.3 -> 27. Raises ValueError for something else, and for releases that are too old."""
    found = _TEXT.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a release of Kubernetes, such as 1.27")
    number = int(found[1])
    if number < OLDEST:
        raise ValueError(f"Kubernetes {text} is too old: definitions are for 1.{OLDEST} and newer")
    return number


async def of_cluster(client: Client) -> int | None:
    """The minor release of a cluster; None if it doesn't say: then it is taken for a new one."""
    try:
        said = msgspec.json.decode(await client.raw("GET", "/version"), type=dict[str, Any])
    except HomeportError:
        return None
    digits = re.match(r"\d+", str(said.get("minor", "")))  # some say 27+
    return int(digits[0]) if digits and said.get("major") == "1" else None


def suited(manifest: Object, release: int | None) -> Object:
    """A CustomResourceDefinition as a cluster of that minor release knows it; None: the newest."""
    if release is None or release >= _RULES_SINCE:
        return manifest
    versions = [
        {**version, "schema": {"openAPIV3Schema": _without_rules(version["schema"]["openAPIV3Schema"])}}
        for version in manifest["spec"]["versions"]
    ]
    return {**manifest, "spec": {**manifest["spec"], "versions": versions}}


def _without_rules(schema: JsonSchema) -> JsonSchema:
    """Without the rules of a structural schema at any depth. (Properties may have any name.)"""
    result = {key: value for key, value in schema.items() if key != RULES}
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            result[key] = _without_rules(schema[key])
    if "properties" in schema:
        result["properties"] = {name: _without_rules(part) for name, part in schema["properties"].items()}
    return result
