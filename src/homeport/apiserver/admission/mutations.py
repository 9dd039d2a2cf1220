"""What MutatingAdmissionPolicies say, and what they make of an object. Pure.

Upstream: ``apiserver/pkg/admission/plugin/policy/mutating``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from homeport.apiserver.admission import expressions
from homeport.apiserver.admission.policies import COST_LIMIT, Policy, common, known_to
from homeport.apiserver.resources import Served
from homeport.kube import apply as merging
from homeport.kube.cel import EvaluationError, Program
from homeport.kube.errors import ApiError
from homeport.kube.meta import Object, spec
from homeport.kube.patch import json_patch

_FIXED = ("apiVersion", "kind")
_FIXED_METADATA = ("name", "namespace", "generateName", "uid", "resourceVersion", "creationTimestamp", "managedFields")
"""What no configuration may set."""


class MutationError(Exception):
    """A mutation that can't be made; the policy's failurePolicy says what follows."""


@dataclass(frozen=True, slots=True, eq=False)
class MutatingPolicy(Policy):
    mutations: tuple[tuple[str, Program], ...]
    """``JSONPatch`` or ``ApplyConfiguration``, and the expression."""
    again: bool
    """Whether it is asked again after others changed the object."""


def mutating_policies(obj: Object) -> tuple[MutatingPolicy, ...]:
    """The policy of a MutatingAdmissionPolicy. Raises CelError, and BadRequest for a malformed selector."""
    body = spec(obj)
    params = bool(body.get("paramKind"))
    mutations = tuple((kind, expressions.compiled(text, params=params, policy=True)) for kind, text in _written(body))
    return (MutatingPolicy(**common(obj), mutations=mutations, again=body.get("reinvocationPolicy") == "IfNeeded"),)


def _written(body: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for mutation in body.get("mutations") or ():
        kind = str(mutation.get("patchType"))
        field = "jsonPatch" if kind == "JSONPatch" else "applyConfiguration"
        yield kind, str((mutation.get(field) or {}).get("expression") or "")


def mutated(
    scene: Mapping[str, Any],
    budgets: expressions.Budgets,
    policy: MutatingPolicy,
    served: Served,
    params: Object | None,
    namespace: Object | None,
    now: datetime,
    chooses: expressions.Chooses,
) -> Object:
    """The object of `scene`, of the version `served`, after all mutations of `policy`; itself if the policy's
    conditions do not choose it, which `chooses` finds out. Raises MutationError, and TakesLong if `budgets` do."""
    budget = budgets(COST_LIMIT)
    obj: Object = scene["object"]
    known = known_to(policy, scene, params, namespace, budget)
    try:
        if not chooses(known, budgets, policy.conditions):
            return obj
    except expressions.Undecided as error:
        raise MutationError(str(error)) from error
    for kind, program in policy.mutations:
        # Each mutation, and the variables, see what the one before made.
        known = known_to(policy, {**scene, "object": obj}, params, namespace, budget)
        try:
            value = program.evaluate(known, budget)
        except EvaluationError as error:
            raise MutationError(f"expression '{program.text.strip()}' resulted in error: {error}") from error
        try:
            obj = _patched(obj, value) if kind == "JSONPatch" else _applied(served, obj, value, now)
        except ApiError as error:
            raise MutationError(error.message) from error
    return obj


def _patched(obj: Object, value: Any) -> Object:
    operations = _plain(value)
    if not isinstance(operations, list):
        raise MutationError("a JSON patch has to be a list of JSONPatch")
    return json_patch(obj, operations)


def _applied(served: Served, obj: Object, value: Any, now: datetime) -> Object:
    """`obj` with a configuration applied to it, as server-side apply would; nobody becomes the manager of it."""
    config = _plain(value)
    if not isinstance(config, dict):
        raise MutationError("a configuration has to be an Object")
    metadata = config.get("metadata", {})
    if not isinstance(metadata, dict):
        raise MutationError("metadata of a configuration has to be an Object.metadata")
    fixed = [key for key in _FIXED if key in config] + [f"metadata.{key}" for key in _FIXED_METADATA if key in metadata]
    if fixed:
        raise MutationError(f"a configuration may not set {', '.join(fixed)}")
    root, components = served.definition.parts
    before = obj["metadata"]
    identity = {key: before[key] for key in ("name", "namespace") if key in before}
    applied = {"apiVersion": obj["apiVersion"], "kind": obj["kind"], **config, "metadata": {**metadata, **identity}}
    live = {**obj, "metadata": {key: before[key] for key in before if key != "managedFields"}}
    result = merging.apply(live, applied, "admission", True, root, components, now)
    merged = {key: value for key, value in result["metadata"].items() if key != "managedFields"}
    if "managedFields" in before:
        merged["managedFields"] = before["managedFields"]
    return {**result, "metadata": merged}


def _plain(value: Any) -> Any:
    """A value of CEL as JSON. Raises MutationError for what JSON does not have."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise MutationError("the keys of an object have to be strings")
        return {key: _plain(value[key]) for key in value}
    raise MutationError(f"a value of type {type(value).__name__} can't be part of an object")
