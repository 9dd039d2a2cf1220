"""``POST serviceaccounts/NAME/token``: a token of the account, for an audience and a time (``TokenRequest``).

Upstream: ``pkg/registry/core/serviceaccount/storage/token.go`` and the validation of ``authentication.k8s.io``.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from homeport.apiserver import audit
from homeport.apiserver.admission.attributes import CREATE, attributes_of
from homeport.apiserver.context import Api, Call
from homeport.apiserver.encoding import decode_body, encode, object_response
from homeport.apiserver.identity.accounts import NODES, PODS, SECRETS, Binding, ServiceAccounts
from homeport.apiserver.options import check_options
from homeport.apiserver.verbs.get import not_found
from homeport.kube import field, meta
from homeport.kube.errors import BadRequest, Conflict, FieldError, Invalid, MethodNotAllowed, NotFound
from homeport.kube.meta import Object, timestamp
from homeport.kube.wire import Response
from homeport.store.protocol import Key

GROUP, KIND = "authentication.k8s.io", "TokenRequest"
DEFAULT_SECONDS = 3600
MIN_SECONDS = 600
MAX_SECONDS = 1 << 32
_BINDABLE = {"Pod": (PODS, "pods"), "Secret": (SECRETS, "secrets"), "Node": (NODES, "nodes")}


async def token_request(api: Api, call: Call) -> Response:
    """Raises NotFound, BadRequest, Invalid or Conflict."""
    if call.info.verb != "create":
        raise MethodNotAllowed("serviceaccounts/token takes POST only")
    check_options(call, "CreateOptions")
    if api.accounts is None:
        raise NotFound("this server issues no service-account tokens")
    body = decode_body(call.request.headers.get("content-type"), call.request.body).object
    record = api.store.get(Key(call.served.key, call.namespace, call.info.name))
    if record is None:
        raise not_found(call)
    account: Object = msgspec.json.decode(record.value)
    spec = _checked(call, body, account, api.accounts)
    request = {
        "kind": KIND,
        "apiVersion": f"{GROUP}/v1",
        "metadata": {
            "name": call.info.name,
            "namespace": call.namespace,
            "uid": meta.uid(account),
            "creationTimestamp": timestamp(api.now()),
        },
        "spec": spec,
    }
    await api.admission.admit(attributes_of(call, CREATE, request))
    binding = _binding(api, call, spec.get("boundObjectRef"))
    begin = int(api.now().timestamp())
    seconds, longest = spec["expirationSeconds"], api.accounts.longest
    if longest and seconds > longest:
        call.warnings.append(f"requested expiration of {seconds} seconds shortened to {longest} seconds")
        seconds = spec["expirationSeconds"] = longest
    token, identifier = await api.accounts.issue(account, spec["audiences"], seconds, binding=binding)
    audit.annotate("authentication.kubernetes.io/issued-credential-id", f"JTI={identifier}")
    ends = timestamp(datetime.fromtimestamp(begin + seconds, UTC))
    result = {**request, "status": {"token": token, "expirationTimestamp": ends}}
    return object_response(encode(result), call.form, 201)


def _checked(call: Call, body: Object, account: Object, accounts: ServiceAccounts) -> dict[str, Any]:
    """The request's spec with its defaults. Raises BadRequest, Conflict or Invalid."""
    if body.get("kind", KIND) != KIND:
        raise BadRequest(f"{body['kind']} cannot be handled as a {KIND}")
    version = body.get("apiVersion", f"{GROUP}/v1")
    if version != f"{GROUP}/v1":
        raise BadRequest(
            f"the API version in the data ({version}) does not match the expected API version ({GROUP}/v1)"
        )
    sent, spec = body.get("metadata") or {}, body.get("spec") or {}
    if not isinstance(sent, dict) or not isinstance(spec, dict):
        raise BadRequest("metadata and spec have to be objects")
    errors: list[FieldError] = []
    if sent.get("namespace") and sent["namespace"] != call.namespace:
        raise BadRequest("the namespace of the provided object does not match the namespace sent on the request")
    if sent.get("name") and sent["name"] != call.info.name:
        detail = "must match the service account name if specified"
        errors.append(field.invalid("metadata.name", sent["name"], detail))
    if sent.get("uid") and sent["uid"] != meta.uid(account):
        raise Conflict(
            f'Operation cannot be fulfilled on {KIND}.{GROUP} "{call.info.name}": the UID in the token request '
            f"({sent['uid']}) does not match the UID of the service account ({meta.uid(account)})",
            details={"name": call.info.name, "group": GROUP, "kind": KIND},
        )
    audiences = spec.get("audiences") or list(accounts.audiences)
    if not isinstance(audiences, list) or not all(isinstance(item, str) for item in audiences):
        raise BadRequest("spec.audiences has to be a list of strings")
    seconds = spec.get("expirationSeconds")
    if seconds is None:
        seconds = DEFAULT_SECONDS
    if not isinstance(seconds, int) or isinstance(seconds, bool):
        raise BadRequest("spec.expirationSeconds has to be a whole number")
    if seconds < MIN_SECONDS:
        detail = "may not specify a duration less than 10 minutes"
        errors.append(field.invalid("spec.expirationSeconds", seconds, detail))
    elif seconds > MAX_SECONDS:
        detail = "may not specify a duration larger than 2^32 seconds"
        errors.append(field.invalid("spec.expirationSeconds", seconds, detail))
    if errors:
        raise Invalid.of(GROUP, KIND, call.info.name, errors)
    reference = spec.get("boundObjectRef")
    if reference is not None and not isinstance(reference, dict):
        raise BadRequest("spec.boundObjectRef has to be an object")
    return {"audiences": audiences, "expirationSeconds": seconds, "boundObjectRef": reference}


def _binding(api: Api, call: Call, reference: dict[str, Any] | None) -> Binding:
    """The object that the token shall hang on. Raises NotFound, BadRequest or Conflict."""
    if reference is None:
        return Binding()
    kind, version = str(reference.get("kind") or ""), str(reference.get("apiVersion") or "")
    if kind not in _BINDABLE or version not in ("v1", ""):
        group, _, rest = version.rpartition("/")
        raise BadRequest(f"cannot bind token to object of type {group}/{rest}, Kind={kind}")
    resource, plural = _BINDABLE[kind]
    name, namespace = str(reference.get("name") or ""), "" if kind == "Node" else call.namespace
    record = api.store.get(Key(resource, namespace, name))
    if record is None:
        raise NotFound.of("", plural, name)
    found: Object = msgspec.json.decode(record.value)
    asked = reference.get("uid")
    if kind == "Pod" and (meta.spec(found).get("serviceAccountName") or "") != call.info.name:
        raise BadRequest(
            f'cannot bind token for serviceaccount "{call.info.name}" to pod running with different serviceaccount '
            "name."
        )
    if asked and asked != meta.uid(found):
        raise Conflict(
            f'Operation cannot be fulfilled on {kind} "{name}": the UID in the bound object reference ({asked}) does '
            "not match the UID in record. The object might have been deleted and then recreated",
            details={"name": name, "kind": kind},
        )
    if kind == "Secret":
        return Binding(secret=found)
    if kind == "Node":
        return Binding(node=found)
    return Binding(pod=found, node=_node_of(api, found))


def _node_of(api: Api, pod: Object) -> Object | None:
    """The node that the pod is on; only its name if there is no such node (any more)."""
    name = meta.spec(pod).get("nodeName")
    if not name:
        return None
    record = api.store.get(Key(NODES, "", name))
    found: Object = {"metadata": {"name": name}} if record is None else msgspec.json.decode(record.value)
    return found
