"""The audit log: what the policy asks for is on record, and secrets are not."""

from __future__ import annotations

import json
import stat
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from api_testing import ADMIN, Caller, Clock, with_default_namespace

from homeport.apiserver.audit import policy
from homeport.apiserver.audit.event import Facts
from homeport.apiserver.audit.log import LogFile, Rotation
from homeport.apiserver.audit.opening import open_auditor
from homeport.apiserver.authn import BearerTokens
from homeport.apiserver.identity.accounts import ServiceAccounts
from homeport.apiserver.identity.keys import SigningKey
from homeport.apiserver.routes import request_info
from homeport.apiserver.server import ApiServer
from homeport.apiserver.tokens import StaticTokens
from homeport.kube import core
from homeport.kube.errors import Permanent
from homeport.kube.wire import Request, User
from homeport.settings import AuditSettings
from homeport.store.memory import MemoryStore

DEFAULT = "/api/v1/namespaces/default"


@asynccontextmanager
async def audited(tmp_path: Path, clock: Clock, document: Any = None) -> AsyncIterator[tuple[Caller, list[Any]]]:
    """A server with an audit log; its events are in the list once the block has ended."""
    path = tmp_path / "logs" / "audit.log"
    policy_file = None if document is None else written(tmp_path, document)
    store = MemoryStore()
    await with_default_namespace(Caller(ApiServer(store, core.KINDS, now=clock), store, clock))
    accounts = ServiceAccounts(store, SigningKey(tmp_path / "key"), now=clock)
    tokens = BearerTokens((StaticTokens({"hush": ADMIN}), accounts), accounts.audiences)
    auditor = open_auditor(AuditSettings(str(path), policy_file))
    server = ApiServer(store, core.KINDS, authenticators=(tokens,), now=clock, accounts=accounts, auditor=auditor)
    events: list[Any] = []
    try:
        yield Caller(server, store, clock), events
    finally:
        await server.close()
        await store.close()
    events += read(path)


def written(directory: Path, document: Any) -> Path:
    directory.mkdir(exist_ok=True)
    path = directory / "policy.yaml"
    path.write_text(json.dumps(document))
    return path


def read(path: Path) -> list[Any]:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    return [json.loads(line) for line in path.read_text().splitlines()]


async def test_who_did_what(tmp_path: Path, clock: Clock) -> None:
    async with audited(tmp_path, clock) as (api, events):
        headers = {"authorization": "Bearer hush", "user-agent": "kubectl/v1.37", "audit-id": "mine"}
        body = b'{"metadata":{"name":"m"},"data":{"k":"v"}}'
        request = Request("POST", f"{DEFAULT}/configmaps", (("dryRun", "All"),), headers, body, source="10.0.0.9")
        response = await api.server.handle(request)
        assert response.status == 201
        assert response.headers["audit-id"] == "mine"
        await api.get("/healthz")
        await api.get(f"{DEFAULT}/pods", headers={"impersonate-user": "jane"})
        await api.server.handle(Request("GET", "/api", (), {"authorization": "Bearer wrong"}))
    created, refused, unknown = events
    assert created == {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": "Metadata",
        "auditID": "mine",
        "stage": "ResponseComplete",
        "requestURI": "/api/v1/namespaces/default/configmaps?dryRun=All",
        "verb": "create",
        "user": {"username": "admin", "groups": ["system:masters", "system:authenticated"]},
        "sourceIPs": ["10.0.0.9"],
        "userAgent": "kubectl/v1.37",
        "objectRef": {
            "resource": "configmaps",
            "namespace": "default",
            "name": "m",
            "uid": created["objectRef"]["uid"],
            "apiVersion": "v1",
        },
        "responseStatus": {"metadata": {}, "code": 201},
        "requestReceivedTimestamp": "2026-11-22T12:00:00.000000Z",
        "stageTimestamp": "2026-11-22T12:00:00.000000Z",
        "annotations": created["annotations"],
    }
    assert created["annotations"]["authorization.k8s.io/decision"] == "allow"
    assert refused["user"]["username"] == "admin"
    assert refused["impersonatedUser"]["username"] == "jane"
    assert refused["annotations"]["authorization.k8s.io/decision"] == "forbid"
    assert refused["responseStatus"]["code"] == 403
    assert refused["responseStatus"]["reason"] == "Forbidden"
    assert unknown["user"] == {}
    assert unknown["responseStatus"]["code"] == 401


