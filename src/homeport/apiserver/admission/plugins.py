"""Which plug-ins a server has, in the order in which they are asked (upstream: ``AllOrderedPlugins``)."""

from __future__ import annotations

from collections.abc import Sequence

from homeport import metrics
from homeport.apiserver.admission.certificates import (
    CertificateApproval,
    CertificateRequester,
    CertificateSubjectRestriction,
)
from homeport.apiserver.admission.chain import Chain
from homeport.apiserver.admission.components import ComponentHooks
from homeport.apiserver.admission.dispatch import Webhooks
from homeport.apiserver.admission.lifecycle import NamespaceLifecycle
from homeport.apiserver.admission.limits import LimitRanger
from homeport.apiserver.admission.metrics import AdmissionMetrics
from homeport.apiserver.admission.mutating import MutatingPolicies
from homeport.apiserver.admission.plugin import Plugin
from homeport.apiserver.admission.pod_security.configuration import PodSecurityConfiguration
from homeport.apiserver.admission.pod_security.plugin import PodSecurity
from homeport.apiserver.admission.pods import DefaultTolerationSeconds, RuntimeClass
from homeport.apiserver.admission.policing import ValidatingPolicies
from homeport.apiserver.admission.priority import Priority
from homeport.apiserver.admission.service_account import ServiceAccount
from homeport.apiserver.admission.storage import (
    DefaultStorageClass,
    PersistentVolumeClaimResize,
    StorageObjectInUseProtection,
)
from homeport.apiserver.context import Api
from homeport.apiserver.rbac.escalation import Escalation
from homeport.kube.admission import Hook


def chain(
    api: Api,
    shown: metrics.Registry,
    pod_security: PodSecurityConfiguration | None = None,
    hooks: Sequence[Hook] = (),
) -> Chain:
    """The admission of the server whose parts are `api`, at the latest state in its store. It shows what it counts in
    `shown`. `hooks` are those of components."""
    counted = AdmissionMetrics(shown)
    # A server that issues no tokens asks for no accounts either.
    accounts: tuple[Plugin, ...] = (ServiceAccount(api),) if api.accounts is not None else ()
    plugins = (
        NamespaceLifecycle(api),
        CertificateRequester(),
        CertificateApproval(api.authorizer),
        CertificateSubjectRestriction(),
        LimitRanger(api),
        *accounts,
        Priority(api),
        DefaultTolerationSeconds(),
        DefaultStorageClass(api),
        StorageObjectInUseProtection(),
        RuntimeClass(api),
        PersistentVolumeClaimResize(api),
        ComponentHooks(api.store, hooks, api.now),
        PodSecurity(api, counted, pod_security or PodSecurityConfiguration()),
        Escalation(api.authorizer),
    )
    # Quotas come last of all, with the write itself (see `homeport.apiserver.quota`).
    stages = (
        MutatingPolicies(api, counted),
        ValidatingPolicies(api, counted),
        Webhooks(api, api.webhooks, counted),
    )
    return Chain(plugins, stages, counted)
