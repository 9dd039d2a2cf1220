"""How the API server shares itself among its clients (flowcontrol.apiserver.k8s.io/v1)."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from homeport.kube.core.types.bases import FlowcontrolV1
from homeport.kube.core.types.meta import ObjectMeta
from homeport.kube.schema.fields import Time, atomic_list, doc, map_list, set_list


class FlowSchema(FlowcontrolV1, frozen=True):
    """Sorts requests into priority levels."""

    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None
    spec: Annotated[FlowSchemaSpec | None, doc("Which requests, and which level.")] = None
    status: Annotated[FlowSchemaStatus | None, doc("The current state.")] = None


class FlowSchemaSpec(FlowcontrolV1, frozen=True):
    """Which requests go to which priority level."""

    priority_level_configuration: Annotated[PriorityLevelConfigurationReference, doc("The level.")]
    matching_precedence: Annotated[int, doc("The schema with the lowest number counts; 1 to 10000.")] = 1000
    distinguisher_method: Annotated[
        FlowDistinguisherMethod | None, doc("What tells the flows of the schema apart.")
    ] = None
    rules: Annotated[list[PolicyRulesWithSubjects], doc("The requests; one rule must be met."), atomic_list()] = []


class PriorityLevelConfigurationReference(FlowcontrolV1, frozen=True):
    """Names a priority level."""

    name: Annotated[str, doc("Name of the level.")]


class FlowDistinguisherMethod(FlowcontrolV1, frozen=True):
    """What tells the flows of a schema apart."""

    type: Annotated[Literal["ByNamespace", "ByUser"], doc("ByUser or ByNamespace.")]


class PolicyRulesWithSubjects(FlowcontrolV1, frozen=True):
    """Requests of certain subjects."""

    subjects: Annotated[list[Subject], doc("Who makes the requests."), atomic_list()]
    resource_rules: Annotated[list[ResourcePolicyRule], doc("Requests to resources."), atomic_list()] = []
    non_resource_rules: Annotated[list[NonResourcePolicyRule], doc("Requests to other paths."), atomic_list()] = []


class Subject(FlowcontrolV1, frozen=True):
    """Who makes requests; which field is set goes by the kind."""

    kind: Annotated[str, doc("User, Group or ServiceAccount.")]
    user: Annotated[UserSubject | None, doc("A user.")] = None
    group: Annotated[GroupSubject | None, doc("A group.")] = None
    service_account: Annotated[ServiceAccountSubject | None, doc("A service account.")] = None


class UserSubject(FlowcontrolV1, frozen=True):
    """A user."""

    name: Annotated[str, doc("Name of the user; * is everybody.")]


class GroupSubject(FlowcontrolV1, frozen=True):
    """A group."""

    name: Annotated[str, doc("Name of the group; * is every group.")]


class ServiceAccountSubject(FlowcontrolV1, frozen=True):
    """A service account."""

    namespace: Annotated[str, doc("Namespace of the account.")]
    name: Annotated[str, doc("Name of the account; * is every account of the namespace.")]


class ResourcePolicyRule(FlowcontrolV1, frozen=True):
    """Requests to resources."""

    verbs: Annotated[list[str], doc("The verbs; * is all of them."), set_list()]
    api_groups: Annotated[list[str], doc("The API groups; * is all of them."), set_list()]
    resources: Annotated[list[str], doc("The resources; * is all of them."), set_list()]
    cluster_scope: Annotated[bool, doc("Whether requests without a namespace are meant.")] = False
    namespaces: Annotated[list[str], doc("The namespaces; * is all of them."), set_list()] = []


class NonResourcePolicyRule(FlowcontrolV1, frozen=True):
    """Requests to paths that are no resources."""

    verbs: Annotated[list[str], doc("The verbs; * is all of them."), set_list()]
    non_resource_urls: Annotated[list[str], doc("The paths; one may end in *."), set_list()] = msgspec.field(
        name="nonResourceURLs"
    )


class FlowSchemaStatus(FlowcontrolV1, frozen=True):
    """What has become of a schema."""

    conditions: Annotated[list[FlowSchemaCondition], doc("The current state, aspect by aspect."), map_list("type")] = []


class FlowSchemaCondition(FlowcontrolV1, frozen=True):
    """One aspect of a schema's state."""

    type: Annotated[str, doc("What the condition is about, in CamelCase.")]
    status: Annotated[str, doc("True, False or Unknown.")]
    last_transition_time: Annotated[Time | None, doc("When the status last changed.")] = None
    reason: Annotated[str, doc("Why it changed, in one CamelCase word.")] = ""
    message: Annotated[str, doc("Why it changed, in words.")] = ""


