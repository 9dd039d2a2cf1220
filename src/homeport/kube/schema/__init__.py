"""Schemas: one struct gives the OpenAPI document, defaults, pruning, validation and the CustomResourceDefinition.

* :mod:`~homeport.kube.schema.fields`: what a struct's fields are written with;
* :mod:`~homeport.kube.schema.struct`: structs to OpenAPI v3 schemas;
* :mod:`~homeport.kube.schema.compiled`: a schema, made ready to default, prune, validate and normalise objects;
* :mod:`~homeport.kube.schema.crd`: a kind as a CustomResourceDefinition for a real cluster.

A schema is a plain dict in OpenAPI v3 (``$ref`` is ``#/components/schemas/<name>``), and so is the structural schema of
a user's CustomResourceDefinition: both take the same path.
"""

from __future__ import annotations

from typing import Any, TypeAlias

JsonSchema: TypeAlias = dict[str, Any]
"""An OpenAPI v3 schema object as plain JSON."""

REF_PREFIX = "#/components/schemas/"
