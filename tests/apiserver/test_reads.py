"""Lists and watches: selection, pages, revisions, forms of the answer."""

from __future__ import annotations

import asyncio
import base64
import json
from contextlib import AsyncExitStack
from typing import Any

import pytest
from api_testing import Caller, Clock, config_map, make_server, namespace, pod
from hypothesis import given
from hypothesis import strategies as st

from homeport.apiserver import frames, listing, streams
from homeport.apiserver.listing import _decode_token
from homeport.kube.errors import BadRequest
from homeport.store.history import Limits
from homeport.store.memory import MemoryStore

MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
PARTIAL = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
PARTIALS = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"


async def make_maps(api: Caller, count: int, **labels: str) -> None:
    await asyncio.gather(*(api.post(MAPS, config_map(f"m{n:04}", labels=labels)) for n in range(count)))


def names(body: dict) -> list[str]:
    return [item["metadata"]["name"] for item in body["items"]]


# -- lists


async def test_an_empty_list_has_items(api: Caller) -> None:
    body = (await api.get(PODS)).ok()
    assert body["kind"] == "PodList"
    assert body["apiVersion"] == "v1"
    assert body["items"] == []
    assert body["metadata"]["resourceVersion"] == str(api.store.revision)


@pytest.mark.parametrize("count", [1, 63, 64, 65, 128, 200])
async def test_lists_of_any_length_are_whole(api: Caller, count: int) -> None:
    await make_maps(api, count)
    answer = await api.get(MAPS)
    assert names(answer.ok()) == [f"m{n:04}" for n in range(count)]
    if "content-length" in answer.headers:
        assert int(answer.headers["content-length"]) == len(answer.body)


async def test_label_selectors(api: Caller) -> None:
    for name, labels in (("a", {"x": "1"}), ("b", {"x": "2"}), ("c", {"y": "1"})):
        (await api.post(MAPS, config_map(name, labels=labels))).ok(201)
    for selector, expected in (
        ("x=1", ["a"]),
        ("x", ["a", "b"]),
        ("!x", ["c"]),
        ("x+in+(1,+2)", ["a", "b"]),
        ("x!=1", ["b", "c"]),
        ("x=1,y=1", []),
    ):
        assert names((await api.get(f"{MAPS}?labelSelector={selector}")).ok()) == expected
    (await api.get(f"{MAPS}?labelSelector=a%20b")).error(400, "BadRequest")


async def test_field_selectors(api: Caller) -> None:
    for name in ("a", "b"):
        (await api.post(PODS, pod(name))).ok(201)
    binding = {"target": {"kind": "Node", "name": "node-1"}}
    (await api.post(f"{PODS}/a/binding", binding)).ok(201)
    for selector, expected in (
        ("spec.nodeName=node-1", ["a"]),
        ("spec.nodeName=", ["b"]),
        ("spec.nodeName!=node-1", ["b"]),
        ("status.phase=Pending,spec.nodeName=", ["b"]),
        ("metadata.name=a", ["a"]),
        ("metadata.name=a,metadata.name=a", ["a"]),
        ("metadata.name=a,spec.nodeName=", []),
        ("metadata.namespace=default", ["a", "b"]),
        ("spec.schedulerName=default-scheduler", ["a", "b"]),
    ):
        assert names((await api.get(f"{PODS}?fieldSelector={selector}")).ok()) == expected, selector
        assert names((await api.get(f"/api/v1/pods?fieldSelector={selector}")).ok()) == expected, selector
    (await api.get(f"{PODS}?fieldSelector=spec.containers=x")).error(400, "BadRequest", "field label not supported")
    (await api.get(f"{MAPS}?fieldSelector=data.a=x")).error(400, "BadRequest", "field label not supported: data.a")
    (await api.get(f"{MAPS}?fieldSelector=metadata.name")).error(400, "BadRequest")