async def test_what_was_refused_is_named(tmp_path: Path, clock: Clock) -> None:
    async with audited(tmp_path, clock) as (api, events):
        wrong = {"metadata": {"name": "wrong"}, "data": {"not a key": "v"}}
        (await api.post(f"{DEFAULT}/configmaps", wrong)).error(422, "Invalid")
        stranger = Caller(api.server, api.store, api.clock, User("stranger"))
        (await stranger.post(f"{DEFAULT}/configmaps", wrong)).error(403, "Forbidden")
    invalid, forbidden = events
    assert invalid["objectRef"]["name"] == "wrong"
    assert "name" not in forbidden["objectRef"], "what a stranger sends is not even read"


async def test_bodies_on_request_and_secrets_only_by_name(tmp_path: Path, clock: Clock) -> None:
    document = {"rules": [{"level": "RequestResponse", "omitManagedFields": True, "omitStages": ["RequestReceived"]}]}
    async with audited(tmp_path, clock, document) as (api, events):
        (await api.post(f"{DEFAULT}/configmaps", {"metadata": {"name": "m"}, "data": {"k": "v"}})).ok(201)
        (await api.post(f"{DEFAULT}/secrets", {"metadata": {"name": "s"}, "stringData": {"k": "hidden"}})).ok(201)
        (await api.post(f"{DEFAULT}/serviceaccounts", {"metadata": {"name": "a"}})).ok(201)
        answer = (await api.post(f"{DEFAULT}/serviceaccounts/a/token", {})).ok(201)
        review = {"spec": {"token": answer["status"]["token"]}}
        (await api.post("/apis/authentication.k8s.io/v1/tokenreviews", review)).ok(201)
    maps, secrets, _, token, reviewed = events
    assert maps["requestObject"]["data"] == {"k": "v"}
    assert maps["responseObject"]["metadata"]["uid"]
    assert "managedFields" not in maps["responseObject"]["metadata"]
    for event in (secrets, token, reviewed):
        assert event["level"] == "Metadata"
        assert "requestObject" not in event
        assert "responseObject" not in event
    text = json.dumps(events)
    assert answer["status"]["token"] not in text
    assert "hidden" not in text
    assert token["annotations"]["authentication.kubernetes.io/issued-credential-id"].startswith("JTI=")

    named = {"level": "Request", "resources": [{"group": "", "resources": ["secrets"]}]}
    async with audited(tmp_path / "named", clock, {"rules": [named]}) as (api, events):
        (await api.post(f"{DEFAULT}/secrets", {"metadata": {"name": "s"}, "stringData": {"k": "v"}})).ok(201)
        (await api.get(f"{DEFAULT}/configmaps")).ok()
    assert [event["stage"] for event in events] == ["RequestReceived", "ResponseComplete"]
    assert events[1]["requestObject"]["stringData"] == {"k": "v"}


async def test_a_watch_is_on_record_when_it_begins_and_ends(tmp_path: Path, clock: Clock) -> None:
    async with audited(tmp_path, clock) as (api, events), api.watch(f"{DEFAULT}/configmaps?watch=true") as watch:
        (await api.post(f"{DEFAULT}/configmaps", {"metadata": {"name": "m"}})).ok(201)
        await watch.next()
    assert [(event["verb"], event["stage"]) for event in events] == [
        ("watch", "ResponseStarted"),
        ("create", "ResponseComplete"),
        ("watch", "ResponseComplete"),
    ]


