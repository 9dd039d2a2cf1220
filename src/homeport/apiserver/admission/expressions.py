"""CEL in admission: which variables expressions have, and conditions on requests.

Imported only where something is written in CEL. Upstream: ``apiserver/pkg/admission/plugin/cel`` and
``webhook/matchconditions``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import lru_cache
from time import perf_counter
from typing import Any, TypeAlias, TypeVar

from homeport.apiserver.admission.attributes import Attributes
from homeport.apiserver.admission.metrics import AdmissionMetrics, Step
from homeport.apiserver.admission.review import request_facts
from homeport.apiserver.context import Api
from homeport.apiserver.offload import off_loop
from homeport.apiserver.resources import Served
from homeport.apiserver.routes import RequestInfo
from homeport.apiserver.versions import converted
from homeport.kube.cel import (
    BOOL,
    DYN,
    Budget,
    BudgetExceeded,
    Environment,
    EvaluationError,
    HurriedBudget,
    Program,
    TakesLong,
    Type,
)
from homeport.kube.cel.library.authorization import AUTHORIZER, RESOURCE_CHECK, Authorizer, ResourceCheck, Verdict
from homeport.kube.cel.library.authorization import Attributes as Question
from homeport.kube.kind import Resource
from homeport.kube.meta import Object
from homeport.kube.wire import User

VARIABLES: Mapping[str, Type] = {
    "object": DYN,
    "oldObject": DYN,
    "request": DYN,
    "authorizer": AUTHORIZER,
    "authorizer.requestResource": RESOURCE_CHECK,
}
"""What every expression knows."""
OF_POLICIES: Mapping[str, Type] = {**VARIABLES, "namespaceObject": DYN, "variables": DYN}
CONDITIONS_LIMIT = 2_500_000
"""What all match conditions together may cost (upstream: ``RuntimeCELCostBudgetMatchConditions``)."""
_MESSAGES = ("Object", "JSONPatch")
"""What mutations are made of."""
_SERVICE_ACCOUNTS = "system:serviceaccounts"

T = TypeVar("T")
Budgets: TypeAlias = Callable[[int], Budget]
"""Makes the budget of expressions that together may cost so much."""
PATIENCE = 100_000
"""What evaluating the expressions of one policy or webhook may cost while all other requests wait: some tens of
milliseconds."""
_ANSWER_SECONDS = 30.0


class Undecided(Exception):
    """Conditions of which none is false and some can't be evaluated."""


def environment(*, params: bool = False, policy: bool = False) -> Environment:
    """The environment of match conditions of webhooks, or of all expressions of a policy."""
    return _environment(params, policy)


@lru_cache(maxsize=4)
def _environment(params: bool, policy: bool) -> Environment:
    variables = OF_POLICIES if policy else VARIABLES
    return Environment({**variables, "params": DYN} if params else variables, messages=_MESSAGES if policy else ())


@lru_cache(maxsize=1024)
def compiled(text: str, result: Type | None = None, *, params: bool = False, policy: bool = False) -> Program:
    """An expression, compiled once. Raises CelError."""
    return environment(params=params, policy=policy).compile(text, result)


async def scene(api: Api, attributes: Attributes, served: Served) -> dict[str, Any]:
    """The values of what every expression knows, with objects of the version `served`."""
    states: list[Object | None] = []
    for state in (attributes.object, attributes.old):
        convert = state is not None and not attributes.has_own_kind
        states.append(await converted(state, attributes.served, served) if state is not None and convert else state)
    authorizer = Authorizer(lambda question: _decide(api, attributes.user, question))
    resource = attributes.served.resource
    about = Question(
        group=resource.group,
        resource=resource.plural,
        subresource=attributes.subresource,
        namespace=attributes.namespace,
        name=attributes.name,
    )
    return {
        "object": states[0],
        "oldObject": states[1],
        "request": request_facts(attributes, served),
        "authorizer": authorizer,
        "authorizer.requestResource": ResourceCheck(authorizer.decide, about),
    }


