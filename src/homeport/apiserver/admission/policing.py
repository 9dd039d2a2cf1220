"""The stages of admission that ask policies: which, with which parameters, and what validating ones bring about.

Nothing of CEL is loaded while there are no policies.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import msgspec

from homeport.apiserver.admission.attributes import Attributes
from homeport.apiserver.admission.chain import Turns
from homeport.apiserver.admission.dispatch import NAMESPACES, namespace_object
from homeport.apiserver.admission.hooks import Configurations
from homeport.apiserver.admission.matching import GROUP, Matcher, is_exempt
from homeport.apiserver.admission.metrics import VALIDATE, AdmissionMetrics, Step
from homeport.apiserver.admission.plugin import refusal
from homeport.apiserver.context import Api
from homeport.apiserver.encoding import encode
from homeport.apiserver.resources import Served
from homeport.apiserver.versions import object_of, shown
from homeport.kube.errors import ApiError, Forbidden, NotFound
from homeport.kube.meta import Object
from homeport.kube.selector import from_label_selector
from homeport.store.protocol import Key, Record

if TYPE_CHECKING:
    from homeport.apiserver.admission.expressions import Budgets, Chooses, Conditions
    from homeport.apiserver.admission.policies import Binding, Finding, ParamKind, Policy, ValidatingPolicy

    P = TypeVar("P", bound=Policy)
else:
    P = TypeVar("P")

log = logging.getLogger(__name__)

POLICIES = f"{GROUP}/validatingadmissionpolicies"
BINDINGS = f"{GROUP}/validatingadmissionpolicybindings"
_ANNOTATION = "validation.policy.admission.k8s.io/validation_failure"
_CODES = {"Unauthorized": 401, "Forbidden": 403, "RequestEntityTooLarge": 413, "Invalid": 422}
_REVIEWS = frozenset({"authentication.k8s.io", "authorization.k8s.io"})


def _policies(obj: Object) -> tuple[ValidatingPolicy, ...]:
    from homeport.apiserver.admission import policies

    return policies.policies(obj)


class ParamsError(Exception):
    """The parameters of a binding can't be had."""


class PolicyStage(Generic[P]):
    """Policies of one sort and their bindings, as they are stored."""

    mutating: ClassVar[str] = ""
    validating: ClassVar[str] = ""
    step: ClassVar[Step]

    def __init__(
        self,
        api: Api,
        policies: str,
        bindings: str,
        parse: Callable[[Object], tuple[P, ...]],
        metrics: AdmissionMetrics,
    ) -> None:
        self._api = api
        self._metrics = metrics
        self._parse = parse
        self._policies: Configurations[P] = Configurations(self._parsed, api.registry)
        self._bindings: dict[str, Binding] = {}
        self._policies.load(api.store, policies)
        for record in api.store.scan(bindings)[0]:
            self._follow_binding(record, deleted=False)
        api.followers[policies] = self._policies.follow
        api.followers[bindings] = self._follow_binding

    def _parsed(self, obj: Object) -> tuple[P, ...]:
        from homeport.kube.cel import CelError

        try:
            return self._parse(obj)
        except CelError as error:
            # Validation keeps such policies out; one of an older release must not keep the server from starting.
            log.error("policy %s is left out: %s", obj["metadata"]["name"], error)
            return ()

    def _follow_binding(self, record: Record, *, deleted: bool) -> None:
        from homeport.apiserver.admission import policies

        name = record.key.name
        if deleted:
            self._bindings.pop(name, None)
            return
        try:
            (self._bindings[name],) = policies.bindings(msgspec.json.decode(record.value))
        except ApiError as error:
            log.error("binding %s is left out: %s", name, error.message)

    def asks(self, step: Step) -> bool:
        return bool(self._bindings) and bool(self._policies)

    def _asked(self, attributes: Attributes) -> Iterator[tuple[P, Binding, Served]]:
        """The policies that are about the request, each with every binding that puts it to work."""
        if not self._policies or not self._bindings or is_exempt(attributes) or attributes.served.group in _REVIEWS:
            return
        for policy, served in self._policies.about(attributes):
            if self._selects(policy.matcher, attributes):
                for binding in self._bindings_of(policy, attributes):
                    yield policy, binding, served

    def _bindings_of(self, policy: Policy, attributes: Attributes) -> Iterator[Binding]:
        for name in sorted(self._bindings):
            binding = self._bindings[name]
            if binding.policy == policy.name and self._narrows(binding.matcher, attributes):
                yield binding

    def _narrows(self, matcher: Matcher | None, attributes: Attributes) -> bool:
        if matcher is None:
            return True
        # Without rules a binding narrows nothing down but by its selectors and exclusions.
        if matcher.rules:
            chosen = matcher.version(attributes, self._api.registry) is not None
        else:
            chosen = not any(rule.matches(attributes, attributes.served) for rule in matcher.excluded)
        return chosen and self._selects(matcher, attributes)

    def _selects(self, matcher: Matcher, attributes: Attributes) -> bool:
        namespace = None
        if attributes.namespace and not matcher.namespaces.everything:
            namespace = namespace_object(self._api, attributes.namespace)
            if namespace is None and attributes.served.key != NAMESPACES:
                raise NotFound.of("", "namespaces", attributes.namespace)
        return matcher.selects(attributes, namespace)

    def namespace(self, attributes: Attributes) -> Object | None:
        """The variable ``namespaceObject``."""
        if attributes.namespace and attributes.served.key != NAMESPACES:
            return namespace_object(self._api, attributes.namespace)
        return None

    def chooses(self, policy: Policy, attributes: Attributes) -> Chooses:
        """How to find out whether a policy's conditions choose the request."""
        from homeport.apiserver.admission import expressions

        def chosen(known: Mapping[str, Any], budgets: Budgets, conditions: Conditions) -> bool:
            operation = attributes.operation
            return expressions.counted(
                known, budgets, conditions, self._metrics, policy.name, "policy", self.step, operation
            )

        return chosen

    # -- parameters

    async def params(self, policy: Policy, binding: Binding, attributes: Attributes) -> list[Object | None]:
        """The objects that the policy is to be asked with; one None for a policy without parameters."""
        ref = binding.param_ref
        if policy.param_kind is None or not ref:
            return [None]
        served = self._served(policy.param_kind)
        namespace = ""
        if served.namespaced:
            namespace = str(ref.get("namespace") or attributes.namespace)
            if not namespace:
                raise ParamsError(
                    "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
                )
        elif ref.get("namespace"):
            raise ParamsError("paramRef.namespace must not be provided for a cluster-scoped `paramKind`")
        records = await self._records(served, namespace, ref)
        if not records and ref.get("parameterNotFoundAction") != "Allow":
            raise ParamsError("no params found for policy binding with `Deny` parameterNotFoundAction")
        return [object_of(served, record) for record in records]

    async def _records(self, served: Served, namespace: str, ref: Mapping[str, Any]) -> Sequence[Record]:
        if ref.get("name"):
            record = self._api.store.head(Key(served.key, namespace, str(ref["name"])))
            found = [record] if record is not None else []
        else:
            selector = from_label_selector(ref.get("selector") or {})
            everything = self._api.store.heads(served.key, namespace)
            found = [record for record in everything if selector.matches(record.labels)]
        return await shown(served, found)

    def _served(self, kind: ParamKind) -> Served:
        for served in self._api.registry:
            if served.kind == kind.kind and served.api_version == kind.api_version:
                return served
        raise ParamsError(f"failed to find resource referenced by paramKind: '{kind.api_version}, Kind={kind.kind}'")


