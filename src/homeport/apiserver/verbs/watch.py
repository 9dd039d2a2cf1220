"""``GET ?watch=true``: a stream of changes."""

from __future__ import annotations

from homeport.apiserver.answers import JSON
from homeport.apiserver.context import Api, Call
from homeport.apiserver.listing import list_options, too_new, too_old, watch_deadline
from homeport.apiserver.streams import WatchStream, framer
from homeport.apiserver.tables import include_object
from homeport.apiserver.versions import shown
from homeport.kube.wire import Response
from homeport.store.protocol import Compacted, Record, TooNew


async def watch(api: Api, call: Call) -> Response:
    """Where the stream starts (upstream: "resourceVersion parameter" in the API concepts):

    * ``sendInitialEvents=true``: the present objects as ADDED, a bookmark that says so, then changes;
    * no resourceVersion, or 0: the present objects as ADDED, then changes;
    * any other: the changes after it, or 410 when they are no longer known.
    """
    options = list_options(api, call)
    form = call.form
    frame = framer(api, call.served, form, include_object(call.query.get("includeObject", "")))
    store, key, namespace = api.store, call.served.key, call.namespace or None
    wanted = options.revision
    initial: list[Record] = []
    initial_end: int | None = None
    try:
        if options.initial_events or (options.initial_events is None and not wanted):
            if wanted is not None and wanted > store.revision:
                raise TooNew(wanted, store.revision)
            records, start = store.scan(key, namespace)
            if options.fields is not None:
                records = await shown(call.served, records)
            initial = [record for record in records if options.matches(record)] if options.selects else list(records)
            initial = list(await shown(call.served, initial))
            changes = store.watch(key, namespace, after=start)
            if options.initial_events and options.bookmarks:
                initial_end = start
        else:
            start = wanted or store.revision
            changes = store.watch(key, namespace, after=start)
    except Compacted as error:
        raise too_old(error.asked, error.oldest) from error
    except TooNew as error:
        raise too_new(error) from error
    stream = WatchStream(
        store,
        changes,
        call.served,
        form,
        options,
        frame,
        seconds=watch_deadline(options),
        seen=start,
        initial=initial,
        initial_end=initial_end,
    )
    return Response(200, {"content-type": JSON, "cache-control": "no-cache, private"}, stream)
