"""``GET ?watch=true``: a stream of changes."""

from __future__ import annotations

from collections.abc import Sequence

from homeport.apiserver.answers import JSON
from homeport.apiserver.context import Api, Call
from homeport.apiserver.encoding import Form, negotiate_object
from homeport.apiserver.listing import fresh, list_options, too_old, watch_deadline
from homeport.apiserver.streams import WatchStream, failed
from homeport.apiserver.tables import include_object
from homeport.kube.errors import Expired, Timeout
from homeport.kube.wire import Response
from homeport.store.protocol import Compacted, Record


async def watch(api: Api, call: Call) -> Response:
    """Where the stream starts (upstream: "resourceVersion parameter" in the API concepts):

    * ``sendInitialEvents=true``: the present objects as ADDED, a bookmark that says so, then changes;
    * no resourceVersion, or 0: the present objects as ADDED, then changes;
    * any other: the changes after it, or an ERROR event with 410 when they are no longer known.

    The present objects are looked at and written as the client takes them: a watch holds no copies of them.
    """
    options = list_options(api, call)
    form = call.form
    if options.initial_events and form.convert == "Table":
        form = negotiate_object(call.request.headers.get("accept"))
    include = include_object(call.query.get("includeObject", ""))
    view = api.frames.view(call.served, form, include, options, call.namespace)
    store, key, namespace = api.store, call.served.key, call.namespace or None
    wanted = options.revision
    initial: Sequence[Record] = ()
    initial_end: int | None = None
    try:
        await fresh(store, wanted or 0)
        if options.initial_events or (options.initial_events is None and not wanted):
            initial, start = store.scan(key, namespace)
            if options.initial_events and options.bookmarks:
                initial_end = start
        else:
            start = wanted or store.revision
        changes = store.watch(key, namespace, after=start)
    except Compacted as error:
        return Response(200, _headers(form), failed(too_old(error.asked, error.oldest), form))
    except (Expired, Timeout) as error:
        return Response(200, _headers(form), failed(error, form))
    stream = WatchStream(
        store,
        changes,
        call.served,
        form,
        options,
        view,
        seconds=watch_deadline(options),
        initial=initial,
        initial_end=initial_end,
    )
    return Response(200, _headers(form), stream)


def _headers(form: Form) -> dict[str, str]:
    content_type = JSON if form.media == "json" else f"{form.content_type};stream=watch"
    return {"content-type": content_type, "cache-control": "no-cache, private"}