class ValidatingPolicies(PolicyStage["ValidatingPolicy"]):
    """Policies that are asked once an object is valid."""

    validating = "ValidatingAdmissionPolicy"
    step = VALIDATE

    def __init__(self, api: Api, metrics: AdmissionMetrics) -> None:
        super().__init__(api, POLICIES, BINDINGS, _policies, metrics)

    async def mutate(self, attributes: Attributes, plugins: Turns) -> None:
        """Validating policies change nothing."""

    async def settle(self, attributes: Attributes) -> None:
        """Nor do they look at what others change before the object is complete."""

    async def validate(self, attributes: Attributes) -> None:
        denial: Forbidden | None = None
        audited: list[Object] = []
        for policy, binding, served in self._asked(attributes):
            for finding in await self._findings(policy, binding, attributes, served):
                for action in sorted(binding.actions):
                    self._metrics.policy_checked(
                        policy.name, binding.name, finding.error, action.lower(), finding.seconds
                    )
                if "Deny" in binding.actions and denial is None:
                    denial = denied(attributes, policy, binding, finding)
                if "Warn" in binding.actions:
                    attributes.warnings.append(
                        f"Validation failed for ValidatingAdmissionPolicy '{policy.name}' with binding "
                        f"'{binding.name}': {finding.message}"
                    )
                if "Audit" in binding.actions:
                    audited.append(_audited(policy, binding, finding))
        if audited:
            attributes.annotations.setdefault(_ANNOTATION, encode(audited).decode())
        if denial is not None:
            raise denial

    async def _findings(
        self, policy: ValidatingPolicy, binding: Binding, attributes: Attributes, served: Served
    ) -> list[Finding]:
        from homeport.apiserver.admission import expressions, policies

        try:
            parameters = await self.params(policy, binding, attributes)
        except ParamsError as error:
            return [] if policy.ignores_failure else [policies.Finding(f"failed to configure binding: {error}")]
        scene = await expressions.scene(self._api, attributes, served)
        namespace = self.namespace(attributes)
        findings: list[Finding] = []
        notes: dict[str, list[str]] = {}
        for params in parameters:
            chooses = self.chooses(policy, attributes)
            outcome = await expressions.unhurried(
                scene,
                partial(policies.judge, policy=policy, params=params, namespace=namespace, chooses=chooses),
            )
            if outcome is not None:
                findings += outcome.findings
                for ignored in outcome.ignored:
                    self._metrics.policy_checked(policy.name, binding.name, ignored.error, "allow", ignored.seconds)
                for key, value in outcome.annotations.items():
                    notes.setdefault(key, []).append(value)
        for key, values in notes.items():
            attributes.annotations.setdefault(key, ", ".join(dict.fromkeys(values)))
        return findings


def denied(attributes: Attributes, policy: Policy, binding: Binding, finding: Finding) -> Forbidden:
    message = (
        f"ValidatingAdmissionPolicy '{policy.name}' with binding '{binding.name}' denied request: {finding.message}"
    )
    error = refusal(attributes, message)
    error.details["causes"] = [{"message": message}]  # what kubectl prints of it
    status = {**error.to_status(), "reason": finding.reason, "code": _CODES.get(finding.reason, 422)}
    return Forbidden(error.message, details=error.details, status=status)


def _audited(policy: Policy, binding: Binding, finding: Finding) -> Object:
    return {
        "message": finding.message,
        "policy": policy.name,
        "binding": binding.name,
        "expressionIndex": finding.index,
        "validationActions": sorted(binding.actions),
    }
