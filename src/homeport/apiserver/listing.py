"""Which records a list or a watch is about: options, selectors, pages."""

from __future__ import annotations

import asyncio
import random
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from homeport.apiserver import base64url
from homeport.apiserver.context import Api, Call
from homeport.apiserver.encoding import encode
from homeport.apiserver.fields import Matcher
from homeport.apiserver.routes import parse_bool
from homeport.apiserver.versions import shown
from homeport.kube import field, selector
from homeport.kube.errors import ApiError, BadRequest, Expired, FieldError, Invalid, Timeout
from homeport.kube.selector import Selector
from homeport.store.protocol import Compacted, Key, Record, Store, TooNew

_MAX_INT64 = 2**63 - 1
_MAX_DIGITS = 19
WAIT_SECONDS = 3.0
"""How long a read waits for a resourceVersion that has not happened yet, as upstream."""
TOKEN_SECONDS = 300
"""How long the pages of a list go on at its revision, as upstream's (compaction every five minutes)."""
_STEP = 512
"""Records that are looked at before others get their turn: well below a millisecond for labels."""


class ListOptions(msgspec.Struct, frozen=True):
    """The query of a list or a watch (upstream: ``metav1.ListOptions``)."""

    labels: Selector
    chosen: selector.FieldSelector
    fields: Matcher | None
    """How records are compared with `chosen`; None if that is everything."""
    name: str | None
    """The one name that a field selector allows, if it does."""
    limit: int
    token: str
    revision: int | None
    """None when the client gave none; 0 means "any"."""
    match: str
    watch_seconds: float | None
    bookmarks: bool
    initial_events: bool | None

    @property
    def selects(self) -> bool:
        return not self.labels.everything or self.fields is not None

    def matches(self, record: Record) -> bool:
        return self.labels.matches(record.labels) and (self.fields is None or self.fields(record))


def list_options(api: Api, call: Call) -> ListOptions:
    """Raises BadRequest or Invalid."""
    query = call.query
    watching = call.info.verb == "watch"
    chosen = selector.parse_fields(query.get("fieldSelector", ""))
    name = chosen.equality("metadata.name")
    if call.info.name:  # the old way to watch one object
        chosen = selector.FieldSelector(
            (*chosen.requirements, selector.FieldRequirement("metadata.name", call.info.name))
        )
        name = call.info.name
    initial = query.get("sendInitialEvents")
    options = ListOptions(
        labels=selector.parse_labels(query.get("labelSelector", "")),
        chosen=chosen,
        fields=api.fields.matcher(call.served, chosen),
        name=name,
        limit=_integer(query, "limit"),
        token=query.get("continue", ""),
        revision=parse_revision(query.get("resourceVersion", "")),
        match=query.get("resourceVersionMatch", ""),
        watch_seconds=_integer(query, "timeoutSeconds") or None,
        bookmarks=parse_bool(query.get("allowWatchBookmarks")),
        initial_events=None if initial is None else parse_bool(initial),
    )
    errors = list(_conflicts(options, watching))
    if errors:
        raise Invalid.of("meta.k8s.io", "ListOptions", "", errors)
    return options


