"""What the server itself does to an object before it is stored, whatever plug-ins and webhooks do.

A *draft* is what admission sees: what only the server may set is taken over from the stored object, defaults are
filled in. Finishing a draft validates what admission made of it, counts the generation and notes the field managers.
Pure.
"""

from __future__ import annotations

from typing import Any

import msgspec

from homeport.apiserver import managers
from homeport.apiserver.admission.attributes import Attributes
from homeport.apiserver.admission.embedded import validate_embedded
from homeport.apiserver.admission.judging import judged
from homeport.apiserver.admission.owners import without_repeated_owners
from homeport.apiserver.context import Api, Call
from homeport.apiserver.object_meta import validate_metadata, validate_metadata_update
from homeport.apiserver.resources import Served
from homeport.apiserver.uids import SUFFIX_LENGTH, new_suffix, new_uid
from homeport.kube.apply import track_update
from homeport.kube.errors import BadRequest, Conflict, FieldError, InternalError, Invalid, MethodNotAllowed
from homeport.kube.meta import Object, timestamp
from homeport.kube.schema.decoding import Undecodable

_MAX_GENERATED_BASE = 63 - SUFFIX_LENGTH
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
_SET_BY_SERVER = frozenset(_SERVER_FIELDS)
_REQUIRED = "FieldValueRequired"
_COLLECTIONS = ("labels", "annotations", "ownerReferences", "finalizers")


class Draft(msgspec.Struct, frozen=True):
    """An object on its way through admission."""

    object: Object
    """With all defaults."""
    sent: Object
    """As the client sent it, with schema defaults: what the client counts as the manager of. What is worked out from
    it, or added by plug-ins and webhooks, belongs to nobody, so that whoever applies later need not repeat it."""


# -- create


def draft_create(api: Api, call: Call, obj: Object, *, whole: bool = False) -> Draft:
    """The new object, ready for admission. `whole` objects have their defaults and are in normal form. Raises
    BadRequest or MethodNotAllowed."""
    served = call.served
    metadata: dict[str, Any] = dict(obj["metadata"])
    if metadata.get("resourceVersion"):
        raise BadRequest("resourceVersion should not be set on objects to be created")
    if not _SET_BY_SERVER.isdisjoint(metadata):
        for key in _SERVER_FIELDS:
            metadata.pop(key, None)
    _set_namespace(call, metadata)
    name = metadata.get("name")
    if call.info.name and name and name != call.info.name:
        raise BadRequest("the name of the object does not match the name on the URL")
    if api.definitions.is_terminating(served):
        raise MethodNotAllowed("create not allowed while custom resource definition is terminating")
    metadata["uid"] = new_uid()
    metadata["creationTimestamp"] = timestamp(api.now())
    if served.has_generation:
        metadata["generation"] = 1
    return _draft(served, _without_status(served, {**obj, "metadata": metadata}), None, whole)


def finish_create(
    api: Api, call: Call, draft: Draft, attributes: Attributes, *, applied: bool = False, patient: bool = True
) -> Object:
    """The whole new object, ready to be written. Raises Invalid, and Laborious unless `patient`.

    `attributes` have what admission made of the draft's object. With `applied` the object comes from server-side apply,
    which has noted the field managers.
    """
    served, before, admitted = call.served, draft.object, admitted_object(attributes)
    if admitted is not before:
        metadata = _with_server_fields(admitted.get("metadata"), before["metadata"])
        _set_namespace(call, metadata)
        admitted = {**admitted, "metadata": metadata}
        if attributes.rough:
            admitted = redone(served, _without_status(served, admitted), None)
    metadata = dict(admitted["metadata"])
    sent = draft.sent
    if call.info.name and metadata.get("name") != call.info.name:
        raise BadRequest("the name of the object does not match the name on the URL")
    named = {**admitted, "metadata": metadata}
    if not metadata.get("name") and isinstance(metadata.get("generateName"), str) and metadata["generateName"]:
        metadata["name"] = _generated_name(metadata["generateName"])
        named = served.prepare(named, None)  # once more, for what depends on the name
    obj = _valid(call, named, None, patient)
    return obj if applied else _tracked(api, call, obj, sent, None)


