"""Admission policies written in CEL, and where they apply (admissionregistration.k8s.io/v1)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from homeport.kube.core.types.bases import AdmissionregistrationV1
from homeport.kube.core.types.meta import Condition, LabelSelector, ObjectMeta
from homeport.kube.core.types.webhooks import MatchCondition, RuleWithOperations
from homeport.kube.schema import JsonSchema
from homeport.kube.schema.fields import Int64, atomic_list, doc, map_list, set_list


class ValidatingAdmissionPolicy(AdmissionregistrationV1, frozen=True):
    """CEL expressions that requests have to meet."""

    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None
    spec: Annotated[ValidatingAdmissionPolicySpec | None, doc("What the policy demands.")] = None
    status: Annotated[ValidatingAdmissionPolicyStatus | None, doc("The current state.")] = None


class ValidatingAdmissionPolicySpec(AdmissionregistrationV1, frozen=True):
    """What a validating policy demands, and of which requests."""

    param_kind: Annotated[ParamKind | None, doc("Kind of the objects that bindings give the policy as parameters.")] = (
        None
    )
    match_constraints: Annotated[MatchResources | None, doc("The requests that the policy is about.")] = None
    validations: Annotated[list[Validation], doc("The expressions that must be true."), atomic_list()] = []
    failure_policy: Annotated[
        Literal["Fail", "Ignore"],
        doc("What happens to a request when an expression can't be evaluated: Fail or Ignore."),
    ] = "Fail"
    audit_annotations: Annotated[
        list[AuditAnnotation], doc("What the policy adds to the audit record of a request."), atomic_list()
    ] = []
    match_conditions: Annotated[
        list[MatchCondition], doc("Expressions that must all be true for the policy to apply."), map_list("name")
    ] = []
    variables: Annotated[
        list[Variable], doc("Named expressions that the others may use, as variables.NAME."), map_list("name")
    ] = []


class ValidatingAdmissionPolicyStatus(AdmissionregistrationV1, frozen=True):
    """What the server found out about a policy."""

    observed_generation: Annotated[Int64, doc("The metadata.generation that this state is based on.")] = 0
    type_checking: Annotated[TypeChecking | None, doc("What is wrong with the types in the expressions.")] = None
    conditions: Annotated[
        list[Condition], doc("The current state, aspect by aspect."), map_list("type", patch=None)
    ] = []


class TypeChecking(AdmissionregistrationV1, frozen=True):
    """What is wrong with the types in a policy's expressions."""

    expression_warnings: Annotated[
        list[ExpressionWarning], doc("The warnings, expression by expression."), atomic_list()
    ] = []


class ExpressionWarning(AdmissionregistrationV1, frozen=True):
    """What is wrong with one expression."""

    field_ref: Annotated[str, doc("Path of the expression in the policy.")]
    warning: Annotated[str, doc("What is wrong, for each type that the expression was checked against.")]


class Validation(AdmissionregistrationV1, frozen=True):
    """An expression that must be true."""

    expression: Annotated[
        str,
        doc("The expression; it knows object, oldObject, request, params, namespaceObject, variables and authorizer."),
    ]
    message: Annotated[str, doc("What the client is told when the expression is false.")] = ""
    reason: Annotated[
        str | None,
        doc("Reason of the error that the client gets: Unauthorized, Forbidden, Invalid or RequestEntityTooLarge."),
    ] = None
    message_expression: Annotated[str, doc("Expression of the message; it wins over message.")] = ""


class Variable(AdmissionregistrationV1, frozen=True):
    """A named expression."""

    __schema_extra__: ClassVar[JsonSchema] = {"x-kubernetes-map-type": "atomic"}

    name: Annotated[str, doc("Name of the variable, an identifier of CEL.")]
    expression: Annotated[str, doc("The expression of its value.")]


class AuditAnnotation(AdmissionregistrationV1, frozen=True):
    """What a policy adds to the audit record of a request."""

    key: Annotated[str, doc("Key of the annotation, to which the policy's name is added.")]
    value_expression: Annotated[str, doc("Expression of the value, a string; null leaves the annotation out.")]


class ParamKind(AdmissionregistrationV1, frozen=True):
    """A kind of objects that serve as parameters."""

    __schema_extra__: ClassVar[JsonSchema] = {"x-kubernetes-map-type": "atomic"}

    api_version: Annotated[str, doc("Group and version of the kind.")] = ""
    kind: Annotated[str, doc("The kind.")] = ""


class ValidatingAdmissionPolicyBinding(AdmissionregistrationV1, frozen=True):
    """Puts a validating policy to work."""

    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None
    spec: Annotated[ValidatingAdmissionPolicyBindingSpec | None, doc("Which policy applies, and where.")] = None


class ValidatingAdmissionPolicyBindingSpec(AdmissionregistrationV1, frozen=True):
    """Which validating policy applies, where, and with which effect."""

    policy_name: Annotated[str, doc("Name of the policy.")] = ""
    param_ref: Annotated[ParamRef | None, doc("The parameters that the policy gets.")] = None
    match_resources: Annotated[MatchResources | None, doc("Narrows down the requests that the policy applies to.")] = (
        None
    )
    validation_actions: Annotated[
        list[Literal["Audit", "Deny", "Warn"]],
        doc("What follows when an expression is false: Deny, Warn, Audit."),
        set_list(),
    ] = []


