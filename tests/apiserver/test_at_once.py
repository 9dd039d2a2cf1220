"""What is answered at once is answered as it would be by the way that may wait, and counts in the same way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from api_testing import ADMIN, Caller, Clock, config_map, crd, with_default_namespace
from hypothesis import given, settings
from hypothesis import strategies as st

from homeport.apiserver import at_once
from homeport.apiserver.audit import policy
from homeport.apiserver.audit.auditor import Auditor
from homeport.apiserver.audit.log import LogFile
from homeport.apiserver.authn import BearerTokens, ClientCertificates
from homeport.apiserver.fairness.gate import Shares
from homeport.apiserver.identity.accounts import ServiceAccounts
from homeport.apiserver.identity.keys import SigningKey
from homeport.apiserver.server import ApiServer
from homeport.apiserver.tokens import StaticTokens
from homeport.apiserver.transport.target import parse_target
from homeport.kube import core
from homeport.kube.wire import Request, Response, User
from homeport.store.memory import MemoryStore

DEFAULT = "/api/v1/namespaces/default"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
READER = "system:serviceaccount:default:reader"
NAMED = User("named", ("system:authenticated",))


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> SigningKey:
    return SigningKey(tmp_path_factory.mktemp("pki") / "key")


class Given(NamedTuple):
    """An answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


async def read(response: Response) -> Given:
    if isinstance(response.body, bytes):
        return Given(response.status, response.headers, response.body)
    return Given(response.status, response.headers, b"".join([chunk async for chunk in response.body]))


class Asked:
    """A server, and what a connection remembers of it."""

    def __init__(self, server: ApiServer, *, quick: bool) -> None:
        self.server = server
        self._quick = quick
        self._memories: dict[tuple[tuple[str, str], ...], at_once.Memory] = {}
        self.taken = 0
        """How many answers came at once."""

    async def ask(self, method: str, target: str, headers: Mapping[str, str]) -> Given:
        path, query = parse_target(target.encode())
        request = Request(method, path, query, headers, source="10.0.0.1")
        memory: at_once.Memory = {}
        if method == "GET":
            memory = self._memories.setdefault(tuple(headers.items()), memory)
        response = self.server.at_once(request, memory) if self._quick else None
        if response is None:
            response = await self.server.handle(request)
        else:
            self.taken += 1
        return await read(response)


class World:
    """The same store behind two servers: one that answers at once, and one that never does."""

    def __init__(self, writer: Caller, accounts: ServiceAccounts, servers: list[ApiServer]) -> None:
        self.writer, self.accounts = writer, accounts
        self.quick, self.slow = Asked(servers[0], quick=True), Asked(servers[1], quick=False)
        self.tokens = {"admin": "secret", "named": "named", "unknown": "unknown", "reader": ""}

    async def ask(self, method: str, target: str, token: str = "reader", **headers: str) -> Given:
        """The answer, which is the same either way."""
        sent = {"host": "h", "accept": "application/json"}
        if token:
            sent["authorization"] = f"Bearer {self.tokens[token]}"
        sent |= headers
        first = await self.quick.ask(method, target, sent)
        second = await self.slow.ask(method, target, sent)
        ids = [answer.headers.pop("audit-id", "") for answer in (first, second)]  # type: ignore[attr-defined]
        assert bool(ids[0]) == bool(ids[1])
        assert list(first.headers.items()) == list(second.headers.items())
        assert first == second
        return first

    async def change(self, what: str) -> None:
        """Something that decides about reads."""
        match what:
            case "allow":
                subject = {"kind": "User", "name": READER, "apiGroup": "rbac.authorization.k8s.io"}
                role = {"kind": "Role", "name": "reader", "apiGroup": "rbac.authorization.k8s.io"}
                binding = {"metadata": {"name": "reader"}, "subjects": [subject], "roleRef": role}
                await self.writer.post(f"{RBAC}/namespaces/default/rolebindings", binding)
            case "forbid":
                await self.writer.delete(f"{RBAC}/namespaces/default/rolebindings/reader")
            case "write":
                await self.writer.patch(f"{DEFAULT}/configmaps/here", {"data": {"a": str(self.writer.store.revision)}})
            case "remove":
                await self.writer.delete(f"{DEFAULT}/configmaps/here")
            case "create":
                await self.writer.post(f"{DEFAULT}/configmaps", config_map("here"))
            case "dismiss":
                await self.writer.delete(f"{DEFAULT}/serviceaccounts/reader")
            case "later":
                self.writer.clock.advance(1500)
            case "engage":
                await self.writer.post(f"{DEFAULT}/serviceaccounts", {"metadata": {"name": "reader"}})
                account = (await self.writer.get(f"{DEFAULT}/serviceaccounts/reader")).ok()
                self.tokens["reader"], _ = await self.accounts.issue(account, self.accounts.audiences, 3600)


CHANGES = ("allow", "forbid", "write", "remove", "create", "dismiss", "engage", "later")


