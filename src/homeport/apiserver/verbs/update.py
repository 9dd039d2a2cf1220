"""``PUT`` of one object, and the write that every kind of update ends in."""

from __future__ import annotations

from homeport.apiserver.admission import prepare_update, read_object
from homeport.apiserver.context import Api, Call
from homeport.apiserver.deletion import is_finished
from homeport.apiserver.rendering import render_transient, render_written
from homeport.apiserver.verbs.get import not_found
from homeport.apiserver.versions import object_of, shown_one, stored
from homeport.apiserver.writing import commit, modified, wants_dry_run
from homeport.kube import field
from homeport.kube.errors import BadRequest, Invalid
from homeport.kube.meta import Object
from homeport.kube.wire import Response
from homeport.store.protocol import Conflicting, Delete, Key, Put, Record


async def update(api: Api, call: Call) -> Response:
    return await replace(api, call, read_object(call))


async def replace(api: Api, call: Call, new: Object, *, subresource: str = "") -> Response:
    """Put `new` in the place of the stored object. Raises NotFound, Conflict, Invalid or BadRequest."""
    name = call.info.name
    metadata = new["metadata"]
    if not metadata.get("name"):
        raise BadRequest('the name of the object ("" based on URL) was undeterminable: name must be provided')
    if metadata["name"] != name:
        raise BadRequest(f"the name of the object ({metadata['name']}) does not match the name on the URL ({name})")
    namespace = metadata.get("namespace")
    if call.served.namespaced and namespace and namespace != call.namespace:
        raise BadRequest("the namespace of the provided object does not match the namespace sent on the request")
    record = head(api, call)
    version = metadata.get("resourceVersion") or ""
    if not version and not call.served.builtin:
        detail = "must be specified for an update"
        errors = [field.invalid("metadata.resourceVersion", 0, detail)]
        raise Invalid.of(call.served.group, call.served.kind, name, errors)
    if version and version != str(record.revision):
        raise modified(call, name)
    return await write(api, call, record, new, subresource=subresource)


def head(api: Api, call: Call) -> Record:
    """The newest state of the named object, from which a change starts. Raises NotFound."""
    record = api.store.head(Key(call.served.key, call.namespace, call.info.name))
    if record is None:
        raise not_found(call)
    return record


async def write(
    api: Api, call: Call, record: Record, new: Object, *, subresource: str = "", prepared: bool = False
) -> Response:
    """Make `new` the state after `record`. Raises Conflict if somebody else was faster, and what admission raises.

    With `prepared` the object has been through admission.
    """
    old = object_of(call.served, await shown_one(call.served, record))
    changed = new if prepared else prepare_update(api, call, new, old, subresource=subresource)
    if changed is None:
        if record.revision <= api.store.revision:
            return await render_written(api, call, record)
        # The state that the client asks for is not yet on disk; writing it once more says when it is.
        changed = old
    removing = is_finished(call.served, changed)
    if wants_dry_run(call):
        return render_transient(api, call, changed)
    kept = await stored(call.served, changed)
    operation = Delete(record.key, record.revision, kept) if removing else Put(record.key, kept, record.revision)
    try:
        written = await commit(api, operation)
    except Conflicting as error:
        raise modified(call, record.key.name) from error
    return await render_written(api, call, written)
