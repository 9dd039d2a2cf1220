"""What happens to an object between a request's body and the store.

In order: decode, check that it is what the path says, drop or refuse unknown fields, take over what only the server may
set, default, prepare, normalise, validate, count the generation, note the field managers. Pure but for the namespace
look-up; webhooks and policies will come between preparing and validating.
"""

from __future__ import annotations

import random
import uuid
from typing import Any, NamedTuple

from homeport.apiserver.context import Api, Call
from homeport.apiserver.encoding import Body, decode_body
from homeport.apiserver.object_meta import validate_metadata, validate_metadata_update
from homeport.apiserver.resources import Served
from homeport.kube import field
from homeport.kube.apply import track_update
from homeport.kube.errors import (
    BadRequest,
    Conflict,
    FieldError,
    Forbidden,
    Invalid,
    MethodNotAllowed,
    NotFound,
    object_details,
)
from homeport.kube.meta import Object, timestamp
from homeport.store.protocol import Key

_NAMESPACES = "/namespaces"
_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"
"""Letters of a generated name: no vowels and nothing that looks like another, as upstream."""
_SUFFIX_LENGTH = 5
_MAX_GENERATED_BASE = 63 - _SUFFIX_LENGTH
_SERVER_FIELDS = (
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "selfLink",
)
"""Metadata that a client may send and only the server sets."""
_COLLECTIONS = ("labels", "annotations", "ownerReferences", "finalizers")


# -- the body


def read_object(call: Call) -> Object:
    """The object in the request's body, of the kind that the path names. Raises BadRequest, UnsupportedMediaType."""
    strict = call.query.get("fieldValidation") == "Strict"
    body = decode_body(call.request.headers.get("content-type"), call.request.body, find_duplicates=strict)
    obj = check_type(call, body.object)
    return check_fields(call, Body(obj, body.duplicates))


def check_type(call: Call, obj: Object) -> Object:
    """`obj` with ``apiVersion`` and ``kind``, which have to agree with the path. Raises BadRequest."""
    served = call.served
    version, kind = obj.get("apiVersion"), obj.get("kind")
    if not served.builtin and not kind:
        raise BadRequest(f"Object 'Kind' is missing in the body: a {served.kind} was expected")
    if version and version != served.resource.api_version:
        raise BadRequest(
            f"the API version in the data ({version}) does not match the expected API version "
            f"({served.resource.api_version})"
        )
    if kind and kind != served.kind:
        raise BadRequest(
            f'{kind} in version "{served.resource.version}" cannot be handled as a {served.kind}: the path is that of '
            f"{served.resource.qualified}"
        )
    metadata = obj.get("metadata")
    if metadata is None:
        metadata = {}
    elif not isinstance(metadata, dict):
        raise BadRequest(f"{served.kind}: metadata has to be an object")
    return {"apiVersion": served.resource.api_version, "kind": served.kind, "metadata": metadata} | {
        key: value for key, value in obj.items() if key not in ("apiVersion", "kind", "metadata")
    }


def check_fields(call: Call, body: Body) -> Object:
    """The object without unknown fields. They are an error, a warning or nothing, by ``fieldValidation``."""
    mode = call.query.get("fieldValidation") or "Warn"
    if mode not in ("Strict", "Warn", "Ignore"):
        supported = ("Ignore", "Strict", "Warn")
        errors = [field.not_supported("fieldValidation", mode, supported)]
        raise Invalid.of("meta.k8s.io", "CreateOptions", "", errors)
    obj, unknown = call.served.schema.prune(body.object)
    if mode != "Ignore" and (unknown or body.duplicates):
        texts = [f'unknown field "{path}"' for path in unknown]
        texts += [f'duplicate field "{path}"' for path in body.duplicates]
        if mode == "Strict":
            raise BadRequest(
                f'{call.served.kind} in version "{call.served.resource.version}" cannot be handled as a '
                f"{call.served.kind}: strict decoding error: {', '.join(texts)}"
            )
        call.warnings += texts
    result: Object = obj
    return result


# -- create