def admitted_object(attributes: Attributes) -> Object:
    """The object that a creation or an update has after admission."""
    assert attributes.object is not None, "admission refuses by raising"
    return attributes.object


def _without_status(served: Served, obj: Object) -> Object:
    """Of a new object: its status is for others to write."""
    if served.has_status:
        obj.pop("status", None)
    return obj


def _with_server_fields(metadata: Any, before: dict[str, Any]) -> dict[str, Any]:
    """`metadata` with what only the server may set as it is in `before`."""
    result: dict[str, Any] = dict(metadata) if isinstance(metadata, dict) else {}
    for key in (*_SERVER_FIELDS, "managedFields"):
        result.pop(key, None)
        if key in before:
            result[key] = before[key]
    return result


def _generated_name(base: str) -> str:
    """`base`, cut so that it fits, and five random letters."""
    return base[:_MAX_GENERATED_BASE] + new_suffix()


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


# -- update


def draft_update(
    call: Call, new: Object, old: Object, *, subresource: str = "", applied: bool = False, whole: bool = False
) -> Draft:
    """The changed object, ready for admission. Raises Conflict or BadRequest. `whole` is as in :func:`draft_create`, of
    `new`.

    `subresource` is ``status`` (the status changes and nothing else), another one (what the verb changed is taken as it
    is) or empty (everything but the status changes). `applied` is as in :func:`finish_create`.
    """
    served = call.served
    before, sent = old["metadata"], new["metadata"]
    if sent.get("uid") and sent["uid"] != before["uid"]:
        resource, name = served.resource, before["name"]
        raise Conflict.precondition(resource.group, resource.plural, name, "UID", sent["uid"], before["uid"])
    if sent.get("namespace") and sent["namespace"] != before.get("namespace", ""):
        raise BadRequest("the namespace of the provided object does not match the namespace sent on the request")
    merged = _merged(served, new, old, subresource, applied)
    # What comes from the stored object may be older than some default.
    return _draft(served, merged, old, whole and not subresource and not (served.has_status and "status" in merged))


def finish_update(
    api: Api,
    call: Call,
    draft: Draft,
    attributes: Attributes | None,
    old: Object,
    *,
    subresource: str = "",
    applied: bool = False,
    patient: bool = True,
    through: str = "",
) -> Object | None:
    """The whole changed object, or None when nothing changes. Raises Invalid. Parameters as above; without `attributes`
    admission has seen something else (a Scale, a Binding), and the draft stays as it is. `through` is the subresource
    that managers of fields are said to use, if it is another one."""
    served, before = call.served, old["metadata"]
    through = through or subresource
    admitted = draft.object if attributes is None else admitted_object(attributes)
    if attributes is not None and admitted is not draft.object:
        metadata = _with_server_fields(admitted.get("metadata"), draft.object["metadata"])
        admitted = _merged(served, {**admitted, "metadata": metadata}, old, subresource, applied)
        if attributes.rough:
            admitted = redone(served, admitted, old)
    obj = _valid(call, admitted, old, patient)
    if served.has_generation and not subresource and _counts(obj, old, served):
        obj["metadata"]["generation"] = before.get("generation", 0) + 1
    if applied:
        return None if obj == old else obj
    if not _same(obj, old):
        return _tracked(api, call, obj, draft.sent, old, through)
    if not _edits_managers(draft.sent["metadata"], before):
        return None
    edited = _tracked(api, call, obj, draft.sent, old, through)
    return None if edited["metadata"].get("managedFields") == before.get("managedFields") else edited


