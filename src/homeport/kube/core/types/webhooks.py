"""Webhooks that take part in admission (admissionregistration.k8s.io/v1)."""

from __future__ import annotations

from typing import Annotated, Literal

from homeport.kube.core.types.bases import AdmissionregistrationV1
from homeport.kube.core.types.meta import LabelSelector, ObjectMeta
from homeport.kube.schema.fields import Bytes, atomic_list, doc, map_list


class MutatingWebhookConfiguration(AdmissionregistrationV1, frozen=True):
    """Webhooks that may change objects on their way into the store."""

    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None
    webhooks: Annotated[list[MutatingWebhook], doc("The webhooks, asked in turn."), map_list("name")] = []


class ValidatingWebhookConfiguration(AdmissionregistrationV1, frozen=True):
    """Webhooks that may refuse objects on their way into the store."""

    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None
    webhooks: Annotated[list[ValidatingWebhook], doc("The webhooks, all asked at once."), map_list("name")] = []


class Webhook(AdmissionregistrationV1, frozen=True):
    """What webhooks of both kinds have in common."""

    name: Annotated[str, doc("Name of the webhook, a domain name of at least three parts.")]
    client_config: Annotated[WebhookClientConfig, doc("How to reach the webhook.")]
    side_effects: Annotated[
        Literal["None", "NoneOnDryRun", "Some", "Unknown"],
        doc("What else the webhook does; dry runs ask only None and NoneOnDryRun."),
    ]
    admission_review_versions: Annotated[
        list[str], doc("Versions of AdmissionReview that the webhook understands, the best first."), atomic_list()
    ]
    rules: Annotated[list[RuleWithOperations], doc("The requests that the webhook is asked about."), atomic_list()] = []
    failure_policy: Annotated[
        Literal["Fail", "Ignore"], doc("What happens to a request when the webhook can't be asked: Fail or Ignore.")
    ] = "Fail"
    match_policy: Annotated[
        Literal["Equivalent", "Exact"],
        doc("Whether a rule is also met by the same resource in another group or version: Exact or Equivalent."),
    ] = "Equivalent"
    namespace_selector: Annotated[
        LabelSelector | None, doc("Labels that the object's namespace must have.", default={})
    ] = None
    object_selector: Annotated[
        LabelSelector | None, doc("Labels that the object must have, before or after the request.", default={})
    ] = None
    timeout_seconds: Annotated[int, doc("Seconds to wait for an answer, 1 to 30.")] = 10
    match_conditions: Annotated[
        list[MatchCondition],
        doc("CEL expressions that must all be true for the webhook to be asked."),
        map_list("name"),
    ] = []


class MutatingWebhook(Webhook, frozen=True):
    """One webhook that may change objects, and the requests that it is asked about."""

    reinvocation_policy: Annotated[
        Literal["IfNeeded", "Never"],
        doc("Whether the webhook is asked again after a later one changed the object: Never or IfNeeded."),
    ] = "Never"


class ValidatingWebhook(Webhook, frozen=True):
    """One webhook that may refuse objects, and the requests that it is asked about."""


class RuleWithOperations(AdmissionregistrationV1, frozen=True):
    """Operations on resources that a rule is met by."""

    operations: Annotated[
        list[Literal["*", "CONNECT", "CREATE", "DELETE", "UPDATE"]],
        doc("CREATE, UPDATE, DELETE, CONNECT or *."),
        atomic_list(),
    ] = []
    api_groups: Annotated[
        list[str], doc("API groups of the resources; * is all of them, the empty string the core group."), atomic_list()
    ] = []
    api_versions: Annotated[list[str], doc("Versions of the resources; * is all of them."), atomic_list()] = []
    resources: Annotated[
        list[str], doc("Resources, also with a subresource: pods, pods/log, pods/*, */scale, * or */*."), atomic_list()
    ] = []
    scope: Annotated[
        Literal["*", "Cluster", "Namespaced"],
        doc("Whether objects in namespaces or others are meant: Namespaced, Cluster or *."),
    ] = "*"


class WebhookClientConfig(AdmissionregistrationV1, frozen=True):
    """How to reach a webhook: by URL, or as a service."""

    url: Annotated[str | None, doc("Address of the webhook, which has to begin with https://.")] = None
    service: Annotated[ServiceReference | None, doc("The service that is the webhook.")] = None
    ca_bundle: Annotated[Bytes, doc("Certificates in PEM that the webhook's certificate is checked with.")] = ""


class ServiceReference(AdmissionregistrationV1, frozen=True):
    """A service that is a webhook."""

    namespace: Annotated[str, doc("Namespace of the service.")]
    name: Annotated[str, doc("Name of the service.")]
    path: Annotated[str | None, doc("Path of the webhook.")] = None
    port: Annotated[int, doc("Port of the service.")] = 443


class MatchCondition(AdmissionregistrationV1, frozen=True):
    """A CEL expression that must be true."""

    name: Annotated[str, doc("Name of the condition.")]
    expression: Annotated[str, doc("The expression; it knows object, oldObject, request and authorizer.")]