def prepare_create(api: Api, call: Call, obj: Object, *, applied: bool = False) -> Object:
    """The whole new object, ready to be written. Raises Invalid, BadRequest, NotFound, Forbidden or MethodNotAllowed.

    With `applied` the object comes from server-side apply, which has noted the field managers.
    """
    served = call.served
    metadata: dict[str, Any] = dict(obj["metadata"])
    if metadata.get("resourceVersion"):
        raise BadRequest("resourceVersion should not be set on objects to be created")
    for key in _SERVER_FIELDS:
        metadata.pop(key, None)
    _set_namespace(call, metadata)
    name = metadata.get("name")
    if call.info.name and name and name != call.info.name:
        raise BadRequest("the name of the object does not match the name on the URL")
    if not name and isinstance(metadata.get("generateName"), str) and metadata["generateName"]:
        metadata["name"] = generated_name(metadata["generateName"])
    check_namespace(api, call, str(metadata.get("name", "")))
    if api.definitions.is_terminating(served):
        raise MethodNotAllowed("create not allowed while custom resource definition is terminating")
    metadata["uid"] = str(uuid.uuid4())
    metadata["creationTimestamp"] = timestamp(api.now())
    if served.has_generation:
        metadata["generation"] = 1
    obj = {**obj, "metadata": metadata}
    if served.has_status:
        obj.pop("status", None)
    complete = _complete(served, obj, None)
    return complete.object if applied else _tracked(api, call, complete, None)


def _tracked(api: Api, call: Call, complete: _Complete, old: Object | None, subresource: str = "") -> Object:
    """The object with the field managers that it has after this call."""
    root, components = call.served.definition.parts
    tracked = track_update(
        old, complete.sent, call.manager, schema=root, components=components, now=api.now(), subresource=subresource
    )
    metadata = complete.object["metadata"]
    managers = tracked["metadata"].get("managedFields")
    if managers:
        metadata["managedFields"] = managers
    else:
        metadata.pop("managedFields", None)
    return complete.object


def generated_name(base: str) -> str:
    """`base`, cut so that it fits, and five random letters."""
    return base[:_MAX_GENERATED_BASE] + "".join(random.choices(_SUFFIX, k=_SUFFIX_LENGTH))


def _set_namespace(call: Call, metadata: dict[str, Any]) -> None:
    if not call.served.namespaced:
        metadata.pop("namespace", None)
        return
    namespace = metadata.get("namespace")
    if namespace and namespace != call.namespace:
        raise BadRequest("the namespace of the provided object does not match the namespace sent on the request")
    if not call.namespace:
        raise BadRequest("an empty namespace may not be set during creation")
    metadata["namespace"] = call.namespace


def check_namespace(api: Api, call: Call, name: str) -> None:
    """Nothing is created in a namespace that is not there or is going away. Raises NotFound or Forbidden."""
    if not call.served.namespaced:
        return
    record = api.store.head(Key(_NAMESPACES, "", call.namespace))
    if record is None:
        raise NotFound.of("", "namespaces", call.namespace)
    if api.terminating(record):
        resource = call.served.resource
        cause = {
            "reason": "NamespaceTerminating",
            "message": f"namespace {call.namespace} is being terminated",
            "field": "metadata.namespace",
        }
        details = object_details(resource.group, resource.plural, name) | {"causes": [cause]}
        raise Forbidden(
            f'{resource.qualified} "{name}" is forbidden: unable to create new content in namespace {call.namespace} '
            "because it is being terminated",
            details=details,
        )


# -- update


