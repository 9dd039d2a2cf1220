"""``pods/eviction``: a deletion that disruption budgets may refuse (upstream: ``pkg/registry/core/pod/storage``).

Upstream writes the budget, then the pod's condition, then the deletion, each with its own conflicts and repetitions.
Here all of it is one write, which a budget's other writers cannot come between: an eviction is counted if and only if
the pod goes.
"""

from __future__ import annotations

import msgspec

from homeport.apiserver.admission import CREATE, attributes_of
from homeport.apiserver.context import Api, Call
from homeport.apiserver.deletion import DeleteOptions, delete_options
from homeport.apiserver.encoding import decode_body, encode, object_response
from homeport.apiserver.options import check_options
from homeport.apiserver.verbs.delete import delete_record
from homeport.apiserver.verbs.pods import SUCCESS, check_names
from homeport.apiserver.verbs.update import head
from homeport.apiserver.versions import object_of
from homeport.kube.core import disruption
from homeport.kube.errors import BadRequest, InternalError, MethodNotAllowed
from homeport.kube.meta import Object
from homeport.kube.wire import Response
from homeport.store.protocol import Put

_BUDGETS = "policy/poddisruptionbudgets"
_CONDITION: Object = {"status": "True", "reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting"}
_SEVERAL = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."


async def eviction(api: Api, call: Call) -> Response:
    """``POST``: raises TooManyRequests if a disruption budget has to do without the pod, and what deletions raise."""
    if call.info.verb != "create":
        raise MethodNotAllowed("pods/eviction takes POST only")
    check_options(call, "CreateOptions")
    body: Object = {}
    if call.request.body.strip():
        body = decode_body(call.request.headers.get("content-type"), call.request.body).object
    sent = body.get("deleteOptions") or {}
    if not isinstance(sent, dict):
        raise BadRequest("deleteOptions has to be an object")
    check_names(call, body, "Eviction")
    options: DeleteOptions = delete_options({**sent, "kind": "DeleteOptions"}, call.query)
    head(api, call)
    evicted = {"apiVersion": "policy/v1", "kind": "Eviction", **body}
    attributes = attributes_of(call, CREATE, evicted)
    attributes.dry_run |= options.dry_run
    await api.admission.admit(attributes)
    # From here on nothing waits before the write.
    record = head(api, call)
    pod = object_of(call.served, record)
    charged = _charged(api, call, pod)
    target = disruption.with_target(pod, _CONDITION, api.now())
    await delete_record(api, call, record, options, target, along=charged)
    return object_response(encode(SUCCESS), call.form, 201)


def _charged(api: Api, call: Call, pod: Object) -> tuple[Put, ...]:
    """What the eviction changes in the pod's budget. Raises TooManyRequests, Forbidden, InternalError."""
    if disruption.needs_no_budget(pod):
        return ()
    found = []
    for record in api.store.heads(_BUDGETS, call.namespace):
        budget: Object = msgspec.json.decode(record.value)
        if disruption.covers(budget, pod):
            found.append((record, budget))
    if not found:
        return ()
    if len(found) > 1:
        told = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": _SEVERAL}
        raise InternalError(_SEVERAL, status={**told, "code": 500})
    [(record, budget)] = found
    if disruption.tolerates(budget, pod):
        return ()
    return (Put(record.key, disruption.charged(budget, pod, api.now()), record.revision),)