async def unhurried(known: dict[str, Any], evaluate: Callable[[dict[str, Any], Budgets], T]) -> T:
    """What `evaluate` makes of `known`, a :func:`scene`: at once if that costs little, as it nearly always does; else
    once more, from the start and in the worker thread, while others are served."""
    hurried = HurriedBudget(PATIENCE)
    try:
        return evaluate(known, lambda limit: hurried)
    except TakesLong:
        return await off_loop(evaluate, _elsewhere(known), Budget)


def _elsewhere(known: dict[str, Any]) -> dict[str, Any]:
    """A scene for another thread: what the authorizer knows belongs to the event loop, which it asks each time."""
    loop = asyncio.get_running_loop()
    check: ResourceCheck = known["authorizer.requestResource"]

    def decide(question: Question) -> Verdict:
        answer: Future[Verdict] = Future()

        def ask() -> None:
            try:
                answer.set_result(check.decide(question))
            except Exception as error:
                answer.set_exception(error)

        loop.call_soon_threadsafe(ask)
        try:
            return answer.result(_ANSWER_SECONDS)
        except TimeoutError:
            raise EvaluationError("the authorizer does not answer") from None

    return {
        **known,
        "authorizer": Authorizer(decide),
        "authorizer.requestResource": ResourceCheck(decide, check.attributes),
    }


def _decide(api: Api, user: User, question: Question) -> Verdict:
    if question.service_account is not None:
        namespace, name = question.service_account
        groups = (_SERVICE_ACCOUNTS, f"{_SERVICE_ACCOUNTS}:{namespace}", "system:authenticated")
        user = User(f"system:serviceaccount:{namespace}:{name}", groups)
    if question.path:
        info = RequestInfo(question.verb, question.path)
    else:
        resource = Resource(question.group, "*", question.resource, "", bool(question.namespace))
        info = RequestInfo(
            question.verb,
            resource.path(question.namespace, question.name, question.subresource),
            True,
            question.group,
            "*",
            question.resource,
            question.namespace,
            question.name,
            question.subresource,
        )
    decision = api.authorizer.authorize(user, info)
    return Verdict(decision.allowed, decision.reason)


class Conditions:
    """The ``matchConditions`` of a webhook or a policy."""

    def __init__(self, programs: tuple[Program, ...]) -> None:
        self._programs = programs

    def hold(self, bindings: Mapping[str, Any], budgets: Budgets) -> bool:
        """Whether all are true: false as soon as one is, whatever others say. Raises Undecided, TakesLong."""
        budget = budgets(CONDITIONS_LIMIT)
        problems = []
        for program in self._programs:
            try:
                if program.evaluate(bindings, budget) is not True:
                    return False
            except BudgetExceeded as error:
                raise Undecided(str(error)) from error
            except EvaluationError as error:
                problems.append(f"expression '{program.text}' resulted in error: {error}")
        if problems:
            raise Undecided(problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]")
        return True


Chooses: TypeAlias = Callable[[Mapping[str, Any], Budgets, Conditions], bool]
"""Whether conditions hold. Raises Undecided, TakesLong."""


def counted(
    bindings: Mapping[str, Any],
    budgets: Budgets,
    conditions: Conditions,
    metrics: AdmissionMetrics,
    name: str,
    kind: str,
    step: Step,
    operation: str,
) -> bool:
    """Whether the conditions of the webhook or policy `name` hold, as `metrics` count it. Raises Undecided and
    TakesLong."""
    begin = perf_counter()
    try:
        held = conditions.hold(bindings, budgets)
    except Undecided:
        metrics.conditions_failed(name, kind, step, operation)
        metrics.conditions_evaluated(name, kind, step, operation, perf_counter() - begin)
        raise
    metrics.conditions_evaluated(name, kind, step, operation, perf_counter() - begin)
    if not held:
        metrics.conditions_excluded(name, kind, step, operation)
    return held


@lru_cache(maxsize=1024)
def conditions(texts: tuple[str, ...], *, params: bool = False, policy: bool = False) -> Conditions:
    """Conditions from their expressions. Raises CelError."""
    return Conditions(tuple(compiled(text, BOOL, params=params, policy=policy) for text in texts))