def prepare_update(
    api: Api, call: Call, new: Object, old: Object, *, subresource: str = "", applied: bool = False
) -> Object | None:
    """The whole changed object, or None when nothing changes. Raises Invalid or Conflict.

    `subresource` is ``status`` (the status changes and nothing else), another one (what the verb changed is taken as it
    is) or empty (everything but the status changes). `applied` is as in :func:`prepare_create`.
    """
    served = call.served
    before, sent = old["metadata"], new["metadata"]
    if sent.get("uid") and sent["uid"] != before["uid"]:
        resource, name = served.resource, before["name"]
        raise Conflict.precondition(resource.group, resource.plural, name, "UID", sent["uid"], before["uid"])
    if subresource == "status":
        obj = {**old, "metadata": dict(before)}
        obj.pop("status", None)
        if "status" in new:
            obj["status"] = new["status"]
        if applied:
            obj["metadata"]["managedFields"] = sent.get("managedFields")
    else:
        metadata: dict[str, Any] = {**sent, "name": before["name"]}
        for key in ("namespace", *_SERVER_FIELDS):
            metadata.pop(key, None)
            if key in before:
                metadata[key] = before[key]
        obj = {**new, "metadata": metadata}
        if served.has_status and not subresource:
            obj.pop("status", None)
            if "status" in old:
                obj["status"] = old["status"]
    complete = _complete(served, obj, old)
    obj = complete.object
    if served.has_generation and not subresource and _counts(obj, old, served):
        obj["metadata"]["generation"] = before.get("generation", 0) + 1
    if applied:
        return None if obj == old else obj
    if not _same(obj, old):
        return _tracked(api, call, complete, old, subresource)
    if not _edits_managers(sent, before):
        return None
    edited = _tracked(api, call, complete, old, subresource)
    return None if edited["metadata"].get("managedFields") == before.get("managedFields") else edited


def _edits_managers(sent: dict[str, Any], before: dict[str, Any]) -> bool:
    """Whether a client writes managedFields of its own: to forget them all, or to hand fields over to another manager,
    as ``kubectl apply --server-side`` does for what it once created."""
    edited = sent.get("managedFields")
    return edited is not None and bool(before.get("managedFields")) and edited != before["managedFields"]


def _same(new: Object, old: Object) -> bool:
    """Whether two states are equal but for who manages their fields."""
    if len(new) != len(old) or any(new[key] != old.get(key) for key in new if key != "metadata"):
        return False
    before = {key: value for key, value in old["metadata"].items() if key != "managedFields"}
    after = {key: value for key, value in new["metadata"].items() if key != "managedFields"}
    return before == after


def _counts(new: Object, old: Object, served: Served) -> bool:
    """Whether a change makes a new generation: of anything but metadata and status."""
    ignored = {"metadata", "apiVersion"} | ({"status"} if served.has_status else set())
    return any(new.get(key) != old.get(key) for key in (new.keys() | old.keys()) - ignored)


# -- both


class _Complete(NamedTuple):
    """An object on its way into the store."""

    object: Object
    """As it will be stored. Its metadata is a dict of its own."""
    sent: Object
    """As the client sent it, with schema defaults: what the client counts as the manager of. What is worked out from
    it belongs to nobody, so that whoever applies later need not repeat it."""


def _complete(served: Served, obj: Object, old: Object | None) -> _Complete:
    """Default, normalise, prepare, validate. Raises Invalid with every error that there is."""
    schema = served.schema
    sent = schema.normalise(schema.default(without_empty_metadata(obj)))
    obj = served.prepare(sent, old)
    if obj is not sent:
        obj = schema.normalise(obj)
    errors: list[FieldError] = list(validate_metadata(served, obj["metadata"]))
    if old is not None:
        errors += validate_metadata_update(obj["metadata"], old["metadata"])
    errors += schema.validate(obj, old)
    if not errors:
        # A kind's own rules may take for granted what the schema promises.
        errors += served.validate(obj, old)
    if errors:
        unique = list(dict.fromkeys(errors))
        raise Invalid.of(served.group, served.kind, obj["metadata"].get("name") or "", unique)
    obj = served.finish(obj, old)
    return _Complete({**obj, "metadata": dict(obj["metadata"])}, sent)


def without_empty_metadata(obj: Object) -> Object:
    """`obj` without metadata that says nothing: ``omitempty`` in ``metav1.ObjectMeta``, so that it never reaches a
    store there either."""
    metadata = obj["metadata"]
    if not any(key in metadata and metadata[key] in ({}, []) for key in _COLLECTIONS):
        return obj
    kept = {key: value for key, value in metadata.items() if key not in _COLLECTIONS or value not in ({}, [])}
    return {**obj, "metadata": kept}
