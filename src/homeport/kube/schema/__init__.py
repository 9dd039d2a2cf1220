"""Schemas: one struct gives the OpenAPI document, defaults, pruning, validation and the CustomResourceDefinition.

* :mod:`~homeport.kube.schema.fields`: what a struct's fields are written with;
* :mod:`~homeport.kube.schema.struct`: structs to OpenAPI v3 schemas;
* :mod:`~homeport.kube.schema.compiled`: a schema, made ready to default, prune, validate and normalise objects;
* :mod:`~homeport.kube.schema.rules`: a CustomResourceDefinition's rules in the Common Expression Language;
* :mod:`~homeport.kube.schema.crd`: a kind as a CustomResourceDefinition for a real cluster.

A schema is a plain dict in OpenAPI v3 (``$ref`` is ``#/components/schemas/<name>``), and so is the structural schema of
a user's CustomResourceDefinition: both take the same path.
"""

from __future__ import annotations

from typing import Any, TypeAlias

JsonSchema: TypeAlias = dict[str, Any]
"""An OpenAPI v3 schema object as plain JSON."""

REF_PREFIX = "#/components/schemas/"

RULES = "x-kubernetes-validations"
"""The key of a schema's rules in the Common Expression Language (:mod:`homeport.kube.schema.rules`)."""


class Laborious(Exception):
    """Judging an object takes longer than others should wait: it is to be done where nobody waits."""


def has_rules(schema: JsonSchema) -> bool:
    """Whether a structural schema has rules anywhere in it. Most have none, and need not wait for their compiler."""
    if schema.get(RULES):
        return True
    inner: list[Any] = [schema.get("items"), schema.get("additionalProperties"), *(schema.get("allOf") or ())]
    inner += (schema.get("properties") or {}).values()
    return any(isinstance(part, dict) and has_rules(part) for part in inner)
