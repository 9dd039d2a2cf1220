"""``/livez``, ``/readyz``, ``/healthz`` and their checks."""

from __future__ import annotations

import asyncio
import logging
import threading

import pytest
from api_testing import Answer, Caller

from homeport.apiserver.health import Check, Unhealthy
from homeport.kube.wire import User
from homeport.store.protocol import Full


def body(answer: Answer, status: int = 200) -> str:
    assert answer.status == status
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    return answer.body.decode()


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz"])
async def test_all_is_well(api: Caller, path: str) -> None:
    assert body(await api.get(path)) == "ok"
    verbose = body(await api.get(f"{path}?verbose"))
    assert verbose.startswith("[+]ping ok\n[+]log ok\n[+]etcd ok\n[+]poststarthook/")
    assert verbose.endswith(f"{path[1:]} check passed\n")
    assert body(await api.get(f"{path}/etcd")) == "ok"
    (await api.get(f"{path}/nothing")).error(404, "NotFound")
    (await api.get(f"{path}s")).error(404, "NotFound")


async def test_what_upstream_does_after_its_start_is_done(api: Caller) -> None:
    """Upstream: ``test/e2e/apimachinery/health_handlers.go``."""
    hook = "poststarthook/crd-informer-synced"
    for path in ("/healthz", "/livez", "/readyz"):
        lines = body(await api.get(f"{path}?verbose=1")).splitlines()
        assert {f"[+]{hook} ok", "[+]autoregister-completion ok"} < set(lines)
        assert body(await api.get(f"{path}/{hook}")) == "ok"
        assert f"{path}/{hook}" in (await api.get("/")).ok()["paths"]
    assert f"[+]{hook} excluded: ok\nwarn" not in body(await api.get(f"/readyz?verbose&exclude={hook}"))


async def test_a_store_that_cannot_write(
    api: Caller, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def full() -> None:
        raise Full("no room to write /data/objects.db")

    api.server.health.add(Check("etcd", full))
    for _ in range(10):
        text = body(await api.get("/readyz"), 500)
    assert text.startswith("[+]ping ok\n[+]log ok\n[-]etcd failed: reason withheld\n")
    assert text.endswith("readyz check failed\n")
    assert caplog.text.count("no room to write") == 1, "whoever asks often does not fill the log"
    assert "no room to write" in body(await api.get("/readyz/etcd"), 500)
    assert body(await api.get("/readyz?exclude=etcd")) == "ok"
    verbose = body(await api.get("/readyz?exclude=etcd&exclude=other&verbose"))
    assert "[+]etcd excluded: ok\n" in verbose
    assert 'warn: some health checks cannot be excluded: no matches for "other"\n' in verbose


async def test_what_only_time_can_help_is_no_reason_to_start_anew(api: Caller) -> None:
    async def syncing() -> None:
        raise Unhealthy("1 informers not started yet: [pods]")

    api.server.health.add(Check("informer-sync", syncing, live=False))
    assert body(await api.get("/livez")) == "ok"
    assert "[-]informer-sync failed" in body(await api.get("/readyz"), 500)
    (await api.get("/livez/informer-sync")).error(404, "NotFound")
    assert "/readyz/informer-sync" in (await api.get("/")).ok()["paths"]


async def test_a_check_that_hangs_has_failed(api: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("homeport.apiserver.health._SECONDS", 0.01)
    api.server.health.add(Check("disk", lambda: asyncio.sleep(60)))
    assert "no result within" in body(await api.get("/livez/disk"), 500)


async def test_a_log_that_is_stuck(api: Caller) -> None:
    handler = logging.NullHandler()
    handler.lock = threading.RLock()
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with handler.lock:  # type: ignore[union-attr]
            held.set()
            done.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(30)
    logging.getLogger().addHandler(handler)
    try:
        assert "logging blocked" in body(await api.get("/livez/log"), 500)
    finally:
        done.set()
        thread.join()
        logging.getLogger().removeHandler(handler)


async def test_reasons_take_a_permission(api: Caller) -> None:
    somebody = Caller(api.server, api.store, api.clock, User("somebody", ("system:authenticated",)))
    assert body(await somebody.get("/readyz")) == "ok"
    (await somebody.get("/readyz/etcd")).error(403, "Forbidden")