async def test_events_are_selected_by_what_they_are_about(api: Caller) -> None:
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "e", "namespace": "default"},
        "involvedObject": {"kind": "Pod", "name": "p", "uid": "u", "namespace": "default"},
        "reason": "Started",
        "type": "Normal",
        "source": {"component": "test"},
    }
    (await api.post("/api/v1/namespaces/default/events", event)).ok(201)
    base = "/api/v1/namespaces/default/events?fieldSelector="
    about = "involvedObject.name=p,involvedObject.namespace=default,involvedObject.uid=u,involvedObject.kind=Pod"
    assert names((await api.get(base + about)).ok()) == ["e"]
    assert names((await api.get(base + "reason=Started,type=Normal,source=test")).ok()) == ["e"]
    assert names((await api.get(base + "involvedObject.name=q")).ok()) == []
    newer = {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": "newer", "namespace": "default"},
        "regarding": {"namespace": "default"},
        "eventTime": "2026-11-22T12:00:00.000000Z",
        "action": "Do",
        "reason": "Test",
        "type": "Normal",
        "reportingController": "newer-controller",
        "reportingInstance": "n",
    }
    (await api.post("/apis/events.k8s.io/v1/namespaces/default/events", newer)).ok(201)
    assert names((await api.get(base + "source=newer-controller")).ok()) == ["newer"]  # an event without a source
    assert names((await api.get(base + "reportingComponent=newer-controller")).ok()) == ["newer"]
    grouped = "/apis/events.k8s.io/v1/namespaces/default/events?fieldSelector=reportingController=newer-controller"
    assert names((await api.get(grouped)).ok()) == ["newer"]


async def test_pages_are_of_one_revision(api: Caller) -> None:
    await make_maps(api, 10)
    first = (await api.get(f"{MAPS}?limit=4")).ok()
    assert first["metadata"]["remainingItemCount"] == 6
    (await api.delete(f"{MAPS}/m0007")).ok()
    (await api.post(MAPS, config_map("m0004a"))).ok(201)
    token = first["metadata"]["continue"]
    second = (await api.get(f"{MAPS}?limit=4&continue={token}")).ok()
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    assert second["metadata"]["remainingItemCount"] == 2
    third = (await api.get(f"{MAPS}?limit=4&continue={second['metadata']['continue']}")).ok()
    assert "continue" not in third["metadata"]
    assert names(first) + names(second) + names(third) == [f"m{n:04}" for n in range(10)]


async def test_pages_of_a_selection(api: Caller) -> None:
    await make_maps(api, 7, a="b")
    (await api.post(MAPS, config_map("other"))).ok(201)
    found: list[str] = []
    token = ""
    while True:
        body = (await api.get(f"{MAPS}?labelSelector=a%3Db&limit=3&continue={token}")).ok()
        found += names(body)
        assert "remainingItemCount" not in body["metadata"]
        token = body["metadata"].get("continue", "")
        if not token:
            break
    assert found == [f"m{n:04}" for n in range(7)]


@pytest.mark.parametrize("only", ["", "x"])
async def test_pages_over_namespaces(api: Caller, only: str) -> None:
    selector = f"&fieldSelector=metadata.name%3D{only}" if only else ""
    for space in ("aaa", "zzz"):
        (await api.post("/api/v1/namespaces", namespace(space))).ok(201)
        for name in ("x", "y"):
            (await api.post(f"/api/v1/namespaces/{space}/configmaps", config_map(name))).ok(201)
    found, token = [], ""
    while True:
        body = (await api.get(f"/api/v1/configmaps?limit=1&continue={token}{selector}")).ok()
        found += [(item["metadata"]["namespace"], item["metadata"]["name"]) for item in body["items"]]
        token = body["metadata"].get("continue", "")
        if not token:
            break
    assert found == [(space, name) for space in ("aaa", "zzz") for name in ("x", "y") if only in ("", name)]


async def expiring(clock: Clock) -> Caller:
    store = MemoryStore(Limits(history_events=3))
    caller = Caller(make_server(store, clock), store, clock)
    (await caller.post("/api/v1/namespaces", namespace("default"))).ok(201)
    await make_maps(caller, 10)
    return caller