@pytest.mark.parametrize(
    ("rule", "user", "path", "matches"),
    [
        ({}, "jane", "/api/v1/pods", True),
        ({"users": ["jane"]}, "jane", "/api/v1/pods", True),
        ({"users": ["jane"]}, "bob", "/api/v1/pods", False),
        ({"userGroups": ["dev"]}, "jane", "/api", True),
        ({"userGroups": ["ops"]}, "jane", "/api", False),
        ({"verbs": ["list"]}, "jane", "/api/v1/pods", True),
        ({"verbs": ["get"]}, "jane", "/api/v1/pods", False),
        ({"namespaces": ["a"]}, "jane", "/api/v1/namespaces/a/pods", True),
        ({"namespaces": ["a"]}, "jane", "/api/v1/namespaces/b/pods", False),
        ({"namespaces": [""]}, "jane", "/api/v1/nodes", True),
        ({"resources": [{"group": ""}]}, "jane", "/api/v1/pods", True),
        ({"resources": [{"group": "apps"}]}, "jane", "/api/v1/pods", False),
        ({"resources": [{"resources": ["pods"]}]}, "jane", "/api/v1/namespaces/a/pods/p/log", False),
        ({"resources": [{"resources": ["pods/*"]}]}, "jane", "/api/v1/namespaces/a/pods/p/log", True),
        ({"resources": [{"resources": ["*/log"]}]}, "jane", "/api/v1/namespaces/a/pods/p/log", True),
        ({"resources": [{"resources": ["*"]}]}, "jane", "/api/v1/namespaces/a/pods/p/log", True),
        ({"resources": [{"resources": ["pods"], "resourceNames": ["p"]}]}, "j", "/api/v1/namespaces/a/pods/p", True),
        ({"resources": [{"resources": ["pods"], "resourceNames": ["p"]}]}, "j", "/api/v1/namespaces/a/pods/q", False),
        ({"nonResourceURLs": ["/api*"]}, "jane", "/apis", True),
        ({"nonResourceURLs": ["/api*"]}, "jane", "/version", False),
        ({"nonResourceURLs": ["*"]}, "jane", "/api/v1/pods", False),
    ],
)  # fmt: skip
def test_how_rules_match(rule: dict[str, Any], user: str, path: str, matches: bool) -> None:
    found, errors = policy.read({"rules": [{"level": "Metadata", **rule}]})
    assert found is not None, errors
    decision = found.decide(User(user, ("dev",)), request_info(Request("GET", path)))
    assert (decision.level == policy.Level.METADATA) is matches


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"rules": []}, "rules: Required value"),
        ({"rules": [{"level": "All"}]}, 'rules[0].level: Unsupported value: "All"'),
        ({"rules": [{"level": "None", "omitStages": ["Later"]}]}, "rules[0].omitStages[0]: Unsupported value"),
        (
            {"rules": [{"level": "None", "resources": [{}], "nonResourceURLs": ["/a"]}]},
            "rules cannot apply to both regular resources and non-resource URLs",
        ),
        ({"rules": [{"level": "None", "nonResourceURLs": ["a"]}]}, "must begin with a '/' character"),
        ({"rules": [{"level": "None", "users": "jane"}]}, "rules[0].users: Invalid value"),
        ({"apiVersion": "audit.k8s.io/v2", "rules": [{"level": "None"}]}, "apiVersion: Unsupported value"),
        ([], "is not a Policy"),
    ],
)
def test_what_is_wrong_with_a_policy(tmp_path: Path, document: Any, words: str) -> None:
    path = tmp_path / "policy"
    path.write_text(json.dumps(document))
    with pytest.raises(Permanent) as caught:
        open_auditor(AuditSettings(str(tmp_path / "log"), path))
    assert words in str(caught.value)


def test_files_make_room(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    log = LogFile(str(path), Rotation(megabytes=1, backups=2))
    for _ in range(6):
        log._write(b"x" * 700_000 + b"\n")
    log.close()
    assert len(list(tmp_path.glob("audit-*.log"))) == 2
    assert path.stat().st_size == 700_001


def test_events_that_wait_take_no_more_memory_than_they_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("homeport.apiserver.audit.log.MAX_QUEUED_BYTES", 100_000)
    goes_on, writing = threading.Event(), threading.Event()

    def write(self: LogFile, data: bytes) -> None:
        writing.set()
        goes_on.wait(10)  # a disk that hangs

    monkeypatch.setattr(LogFile, "_write", write)
    log = LogFile(str(tmp_path / "audit.log"))
    request = Request("GET", "/api", (), {"user-agent": "x" * 60_000})  # of somebody without credentials
    decision = policy.everything().decide(None, request_info(request))
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    facts = Facts("id", policy.COMPLETE, decision, request, request_info(request), None, None, moment, moment, {}, 401)
    log.put(facts)
    assert writing.wait(10)
    for _ in range(4):
        log.put(facts)
    assert log._lost == 3
    goes_on.set()
    log.close()
