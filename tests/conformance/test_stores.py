"""What every store has to do: the promises of `homeport.store.protocol`, kept by each of `STORES`.

The model test drives a store and a plain list of past states side by side, through random writes, and compares all that
a store lets one see.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from homeport.store.history import Limits
from homeport.store.memory import MemoryStore
from homeport.store.protocol import (
    Compacted,
    Conflicting,
    Delete,
    Event,
    Key,
    Lagging,
    Put,
    Record,
    Store,
    TooNew,
    Unavailable,
    Watch,
)
from homeport.store.sqlite import SqliteStore

PODS = "/pods"
JOBS = "kubeflow.org/tfjobs"


class OpenStore(Protocol):
    """Opens an empty store of the kind under test."""

    def __call__(self, limits: Limits | None = None) -> Store: ...


def obj(text: str = "", **labels: str) -> dict[str, Any]:
    """A small object; `text` tells states apart."""
    return {"kind": "Pod", "metadata": {"name": "n", "labels": labels}, "spec": {"text": text}}


def pod(name: str, namespace: str = "default") -> Key:
    return Key(PODS, namespace, name)


def text_of(record: Record) -> str:
    return str(json.loads(record.value)["spec"]["text"])


async def create(store: Store, key: Key, text: str = "", **labels: str) -> Record:
    (record,) = await store.write(Put(key, obj(text, **labels), 0))
    return record


async def taken(watch: Watch, count: int) -> list[Event]:
    """The next events of a watch; fails after a while if they don't come."""
    events: list[Event] = []

    async def read() -> None:
        async for event in watch:
            events.append(event)
            if len(events) == count:
                return

    if count:
        await asyncio.wait_for(read(), 10)
    return events


async def until_cut_off(watch: Watch) -> list[Event]:
    """What a watch delivers before it says that it was too slow."""
    events: list[Event] = []

    async def read() -> None:
        async for event in watch:
            events.append(event)  # noqa: PERF401

    with pytest.raises(Lagging):
        await read()
    return events


STORES = {
    "memory": lambda path, limits: MemoryStore(limits),
    "sqlite": SqliteStore.open,
}
"""How to open an empty store of each kind at a path that is free."""


@pytest.fixture(params=STORES)
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> OpenStore:
    number = itertools.count()
    return lambda limits=None: STORES[request.param](tmp_path / f"store-{next(number)}.db", limits)