async def test_an_expired_token_comes_with_a_fresh_one(clock: Clock) -> None:
    api = await expiring(clock)
    first = (await api.get(f"{MAPS}?limit=4")).ok()
    for n in range(5):
        (await api.post(MAPS, config_map(f"new{n}"))).ok(201)
    body = (await api.get(f"{MAPS}?limit=4&continue={first['metadata']['continue']}")).error(410, "Expired")
    fresh = body["metadata"]["continue"]
    rest = (await api.get(f"{MAPS}?continue={fresh}")).ok()
    assert names(rest) == [f"m{n:04}" for n in range(4, 10)] + [f"new{n}" for n in range(5)]


async def test_a_token_is_good_for_five_minutes(api: Caller) -> None:
    """As long as upstream's, whether or not anything happens meanwhile."""
    await make_maps(api, 10)
    first = (await api.get(f"{MAPS}?limit=4")).ok()
    api.clock.advance(299)
    second = (await api.get(f"{MAPS}?limit=4&continue={first['metadata']['continue']}")).ok()
    api.clock.advance(2)
    body = (await api.get(f"{MAPS}?limit=4&continue={second['metadata']['continue']}")).error(410, "Expired")
    third = (await api.get(f"{MAPS}?limit=4&continue={body['metadata']['continue']}")).ok()
    assert names(third) == ["m0008", "m0009"]


async def test_a_read_waits_for_a_revision_that_is_about_to_come(api: Caller) -> None:
    revision = api.store.revision + 1
    reads = [
        asyncio.ensure_future(api.get(f"{path}resourceVersion={revision}"))
        for path in (f"{MAPS}?", f"{MAPS}?resourceVersionMatch=Exact&", f"{MAPS}/m?")
    ]
    await asyncio.sleep(0)
    (await api.post(MAPS, config_map("m"))).ok(201)
    for read in reads:
        assert '"m"' in json.dumps((await read).ok())


async def test_a_list_of_a_past_revision(api: Caller) -> None:
    """`Exact` gives what was there then, whatever came, changed and went since."""
    pasts = {}
    for n in range(30):
        name = f"m{n * 7 % 5}"
        if n % 3 == 2:
            await api.delete(f"{MAPS}/{name}")
        elif (await api.post(MAPS, config_map(name, {"n": str(n)}))).status == 409:
            (await api.put(f"{MAPS}/{name}", config_map(name, {"n": str(n)}))).ok()
        now = (await api.get(MAPS)).ok()
        pasts[now["metadata"]["resourceVersion"]] = now["items"]
    for revision, items in pasts.items():
        for path in (MAPS, "/api/v1/configmaps"):
            query = f"resourceVersion={revision}&resourceVersionMatch=Exact"
            assert (await api.get(f"{path}?{query}")).ok()["items"] == items


async def test_long_lists_leave_others_their_turn(api: Caller) -> None:
    await make_maps(api, 1_500, a="b")
    for accept, query in ((None, ""), (TABLE, ""), (PARTIALS, ""), (None, "?labelSelector=a%3Db")):
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.ensure_future(count())
        body = (await api.get(MAPS + query, accept=accept)).ok()
        counting.cancel()
        assert len(body.get("items") or body.get("rows")) == 1_500
        assert turns > 20


