"""ValidatingAdmissionPolicies: what they say, what their bindings narrow down, and what follows for one object.

Upstream: ``apiserver/pkg/admission/plugin/policy/validating``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from homeport.apiserver.admission import expressions
from homeport.apiserver.admission.matching import Matcher
from homeport.kube.cel import BOOL, STRING, Budget, BudgetExceeded, EvaluationError, LazyMap, Program
from homeport.kube.meta import Object, spec

COST_LIMIT = 10_000_000
"""What all expressions of a policy together may cost for one request and one parameter."""
_MAX_MESSAGE = 5 << 10
INVALID = "invalid_error"
"""What metrics call an expression that can't be evaluated."""


@dataclass(frozen=True, slots=True)
class Validation:
    program: Program
    message: str
    reason: str
    message_program: Program | None


@dataclass(frozen=True, slots=True)
class ParamKind:
    api_version: str
    kind: str


@dataclass(frozen=True, slots=True, eq=False)
class Policy:
    """What both sorts of policy have, compiled."""

    name: str
    matcher: Matcher
    param_kind: ParamKind | None
    ignores_failure: bool
    conditions: expressions.Conditions
    variables: tuple[tuple[str, Program], ...]


@dataclass(frozen=True, slots=True, eq=False)
class ValidatingPolicy(Policy):
    validations: tuple[Validation, ...]
    annotations: tuple[tuple[str, Program], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Binding:
    """Puts a policy to work."""

    name: str
    policy: str
    matcher: Matcher | None
    """None where the binding does not narrow the policy down."""
    param_ref: Mapping[str, Any] | None
    actions: frozenset[str]


@dataclass(slots=True)
class Finding:
    """Something that a policy has against a request."""

    message: str
    reason: str = "Invalid"
    index: int = 0
    """Of the validation."""
    error: str = "no_error"
    """What kept the validation from being evaluated: ``invalid_error`` or ``out_of_budget``."""
    seconds: float = 0.0
    """How long it took to evaluate."""


@dataclass(slots=True)
class Outcome:
    """What a policy says about one request with one parameter."""

    findings: list[Finding] = field(default_factory=list)
    annotations: dict[str, str] = field(default_factory=dict)
    ignored: list[Finding] = field(default_factory=list)
    """What could not be evaluated, and does not count by the policy's failurePolicy."""


def common(obj: Object) -> dict[str, Any]:
    """The fields of `Policy`. Raises CelError and BadRequest."""
    body = spec(obj)
    kind = body.get("paramKind")
    params = bool(kind)
    conditions = tuple(str(each["expression"]) for each in body.get("matchConditions") or ())
    variables = body.get("variables") or ()
    return {
        "name": obj["metadata"]["name"],
        "matcher": Matcher.of(body.get("matchConstraints") or {}, "resourceRules"),
        "param_kind": ParamKind(str(kind.get("apiVersion")), str(kind.get("kind"))) if kind else None,
        "ignores_failure": body.get("failurePolicy") == "Ignore",
        "conditions": expressions.conditions(conditions, params=params, policy=True),
        "variables": tuple(
            (each["name"], expressions.compiled(each["expression"], params=params, policy=True)) for each in variables
        ),
    }


def policies(obj: Object) -> tuple[ValidatingPolicy, ...]:
    """The policy of a ValidatingAdmissionPolicy. Raises CelError, and BadRequest for a malformed selector."""
    body = spec(obj)
    has_params = bool(body.get("paramKind"))

    def compiled(text: str) -> Program:
        return expressions.compiled(text, params=has_params, policy=True)

    annotations = body.get("auditAnnotations") or ()
    validations = []
    for each in body.get("validations") or ():
        words = each.get("messageExpression")
        validations.append(
            Validation(
                expressions.compiled(each["expression"], BOOL, params=has_params, policy=True),
                str(each.get("message") or "").strip(),
                str(each.get("reason") or "Invalid"),
                expressions.compiled(words, STRING, params=has_params, policy=True) if words else None,
            )
        )
    return (
        ValidatingPolicy(
            **common(obj),
            validations=tuple(validations),
            annotations=tuple((each["key"], compiled(each["valueExpression"])) for each in annotations),
        ),
    )


def bindings(obj: Object) -> tuple[Binding, ...]:
    """The binding of a ValidatingAdmissionPolicyBinding. Raises BadRequest for a malformed selector."""
    body = spec(obj)
    narrowed = body.get("matchResources")
    return (
        Binding(
            obj["metadata"]["name"],
            str(body.get("policyName")),
            Matcher.of(narrowed, "resourceRules") if narrowed else None,
            body.get("paramRef"),
            frozenset(body.get("validationActions") or ()),
        ),
    )


def known_to(
    policy: Policy, scene: Mapping[str, Any], params: Object | None, namespace: Object | None, budget: Budget
) -> dict[str, Any]:
    """The values of all that a policy's expressions know; its variables are worked out when they are asked for."""
    known: dict[str, Any] = {**scene, "params": params, "namespaceObject": namespace}

    def maker(program: Program) -> Any:
        return lambda: program.evaluate(known, budget)

    known["variables"] = LazyMap({name: maker(program) for name, program in policy.variables})
    return known


def judge(
    scene: Mapping[str, Any],
    budgets: expressions.Budgets,
    policy: ValidatingPolicy,
    params: Object | None,
    namespace: Object | None,
    chooses: expressions.Chooses,
) -> Outcome | None:
    """What `policy` says about a request (`scene`, see `expressions.scene`); None if its conditions do not choose it,
    which `chooses` finds out. Raises TakesLong, if `budgets` do.

    An expression that can't be evaluated counts as false, or not at all, by the policy's failurePolicy.
    """
    budget = budgets(COST_LIMIT)
    known = known_to(policy, scene, params, namespace, budget)
    outcome = Outcome()
    failed = outcome.ignored if policy.ignores_failure else outcome.findings
    try:
        if not chooses(known, budgets, policy.conditions):
            return None
    except expressions.Undecided as error:
        failed.append(Finding(str(error), error=INVALID))
        return outcome
    for index, validation in enumerate(policy.validations):
        begin = perf_counter()
        try:
            if validation.program.evaluate(known, budget) is not True:
                words = _message(validation, known, budget)
                outcome.findings.append(Finding(words, validation.reason, index, seconds=perf_counter() - begin))
        except EvaluationError as error:
            words = _error_in(validation.program, error)
            failed.append(Finding(words, validation.reason, index, _kind(error), perf_counter() - begin))
    for key, program in policy.annotations:
        try:
            value = program.evaluate(known, budget)
        except EvaluationError as error:
            failed.append(Finding(_error_in(program, error), error=_kind(error)))
            continue
        if isinstance(value, str):
            outcome.annotations[f"{policy.name}/{key}"] = value
        elif value is not None:
            text = f"valueExpression '{program.text}' resulted in unsupported return type: must be a string or null"
            failed.append(Finding(text, error=INVALID))
    return outcome


def _kind(error: EvaluationError) -> str:
    return "out_of_budget" if isinstance(error, BudgetExceeded) else INVALID


def _message(validation: Validation, known: Mapping[str, Any], budget: Budget) -> str:
    """The computed message if there is a usable one, else the fixed one, else the expression itself."""
    if validation.message_program is not None:
        try:
            value = validation.message_program.evaluate(known, budget)
        except EvaluationError:
            value = ""  # as upstream: a message that can't be made is none
        text = value.strip() if isinstance(value, str) else ""
        if text and len(text) <= _MAX_MESSAGE and "\n" not in text:
            return text
    return validation.message or f"failed expression: {validation.program.text.strip()}"


def _error_in(program: Program, error: EvaluationError) -> str:
    return f"expression '{program.text.strip()}' resulted in error: {error}"
