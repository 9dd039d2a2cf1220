"""The tokens that a pod's volumes ask for: requested once, kept, and replaced in time."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from homeport.client.client import Client
from homeport.kube.meta import timestamp
from homeport.kube.wire import Request, Response
from homeport.node.tokens import Tokens, Wish, due

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


class Issuer:
    """An API server that does nothing but issue tokens."""

    remote = False

    def __init__(self) -> None:
        self.now = NOW
        self.requests: list[tuple[str, Any]] = []

    async def send(self, request: Request) -> Response:
        body = json.loads(request.body)
        self.requests.append((request.path, body["spec"]))
        ends = self.now + timedelta(seconds=body["spec"]["expirationSeconds"])
        body["status"] = {"token": f"token-{len(self.requests)}", "expirationTimestamp": timestamp(ends)}
        return Response(201, {"content-type": "application/json"}, json.dumps(body).encode())

    async def close(self) -> None:
        return None


async def test_tokens_are_replaced_after_four_fifths_of_their_life() -> None:
    issuer = Issuer()
    tokens = Tokens(Client(issuer))
    sources = [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": 1000}},
        {"serviceAccountToken": {"path": "vault", "expirationSeconds": 5000, "audience": "vault"}},
    ]
    pod = {
        "metadata": {"name": "p", "namespace": "ns", "uid": "u"},
        "spec": {"serviceAccountName": "builder", "volumes": [{"name": "v", "projected": {"sources": sources}}]},
    }
    first = await tokens.get(pod, NOW)
    assert set(first) == {Wish("", 1000), Wish("vault", 5000)}
    paths = {path for path, _ in issuer.requests}
    assert paths == {"/api/v1/namespaces/ns/serviceaccounts/builder/token"}
    bound = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}
    assert {"audiences": ["vault"], "expirationSeconds": 5000, "boundObjectRef": bound} in [
        s for _, s in issuer.requests
    ]
    assert tokens.due is not None
    assert NOW + timedelta(seconds=790) <= tokens.due <= NOW + timedelta(seconds=800)
    assert await tokens.get(pod, NOW + timedelta(seconds=700)) == first
    issuer.now = NOW + timedelta(seconds=801)
    later = await tokens.get(pod, issuer.now)
    assert later[Wish("", 1000)] != first[Wish("", 1000)]
    assert later[Wish("vault", 5000)] == first[Wish("vault", 5000)]


async def test_no_token_is_trusted_after_the_clock_has_been_set() -> None:
    issuer = Issuer()
    tokens = Tokens(Client(issuer))
    tokens.distrust()
    assert tokens.due is None, "there is none"
    source = {"serviceAccountToken": {"path": "token", "expirationSeconds": 1000}}
    pod = {
        "metadata": {"name": "p", "namespace": "ns", "uid": "u"},
        "spec": {"volumes": [{"name": "v", "projected": {"sources": [source]}}]},
    }
    first = await tokens.get(pod, NOW)
    for step in (timedelta(hours=2), -timedelta(hours=2)):
        tokens.distrust()
        issuer.now = NOW + step
        assert tokens.due is not None
        assert tokens.due < issuer.now
        later = await tokens.get(pod, issuer.now)
        assert later != first
        assert tokens.due > issuer.now
        assert await tokens.get(pod, issuer.now) == later
        first = later


def test_long_lived_tokens_are_replaced_daily() -> None:
    week = 7 * 24 * 3600
    moment = due(NOW + timedelta(seconds=week), week)
    assert NOW + timedelta(hours=23, minutes=59) < moment <= NOW + timedelta(hours=24)
