"""Which plug-ins a server has, in the order in which they are asked (upstream: ``AllOrderedPlugins``)."""

from __future__ import annotations

from homeport.apiserver.admission.chain import Chain
from homeport.apiserver.admission.dispatch import Webhooks
from homeport.apiserver.admission.lifecycle import NamespaceLifecycle
from homeport.apiserver.context import Api
from homeport.apiserver.rbac.escalation import Escalation


def chain(api: Api) -> Chain:
    """The admission of the server whose parts are `api`, at the latest state in its store."""
    return Chain((NamespaceLifecycle(api), Escalation(api.authorizer)), (Webhooks(api, api.webhooks),))
