"""Server-side apply: ``PATCH`` with ``application/apply-patch+yaml``. Creates what is not there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from homeport.apiserver import managers
from homeport.apiserver.admission import (
    check_fields,
    check_type,
    finds_duplicates,
    unmarshal_errors,
    without_empty_metadata,
)
from homeport.apiserver.authz import check
from homeport.apiserver.context import Api, Call
from homeport.apiserver.encoding import YAML, Body, decode_body
from homeport.apiserver.offload import at, takes_long
from homeport.apiserver.options import check_options
from homeport.apiserver.routes import parse_bool
from homeport.apiserver.verbs.create import create_object
from homeport.apiserver.verbs.update import change
from homeport.apiserver.writing import modified
from homeport.kube import apply as merging
from homeport.kube.errors import AlreadyExists, BadRequest, Conflict
from homeport.kube.meta import Object
from homeport.kube.wire import Response
from homeport.store.protocol import Key

_CONVERSIONS = 64
"""How often an apply stops for a conversion, at most: some five times for each version in which fields are managed."""


class Part(NamedTuple):
    """What a subresource changes of an object."""

    only: Callable[[Object], Object]
    """The part that it takes from a configuration."""
    take: Callable[[Object, Object], Object]
    """From the object with the configuration and the stored one, to the stored one with the part changed."""


async def apply(api: Api, call: Call, *, subresource: str = "", part: Part | None = None) -> Response:
    manager = applier(call)
    off = takes_long(call.served, len(call.request.body))
    applied = await at(off, _read, call, subresource)
    if part is not None:
        applied = part.only(applied)
    wanted = applied["metadata"].pop("resourceVersion", "")
    root, components = call.served.definition.parts
    force = parse_bool(call.query.get("force"))

    def merged(live: Object | None) -> Object:
        if wanted and (live is None or wanted != live["metadata"]["resourceVersion"]):
            raise modified(call, call.info.name)
        versions = managers.versions_of(api, call)
        now = api.now()
        result = merging.apply(live, applied, manager, force, root, components, now, subresource, versions)
        return result if part is None or live is None else part.take(result, live)

    async def applied_to_present() -> Response:
        def merge() -> Awaitable[Response]:
            return change(api, call, lambda record, live: merged(live), subresource=subresource, applied=True)

        return await with_conversions(api, call, merge)

    if subresource or api.store.head(Key(call.served.key, call.namespace, call.info.name)) is not None:
        return await applied_to_present()
    uid = applied["metadata"].get("uid")
    if uid:
        raise Conflict(f"uid mismatch: the provided object specified uid {uid}, and no existing object was found")
    # The request was allowed as a patch. What it does here is more (upstream: ``withAuthorization``).
    check(api.authorizer, call.user, call.info._replace(verb="create"))
    try:
        return await create_object(api, call, await at(off, merged, None), applied=True)
    except AlreadyExists:
        # Somebody else was faster while a webhook took its time.
        return await applied_to_present()


def applier(call: Call) -> str:
    """The field manager of an apply patch. Raises Invalid for its options."""
    check_options(call, "PatchOptions", applies=True)
    return call.query["fieldManager"]


async def with_conversions(api: Api, call: Call, merge: Callable[[], Awaitable[Response]]) -> Response:
    """What `merge` gives, which stops where it needs an object in another version."""
    for _ in range(_CONVERSIONS):
        try:
            return await merge()
        except managers.Unconverted as needed:
            await managers.convert(api, call, needed)
    raise modified(call, call.info.name)


def _read(call: Call, subresource: str) -> Object:
    """The configuration of the body, without what this path does not apply. Raises BadRequest."""
    content_type = YAML if call.request.body.lstrip()[:1] != b"{" else None  # JSON is YAML, and faster to read
    body = decode_body(content_type, call.request.body, find_duplicates=finds_duplicates(call))
    _check_kind(call, body.object)
    checked = check_type(call, body.object)
    _check_types(call, checked)

    def refuse(why: str) -> BadRequest:
        return BadRequest(f"failed to convert new typed object ({_what(call)}) to object: {why}")

    checked = check_fields(call, Body(checked, []), refuse=refuse)
    if body.duplicates:
        _tell_duplicates(call, body)
    # As stored, so that 1 and "1" count as the same quantity.
    applied: Object = call.served.schema.normalise(checked)
    metadata = dict(applied["metadata"])
    if metadata.get("managedFields") is not None:
        raise BadRequest("metadata.managedFields must be nil")
    metadata.pop("managedFields", None)
    name = metadata.get("name")
    if name and name != call.info.name:
        raise BadRequest(f"the name of the object ({name}) does not match the name on the URL ({call.info.name})")
    metadata["name"] = call.info.name
    if call.served.namespaced:
        namespace = metadata.get("namespace")
        if namespace and namespace != call.namespace:
            raise BadRequest("the namespace of the provided object does not match the namespace sent on the request")
        metadata["namespace"] = call.namespace
    for key in ("creationTimestamp", "generation", "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds"):
        metadata.pop(key, None)
    if subresource == "status":
        kept = ("apiVersion", "kind", "status")
        return {"metadata": metadata} | {key: applied[key] for key in kept if key in applied}
    applied = without_empty_metadata({**applied, "metadata": metadata})
    if call.served.has_status:
        applied.pop("status", None)
    return applied


def _check_kind(call: Call, obj: Object) -> None:
    """Raises BadRequest for an object of another kind than the path's."""
    resource = call.served.resource
    version, kind = obj.get("apiVersion") or "", obj.get("kind") or ""
    if version != resource.api_version or kind != resource.kind:
        group, _, of_group = version.rpartition("/") if isinstance(version, str) else ("", "", str(version))
        raise BadRequest(f"invalid object type: {group}/{of_group}, Kind={kind}")


def _check_types(call: Call, obj: Object) -> None:
    """Nobody can own a field that the schema does not have, or has as something else, whatever ``fieldValidation``
    says. Raises BadRequest."""
    errors = call.served.schema.typed_errors(obj)
    if errors:
        why = errors[0] if len(errors) == 1 else "errors:\n  " + "\n  ".join(errors)
        raise BadRequest(f"failed to create typed patch object ({_what(call)}): {why}")


def _what(call: Call) -> str:
    resource = call.served.resource
    return f"{call.namespace}/{call.info.name}; {resource.api_version}, Kind={resource.kind}"


def _tell_duplicates(call: Call, body: Body) -> None:
    """Duplicate keys are an error or a warning, by ``fieldValidation``. Raises BadRequest."""
    lines = body.duplicates
    if body.json:
        from homeport.kube import (
            yamltext,  # the configuration is YAML, whatever it looks like, and is told by its lines
        )

        lines = yamltext.load(body.json)[1]
    if call.query.get("fieldValidation") == "Strict":
        why = f"error converting YAML to JSON: {unmarshal_errors(lines)}"
        raise BadRequest(f"error strict decoding patch: {why}")
    call.warnings += lines