def _conflicts(options: ListOptions, watching: bool) -> Sequence[FieldError]:
    """Upstream: ``apimachinery/pkg/apis/meta/internalversion/validation``."""
    match, initial = options.match, options.initial_events
    if watching:
        if initial is None:
            if match:
                detail = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
                return [field.forbidden("resourceVersionMatch", detail)]
        elif match != "NotOlderThan":
            detail = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
            return [field.forbidden("resourceVersionMatch", detail)]
        return ()
    if initial is not None:
        return [field.forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list")]
    if not match:
        return ()
    if match not in ("Exact", "NotOlderThan"):
        return [field.not_supported("resourceVersionMatch", match, ("Exact", "NotOlderThan", ""))]
    if options.revision is None:
        detail = "resourceVersionMatch is forbidden unless resourceVersion is provided"
        return [field.forbidden("resourceVersionMatch", detail)]
    if options.token:
        detail = "resourceVersionMatch is forbidden when continue is provided"
        return [field.forbidden("resourceVersionMatch", detail)]
    if match == "Exact" and options.revision == 0:
        detail = 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
        return [field.forbidden("resourceVersionMatch", detail)]
    return ()


def parse_revision(text: str) -> int | None:
    """A ``resourceVersion`` of a query: None for an empty one. Raises BadRequest."""
    if not text:
        return None
    if not _is_number(text):
        raise BadRequest(f'resourceVersion: Invalid value: "{text}": it has to be a decimal number of 64 bits')
    return int(text)


def _is_number(digits: str) -> bool:
    """Whether these are the digits of a number of 64 bits."""
    return digits.isascii() and digits.isdigit() and len(digits) <= _MAX_DIGITS and int(digits) <= _MAX_INT64


def _integer(query: dict[str, str], name: str) -> int:
    text = query.get(name, "")
    if not text:
        return 0
    if not _is_number(text.removeprefix("-")):
        raise BadRequest(f'{name}: Invalid value: "{text}": it has to be a number')
    return max(0, int(text))


class Page(NamedTuple):
    """What a list answers with."""

    records: Sequence[Record]
    revision: int
    token: str
    """For the next page; empty on the last."""
    remaining: int | None
    """How many records follow; unknown with a selector."""


class _Token(NamedTuple):
    revision: int
    """-1: the list goes on in the present state, no longer consistent with the pages before."""
    start: str
    """``namespace/name`` of the last object that was returned."""
    made: int
    """Unix time of the first page."""


async def fresh(store: Store, revision: int) -> None:
    """Wait until `revision` has happened, for a moment. Raises Timeout."""
    if revision > store.revision:
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await store.reached(revision)
        except TimeoutError:
            raise too_new(TooNew(revision, store.revision)) from None


async def page(api: Api, call: Call, options: ListOptions) -> Page:
    """The records to answer with. Raises Expired, Timeout or BadRequest."""
    store, key, namespace = api.store, call.served.key, call.namespace or None
    exact: int | None = None
    after: tuple[str, str] | None = None
    made = now = int(api.now().timestamp())
    if options.token:
        token = _decode_token(options.token)
        if options.revision:
            raise BadRequest("specifying resource version is not allowed when using continue")
        space, _, name = token.start.partition("/")
        after = (space, name)
        if token.revision >= 0:
            exact, made = token.revision, token.made
            if now - made > TOKEN_SECONDS:
                raise _expired_token(after)
    else:
        await fresh(store, options.revision or 0)
        if options.match == "Exact":
            exact = options.revision
    now_and_first = exact is None and after is None
    if options.name is not None and namespace is not None and now_and_first:
        record = store.get(Key(key, namespace, options.name))
        named = await shown(call.served, [record] if record is not None else [])
        return Page([record for record in named if options.matches(record)], store.revision, "", None)
    try:
        if options.name is not None and now_and_first:
            records, revision = store.named(key, options.name), store.revision
        elif options.limit and not options.selects:
            first, revision, following = store.page(key, namespace, after=after, limit=options.limit, revision=exact)
            further = _encode_token(revision, first[-1].key, made) if following else ""
            return Page(await shown(call.served, first), revision, further, following or None)
        else:
            records, revision = store.scan(key, namespace, revision=exact)
    except TooNew as error:
        raise too_new(error) from error
    except Compacted as error:
        if after is None:
            raise Expired("The resourceVersion for the provided list is too old.") from error
        raise _expired_token(after) from error
    if after is not None:
        records = records[bisect_right(records, after, key=lambda r: (r.key.namespace, r.key.name)) :]
    found = await _choose(call, options, records, revision, made)
    return found._replace(records=await shown(call.served, found.records))


async def _choose(call: Call, options: ListOptions, records: Sequence[Record], revision: int, made: int) -> Page:
    """The page of those of `records` that the selectors choose."""
    if options.selects:
        matches = options.matches
        if options.fields is not None:
            records = await shown(call.served, records)  # selectors speak of the fields of the request's version
        chosen: list[Record] = []
        for at in range(0, len(records), _STEP):
            if at:
                await asyncio.sleep(0)
            chosen += [record for record in records[at : at + _STEP] if matches(record)]
            if options.limit and len(chosen) > options.limit:
                del chosen[options.limit :]
                return Page(chosen, revision, _encode_token(revision, chosen[-1].key, made), None)
        return Page(chosen, revision, "", None)
    return Page(records, revision, "", None)


def too_new(error: TooNew) -> Timeout:
    """The answer for a resourceVersion that hasn't happened (upstream: ``NewTooLargeResourceVersionError``)."""
    message = f"Too large resource version: {error.asked}, current: {error.current}"
    causes = [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]
    return Timeout(f"Timeout: {message}", details={"causes": causes}, retry_after=1)


def too_old(asked: int, oldest: int) -> Expired:
    """The answer to a watch from a resourceVersion that the history no longer reaches."""
    return Expired(f"too old resource version: {asked} ({oldest})")


def _encode_token(revision: int, last: Key, made: int) -> str:
    body = {"v": "meta.k8s.io/v1", "rv": revision, "start": f"{last.namespace}/{last.name}\u0000", "t": made}
    return base64url.encode(encode(body))


class _TokenBody(msgspec.Struct):
    v: str
    rv: int
    start: str
    t: int


def _decode_token(text: str) -> _Token:
    try:
        body = msgspec.json.decode(base64url.decode(text), type=_TokenBody)
    except (ValueError, msgspec.MsgspecError, RecursionError) as error:
        raise BadRequest("continue key is not valid: it was not made by this server") from error
    if body.v != "meta.k8s.io/v1" or (body.rv <= 0 and body.rv != -1) or "/" not in body.start:
        raise BadRequest("continue key is not valid: it was not made by this server")
    return _Token(body.rv, body.start.rstrip("\u0000"), body.t)


def _expired_token(after: tuple[str, str]) -> ApiError:
    """410 with a token that continues in the present state, as upstream offers it."""
    fresh = _encode_token(-1, Key("", *after), 0)
    message = (
        "The provided continue parameter is too old to display a consistent list result. You can start a new list "
        "without the continue parameter, or use the continue token in this response to retrieve the remainder of the "
        "results. Continuing with the provided token results in an inconsistent list - objects that were created, "
        "modified, or deleted between the time the first chunk was returned and now may show up in the list."
    )
    error = Expired(message)
    status: dict[str, Any] = error.to_status() | {"metadata": {"continue": fresh}}
    return Expired(message, status=status)


def watch_deadline(options: ListOptions) -> float:
    """Seconds after which a watch ends: as asked, else half an hour to an hour, spread so that watches do not all
    reconnect at once."""
    return options.watch_seconds or random.uniform(1800, 3600)
