"""Rules of admission policies and their bindings (upstream: ``admissionregistration/validation``).

Whether the CEL expressions compile is checked by the API server, which evaluates them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from homeport.kube import field, meta, names
from homeport.kube.core import rules
from homeport.kube.core.webhook_validation import match_conditions, rule_with_operations
from homeport.kube.errors import FieldError
from homeport.kube.meta import Object

_REASONS = ("Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized")
_MAX_ANNOTATIONS = 20
_MAX_ANNOTATION_EXPRESSION = 5 * 1024
_EITHER = "validations or auditAnnotations must contain at least one item"
_IDENTIFIER = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*")
_RESERVED = frozenset({
    "true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import",
    "let", "loop", "package", "namespace", "return", "var", "void", "while",
})  # fmt: skip
"""Words that CEL keeps for itself."""
_EXCLUSIVE = "name and selector are mutually exclusive"


def validate_validating_policy(new: Object, old: Object | None) -> Iterator[FieldError]:
    spec = meta.spec(new)
    yield from _common(spec)
    validations, annotations = spec.get("validations") or (), spec.get("auditAnnotations") or ()
    if not validations and not annotations:
        yield field.required("spec.validations", _EITHER)
        yield field.required("spec.auditAnnotations", _EITHER)
    for index, validation in enumerate(validations):
        yield from _validation(f"spec.validations[{index}]", validation)
    if len(annotations) > _MAX_ANNOTATIONS:
        words = f"must not have more than {_MAX_ANNOTATIONS} auditAnnotations"
        yield field.invalid("spec.auditAnnotations", annotations, words)
    for index, annotation in enumerate(annotations):
        yield from _annotation(f"spec.auditAnnotations[{index}]", annotation, meta.name(new))
    yield from rules.distinct("spec.auditAnnotations", annotations, "key")


def validate_mutating_policy(new: Object, old: Object | None) -> Iterator[FieldError]:
    spec = meta.spec(new)
    yield from _common(spec)
    for index, rule in enumerate((spec.get("matchConstraints") or {}).get("resourceRules") or ()):
        for place, operation in enumerate(rule.get("operations") or ()):
            if operation == "DELETE":
                path = f"spec.matchConstraints.resourceRules[{index}].operations[{place}]"
                yield field.not_supported(path, operation, ("*", "CONNECT", "CREATE", "UPDATE"))
    if not spec.get("reinvocationPolicy"):
        yield field.required("spec.reinvocationPolicy")
    mutations = spec.get("mutations") or ()
    if not mutations:
        yield field.required("spec.mutations", "mutations must contain at least one item")
    for index, mutation in enumerate(mutations):
        yield from _mutation(f"spec.mutations[{index}]", mutation)


def _common(spec: Object) -> Iterator[FieldError]:
    """What both sorts of policy have."""
    if spec.get("paramKind"):
        yield from _param_kind("spec.paramKind", spec["paramKind"])
    constraints = spec.get("matchConstraints")
    if constraints is None:
        yield field.required("spec.matchConstraints")
    else:
        yield from _match_resources("spec.matchConstraints", constraints)
        if not constraints.get("resourceRules"):
            yield field.required("spec.matchConstraints.resourceRules")
    yield from match_conditions("spec.matchConditions", spec.get("matchConditions") or ())
    variables = spec.get("variables") or ()
    for index, variable in enumerate(variables):
        at, name = f"spec.variables[{index}]", variable.get("name", "")
        if not name.strip():
            yield field.required(f"{at}.name", "name is not specified")
        elif not _IDENTIFIER.fullmatch(name) or name in _RESERVED:
            yield field.invalid(f"{at}.name", name, "name is not a valid CEL identifier")
        if not variable.get("expression", "").strip():
            yield field.required(f"{at}.expression", "expression is not specified")
    yield from rules.distinct("spec.variables", variables)


def _param_kind(path: str, kind: Object) -> Iterator[FieldError]:
    version = kind.get("apiVersion") or ""
    if not version:
        yield field.required(f"{path}.apiVersion")
    elif version.count("/") > 1:
        yield field.invalid(f"{path}.apiVersion", version, f"unexpected GroupVersion string: {version}")
    else:
        group, _, number = version.rpartition("/")
        if group:
            yield from _joined(f"{path}.apiVersion", group, names.dns1123_subdomain(group))
        if not number:
            yield field.invalid(f"{path}.apiVersion", version, "version must be specified")
        else:
            yield from _joined(f"{path}.apiVersion", number, names.dns1035_label(number))
    name = kind.get("kind") or ""
    if not name:
        yield field.required(f"{path}.kind")
    else:
        words = "may have mixed case, but should otherwise match: "
        yield from _joined(f"{path}.kind", name, names.dns1035_label(name.lower()), words)


def _joined(path: str, value: str, messages: Sequence[str], words: str = "") -> Iterator[FieldError]:
    if messages:
        yield field.invalid(path, value, words + ",".join(messages))


def _match_resources(path: str, found: Object) -> Iterator[FieldError]:
    yield from rules.label_selector(f"{path}.namespaceSelector", found.get("namespaceSelector"))
    yield from rules.label_selector(f"{path}.objectSelector", found.get("objectSelector"))
    for name in ("resourceRules", "excludeResourceRules"):
        for index, rule in enumerate(found.get(name) or ()):
            at = f"{path}.{name}[{index}]"
            wanted = rule.get("resourceNames") or ()
            for place, resource_name in enumerate(wanted):
                yield from rules.checked(f"{at}.resourceNames[{place}]", resource_name, names.path_segment)
                if resource_name in wanted[:place]:
                    yield field.duplicate(f"{at}.resourceNames[{place}]", resource_name)
            yield from rule_with_operations(at, rule)


def _validation(path: str, validation: Object) -> Iterator[FieldError]:
    if not validation.get("expression", "").strip():
        yield field.required(f"{path}.expression", "expression is not specified")
    computed = validation.get("messageExpression", "")
    if computed and not computed.strip():
        yield field.invalid(f"{path}.messageExpression", computed, "must be non-empty if specified")
    message = validation.get("message", "")
    if message and not message.strip():
        yield field.invalid(f"{path}.message", message, "message must be non-empty if specified")
    elif "\n" in message.strip() or "\r" in message.strip():
        yield field.invalid(f"{path}.message", message, "message must not contain line breaks")
    reason = validation.get("reason")
    if reason and reason not in _REASONS:
        yield field.not_supported(f"{path}.reason", reason, _REASONS)


def _annotation(path: str, annotation: Object, policy: str) -> Iterator[FieldError]:
    key = annotation.get("key", "")
    yield from rules.checked(f"{path}.key", f"{policy}/{key}", names.qualified_name)
    expression = annotation.get("valueExpression", "").strip()
    if not expression:
        yield field.required(f"{path}.valueExpression", "valueExpression is not specified")
    elif len(expression.encode()) > _MAX_ANNOTATION_EXPRESSION:
        words = f"must not exceed {_MAX_ANNOTATION_EXPRESSION} bytes in length"
        yield field.required(f"{path}.valueExpression", words)


def _mutation(path: str, mutation: Object) -> Iterator[FieldError]:
    """The patch type says which of the two expressions there is."""
    kind = mutation.get("patchType")
    for name, wanted in (("applyConfiguration", "ApplyConfiguration"), ("jsonPatch", "JSONPatch")):
        part = mutation.get(name)
        if kind != wanted:
            if part is not None:
                yield field.forbidden(f"{path}.{name}", f"must not be specified when patchType is {kind}")
        elif part is None:
            yield field.required(f"{path}.{name}", f"must be specified when patchType is {kind}")
        elif not part.get("expression", "").strip():
            yield field.required(f"{path}.{name}.expression", "expression is not specified")


def validate_validating_binding(new: Object, old: Object | None) -> Iterator[FieldError]:
    yield from _binding(new)
    actions = meta.spec(new).get("validationActions") or ()
    for index, action in enumerate(actions):
        if action in actions[:index]:
            yield field.duplicate(f"spec.validationActions[{index}]", action)
    if "Deny" in actions and "Warn" in actions:
        words = (
            "must not contain both Deny and Warn (repeating the same validation failure information in the API "
            "response and headers serves no purpose)"
        )
        yield field.invalid("spec.validationActions", actions, words)
    if not actions:
        yield field.required("spec.validationActions", "at least one validation action is required")


def validate_mutating_binding(new: Object, old: Object | None) -> Iterator[FieldError]:
    return _binding(new)


def _binding(new: Object) -> Iterator[FieldError]:
    spec = meta.spec(new)
    yield from rules.needed("spec.policyName", spec.get("policyName"), names.dns1123_subdomain)
    ref = spec.get("paramRef")
    if ref is not None:
        yield from _param_ref("spec.paramRef", ref)
    yield from _match_resources("spec.matchResources", spec.get("matchResources") or {})


def _param_ref(path: str, ref: Object) -> Iterator[FieldError]:
    name, selector = ref.get("name"), ref.get("selector")
    if name:
        yield from rules.checked(f"{path}.name", name, names.path_segment)
        if selector is not None:
            yield field.forbidden(f"{path}.name", _EXCLUSIVE)
    if selector is not None:
        yield from rules.label_selector(f"{path}.selector", selector)
        if name:
            yield field.forbidden(f"{path}.selector", _EXCLUSIVE)
    elif not name:
        yield field.required(path, "one of name or selector must be specified")
    if not ref.get("parameterNotFoundAction"):
        yield field.required(f"{path}.parameterNotFoundAction")
