"""Whether the expressions of a policy fit the types that it is about: what the status of a policy says. Pure.

A policy applies to whatever its rules match, so a mistake here is a warning and no error. Imported only where a policy
is written. Upstream: ``apiserver/pkg/admission/plugin/policy/validating/typechecking.go``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from homeport.apiserver.admission import expressions
from homeport.apiserver.resources import Registry, Served
from homeport.kube.cel import DYN, CelError, Environment, Type
from homeport.kube.cel.schema import type_of_schema
from homeport.kube.cel.types import Field, ObjectType
from homeport.kube.meta import Object, dicts, spec
from homeport.kube.schema import JsonSchema

MAX_TYPES = 10
"""More types than these are not looked at; the first by their names are."""
_REFERENCE = "#/components/schemas/"
_NAMESPACE = ("", "v1", "namespaces")


def warnings(policy: Object, registry: Registry) -> list[Object]:
    """The ``expressionWarnings`` of a policy, whose expressions all compile while nothing is known of the types."""
    body = spec(policy)
    environments = [(_title(served), _environment(body, served, registry)) for served in _matched(body, registry)]
    found = []
    for index, validation in enumerate(dicts(body.get("validations"))):
        for name in ("expression", "messageExpression"):
            problems = list(_problems(validation.get(name), environments))
            if problems:
                found.append({"fieldRef": f"spec.validations[{index}].{name}", "warning": "\n".join(problems)})
    return found


def _problems(text: Any, environments: Iterable[tuple[str, Environment]]) -> Iterator[str]:
    if not text:
        return
    for title, environment in environments:
        try:
            environment.compile(text)
        except CelError as error:
            yield f"{title}: {error}"


def _title(served: Served) -> str:
    resource = served.resource
    return f"{resource.group}/{resource.version}, Kind={resource.kind}"


def _matched(body: Mapping[str, Any], registry: Registry) -> Sequence[Served]:
    """The types that the rules name: those behind a wildcard are not looked for."""
    found: dict[tuple[str, str, str], Served] = {}
    for rule in dicts((body.get("matchConstraints") or {}).get("resourceRules")):
        groups, versions = sorted(rule.get("apiGroups") or ()), sorted(rule.get("apiVersions") or ())
        if "*" in groups or "*" in versions:
            continue
        plurals = sorted(text for text in rule.get("resources") or () if "*" not in text and "/" not in text)
        for address in ((group, version, plural) for group in groups for version in versions for plural in plurals):
            served = registry.find(*address)
            if served is not None:
                found[served.group, served.resource.version, served.kind] = served
    return [found[title] for title in sorted(found)[:MAX_TYPES]]


def _environment(body: Mapping[str, Any], served: Served, registry: Registry) -> Environment:
    """What the policy's expressions know, if the object is of the type `served`."""
    about = _type_of(served)
    namespaces = registry.find(*_NAMESPACE)
    types = {**expressions.OF_POLICIES, "object": about, "oldObject": about}
    if namespaces is not None:
        types["namespaceObject"] = _type_of(namespaces)
    kind = body.get("paramKind")
    if kind:
        params = (
            it for it in registry if (it.resource.api_version, it.kind) == (kind.get("apiVersion"), kind.get("kind"))
        )
        types["params"] = next(map(_type_of, params), DYN)
    variables: dict[str, Field] = {}
    for variable in dicts(body.get("variables")):
        known = Environment({**types, "variables": ObjectType("object", fields=dict(variables))})
        try:
            result = known.compile(str(variable.get("expression"))).result
        except CelError:
            result = DYN
        variables[str(variable.get("name"))] = Field(result, str(variable.get("name")))
    return Environment({**types, "variables": ObjectType("object", fields=variables)})


def _type_of(served: Served) -> Type:
    """The type of whole objects, metadata included, as their published schema has it."""
    root, components = served.definition.parts
    schema = _expanded(root, components)
    metadata = {"$ref": f"{_REFERENCE}io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"}
    text = {"type": "string"}
    always = {"apiVersion": text, "kind": text, "metadata": _expanded(metadata, components)}
    return type_of_schema({**schema, "properties": {**(schema.get("properties") or {}), **always}}) or DYN


def _expanded(schema: JsonSchema, components: Mapping[str, JsonSchema]) -> JsonSchema:
    """The schema without references at its top; those below are followed where an expression looks."""
    while reference := _reference(schema):
        rest = {name: value for name, value in schema.items() if name not in ("$ref", "allOf")}
        schema = {**components[reference.removeprefix(_REFERENCE)], **rest}
    result = dict(schema)
    if any(choice.get("type") == "string" for choice in result.get("oneOf") or ()):
        result.setdefault("type", "string")  # quantities, which may be sent as numbers, too
    if isinstance(result.get("properties"), Mapping):
        result["properties"] = _Properties(result["properties"], components)
    for name in ("items", "additionalProperties"):
        if isinstance(result.get(name), Mapping):
            result[name] = _expanded(result[name], components)
    return result


def _reference(schema: JsonSchema) -> str:
    """What the schema is a reference to, perhaps with a description or a default of its own."""
    parts: Sequence[Any] = schema.get("allOf") or ()
    return str(schema.get("$ref") or (parts[0].get("$ref") if len(parts) == 1 else None) or "")


class _Properties(Mapping[str, Any]):
    """Properties, each expanded when it is asked for: a schema may hold itself."""

    def __init__(self, schemas: Mapping[str, JsonSchema], components: Mapping[str, JsonSchema]) -> None:
        self._schemas, self._components = schemas, components

    def __getitem__(self, name: str) -> JsonSchema:
        return _expanded(self._schemas[name], self._components)

    def __iter__(self) -> Iterator[str]:
        return iter(self._schemas)

    def __len__(self) -> int:
        return len(self._schemas)
