"""What the server counts of its own work, and large answers in gzip."""

from __future__ import annotations

import gzip

import pytest
from api_testing import Caller
from prometheus_client.parser import text_string_to_metric_families

from homeport.apiserver.compression import LEAST, accepts_gzip, compress
from homeport.kube.wire import Request, Response

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"


async def read(api: Caller) -> dict[str, list[tuple[dict[str, str], float]]]:
    answer = await api.get("/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(answer.body.decode()):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


async def test_requests_are_counted_by_verb_resource_and_code(api: Caller) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}}
    (await api.post(CONFIG_MAPS, body)).ok(201)
    await api.post(CONFIG_MAPS, body)
    await api.get(f"{CONFIG_MAPS}/one")
    await api.get(CONFIG_MAPS)
    await api.get("/apis/example.com/v1/namespaces/default/made-up-by-a-client")
    found = await read(api)
    counted = {
        (labels["verb"], labels["resource"], labels["scope"], labels["code"]): value
        for labels, value in found["apiserver_request_total"]
    }
    assert counted[("POST", "configmaps", "namespace", "201")] == 1
    assert counted[("POST", "configmaps", "namespace", "409")] == 1
    assert counted[("GET", "configmaps", "resource", "200")] == 1
    assert counted[("LIST", "configmaps", "namespace", "200")] == 1
    assert counted[("other", "", "", "404")] == 1
    seconds = [labels for labels, _ in found["apiserver_request_duration_seconds_count"]]
    assert {"LIST", "GET", "POST"} <= {labels["verb"] for labels in seconds}
    stored = {labels["resource"]: value for labels, value in found["apiserver_storage_objects"]}
    assert stored["configmaps"] >= 1
    assert found["process_resident_memory_bytes"][0][1] > 1e6


async def test_an_open_watch_is_a_long_running_request_until_it_ends(api: Caller) -> None:
    def watches(found: dict[str, list[tuple[dict[str, str], float]]]) -> float:
        return sum(value for labels, value in found["apiserver_longrunning_requests"] if labels["verb"] == "WATCH")

    async with api.watch(f"{CONFIG_MAPS}?watch=true&resourceVersion=0"):
        assert watches(await read(api)) == 1
    found = await read(api)
    assert watches(found) == 0
    assert "WATCH" not in {labels["verb"] for labels, _ in found["apiserver_request_duration_seconds_count"]}


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        (None, False),
        ("identity", False),
        ("gzip", True),
        ("deflate, GZIP;q=0.5", True),
        ("gzip;q=0, identity", False),
        ("gzipped", False),
    ],
)
def test_accept_encoding(header: str | None, accepted: bool) -> None:
    assert accepts_gzip(header) is accepted


async def test_large_answers_are_compressed_for_who_asks() -> None:
    body = b"0123456789abcdef" * (LEAST // 16)
    asks = Request("GET", "/", headers={"accept-encoding": "gzip"})
    small = compress(asks, Response(200, {}, body[:-1]))
    assert small.body == body[:-1]
    assert compress(Request("GET", "/"), Response(200, {}, body)).body == body
    assert compress(asks, Response(404, {}, body)).body == body
    large = compress(asks, Response(200, {"content-length": "1"}, body))
    assert not isinstance(large.body, bytes)
    assert large.headers == {"content-encoding": "gzip", "vary": "Accept-Encoding"}
    packed = b"".join([piece async for piece in large.body])
    assert gzip.decompress(packed) == body
    assert len(packed) < len(body) / 10