async def test_revisions_of_the_past_and_the_future(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "WAIT_SECONDS", 0.01)
    api = await expiring(clock)
    now = api.store.revision
    (await api.delete(f"{MAPS}/m0000")).ok()
    exact = (await api.get(f"{MAPS}?resourceVersion={now}&resourceVersionMatch=Exact")).ok()
    assert exact["metadata"]["resourceVersion"] == str(now)
    assert len(exact["items"]) == 10
    for query in (
        "resourceVersion=0",
        f"resourceVersion={now}",
        f"resourceVersion={now}&resourceVersionMatch=NotOlderThan",
    ):
        assert len((await api.get(f"{MAPS}?{query}")).ok()["items"]) == 9
    (await api.get(f"{MAPS}?resourceVersion=2&resourceVersionMatch=Exact")).error(410, "Expired", "too old")
    body = (await api.get(f"{MAPS}?resourceVersion=99999")).error(504, "Timeout", "Too large resource version: 99999")
    assert body["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"
    assert body["details"]["retryAfterSeconds"] == 1
    (await api.get(f"{MAPS}/m0001?resourceVersion=99999")).error(504, "Timeout")
    event = (await api.get(f"{MAPS}?watch=1&resourceVersion=99999")).ok()
    assert (event["type"], event["object"]["code"]) == ("ERROR", 504)


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("resourceVersion=x", 400),
        ("resourceVersion=-1", 400),
        ("resourceVersion=99999999999999999999", 400),
        ("limit=x", 400),
        ("timeoutSeconds=x&watch=1", 400),
        ("continue=x", 400),
        ("continue=%00", 400),
        ("resourceVersionMatch=Exact", 422),
        ("resourceVersion=0&resourceVersionMatch=Exact", 422),
        ("resourceVersion=1&resourceVersionMatch=Roughly", 422),
        ("sendInitialEvents=true", 422),
        ("watch=1&sendInitialEvents=true", 422),
        ("watch=1&resourceVersionMatch=NotOlderThan", 422),
        ("watch=1&sendInitialEvents=true&resourceVersionMatch=Exact", 422),
    ],
)
async def test_bad_list_options(api: Caller, query: str, status: int) -> None:
    answer = await api.get(f"{MAPS}?{query}")
    assert answer.status == status
    assert answer.json["kind"] == "Status"


@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda b: base64.urlsafe_b64encode(b).decode()))
def test_tokens_of_others_are_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        _decode_token(text)


# -- forms


async def test_tables(api: Caller, clock: Clock) -> None:
    (await api.post(MAPS, config_map("m"))).ok(201)
    clock.advance(300)
    table = (await api.get(MAPS, accept=TABLE)).ok()
    assert table["kind"] == "Table"
    assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "Data", "Age"]
    assert table["rows"][0]["cells"] == ["m", 1, "5m"]
    assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    one = (await api.get(f"{MAPS}/m?includeObject=Object", accept=TABLE)).ok()
    assert one["rows"][0]["object"]["data"] == {"a": "1"}
    none = (await api.get(f"{MAPS}?includeObject=None", accept=TABLE)).ok()
    assert "object" not in none["rows"][0]
    (await api.get(f"{MAPS}?includeObject=Some", accept=TABLE)).error(400, "BadRequest")
    old = (await api.get(MAPS, accept=TABLE.replace("v=v1", "v=v1beta1"))).ok()
    assert old["apiVersion"] == "meta.k8s.io/v1beta1"


async def test_metadata_only(api: Caller) -> None:
    (await api.post(MAPS, config_map("m"))).ok(201)
    one = (await api.get(f"{MAPS}/m", accept=PARTIAL)).ok()
    assert one["kind"] == "PartialObjectMetadata"
    assert set(one) == {"kind", "apiVersion", "metadata"}
    many = (await api.get(MAPS, accept=PARTIALS)).ok()
    assert many["kind"] == "PartialObjectMetadataList"
    assert many["items"][0]["metadata"]["name"] == "m"
    assert "data" not in many["items"][0]