class ParamRef(AdmissionregistrationV1, frozen=True):
    """Objects that a policy gets as parameters."""

    __schema_extra__: ClassVar[JsonSchema] = {"x-kubernetes-map-type": "atomic"}

    name: Annotated[str, doc("Name of the object; leave it out to select objects by their labels.")] = ""
    namespace: Annotated[str, doc("Namespace of the objects; by default that of the request's object.")] = ""
    selector: Annotated[LabelSelector | None, doc("Labels of the objects.")] = None
    parameter_not_found_action: Annotated[
        Literal["Allow", "Deny"] | None, doc("What happens when there is no such object: Allow or Deny.")
    ] = None


class MatchResources(AdmissionregistrationV1, frozen=True):
    """Which requests are meant."""

    __schema_extra__: ClassVar[JsonSchema] = {"x-kubernetes-map-type": "atomic"}

    namespace_selector: Annotated[
        LabelSelector | None, doc("Labels that the object's namespace must have.", default={})
    ] = None
    object_selector: Annotated[
        LabelSelector | None, doc("Labels that the object must have, before or after the request.", default={})
    ] = None
    resource_rules: Annotated[
        list[NamedRuleWithOperations], doc("Operations on resources, of which one must be met."), atomic_list()
    ] = []
    exclude_resource_rules: Annotated[
        list[NamedRuleWithOperations], doc("Operations on resources, of which none may be met."), atomic_list()
    ] = []
    match_policy: Annotated[
        Literal["Equivalent", "Exact"],
        doc("Whether a rule is also met by the same resource in another group or version: Exact or Equivalent."),
    ] = "Equivalent"


class NamedRuleWithOperations(RuleWithOperations, frozen=True):
    """Operations on resources, or on certain objects, that a rule is met by."""

    __schema_extra__: ClassVar[JsonSchema] = {"x-kubernetes-map-type": "atomic"}

    resource_names: Annotated[list[str], doc("Names of the objects; without any, all are meant."), atomic_list()] = []


class MutatingAdmissionPolicy(AdmissionregistrationV1, frozen=True):
    """CEL expressions that change objects on their way into the store."""

    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None
    spec: Annotated[MutatingAdmissionPolicySpec | None, doc("What the policy changes.")] = None


class MutatingAdmissionPolicySpec(AdmissionregistrationV1, frozen=True):
    """What a mutating policy changes, and in which requests."""

    param_kind: Annotated[ParamKind | None, doc("Kind of the objects that bindings give the policy as parameters.")] = (
        None
    )
    match_constraints: Annotated[MatchResources | None, doc("The requests that the policy is about.")] = None
    variables: Annotated[
        list[Variable], doc("Named expressions that the others may use, as variables.NAME."), atomic_list()
    ] = []
    mutations: Annotated[list[Mutation], doc("The changes, made in turn."), atomic_list()] = []
    failure_policy: Annotated[
        Literal["Fail", "Ignore"],
        doc("What happens to a request when an expression can't be evaluated: Fail or Ignore."),
    ] = "Fail"
    match_conditions: Annotated[
        list[MatchCondition], doc("Expressions that must all be true for the policy to apply."), map_list("name")
    ] = []
    reinvocation_policy: Annotated[
        Literal["IfNeeded", "Never"] | None,
        doc("Whether the policy applies again after a later one changed the object: Never or IfNeeded."),
    ] = None


class Mutation(AdmissionregistrationV1, frozen=True):
    """One change."""

    patch_type: Annotated[
        Literal["ApplyConfiguration", "JSONPatch"], doc("How the change is written: ApplyConfiguration or JSONPatch.")
    ]
    apply_configuration: Annotated[ApplyConfiguration | None, doc("The change as an object to apply.")] = None
    json_patch: Annotated[JSONPatch | None, doc("The change as a JSON patch.")] = None


class ApplyConfiguration(AdmissionregistrationV1, frozen=True):
    """A change as an object to apply, as server-side apply does."""

    expression: Annotated[str, doc("Expression of the object, which has only the fields to set.")] = ""


class JSONPatch(AdmissionregistrationV1, frozen=True):
    """A change as a JSON patch."""

    expression: Annotated[str, doc("Expression of the list of the patch's operations.")] = ""


class MutatingAdmissionPolicyBinding(AdmissionregistrationV1, frozen=True):
    """Puts a mutating policy to work."""

    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None
    spec: Annotated[MutatingAdmissionPolicyBindingSpec | None, doc("Which policy applies, and where.")] = None


class MutatingAdmissionPolicyBindingSpec(AdmissionregistrationV1, frozen=True):
    """Which mutating policy applies, and where."""

    policy_name: Annotated[str, doc("Name of the policy.")] = ""
    param_ref: Annotated[ParamRef | None, doc("The parameters that the policy gets.")] = None
    match_resources: Annotated[MatchResources | None, doc("Narrows down the requests that the policy applies to.")] = (
        None
    )