@asynccontextmanager
async def world(key: SigningKey, logs: Path | None = None) -> AsyncIterator[World]:
    clock, store = Clock(), MemoryStore()
    accounts = ServiceAccounts(store, key, now=clock)

    def server(name: str) -> ApiServer:
        static = StaticTokens({"secret": ADMIN, "named": NAMED})
        tokens = BearerTokens((static, accounts), accounts.audiences)
        auditor = None if logs is None else Auditor(policy.everything(), LogFile(str(logs / name)))
        users = (tokens, ClientCertificates())
        return ApiServer(store, core.KINDS, authenticators=users, now=clock, accounts=accounts, auditor=auditor)

    writer = ApiServer(store, core.KINDS, now=clock)
    servers = [server("quick"), server("slow")]
    caller = await with_default_namespace(Caller(writer, store, clock))
    (await caller.post(f"{DEFAULT}/configmaps", config_map("here"))).ok(201)
    (await caller.post(f"{DEFAULT}/configmaps", config_map("large", {"a": "x" * 200_000}))).ok(201)
    rules = [
        {"verbs": ["get"], "apiGroups": [""], "resources": ["configmaps"]},
        {"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["mine"]},
    ]
    role = {"metadata": {"name": "reader"}, "rules": rules}
    (await caller.post(f"{RBAC}/namespaces/default/roles", role)).ok(201)
    made = World(caller, accounts, servers)
    await made.change("engage")
    await made.change("allow")
    try:
        yield made
    finally:
        for each in (*servers, writer):
            await each.close()
        await store.close()


TARGETS = (
    f"{DEFAULT}/configmaps/here",
    f"{DEFAULT}/configmaps/large",
    f"{DEFAULT}/configmaps/missing",
    f"{DEFAULT}/configmaps/here/",
    f"{DEFAULT}//configmaps/here",
    f"{DEFAULT}/configmaps",
    f"{DEFAULT}/configmaps/here/status",
    f"{DEFAULT}/secrets/mine",
    f"{DEFAULT}/secrets/other",
    f"{RBAC}/namespaces/default/roles/reader",
    f"{RBAC}/clusterroles/none",
    "/api/v1/namespaces/default",
    "/api/v1/namespaces/default/status",
    "/api/v1/configmaps/here",
    "/api/v1/namespaces/default/nodes/n",
    "/api/v1/nodes/n",
    "/api/v1/watch/namespaces/default/configmaps/here?timeoutSeconds=1",
    "/version",
    "/livez",
    "/nowhere",
)
QUERIES = ("", "", "", "?pretty=true", "?resourceVersion=1", "?timeout=x", "?includeObject=None")
ACCEPTS = (
    "application/json",
    "application/json",
    "application/json;as=Table;g=meta.k8s.io;v=v1",
    "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
    "application/vnd.kubernetes.protobuf",
    "application/yaml",
    "text/html",
)
asking = st.tuples(
    st.sampled_from(("GET", "GET", "GET", "HEAD", "PUT")),
    st.sampled_from(TARGETS),
    st.sampled_from(QUERIES),
    st.sampled_from(("reader", "reader", "admin", "named", "unknown", "")),
    st.sampled_from(({}, {"impersonate-user": READER}, {"impersonate-group": "g"}, {"accept-encoding": "gzip"})),
    st.sampled_from(ACCEPTS),
)
COUNTED = (
    "apiserver_request_total",
    "apiserver_request_duration_seconds_count",
    "apiserver_response_sizes",
    "apiserver_flowcontrol_dispatched",
    "apiserver_flowcontrol_current",
    "apiserver_longrunning",
    "apiserver_current_inflight",
)


async def counted(server: ApiServer) -> list[str]:
    answer = await server.handle(Request("GET", "/metrics", user=ADMIN))
    assert isinstance(answer.body, bytes)
    return [line for line in answer.body.decode().splitlines() if line.startswith(COUNTED)]


@settings(max_examples=25, deadline=None)
@given(steps=st.lists(asking | st.sampled_from(CHANGES), min_size=1, max_size=40), audited=st.booleans())
def test_either_way_gives_and_counts_the_same(
    key: SigningKey, tmp_path_factory: pytest.TempPathFactory, steps: list[Any], audited: bool
) -> None:
    logs = tmp_path_factory.mktemp("logs") if audited else None

    async def run() -> None:
        async with world(key, logs) as both:
            for number, step in enumerate(steps):
                if isinstance(step, str):
                    await both.change(step)
                    continue
                method, target, query, token, headers, accept = step
                if "?" in target:
                    query = ""
                given_id = {"audit-id": str(number)} if number % 2 else {}
                await both.ask(method, target + query, token, **headers, **given_id, accept=accept)
            assert await counted(both.quick.server) == await counted(both.slow.server)
        if logs is not None:
            quick, slow = (
                [json.loads(line) for line in (logs / name).read_text().splitlines()] for name in ("quick", "slow")
            )
            for event in (*quick, *slow):
                if event["auditID"].count("-") == 4:  # made up by the server
                    event["auditID"] = ""
            assert quick == slow

    asyncio.run(run())


async def test_what_was_settled_counts_no_longer_once_it_has_changed(key: SigningKey) -> None:
    async with world(key) as both:

        async def status(name: str = "here") -> int:
            """Of a read that is settled by the one before it."""
            return (await both.ask("GET", f"{DEFAULT}/configmaps/{name}")).status

        assert [await status(), await status(), await status("missing")] == [200, 200, 404]
        settled = both.quick.taken
        assert settled >= 1
        await both.change("forbid")
        assert await status() == 403
        await both.change("allow")
        assert [await status(), await status()] == [200, 200]
        await both.change("write")
        body = (await both.ask("GET", f"{DEFAULT}/configmaps/here")).body
        assert json.loads(body)["metadata"]["resourceVersion"] == str(both.writer.store.revision)
        await both.change("remove")
        assert await status() == 404
        await both.change("create")
        assert [await status(), await status()] == [200, 200]
        await both.change("dismiss")
        assert await status() == 401
        await both.change("engage")
        assert [await status(), await status()] == [200, 200]
        both.writer.clock.advance(3600 + 59)
        assert await status() == 200
        both.writer.clock.advance(2)
        assert await status() == 401
        assert both.quick.taken > settled


async def test_an_account_is_gone_with_its_namespace(key: SigningKey) -> None:
    async with world(key) as both:
        path = f"{DEFAULT}/configmaps/here"
        assert [(await both.ask("GET", path)).status for _ in range(3)] == [200, 200, 200]
        await both.writer.delete("/api/v1/namespaces/default")
        # The namespace controller is not here: this is what it does.
        await both.writer.delete(f"{DEFAULT}/serviceaccounts/reader")
        assert (await both.ask("GET", path)).status == 401


async def test_flow_schemas_count_from_the_next_request_on(key: SigningKey) -> None:
    async with world(key) as both:
        server = both.quick.server
        writer = Caller(server, both.writer.store, both.writer.clock)
        path = f"{DEFAULT}/configmaps/here"
        headers = {"host": "h", "authorization": f"Bearer {both.tokens['reader']}"}

        def dispatched(name: str) -> int:
            return sum(each.dispatched for each in server.priority.gate.classes.schemas if each.name == name)

        for count in range(3):
            assert dispatched("service-accounts") == count
            assert (await both.quick.ask("GET", path, headers)).status == 200
        assert both.quick.taken == 2
        schema = {
            "metadata": {"name": "mine"},
            "spec": {
                "matchingPrecedence": 2,
                "priorityLevelConfiguration": {"name": "exempt"},
                "rules": [
                    {
                        "subjects": [{"kind": "User", "user": {"name": READER}}],
                        "resourceRules": [
                            {"verbs": ["get"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"]}
                        ],
                    }
                ],
            },
        }
        (await writer.post("/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas", schema)).ok(201)
        assert (await both.quick.ask("GET", path, headers)).status == 200
        assert both.quick.taken == 3
        assert dispatched("mine") == 1


async def test_a_definition_that_changes_is_followed(key: SigningKey) -> None:
    async with world(key) as both:
        server = both.quick.server
        writer = Caller(server, both.writer.store, both.writer.clock)
        definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        (await writer.post(definitions, crd())).ok(201)
        widgets = "/apis/example.com/v1/namespaces/default/widgets"
        (await writer.post(widgets, {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}})).ok(
            201
        )
        headers = {"host": "h", "authorization": "Bearer secret"}
        answers = [await both.quick.ask("GET", f"{widgets}/w", headers) for _ in range(3)]
        assert [answer.status for answer in answers] == [200, 200, 200]
        assert both.quick.taken >= 2
        deprecated = crd(deprecated=True)
        deprecated["metadata"]["resourceVersion"] = (await writer.get(f"{definitions}/widgets.example.com")).json[
            "metadata"
        ]["resourceVersion"]
        (await writer.put(f"{definitions}/widgets.example.com", deprecated)).ok()
        assert "warning" in (await both.quick.ask("GET", f"{widgets}/w", headers)).headers
        assert "warning" in (await both.quick.ask("GET", f"{widgets}/w", headers)).headers
        (await writer.delete(f"{widgets}/w")).ok()
        (await writer.delete(f"{definitions}/widgets.example.com")).ok()
        assert (await both.quick.ask("GET", f"{widgets}/w", headers)).status == 404


async def test_nobody_is_answered_at_once_beyond_a_turn_or_without_a_seat(key: SigningKey) -> None:
    async with world(key) as both:
        server = both.quick.server
        headers = {"host": "h", "authorization": f"Bearer {both.tokens['reader']}"}
        request = Request("GET", f"{DEFAULT}/configmaps/here", (), headers)
        memory: at_once.Memory = {}
        await read(await server.handle(request))
        taken = 0
        while server.at_once(request, memory) is not None:
            taken += 1
        assert 1 < taken <= 16 * Shares().starts
        await asyncio.sleep(0)  # the next turn begins
        assert server.at_once(request, memory) is not None
        level = memory[f"{DEFAULT}/configmaps"].place.schema.level
        level.executing += Shares().in_flight
        assert server.at_once(request, memory) is None
        level.executing -= Shares().in_flight
        assert server.at_once(request, memory) is not None