async def test_a_review_is_no_table(api: Caller) -> None:
    """Upstream: "should return a 406 for a backend which does not implement metadata"."""
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"nonResourceAttributes": {"verb": "get", "path": "/"}},
    }
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    (await api.post(path, body, accept=TABLE.partition(",")[0])).error(406, "NotAcceptable")
    assert (await api.post(path, body, accept=TABLE)).ok(201)["status"]["allowed"]


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("application/vnd.kubernetes.protobuf,application/json", 200),
        ("application/vnd.kubernetes.protobuf, */*", 200),
        ("*/*", 200),
        ("application/json;charset=utf-8", 200),
        ("application/json;as=Table;v=v9;g=meta.k8s.io,application/json", 200),
        ("application/vnd.kubernetes.protobuf", 200),
        ("application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io", 406),
        ("text/html", 406),
        ("application/json;as=Unknown", 406),
    ],
)
async def test_accept(api: Caller, accept: str, status: int) -> None:
    (await api.post(MAPS, config_map("m"))).ok(201)
    for path in (MAPS, f"{MAPS}/m"):
        assert (await api.get(path, accept=accept)).status == status


# -- watches


async def test_a_watch_from_a_revision(api: Caller) -> None:
    (await api.post(MAPS, config_map("old"))).ok(201)
    start = api.store.revision
    (await api.post(MAPS, config_map("m"))).ok(201)
    (await api.patch(f"{MAPS}/m", {"data": {"a": "2"}})).ok()
    async with api.watch(f"{MAPS}?watch=true&resourceVersion={start}") as watch:
        assert await watch.take(2) == [("ADDED", "m"), ("MODIFIED", "m")]
        gone = (await api.delete(f"{MAPS}/m")).ok()
        assert gone["status"] == "Success"
        event = await watch.next()
        assert event["type"] == "DELETED"
        assert event["object"]["data"] == {"a": "2"}
        assert event["object"]["metadata"]["resourceVersion"] == str(api.store.revision)


@pytest.mark.parametrize("query", ["", "&resourceVersion=", "&resourceVersion=0"])
async def test_a_watch_from_now_begins_with_what_there_is(api: Caller, query: str) -> None:
    await make_maps(api, 130)
    async with api.watch(f"{MAPS}?watch=1{query}") as watch:
        assert await watch.take(130) == [("ADDED", f"m{n:04}") for n in range(130)]
        (await api.post(MAPS, config_map("z"))).ok(201)
        assert await watch.take(1) == [("ADDED", "z")]


async def test_watch_list(api: Caller) -> None:
    await make_maps(api, 3)
    query = (
        "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=9"
    )
    async with api.watch(f"{MAPS}?{query}") as watch:
        assert await watch.take(3) == [("ADDED", f"m{n:04}") for n in range(3)]
        mark = await watch.next()
        assert mark["type"] == "BOOKMARK"
        assert mark["object"]["kind"] == "ConfigMap"
        annotations = mark["object"]["metadata"]["annotations"]
        assert annotations["k8s.io/initial-events-end"] == "true"
        empty = json.loads(base64.b64decode(annotations["kubernetes.io/initial-events-list-blueprint"]))
        assert (empty["kind"], empty["items"]) == ("ConfigMapList", [])
        assert mark["object"]["metadata"]["resourceVersion"] == str(api.store.revision)
    async with api.watch(f"{MAPS}?{query}&labelSelector=none") as watch:
        assert (await watch.next())["type"] == "BOOKMARK"
    # Initial events are no tables: who takes nothing else is told so, as upstream.
    (await api.get(f"{MAPS}?{query}", accept=TABLE.partition(",")[0])).error(406, "NotAcceptable")
    async with api.watch(f"{MAPS}?{query}", accept=TABLE) as watch:
        assert (await watch.next())["object"]["kind"] == "ConfigMap"


async def test_objects_come_into_and_go_out_of_a_selection(api: Caller) -> None:
    async with api.watch(f"{MAPS}?watch=1&labelSelector=x%3D1&resourceVersion={api.store.revision}") as watch:
        (await api.post(MAPS, config_map("m"))).ok(201)
        (await api.patch(f"{MAPS}/m", {"metadata": {"labels": {"x": "1"}}})).ok()
        (await api.patch(f"{MAPS}/m", {"data": {"a": "2"}})).ok()
        (await api.patch(f"{MAPS}/m", {"metadata": {"labels": {"x": "2"}}, "data": {"a": "3"}})).ok()
        (await api.delete(f"{MAPS}/m")).ok()
        events = [await watch.next() for _ in range(3)]
    assert [event["type"] for event in events] == ["ADDED", "MODIFIED", "DELETED"]
    # The last state in sight, at the revision of the change.
    assert events[2]["object"]["data"] == {"a": "2"}
    assert int(events[2]["object"]["metadata"]["resourceVersion"]) == api.store.revision - 1


