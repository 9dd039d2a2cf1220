"""Who makes a request: service-account tokens, reviews, impersonation, and what is open to everybody."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import ssl
import stat
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from api_testing import ADMIN, Answer, Caller, Clock, with_default_namespace
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from homeport.apiserver import pki
from homeport.apiserver.authn import BearerTokens, ClientCertificates, authenticate
from homeport.apiserver.identity import jose
from homeport.apiserver.identity.accounts import DEFAULT_ISSUER, EXTENDED_SECONDS, ServiceAccounts
from homeport.apiserver.identity.keys import SigningKey
from homeport.apiserver.rbac.bootstrap import bootstrap
from homeport.apiserver.server import ApiServer
from homeport.apiserver.tokens import StaticTokens
from homeport.kube import core
from homeport.kube.errors import Unauthorized
from homeport.kube.wire import Request
from homeport.store.memory import MemoryStore

DEFAULT = "/api/v1/namespaces/default"
BUILDER = f"{DEFAULT}/serviceaccounts/builder"
WHO = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


@pytest.fixture(scope="session")
def key_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pki") / "service-account.key"


@pytest.fixture
def key(key_path: Path) -> SigningKey:
    return SigningKey(key_path)


@pytest.fixture
async def api(clock: Clock, key_path: Path) -> AsyncIterator[Caller]:
    store = MemoryStore()
    await bootstrap(store, clock())
    accounts = ServiceAccounts(store, SigningKey(key_path), now=clock)
    tokens = BearerTokens((StaticTokens({"secret": ADMIN}), accounts), accounts.audiences)
    server = ApiServer(store, core.KINDS, authenticators=(tokens, ClientCertificates()), now=clock, accounts=accounts)
    caller = await with_default_namespace(Caller(server, store, clock))
    for name in ("default", "builder"):
        (await caller.post(f"{DEFAULT}/serviceaccounts", {"metadata": {"name": name}})).ok(201)
    yield caller
    await server.close()
    await store.close()


async def as_token(api: Caller, token: str, method: str = "POST", path: str = WHO, body: Any = None) -> Answer:
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    raw = b"{}" if body is None else json.dumps(body).encode()
    response = await api.server.handle(Request(method, path, (), headers, raw))
    assert isinstance(response.body, bytes)
    return Answer(response, response.body)


async def token_of(api: Caller, **spec: Any) -> Any:
    return (await api.post(f"{BUILDER}/token", {"spec": spec})).ok(201)


async def make_pod(api: Caller, name: str, account: str = "builder") -> Any:
    pod = {
        "metadata": {"name": name},
        "spec": {"containers": [{"name": "c", "image": "i"}], "serviceAccountName": account},
    }
    return (await api.post(f"{DEFAULT}/pods", pod)).ok(201)


def claims_of(token: str) -> Any:
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


# -- tokens of service accounts


async def test_a_token_says_who_its_account_is(api: Caller, clock: Clock, key_path: Path) -> None:
    answer = await token_of(api, expirationSeconds=600)
    assert answer["kind"] == "TokenRequest"
    assert answer["status"]["expirationTimestamp"] == "2026-11-22T12:10:00Z"
    assert answer["spec"]["audiences"] == [DEFAULT_ISSUER]
    token = answer["status"]["token"]
    claims = claims_of(token)
    account = (await api.get(BUILDER)).ok()["metadata"]["uid"]
    assert claims["kubernetes.io"] == {"namespace": "default", "serviceaccount": {"name": "builder", "uid": account}}
    assert claims["exp"] - claims["iat"] == 600
    info = (await as_token(api, token)).ok(201)["status"]["userInfo"]
    assert info["username"] == "system:serviceaccount:default:builder"
    assert info["uid"] == account
    assert set(info["groups"]) == {
        "system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"
    }  # fmt: skip
    assert info["extra"] == {"authentication.kubernetes.io/credential-id": [f"JTI={claims['jti']}"]}
    assert stat.S_IMODE(os.stat(key_path).st_mode) == 0o600
    # The same key in another process says the same.
    other = ServiceAccounts(api.store, SigningKey(key_path), now=clock)
    assert await other.authenticate_token(token, [DEFAULT_ISSUER]) is not None


async def test_others_can_verify_a_token(api: Caller) -> None:
    jwt = pytest.importorskip("jwt")
    token = (await token_of(api, audiences=["vault"]))["status"]["token"]
    document = (await api.get("/.well-known/openid-configuration", headers={"host": "api.example:6443"})).ok()
    assert document["issuer"] == DEFAULT_ISSUER
    assert document["jwks_uri"] == "https://api.example:6443/openid/v1/jwks"
    keys = jwt.PyJWKSet.from_dict((await api.get("/openid/v1/jwks")).ok())
    key = keys[jwt.get_unverified_header(token)["kid"]]
    options = {"verify_exp": False, "verify_nbf": False, "verify_iat": False}  # the test's clock is not this machine's
    claims = jwt.decode(token, key, algorithms=["RS256"], audience="vault", issuer=DEFAULT_ISSUER, options=options)
    assert claims["sub"] == "system:serviceaccount:default:builder"


async def test_a_token_holds_for_its_time_and_audience(api: Caller, clock: Clock) -> None:
    token = (await token_of(api, expirationSeconds=600))["status"]["token"]
    elsewhere = (await token_of(api, audiences=["vault"]))["status"]["token"]
    (await as_token(api, elsewhere)).error(401, "Unauthorized")
    clock.advance(655)  # within the leeway for clocks that differ
    (await as_token(api, token)).ok(201)
    clock.advance(10)
    (await as_token(api, token)).error(401, "Unauthorized")


@pytest.mark.parametrize("damage", ["signature", "claims", "algorithm", "cut"])
async def test_a_forged_token_is_refused(api: Caller, damage: str) -> None:
    header, claims, signature = (await token_of(api))["status"]["token"].split(".")
    match damage:
        case "signature":
            signature = ("A" if signature[0] != "A" else "B") + signature[1:]
        case "claims":
            forged = claims_of(f".{claims}.") | {"sub": "system:serviceaccount:kube-system:admin"}
            claims = base64.urlsafe_b64encode(json.dumps(forged).encode()).rstrip(b"=").decode()
        case "algorithm":
            header = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
            signature = ""
        case "cut":
            signature = signature[:-5]
    (await as_token(api, f"{header}.{claims}.{signature}")).error(401, "Unauthorized")


async def test_a_token_ends_with_its_account(api: Caller) -> None:
    token = (await token_of(api))["status"]["token"]
    (await as_token(api, token)).ok(201)
    await api.patch(BUILDER, {"metadata": {"labels": {"a": "b"}}})
    (await as_token(api, token)).ok(201)
    (await api.delete(BUILDER)).ok()
    (await as_token(api, token)).error(401, "Unauthorized")
    (await api.post(f"{DEFAULT}/serviceaccounts", {"metadata": {"name": "builder"}})).ok(201)
    (await as_token(api, token)).error(401, "Unauthorized")


async def test_a_bound_token_ends_with_its_pod(api: Caller, clock: Clock) -> None:
    node = (await api.post("/api/v1/nodes", {"metadata": {"name": "here"}})).ok(201)
    uid = (await make_pod(api, "p"))["metadata"]["uid"]
    (await api.post(f"{DEFAULT}/pods/p/binding", {"target": {"name": "here"}})).ok(201)
    bound = {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": uid}
    token = (await token_of(api, boundObjectRef=bound, expirationSeconds=3607))["status"]["token"]
    claims = claims_of(token)
    assert claims["kubernetes.io"]["pod"] == {"name": "p", "uid": uid}
    assert claims["kubernetes.io"]["node"] == {"name": "here", "uid": node["metadata"]["uid"]}
    assert claims["exp"] - claims["iat"] == EXTENDED_SECONDS
    assert claims["kubernetes.io"]["warnafter"] - claims["iat"] == 3607
    extra = (await as_token(api, token)).ok(201)["status"]["userInfo"]["extra"]
    assert extra["authentication.kubernetes.io/pod-name"] == ["p"]
    assert extra["authentication.kubernetes.io/pod-uid"] == [uid]
    assert extra["authentication.kubernetes.io/node-name"] == ["here"]
    (await api.delete(f"{DEFAULT}/pods/p")).ok()  # 30 seconds of grace, in which it goes on working
    (await as_token(api, token)).ok(201)
    clock.advance(95)
    (await as_token(api, token)).error(401, "Unauthorized")


@pytest.mark.parametrize(
    ("spec", "status", "reason", "words"),
    [
        ({"expirationSeconds": 599}, 422, "Invalid", "may not specify a duration less than 10 minutes"),
        ({"expirationSeconds": (1 << 32) + 1}, 422, "Invalid", "may not specify a duration larger than 2^32 seconds"),
        ({"expirationSeconds": "1h"}, 400, "BadRequest", "spec.expirationSeconds"),
        ({"audiences": "vault"}, 400, "BadRequest", "spec.audiences"),
        ({"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "nope"}}, 404, "NotFound", 'pods "nope"'),
        (
            {"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": "x"}},
            409, "Conflict", "the UID in the bound object reference (x) does not match the UID in record",
        ),
        (
            {"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "other"}},
            400, "BadRequest", 'cannot bind token for serviceaccount "builder" to pod',
        ),
        (
            {"boundObjectRef": {"kind": "Job", "apiVersion": "batch/v1", "name": "p"}},
            400, "BadRequest", "cannot bind token to object of type batch/v1, Kind=Job",
        ),
    ],
)  # fmt: skip
async def test_requests_for_tokens_are_checked(
    api: Caller, spec: dict[str, Any], status: int, reason: str, words: str
) -> None:
    await make_pod(api, "p")
    await make_pod(api, "other", "default")
    (await api.post(f"{BUILDER}/token", {"spec": spec})).error(status, reason, words)


async def test_only_accounts_have_tokens(api: Caller) -> None:
    (await api.post(f"{DEFAULT}/serviceaccounts/nope/token", {})).error(404, "NotFound", 'serviceaccounts "nope"')
    (await api.get(f"{BUILDER}/token")).error(405, "MethodNotAllowed")
    wrong = {"metadata": {"name": "other"}}
    (await api.post(f"{BUILDER}/token", wrong)).error(422, "Invalid", "must match the service account name")


async def test_a_request_may_name_the_account_that_it_means(api: Caller) -> None:
    uid = (await api.get(BUILDER)).ok()["metadata"]["uid"]
    answer = (await api.post(f"{BUILDER}/token", {"metadata": {"uid": uid}})).ok(201)
    assert answer["metadata"]["uid"] == uid
    wrong = await api.post(f"{BUILDER}/token", {"metadata": {"uid": "x"}})
    wrong.error(409, "Conflict", f"(x) does not match the UID of the service account ({uid})")
    other = await api.post(f"{BUILDER}/token", {"metadata": {"namespace": "x"}})
    other.error(400, "BadRequest", "does not match the namespace sent on the request")


async def test_the_server_may_shorten_tokens(clock: Clock, key_path: Path) -> None:
    store = MemoryStore()
    accounts = ServiceAccounts(store, SigningKey(key_path), now=clock, longest=7200, extend=False, audiences=["api"])
    server = ApiServer(store, core.KINDS, now=clock, accounts=accounts)
    api = await with_default_namespace(Caller(server, store, clock))
    (await api.post(f"{DEFAULT}/serviceaccounts", {"metadata": {"name": "builder"}})).ok(201)
    answer = await api.post(f"{BUILDER}/token", {"spec": {"expirationSeconds": 9000}})
    assert answer.ok(201)["spec"]["expirationSeconds"] == 7200
    assert answer.headers["warning"] == '299 - "requested expiration of 9000 seconds shortened to 7200 seconds"'
    claims = claims_of(answer.json["status"]["token"])
    assert claims["exp"] - claims["iat"] == 7200
    assert claims["aud"] == ["api"]
    annotations = {"kubernetes.io/enforce-mountable-secrets": "true"}
    warned = await api.patch(BUILDER, {"metadata": {"annotations": annotations}})
    assert "deprecated in v1.32+" in warned.headers["warning"]
    await server.close()


# -- reviews


async def test_token_review(api: Caller) -> None:
    path = "/apis/authentication.k8s.io/v1/tokenreviews"
    token = (await token_of(api, audiences=["vault", "other"]))["status"]["token"]

    async def review(**spec: Any) -> Any:
        return (await api.post(path, {"spec": spec})).ok(201)["status"]

    found = await review(token=token, audiences=["vault", "unknown"])
    assert found["authenticated"] is True
    assert found["audiences"] == ["vault"]
    assert found["user"]["username"] == "system:serviceaccount:default:builder"
    assert (await review(token=token)).get("authenticated") is None
    ours = await review(token="secret")
    assert ours["user"]["username"] == ADMIN.name
    assert ours["audiences"] == [DEFAULT_ISSUER]
    assert (await review(token="secret", audiences=["vault", DEFAULT_ISSUER]))["audiences"] == [DEFAULT_ISSUER]
    # It names no audience, so that it is for this server and not for whoever asks.
    assert (await review(token="secret", audiences=["vault"])).get("authenticated") is None
    refused = await review(token="no.such.token")
    assert "authenticated" not in refused
    assert refused["error"]
    (await api.post(path, {"spec": {}})).error(400, "BadRequest", "token is required")


@pytest.mark.parametrize("version", ["v1", "v1beta1", "v1alpha1"])
async def test_who_am_i(api: Caller, version: str) -> None:
    path = f"/apis/authentication.k8s.io/{version}/selfsubjectreviews"
    review = (await api.post(path, {"kind": "SelfSubjectReview"})).ok(201)
    assert review["apiVersion"] == f"authentication.k8s.io/{version}"
    assert review["status"]["userInfo"] == {"username": "admin", "groups": ["system:masters"]}
    names = {r["name"] for r in (await api.get(f"/apis/authentication.k8s.io/{version}")).ok()["resources"]}
    assert "selfsubjectreviews" in names


# -- impersonation


async def test_acting_as_somebody_else(api: Caller) -> None:
    headers = {
        "impersonate-user": "jane",
        "impersonate-group": "dev\nops, and more",  # how the connection hands over a header that came twice
        "impersonate-uid": "42",
        "impersonate-extra-example.com%2fScope": "a",
    }
    info = (await api.post(WHO, {}, headers=headers)).ok(201)["status"]["userInfo"]
    assert info == {
        "username": "jane",
        "uid": "42",
        "groups": ["dev", "ops, and more", "system:authenticated"],
        "extra": {"example.com/scope": ["a"]},
    }
    (await api.get(f"{DEFAULT}/pods", headers=headers)).error(
        403, "Forbidden", 'User "jane" cannot list resource "pods"'
    )
    account = {"impersonate-user": "system:serviceaccount:default:builder"}
    info = (await api.post(WHO, {}, headers=account)).ok(201)["status"]["userInfo"]
    assert info["groups"] == ["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"]
    # A header's bytes have been read as Latin-1, and what can only be said once is what came first.
    odd = {"impersonate-user": "J\xc3\xbcrgen\nX-Remote-Group: system:masters", "impersonate-uid": "1\n2"}
    info = (await api.post(WHO, {}, headers=odd)).ok(201)["status"]["userInfo"]
    assert (info["username"], info["uid"]) == ("J\xfcrgen", "1")
    half = {"impersonate-group": "system:masters"}
    (await api.post(WHO, {}, headers=half)).error(400, "BadRequest", "without impersonating a user")


async def test_acting_as_somebody_else_takes_a_right(api: Caller) -> None:
    token = (await token_of(api))["status"]["token"]
    headers = {"authorization": f"Bearer {token}", "impersonate-user": "admin", "impersonate-group": "system:masters"}
    response = await api.server.handle(Request("GET", f"{DEFAULT}/pods", (), headers))
    assert response.status == 403
    words = (
        b'users \\"admin\\" is forbidden: User \\"system:serviceaccount:default:builder\\" cannot impersonate resource'
    )
    assert isinstance(response.body, bytes)
    assert words in response.body


# -- everybody


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz", "/version"])
async def test_health_and_version_are_for_everybody(api: Caller, path: str) -> None:
    assert (await api.server.handle(Request("GET", path))).status == 200
    wrong = {"authorization": "Bearer wrong"}
    assert (await api.server.handle(Request("GET", path, (), wrong))).status == 401


@pytest.mark.parametrize(
    "path", ["/", "/api", "/apis", "/metrics", "/openapi/v3", "/openid/v1/jwks", f"{DEFAULT}/pods"]
)
async def test_nothing_else_is(api: Caller, path: str) -> None:
    assert (await api.server.handle(Request("GET", path))).status == 401


async def test_a_web_socket_carries_its_token_as_a_protocol(api: Caller) -> None:
    encoded = base64.urlsafe_b64encode(b"secret").rstrip(b"=").decode()
    headers = {"sec-websocket-protocol": f"v4.channel.k8s.io, base64url.bearer.authorization.k8s.io.{encoded}"}
    upgrade = {"connection": "Upgrade", "upgrade": "websocket"}
    assert (await api.server.handle(Request("GET", "/api", (), headers | upgrade))).status == 200
    assert (await api.server.handle(Request("GET", "/api", (), headers))).status == 401
    headers = {"sec-websocket-protocol": "base64url.bearer.authorization.k8s.io.%%%"}
    assert (await api.server.handle(Request("GET", "/api", (), headers | upgrade))).status == 401


async def test_a_secret_holds_a_token_without_an_end(api: Caller, clock: Clock, key_path: Path) -> None:
    accounts = ServiceAccounts(api.store, SigningKey(key_path), now=clock)
    uid = (await api.get(BUILDER)).ok()["metadata"]["uid"]
    token = await accounts.issue_legacy("default", "builder", uid, "s")
    (await as_token(api, token)).error(401, "Unauthorized")  # before its secret is there
    annotations = {"kubernetes.io/service-account.name": "builder"}
    secret = {"metadata": {"name": "s", "annotations": annotations}, "type": "kubernetes.io/service-account-token"}
    (await api.post(f"{DEFAULT}/secrets", {**secret, "stringData": {"token": token}})).ok(201)
    clock.advance(10 * 365 * 24 * 3600)
    info = (await as_token(api, token)).ok(201)["status"]["userInfo"]
    assert info["username"] == "system:serviceaccount:default:builder"
    (await api.patch(f"{DEFAULT}/secrets/s", {"stringData": {"token": "another"}})).ok()
    (await as_token(api, token)).error(401, "Unauthorized")


# -- whatever a client sends


@given(st.text(max_size=200) | st.binary(max_size=120).map(lambda raw: raw.decode("latin-1")))
def test_what_is_no_token_is_refused_as_one(text: str) -> None:
    with contextlib.suppress(jose.BadToken):
        jose.parse(text)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(claims=st.dictionaries(st.sampled_from(["sub", "exp", "nbf", "aud", "jti", "kubernetes.io"]), _JSON))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
async def test_odd_claims_under_our_own_signature_are_refused(key: SigningKey, clock: Clock, claims: Any) -> None:
    store = MemoryStore()
    accounts = ServiceAccounts(store, key, now=clock)
    token = await key.sign({"iss": DEFAULT_ISSUER, **claims})
    with pytest.raises(Unauthorized):
        await accounts.authenticate_token(token, accounts.audiences)


async def test_a_certificate_ends_on_an_open_connection(tmp_path: Path) -> None:
    paths = pki.ensure(tmp_path)
    certificate = ssl.PEM_cert_to_DER_cert(await asyncio.to_thread(paths.admin.read_text))
    request = Request("GET", "/api", certificate=certificate)
    now = time.time()
    user = (await authenticate([ClientCertificates(lambda: now)], request)).user
    assert user.name == "kubernetes-admin"
    shown = {"authentication.kubernetes.io/credential-id": (f"X509SHA256={hashlib.sha256(certificate).hexdigest()}",)}
    assert user.extra == shown
    with pytest.raises(Unauthorized):
        await authenticate([ClientCertificates(lambda: now + 400 * 86400)], request)
