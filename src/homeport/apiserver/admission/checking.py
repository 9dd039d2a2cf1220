"""Whether the CEL of webhook configurations and admission policies compiles. Pure.

Upstream: ``pkg/apis/admissionregistration/validation``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from homeport.apiserver.admission.matching import GROUP
from homeport.apiserver.resources import Registry, Served
from homeport.kube import field
from homeport.kube.errors import FieldError
from homeport.kube.meta import Object, dicts, metadata, spec, status

_VALIDATING_POLICIES = f"{GROUP}/validatingadmissionpolicies"


class Written(NamedTuple):
    """An expression in an object."""

    path: str
    text: str
    result: str
    """``bool``, ``string`` or empty for any type."""
    variable: str = ""
    """The name of what it defines."""


def in_webhooks(obj: Object) -> Iterator[Written]:
    for index, webhook in enumerate(dicts(obj.get("webhooks"))):
        yield from _conditions(f"webhooks[{index}]", webhook)


def in_policy(obj: Object) -> Iterator[Written]:
    body = spec(obj)
    for index, variable in enumerate(dicts(body.get("variables"))):
        name = str(variable.get("name"))
        yield Written(f"spec.variables[{index}].expression", str(variable.get("expression") or ""), "", name)
    yield from _conditions("spec", body)
    for index, validation in enumerate(dicts(body.get("validations"))):
        at = f"spec.validations[{index}]"
        yield Written(f"{at}.expression", str(validation.get("expression") or ""), "bool")
        if validation.get("messageExpression"):
            yield Written(f"{at}.messageExpression", str(validation["messageExpression"]), "string")
    for index, mutation in enumerate(dicts(body.get("mutations"))):
        for field_ in ("jsonPatch", "applyConfiguration"):
            for change in dicts([mutation.get(field_)]):
                yield Written(f"spec.mutations[{index}].{field_}.expression", str(change.get("expression") or ""), "")
    for index, annotation in enumerate(dicts(body.get("auditAnnotations"))):
        text = str(annotation.get("valueExpression") or "")
        yield Written(f"spec.auditAnnotations[{index}].valueExpression", text, "")


def _conditions(at: str, body: Mapping[str, Any]) -> Iterator[Written]:
    for index, condition in enumerate(dicts(body.get("matchConditions"))):
        yield Written(f"{at}.matchConditions[{index}].expression", str(condition.get("expression") or ""), "bool")


def errors(found: Iterable[Written], *, params: bool, policy: bool) -> Iterator[FieldError]:
    """What does not compile."""
    from homeport.apiserver.admission import expressions
    from homeport.kube.cel import BOOL, STRING, CelError

    types = {"bool": BOOL, "string": STRING}
    for written in found:
        if not written.text.strip():
            continue  # the kind's own rules say that it is required
        try:
            expressions.compiled(written.text, types.get(written.result), params=params, policy=policy)
        except CelError as error:
            yield field.invalid(written.path, written.text, f"compilation failed: {error}")


def _check(find: Callable[[Object], Iterable[Written]], policy: bool) -> Callable[[Object, Object | None], Any]:
    def check(new: Object, old: Object | None) -> Iterator[FieldError]:
        # What is stored stays valid, whatever this release thinks of it.
        before = {written.text for written in find(old)} if old is not None else set()
        fresh = [written for written in find(new) if written.text not in before]
        if fresh:
            yield from errors(fresh, params=bool(spec(new).get("paramKind")), policy=policy)

    return check


def serve(registry: Registry) -> None:
    """Give the kinds that hold CEL this check beside their own rules."""
    for plural, find, policy in (
        ("mutatingwebhookconfigurations", in_webhooks, False),
        ("validatingwebhookconfigurations", in_webhooks, False),
        ("validatingadmissionpolicies", in_policy, True),
        ("mutatingadmissionpolicies", in_policy, True),
    ):
        versions = [served for served in registry if served.key == f"{GROUP}/{plural}"]
        registry.replace(GROUP, plural, [_with(served, _check(find, policy), registry) for served in versions])


def _checked(registry: Registry) -> Callable[[Object, Object | None], Object]:
    def checked(new: Object, old: Object | None) -> Object:
        """A valid policy with a status that says whether it fits the types that it is about; clients wait for it."""
        if old is not None and spec(old) == spec(new):
            return new
        from homeport.apiserver.admission import typechecking

        generation = metadata(new).get("generation", 0)
        if old is not None:
            generation += 1  # it is counted once the object is complete
        warnings = typechecking.warnings(new, registry)
        types = {"expressionWarnings": warnings} if warnings else {}
        return {**new, "status": {**status(new), "observedGeneration": generation, "typeChecking": types}}

    return checked


def _with(served: Served, check: Callable[[Object, Object | None], Iterable[FieldError]], registry: Registry) -> Served:
    own = served.validate

    def validate(new: Object, old: Object | None) -> Iterable[FieldError]:
        return tuple(own(new, old)) or tuple(check(new, old))

    if served.key == _VALIDATING_POLICIES:
        return msgspec.structs.replace(served, validate=validate, finish=_checked(registry))
    return msgspec.structs.replace(served, validate=validate)