async def test_a_node_sees_the_pods_bound_to_it(api: Caller) -> None:
    query = f"watch=1&fieldSelector=spec.nodeName%3Dn1&resourceVersion={api.store.revision}"
    async with api.watch(f"/api/v1/pods?{query}") as watch:
        for name, node in (("a", "n1"), ("b", "n2")):
            (await api.post(PODS, pod(name))).ok(201)
            (await api.post(f"{PODS}/{name}/binding", {"target": {"name": node}})).ok(201)
        (await api.patch(f"{PODS}/a/status", {"status": {"phase": "Running"}})).ok()
        assert await watch.take(2) == [("ADDED", "a"), ("MODIFIED", "a")]


async def test_tables_on_a_watch_carry_their_columns_once(api: Caller) -> None:
    async with api.watch(f"{MAPS}?watch=1", accept=TABLE) as watch:
        for name in ("a", "b"):
            (await api.post(MAPS, config_map(name))).ok(201)
        first, second = await watch.next(), await watch.next()
    assert first["object"]["columnDefinitions"]
    assert first["object"]["rows"][0]["cells"][0] == "a"
    assert second["object"]["columnDefinitions"] is None


@pytest.mark.parametrize("accept", [None, TABLE, PARTIAL])
async def test_watches_of_one_form_share_what_is_written(
    api: Caller, accept: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = 0

    def counted(make: Any) -> Any:
        def making(*args: Any) -> Any:
            write = make(*args)

            def count(*args: Any, **options: Any) -> Any:
                nonlocal written
                written += 1
                return write(*args, **options)

            return count

        return making

    for name in ("_writer", "_table_writer"):
        monkeypatch.setattr(frames, name, counted(getattr(frames, name)))
    async with AsyncExitStack() as stack:
        watches = [
            await stack.enter_async_context(api.watch(f"{MAPS}?watch=1&{query}", accept=accept))
            for query in ("", "", "labelSelector=x", "fieldSelector=metadata.name%3Dm0")
        ]
        for n in range(3):
            (await api.post(MAPS, config_map(f"m{n}", labels={"x": "y"}))).ok(201)
        events = [[await watch.next() for _ in range(3)] for watch in watches[:3]]
        assert events[0] == events[1] == events[2]
        (await api.patch(f"{MAPS}/m0", {"metadata": {"labels": {"x": None}}})).ok()
        types = [(await watch.next())["type"] for watch in watches]
    assert types == ["MODIFIED", "MODIFIED", "DELETED", "ADDED"]
    assert written <= (5 if accept != TABLE else 5 + 4)


async def test_metadata_on_a_watch(api: Caller) -> None:
    async with api.watch(f"{MAPS}?watch=1", accept=PARTIAL) as watch:
        (await api.post(MAPS, config_map("a"))).ok(201)
        event = await watch.next()
    assert event["object"]["kind"] == "PartialObjectMetadata"
    assert "data" not in event["object"]


async def test_a_watch_ends_after_its_time_with_a_bookmark(api: Caller) -> None:
    async with api.watch(f"{MAPS}?watch=1&timeoutSeconds=1&allowWatchBookmarks=true") as watch:
        (await api.post("/api/v1/namespaces", namespace("elsewhere"))).ok(201)
        events = await watch.rest()
    assert [event["type"] for event in events] == ["BOOKMARK"]
    assert events[0]["object"]["metadata"]["resourceVersion"] == str(api.store.revision)


async def test_bookmarks_come_while_nothing_else_does(api: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "BOOKMARK_SECONDS", 0.02)
    async with api.watch(f"{MAPS}?watch=1&allowWatchBookmarks=true") as watch:
        first = await watch.next()
        (await api.post("/api/v1/namespaces", namespace("elsewhere"))).ok(201)
        second = await watch.next()
    assert (first["type"], second["type"]) == ("BOOKMARK", "BOOKMARK")
    assert int(second["object"]["metadata"]["resourceVersion"]) > int(first["object"]["metadata"]["resourceVersion"])


async def test_a_bookmark_never_passes_an_unseen_event(api: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever resumes from any bookmark misses nothing, however events and bookmarks interleave."""
    monkeypatch.setattr(streams, "BOOKMARK_SECONDS", 0.001)
    seen: set[str] = set()

    async def write() -> None:
        for n in range(200):
            (await api.post(MAPS, config_map(f"m{n:04}", labels={"odd": str(n % 2)}))).ok(201)
            await asyncio.sleep(0.0005)

    async with api.watch(f"{MAPS}?watch=1&allowWatchBookmarks=true&labelSelector=odd%3D1") as watch:
        writer = asyncio.ensure_future(write())
        while len(seen) < 100:
            event = await watch.next()
            if event["type"] == "BOOKMARK":
                revision = int(event["object"]["metadata"]["resourceVersion"])
                records, _ = api.store.scan("/configmaps", revision=revision)
                there = {r.key.name for r in records if r.labels.get("odd") == "1"}
                assert there <= seen, "a bookmark ran ahead of the events"
            else:
                seen.add(event["object"]["metadata"]["name"])
        await writer


async def test_an_old_revision_is_gone(clock: Clock) -> None:
    api = await expiring(clock)
    event = (await api.get(f"{MAPS}?watch=1&resourceVersion=2")).ok()
    assert event["type"] == "ERROR"
    assert (event["object"]["code"], event["object"]["reason"]) == (410, "Expired")
    assert "too old resource version: 2" in event["object"]["message"]


async def test_a_slow_reader_is_cut_off_cleanly(clock: Clock) -> None:
    store = MemoryStore(Limits(watch_events=10))
    api = Caller(make_server(store, clock), store, clock)
    (await api.post("/api/v1/namespaces", namespace("default"))).ok(201)
    async with api.watch(f"{MAPS}?watch=1&allowWatchBookmarks=true&resourceVersion={store.revision}") as watch:
        await make_maps(api, 50)
        assert await watch.rest() == []


async def test_a_watch_ends_with_the_store(clock: Clock) -> None:
    store = MemoryStore()
    api = Caller(make_server(store, clock), store, clock)
    async with api.watch("/api/v1/pods?watch=1") as watch:
        await store.close()
        assert await watch.rest() == []


async def test_a_closed_watch_leaves_nothing_behind(api: Caller) -> None:
    response = await api.open("GET", f"{MAPS}?watch=1")
    assert not isinstance(response.body, bytes)
    await response.body.aclose()  # type: ignore[attr-defined]
    assert not api.store._hub._watches  # type: ignore[attr-defined]


async def test_watching_one_object_the_old_way(api: Caller) -> None:
    async with api.watch(
        f"/api/v1/watch/namespaces/default/configmaps/m?resourceVersion={api.store.revision}"
    ) as watch:
        for name in ("other", "m"):
            (await api.post(MAPS, config_map(name))).ok(201)
        assert await watch.take(1) == [("ADDED", "m")]


async def test_frames_are_lines(api: Caller) -> None:
    (await api.post(MAPS, config_map("m", {"text": "two\nlines"}))).ok(201)
    response = await api.open("GET", f"{MAPS}?watch=1")
    assert response.headers["content-type"] == "application/json"
    assert not isinstance(response.body, bytes)
    chunk = await anext(aiter(response.body))
    assert chunk.count(b"\n") == 1
    assert json.loads(chunk)["object"]["data"]["text"] == "two\nlines"
    await response.body.aclose()  # type: ignore[attr-defined]