class PriorityLevelConfiguration(FlowcontrolV1, frozen=True):
    """A share of the API server."""

    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None
    spec: Annotated[PriorityLevelConfigurationSpec | None, doc("How large the share is.")] = None
    status: Annotated[PriorityLevelConfigurationStatus | None, doc("The current state.")] = None


class PriorityLevelConfigurationSpec(FlowcontrolV1, frozen=True):
    """How large a share of the API server is."""

    type: Annotated[Literal["Exempt", "Limited"], doc("Exempt (without limits) or Limited.")]
    limited: Annotated[LimitedPriorityLevelConfiguration | None, doc("Settings for the type Limited.")] = None
    exempt: Annotated[ExemptPriorityLevelConfiguration | None, doc("Settings for the type Exempt.")] = None


class LimitedPriorityLevelConfiguration(FlowcontrolV1, frozen=True):
    """A share with limits."""

    nominal_concurrency_shares: Annotated[int, doc("Size of the share, relative to the others.")] = 30
    limit_response: Annotated[LimitResponse | None, doc("What becomes of requests beyond the share.")] = None
    lendable_percent: Annotated[int | None, doc("How much of the share others may borrow, in per cent.", default=0)] = (
        None
    )
    borrowing_limit_percent: Annotated[int | None, doc("How much the level may borrow, in per cent of its share.")] = (
        None
    )


class ExemptPriorityLevelConfiguration(FlowcontrolV1, frozen=True):
    """A share without limits."""

    nominal_concurrency_shares: Annotated[int | None, doc("Size of the share, relative to the others.", default=0)] = (
        None
    )
    lendable_percent: Annotated[int | None, doc("How much of the share others may borrow, in per cent.", default=0)] = (
        None
    )


class LimitResponse(FlowcontrolV1, frozen=True):
    """What becomes of requests beyond a share."""

    type: Annotated[Literal["Queue", "Reject"], doc("Queue or Reject.")]
    queuing: Annotated[QueuingConfiguration | None, doc("Settings for the type Queue.")] = None


class QueuingConfiguration(FlowcontrolV1, frozen=True):
    """Queues of requests."""

    queues: Annotated[int, doc("How many queues there are.")] = 64
    hand_size: Annotated[int, doc("How many queues a flow is spread over.")] = 8
    queue_length_limit: Annotated[int, doc("How many requests a queue holds.")] = 50


class PriorityLevelConfigurationStatus(FlowcontrolV1, frozen=True):
    """What has become of a level."""

    conditions: Annotated[
        list[PriorityLevelConfigurationCondition], doc("The current state, aspect by aspect."), map_list("type")
    ] = []


class PriorityLevelConfigurationCondition(FlowcontrolV1, frozen=True):
    """One aspect of a level's state."""

    type: Annotated[str, doc("What the condition is about, in CamelCase.")]
    status: Annotated[str, doc("True, False or Unknown.")]
    last_transition_time: Annotated[Time | None, doc("When the status last changed.")] = None
    reason: Annotated[str, doc("Why it changed, in one CamelCase word.")] = ""
    message: Annotated[str, doc("Why it changed, in words.")] = ""