def _merged(served: Served, new: Object, old: Object, subresource: str, applied: bool) -> Object:
    """`new` with what this write may not change as it is in `old`."""
    before, sent = old["metadata"], new["metadata"]
    # The status of a built-in object is written together with labels and annotations, as upstream; that of a custom
    # resource by itself.
    if subresource == "status" and not served.builtin:
        metadata: dict[str, Any] = dict(before)
        if applied:
            metadata["managedFields"] = sent.get("managedFields")
    else:
        metadata = {**sent, "name": before["name"]}
        for key in ("namespace", *_SERVER_FIELDS):
            metadata.pop(key, None)
            if key in before:
                metadata[key] = before[key]
    if subresource == "status":
        obj = {**old, "metadata": metadata}
        obj.pop("status", None)
        if "status" in new:
            obj["status"] = new["status"]
        return obj
    obj = {**new, "metadata": metadata}
    if served.has_status and not subresource:
        obj.pop("status", None)
        if "status" in old:
            obj["status"] = old["status"]
    return obj


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


def _draft(served: Served, obj: Object, old: Object | None, whole: bool = False) -> Draft:
    """Default and normalise, unless that is done; prepare."""
    sent = without_empty_metadata(obj)
    if not whole:
        sent = served.schema.complete(sent)
    return Draft(served.prepare(sent, old), sent)


def redone(served: Served, obj: Object, old: Object | None) -> Object:
    """What admission changed, brought into form as a client's object is. Raises InternalError where a webhook or a
    policy has made of it what is no object of the kind."""
    try:
        pruned, _ = served.schema.read(obj) if served.builtin else served.schema.prune(obj)
    except Undecodable as error:
        raise InternalError(f"Internal error occurred: {error}") from error
    return _draft(served, pruned, old).object


def _valid(call: Call, obj: Object, old: Object | None, patient: bool) -> Object:
    """`obj` as it will be stored, with metadata of its own. Raises Invalid with every error that there is, and
    Laborious unless `patient`."""
    served = call.served
    schema = served.schema
    obj = without_repeated_owners(call, obj, admitted=True)
    errors: list[FieldError] = list(validate_metadata(served, obj["metadata"]))
    if old is not None:
        errors += validate_metadata_update(obj["metadata"], old["metadata"])
    found = schema.validate(obj, old)
    if found and served.builtin and any(_lacks_status(error) for error in found):
        obj = schema.with_zero_status(obj)
        found = schema.validate(obj, old)
    errors += judged(served, obj, old, found)
    if not served.builtin:
        errors += validate_embedded(schema, obj)
    rules = served.definition.rules
    if rules is not None:
        verdict = rules.validate(obj, old, errors, patient=patient)
        errors += verdict.errors
        call.warnings += verdict.warnings
    if errors:
        unique = list(dict.fromkeys(errors))
        raise Invalid.of(served.group, served.kind, obj["metadata"].get("name") or "", unique)
    obj = served.finish(obj, old)
    return {**obj, "metadata": dict(obj["metadata"])}


def _lacks_status(error: FieldError) -> bool:
    return error.reason == _REQUIRED and error.path.startswith("status.")


def _tracked(api: Api, call: Call, obj: Object, sent: Object, old: Object | None, subresource: str = "") -> Object:
    """`obj` with the field managers that it has after this call. Its metadata is changed in place."""
    root, components = call.served.definition.parts
    found: Any = None
    try:
        tracked = track_update(
            old,
            sent,
            call.manager,
            schema=root,
            components=components,
            now=api.now(),
            subresource=subresource,
            versions=managers.versions_of(api, call),
        )
        found = tracked["metadata"].get("managedFields")
    except managers.Unconverted:
        pass  # the webhook failed: as upstream, nobody is the manager of anything then
    metadata = obj["metadata"]
    if found:
        metadata["managedFields"] = found
    else:
        metadata.pop("managedFields", None)
    return obj


def without_empty_metadata(obj: Object) -> Object:
    """`obj` without metadata that says nothing: ``omitempty`` in ``metav1.ObjectMeta``, so that it never reaches a
    store there either."""
    metadata = obj["metadata"]
    for key in _COLLECTIONS:
        if key in metadata and metadata[key] in ({}, []):
            break
    else:
        return obj
    kept = {key: value for key, value in metadata.items() if key not in _COLLECTIONS or value not in ({}, [])}
    return {**obj, "metadata": kept}