class TestStores:
    async def test_empty(self, open_store: OpenStore) -> None:
        store = open_store()
        assert store.revision == 1
        assert store.get(pod("a")) is None
        assert store.head(pod("a")) is None
        assert list(store.scan(PODS)[0]) == []
        assert store.scan(PODS)[1] == 1
        assert store.count(PODS) == 0
        assert list(store.resources()) == []
        await store.close()

    async def test_put_get(self, open_store: OpenStore) -> None:
        store = open_store()
        given = obj("x", app="demo")
        (record,) = await store.write(Put(pod("a"), given, 0))
        assert record.revision == store.revision == 2
        assert record.key == pod("a")
        assert record.labels == {"app": "demo"}
        assert json.loads(record.value) == {**given, "metadata": {**given["metadata"], "resourceVersion": "2"}}
        assert given == obj("x", app="demo"), "the argument stays as it is"
        assert store.get(pod("a")) is store.head(pod("a")) is not None
        assert store.get(pod("a")) == record
        await store.close()

    async def test_metadata_is_optional(self, open_store: OpenStore) -> None:
        store = open_store()
        (record,) = await store.write(Put(pod("a"), {"kind": "X"}, 0))
        assert json.loads(record.value) == {"kind": "X", "metadata": {"resourceVersion": "2"}}
        assert record.labels == {}
        (gone,) = await store.write(Delete(pod("a"), 2))
        assert json.loads(gone.value) == {"kind": "X", "metadata": {"resourceVersion": "3"}}
        await store.close()

    async def test_expectations(self, open_store: OpenStore) -> None:
        store = open_store()
        record = await create(store, pod("a"), "1")
        with pytest.raises(Conflicting) as caught:
            store.write(Put(pod("a"), obj("2"), 0))
        assert caught.value.current == record
        with pytest.raises(Conflicting) as caught:
            store.write(Put(pod("a"), obj("2"), record.revision + 1))
        assert caught.value.current == record
        with pytest.raises(Conflicting) as caught:
            store.write(Put(pod("b"), obj("2"), record.revision))
        assert caught.value.current is None
        for expect in (0, record.revision):
            with pytest.raises(Conflicting):
                store.write(Delete(pod("b"), expect))
        with pytest.raises(Conflicting):
            store.write(Delete(pod("a"), 0))
        assert store.revision == record.revision
        (second,) = await store.write(Put(pod("a"), obj("2"), record.revision))
        (gone,) = await store.write(Delete(pod("a"), second.revision))
        assert (text_of(gone), gone.revision) == ("2", store.revision)
        assert store.get(pod("a")) is None
        await create(store, pod("a"), "3")
        await store.close()

    async def test_conflicts_are_found_before_the_disk(self, open_store: OpenStore) -> None:
        """Two writers that read the same state: the second is refused at once, not after the commit."""
        store = open_store()
        first = store.write(Put(pod("a"), obj("1"), 0))
        with pytest.raises(Conflicting):
            store.write(Put(pod("a"), obj("2"), 0))
        head = store.head(pod("a"))
        assert head is not None
        second = store.write(Put(pod("a"), obj("2"), head.revision))
        assert [text_of(r) for r in (*await first, *await second)] == ["1", "2"]
        await store.close()

    async def test_all_or_nothing(self, open_store: OpenStore) -> None:
        store = open_store()
        await create(store, pod("a"), "1")
        with pytest.raises(Conflicting):
            store.write(Put(pod("b"), obj(), 0), Delete(pod("a"), 2), Put(pod("c"), obj(), 5))
        assert store.head(pod("b")) is None
        assert store.head(pod("a")) is not None
        records = await store.write(
            Put(pod("b"), obj("b"), 0), Delete(pod("a"), 2), Put(pod("a"), obj("again"), 0), Delete(pod("b"), 3)
        )
        assert [record.revision for record in records] == [3, 4, 5, 6]
        assert [text_of(record) for record in records] == ["b", "1", "again", "b"]
        assert [record.key.name for record in store.scan(PODS)[0]] == ["a"]
        assert await store.write() == []
        await store.close()

    async def test_delete_with_a_final_state(self, open_store: OpenStore) -> None:
        store = open_store()
        record = await create(store, pod("a"), "1", app="x")
        watch = store.watch(PODS)
        (gone,) = await store.write(Delete(pod("a"), record.revision, obj("last", app="y")))
        assert (text_of(gone), gone.labels) == ("last", {"app": "y"})
        (event,) = await taken(watch, 1)
        assert (event.type, event.record, event.previous) == ("DELETED", gone, record)
        await store.close()

    async def test_scan_order_and_scope(self, open_store: OpenStore) -> None:
        store = open_store()
        for namespace, name in [("b", "z"), ("a", "y"), ("b", "a"), ("a", "b"), ("", "c")]:
            await create(store, Key(PODS, namespace, name))
        await create(store, Key(JOBS, "a", "job"))
        records, revision = store.scan(PODS)
        assert [(r.key.namespace, r.key.name) for r in records] == [
            ("", "c"), ("a", "b"), ("a", "y"), ("b", "a"), ("b", "z"),
        ]  # fmt: skip
        assert revision == store.revision
        assert [r.key.name for r in store.scan(PODS, "a")[0]] == ["b", "y"]
        assert [r.key.name for r in store.scan(PODS, "")[0]] == ["c"]
        assert list(store.scan(PODS, "none")[0]) == []
        assert store.count(PODS) == 5
        assert list(store.resources()) == [PODS, JOBS]
        await store.close()

    async def test_a_scan_is_a_snapshot(self, open_store: OpenStore) -> None:
        store = open_store()
        await create(store, pod("a"))
        records, _ = store.scan(PODS)
        await create(store, pod("b"))
        assert [r.key.name for r in records] == ["a"]
        await store.close()

    async def test_scan_of_the_past(self, open_store: OpenStore) -> None:
        store = open_store()
        a = await create(store, pod("a"), "1")
        b = await create(store, pod("b", "other"), "1")
        (a2,) = await store.write(Put(pod("a"), obj("2"), a.revision))
        await store.write(Delete(pod("b", "other"), b.revision))
        await create(store, Key(JOBS, "x", "y"))

        def at(revision: int, namespace: str | None = None) -> list[Record]:
            records, then = store.scan(PODS, namespace, revision=revision)
            assert then == revision
            return list(records)

        assert at(1) == []
        assert at(a.revision) == [a]
        assert at(b.revision) == [a, b]
        assert at(a2.revision) == [a2, b]
        assert at(a2.revision, "other") == [b]
        assert at(a2.revision, "default") == [a2]
        assert at(store.revision) == [a2]
        with pytest.raises(TooNew) as caught:
            store.scan(PODS, revision=store.revision + 1)
        assert (caught.value.asked, caught.value.current) == (store.revision + 1, store.revision)
        await store.close()

    async def test_watch(self, open_store: OpenStore) -> None:
        store = open_store()
        everywhere, here, jobs = store.watch(PODS), store.watch(PODS, "default"), store.watch(JOBS)
        a = await create(store, pod("a"), "1")
        b = await create(store, pod("b", "other"))
        (a2,) = await store.write(Put(pod("a"), obj("2"), a.revision))
        (gone,) = await store.write(Delete(pod("a"), a2.revision))
        events = await taken(everywhere, 4)
        assert events == [
            Event("ADDED", a, None),
            Event("ADDED", b, None),
            Event("MODIFIED", a2, a),
            Event("DELETED", gone, a2),
        ]
        assert await taken(here, 3) == [events[0], events[2], events[3]]
        assert jobs.take() == []
        await store.close()

    async def test_watch_from_the_past(self, open_store: OpenStore) -> None:
        store = open_store()
        revisions = [(await create(store, pod(f"p{index}"))).revision for index in range(5)]
        for index, revision in enumerate([1, *revisions]):
            watch = store.watch(PODS, after=revision)
            assert [event.record.revision for event in watch.take()] == revisions[index:]
            watch.close()
        assert [e.record.revision for e in store.watch(PODS, "default", after=revisions[2]).take()] == revisions[3:]
        assert store.watch(PODS, "other", after=1).take() == []
        watch = store.watch(PODS, after=revisions[3])
        late = await create(store, pod("late"))
        assert [event.record.revision for event in await taken(watch, 2)] == [revisions[4], late.revision]
        with pytest.raises(TooNew):
            store.watch(PODS, after=store.revision + 1)
        await store.close()

    async def test_watch_shows_what_is_committed(self, open_store: OpenStore) -> None:
        """Whoever hears of a write can read it, and the writer's own result comes no later than that."""
        store = open_store()
        watch = store.watch(PODS)
        write = store.write(Put(pod("a"), obj("1"), 0))
        async for event in watch:
            assert store.get(pod("a")) == event.record
            assert store.revision >= event.record.revision
            break
        assert (await write)[0] == event.record
        await store.close()

    async def test_take_and_wait(self, open_store: OpenStore) -> None:
        store = open_store()
        watch = store.watch(PODS)
        assert watch.take() == []
        waiting = asyncio.ensure_future(taken(watch, 1))
        await asyncio.sleep(0)
        a = await create(store, pod("a"))
        assert [event.record for event in await waiting] == [a]
        await create(store, pod("b"))
        await create(store, pod("c"))
        assert [event.record.key.name for event in watch.take()] == ["b", "c"]
        assert watch.take() == []
        await store.close()

    async def test_records_of_one_name(self, open_store: OpenStore) -> None:
        store = open_store()
        assert store.named(PODS, "a") == []
        b = await create(store, pod("a", "b"))
        a = await create(store, pod("a", "a"))
        await create(store, pod("other", "a"))
        assert store.named(PODS, "a") == [a, b]
        await store.write(Delete(pod("a", "b"), b.revision))
        assert store.named(PODS, "a") == [a]
        await store.close()

    async def test_events_are_delivered_to_a_reader_that_waits(self, open_store: OpenStore) -> None:
        store = open_store()
        watch = store.watch(PODS)
        heard: list[list[str]] = []
        willing = True

        def deliver() -> bool:
            if willing:
                heard.append([event.record.key.name for event in watch.take()])
            return willing

        waiting = asyncio.ensure_future(watch.wait(asyncio.get_running_loop().time() + 60, deliver))
        await asyncio.sleep(0)
        await store.write(Put(pod("a"), obj(), 0), Put(pod("b"), obj(), 0))
        while not heard:
            await asyncio.sleep(0)
        assert heard == [["a", "b"]], "what comes together is delivered together"
        assert not waiting.done()
        willing = False
        await create(store, pod("c"))
        await waiting
        assert [event.record.key.name for event in watch.take()] == ["c"]
        willing = True
        await create(store, pod("d"))
        assert heard == [["a", "b"]], "a reader that does not wait is left alone"
        waiting = asyncio.ensure_future(watch.wait(asyncio.get_running_loop().time() + 60, deliver))
        await waiting
        waiting = asyncio.ensure_future(watch.wait(asyncio.get_running_loop().time() + 60, deliver))
        assert watch.take()
        await asyncio.sleep(0)
        await store.close()
        await waiting
        assert watch.ended

    async def test_closing_ends_watches(self, open_store: OpenStore) -> None:
        store = open_store()
        closed, ended = store.watch(PODS), store.watch(PODS)
        reader = asyncio.ensure_future(_all(ended))
        await asyncio.sleep(0)
        closed.close()
        closed.close()
        await create(store, pod("a"))
        assert await _all(closed) == []
        await store.close()
        assert [event.record.key.name for event in await reader] in (["a"], [])
        with pytest.raises(Unavailable):
            store.write(Put(pod("b"), obj(), 0))
        await store.close()

    async def test_a_cancelled_reader_loses_nothing(self, open_store: OpenStore) -> None:
        store = open_store()
        watch = store.watch(PODS)
        reader = asyncio.ensure_future(taken(watch, 1))
        await asyncio.sleep(0)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        await create(store, pod("a"))
        assert len(await taken(watch, 1)) == 1
        await store.close()

    async def test_a_lagging_watch_is_cut_off(self, open_store: OpenStore) -> None:
        store = open_store(Limits(watch_events=3))
        slow, quick = store.watch(PODS), store.watch(PODS)
        seen = []
        for index in range(6):
            await create(store, pod(f"p{index}"))
            seen += quick.take()
        assert len(seen) == 6
        assert await until_cut_off(slow) == []
        assert slow.take() == [], "nothing is kept for a reader that may never come back"
        again = store.watch(PODS, after=1)
        assert again.take() == seen
        await store.close()

    async def test_a_watch_is_bounded_by_bytes(self, open_store: OpenStore) -> None:
        store = open_store(Limits(watch_bytes=3_000))
        watch = store.watch(PODS)
        for index in range(6):
            await create(store, pod(f"p{index}"), "x" * 1_000)
            if index == 1:
                assert len(watch.take()) == 2
        assert await until_cut_off(watch) == []
        await store.close()

    async def test_compaction(self, open_store: OpenStore) -> None:
        store = open_store(Limits(history_events=4))
        quiet = await create(store, Key(JOBS, "a", "job"))
        records = [await create(store, pod(f"p{index}")) for index in range(6)]
        with pytest.raises(Compacted) as caught:
            store.watch(PODS, after=records[0].revision)
        assert caught.value.oldest == records[1].revision
        with pytest.raises(Compacted):
            store.scan(PODS, revision=records[0].revision)
        assert len(store.watch(PODS, after=records[1].revision).take()) == 4
        assert list(store.scan(PODS, revision=records[1].revision)[0]) == records[:2]
        with pytest.raises(Compacted):
            store.watch(JOBS, after=1)
        assert store.watch(JOBS, after=quiet.revision).take() == [], "nothing of this resource is lost since then"
        await store.close()

    async def test_history_is_bounded_by_bytes(self, open_store: OpenStore) -> None:
        store = open_store(Limits(history_bytes=20_000))
        record = await create(store, pod("a"), "x" * 1_000)
        for _ in range(40):
            (record,) = await store.write(Put(pod("a"), obj("x" * 1_000), record.revision))
        with pytest.raises(Compacted):
            store.watch(PODS, after=2)
        assert len(store.watch(PODS, after=record.revision - 5).take()) == 5
        await store.close()

    async def test_labels(self, open_store: OpenStore) -> None:
        store = open_store()
        a = await create(store, pod("a"), "1", app="x", tier="y")
        (a2,) = await store.write(Put(pod("a"), obj("2", app="x", tier="y"), a.revision))
        assert a2.labels is a.labels, "equal labels are one dict"
        (a3,) = await store.write(Put(pod("a"), obj("3"), a2.revision))
        assert a3.labels == {}
        assert store.scan(PODS, revision=a2.revision)[0][0].labels == {"app": "x", "tier": "y"}
        await store.close()

    async def test_many_writers(self, open_store: OpenStore) -> None:
        """Optimistic writers on a few keys: every success counts, revisions are unique and in the watch's order."""
        store = open_store()
        keys = [pod(f"k{index}") for index in range(3)]
        watch = store.watch(PODS)
        for key in keys:
            await create(store, key, "0")

        async def count_up(key: Key) -> None:
            for _ in range(20):
                head = store.head(key)
                assert head is not None
                await store.write(Put(key, obj(str(int(text_of(head)) + 1)), head.revision))

        await asyncio.gather(*(count_up(key) for key in keys * 4))
        for key in keys:
            record = store.get(key)
            assert record is not None
            assert text_of(record) == "80"
        revisions = [event.record.revision for event in watch.take()]
        assert revisions == list(range(2, 2 + 3 + 240))
        await store.close()

    async def test_a_cancelled_writer_does_not_take_its_write_back(self, open_store: OpenStore) -> None:
        store = open_store()

        async def write() -> None:
            await store.write(Put(pod("a"), obj("1"), 0))

        task = asyncio.ensure_future(write())
        await asyncio.sleep(0)
        task.cancel()
        await create(store, pod("b"))
        assert store.get(pod("a")) is not None
        await store.close()

    @given(data=st.data())
    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_against_a_model(self, open_store: OpenStore, data: st.DataObject) -> None:
        asyncio.run(_compare(open_store(), data.draw))


