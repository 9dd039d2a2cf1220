"""``componentstatuses``: whether the control plane's parts are well. Deprecated since 1.19, and still asked for by
``kubectl get cs``. Nothing is stored: each part is checked when somebody asks (upstream:
``pkg/registry/core/componentstatus``)."""

from __future__ import annotations

import asyncio

from homeport.apiserver.context import Api
from homeport.apiserver.encoding import Form, encode, negotiate, object_response
from homeport.apiserver.health import Check, failure
from homeport.apiserver.routes import RequestInfo
from homeport.apiserver.tables import include_object
from homeport.apiserver.virtual import Virtual, check, selected
from homeport.apiserver.warnings import header
from homeport.kube.errors import BadRequest, NotFound
from homeport.kube.kind import Column
from homeport.kube.meta import Object
from homeport.kube.table import NAME, Include, Printer
from homeport.kube.wire import Request, Response, User

VIRTUAL = (
    Virtual("", "v1", "componentstatuses", "componentstatus", "ComponentStatus", False, ("get", "list"), ("cs",)),
)
NAMES = ("scheduler", "controller-manager", "etcd-0")
"""The parts that upstream knows, by the names that it gives them."""
_WARNING = "v1 ComponentStatus is deprecated in v1.19+"
_WORDS = {"True": "Healthy", "False": "Unhealthy"}


def _of_condition(key: str) -> Column:
    return Column(key.capitalize(), "string", compute=lambda obj: obj["conditions"][0].get(key, ""))


_PRINTER = Printer(
    (
        NAME,
        Column("Status", "string", compute=lambda obj: _WORDS[obj["conditions"][0]["status"]]),
        _of_condition("message"),
        _of_condition("error"),
    )
)


async def answer(api: Api, virtual: Virtual, request: Request, info: RequestInfo, user: User) -> Response:
    """Raises NotFound, MethodNotAllowed, NotAcceptable or BadRequest."""
    check(virtual, info)
    form = negotiate(request.headers.get("accept"))
    query = dict(reversed(request.query))
    include = include_object(query.get("includeObject", ""))
    if info.name and info.name not in NAMES:
        raise NotFound.of("", virtual.plural, info.name)
    asked = (info.name,) if info.name else NAMES
    found = await asyncio.gather(*(_status(virtual, name, api.components.get(name)) for name in asked))
    response = _response(api, virtual, form, found if info.name else selected(found, query), include, bool(info.name))
    response.headers["warning"] = header([_WARNING])
    return response


def _response(api: Api, virtual: Virtual, form: Form, found: list[Object], include: Include, alone: bool) -> Response:
    if form.convert == "Table":
        return object_response(encode(_PRINTER.table(found, api.now(), metadata={}, include=include)), form)
    if form.convert:
        raise BadRequest(f"{virtual.kind} is not shown as {form.convert}")
    if alone:
        return object_response(encode(found[0]), form)
    items = [{key: one[key] for key in ("metadata", "conditions")} for one in found]
    listed = {"kind": f"{virtual.kind}List", "apiVersion": virtual.api_version, "metadata": {}, "items": items}
    return object_response(encode(listed), form)


async def _status(virtual: Virtual, name: str, checked: Check | None) -> Object:
    why = "it is no part of this server" if checked is None else await failure(checked)
    condition = {"type": "Healthy", "status": "True" if why is None else "False", "message": "ok"}
    if why is not None:
        condition |= {"message": why, "error": why}
    return {
        "kind": virtual.kind,
        "apiVersion": virtual.api_version,
        "metadata": {"name": name},
        "conditions": [condition],
    }