async def _all(watch: Watch) -> list[Event]:
    return [event async for event in watch]


_keys = st.builds(Key, st.sampled_from([PODS, JOBS]), st.sampled_from(["", "a", "b"]), st.sampled_from(["x", "y", "z"]))
_steps = st.lists(
    st.lists(st.tuples(_keys, st.sampled_from(["put", "put", "delete"])), min_size=1, max_size=3),
    max_size=25,
)


async def _compare(store: Store, draw: Callable[..., Any]) -> None:
    """`states[r]` is what the store has to hold at revision r."""
    live = store.watch(PODS)
    states: dict[int, dict[Key, Record]] = {store.revision: {}}
    events: list[Event] = []
    for number, step in enumerate(draw(_steps)):
        state = dict(states[store.revision])
        revision = store.revision
        operations: list[Put | Delete] = []
        heads = {key: record.revision for key, record in state.items()}
        for key, action in step:
            if action == "put":
                operations.append(Put(key, obj(str(number), n=str(number)), heads.get(key, 0)))
            elif key in heads:
                operations.append(Delete(key, heads[key]))
            else:
                with pytest.raises(Conflicting):
                    store.write(Delete(key, draw(st.sampled_from([0, revision]))))
                continue
            revision += 1
            if action == "put":
                heads[key] = revision
            else:
                del heads[key]
        for operation, record in zip(operations, await store.write(*operations), strict=True):
            previous = state.get(operation.key)
            if isinstance(operation, Put):
                state[operation.key] = record
                assert text_of(record) == str(number)
            else:
                del state[operation.key]
            kind = "DELETED" if isinstance(operation, Delete) else "MODIFIED" if previous else "ADDED"
            events.append(Event(kind, record, previous))  # type: ignore[arg-type]
            states[record.revision] = dict(state)
    final = states[store.revision]
    for resource in (PODS, JOBS):
        for namespace in (None, "", "a"):
            for revision, state in states.items():
                records, _ = store.scan(resource, namespace, revision=revision)
                expected = [r for k, r in sorted(state.items()) if _in(k, resource, namespace)]
                assert list(records) == expected
                _compare_pages(store, resource, namespace, revision, expected)
                watch = store.watch(resource, namespace, after=revision)
                missing = [e for e in events if e.record.revision > revision and _in(e.record.key, resource, namespace)]
                assert watch.take() == missing
                watch.close()
        assert store.count(resource) == sum(key.resource == resource for key in final)
    assert list(store.resources()) == sorted({key.resource for key in final})
    assert live.take() == [event for event in events if event.record.key.resource == PODS]
    assert all(store.get(key) == store.head(key) == record for key, record in final.items())
    await store.close()


def _compare_pages(
    store: Store, resource: str, namespace: str | None, revision: int, expected: Sequence[Record]
) -> None:
    ends = [None, ("", ""), ("a", "zzz"), *((record.key.namespace, record.key.name) for record in expected)]
    for after in ends:
        behind = [r for r in expected if after is None or (r.key.namespace, r.key.name) > after]
        for limit in (1, 2, 100):
            page = (behind[:limit], revision, len(behind[limit:]))
            assert store.page(resource, namespace, after=after, limit=limit, revision=revision) == page
            if revision == store.revision:
                assert store.page(resource, namespace, after=after, limit=limit) == page


def _in(key: Key, resource: str, namespace: str | None) -> bool:
    return key.resource == resource and namespace in (None, key.namespace)
