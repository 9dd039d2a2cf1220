"""An AuthenticationConfiguration: what it may say, the users that tokens make by it, and what it opens to everybody."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from api_testing import Clock, make_server
from msgspec.structs import replace
from oidc_testing import Provider, token

from homeport.apiserver.authn import BearerTokens
from homeport.apiserver.identity import configuration
from homeport.apiserver.identity.configured import ConfiguredTokens
from homeport.apiserver.identity.jose import BadToken
from homeport.kube.errors import Permanent
from homeport.kube.wire import Request, User
from homeport.store.memory import MemoryStore

ISSUER = {"url": "https://login.example", "audiences": ["homeport"]}
MAPPINGS = {"username": {"claim": "sub", "prefix": ""}}


def document(*jwt: Any, **fields: Any) -> dict[str, Any]:
    head = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration"}
    return {**head, "jwt": list(jwt), **fields}


def provider_of(**fields: Any) -> dict[str, Any]:
    return {"issuer": ISSUER, "claimMappings": MAPPINGS, **fields}


def user_of(claims: dict[str, Any], **fields: Any) -> User:
    return configuration.read(document(provider_of(**fields))).providers[0].mapping.user(claims)


def test_expressions_make_every_part_of_a_user() -> None:
    found = user_of(
        {"sub": "jane", "email": "jane@a.example", "email_verified": True, "roles": ["dev", ""], "n": 7, "jti": "x"},
        claimMappings={
            "username": {"expression": "claims.email_verified ? 'a:' + claims.email : claims.sub"},
            "groups": {"expression": "claims.roles.map(role, role == '' ? '' : 'r-' + role)"},
            "uid": {"expression": "string(claims.n)"},
            "extra": [
                {"key": "a.example/tenant", "valueExpression": "claims.?tenant.orValue('')"},
                {"key": "a.example/roles", "valueExpression": "claims.roles"},
            ],
        },
        claimValidationRules=[{"expression": "claims.n < 10", "message": "too many"}],
        userValidationRules=[{"expression": "!user.username.startsWith('system:') && 'r-dev' in user.groups"}],
    )
    assert found == User(
        "a:jane@a.example",
        ("r-dev", "system:authenticated"),
        "7",
        {"a.example/roles": ("dev",), "authentication.kubernetes.io/credential-id": ("JTI=x",)},
    )


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"claimValidationRules": [{"claim": "hd", "requiredValue": "a.example"}]}, "the required claim hd is missing"),
        ({"claimValidationRules": [{"expression": "claims.n > 9", "message": "too few"}]}, "failed: too few"),
        ({"claimValidationRules": [{"expression": "claims.missing == 'a'"}]}, "error evaluating the validation"),
        ({"userValidationRules": [{"expression": "user.username != 'jane'", "message": "not her"}]}, "not her"),
        ({"claimMappings": {"username": {"expression": "claims.n"}}}, "must return a string"),
        ({"claimMappings": {"username": {"expression": "''"}}}, "the username is empty"),
        ({"claimMappings": {**MAPPINGS, "groups": {"expression": "claims.n"}}}, "a string or a list of strings"),
        ({"claimMappings": {**MAPPINGS, "uid": {"claim": "oid"}}}, "the claim oid is missing"),
    ],
)
def test_claims_that_make_no_user(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(BadToken, match=words):
        user_of({"sub": "jane", "n": 7}, **fields)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kind": "Something"}, "has to be an AuthenticationConfiguration of apiserver.config.k8s.io/v1"),
        ({"jwts": []}, "unknown field `jwts`"),
        ({"jwt": [provider_of(), provider_of()]}, 'jwt[1].issuer.url: Duplicate value: "https://login.example"'),
        ({"jwt": [provider_of()] * 65}, "jwt: Too many: 65: must have at most 64 items"),
        ({"anonymous": {"enabled": False, "conditions": [{"path": "/livez"}]}}, "enabled should be set to true"),
    ],
)
def test_documents_that_are_wrong(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError) as caught:
        configuration.read(document() | changes)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"issuer": {}}, ["issuer.url: Required value", "issuer.audiences: Required value"]),
        (
            {"issuer": {**ISSUER, "url": "http://a@b.example?x#y"}},
            ["scheme must be https", "username", "query", "fragment"],
        ),
        ({"issuer": {**ISSUER, "url": "https://own.example"}}, ["URL must not overlap with disallowed issuers"]),
        ({"issuer": {**ISSUER, "discoveryURL": "https://login.example/"}}, ["discoveryURL must be different from URL"]),
        ({"issuer": {**ISSUER, "audiences": ["a", "b"]}}, ["audienceMatchPolicy must be MatchAny"]),
        ({"issuer": {**ISSUER, "audienceMatchPolicy": "All"}}, ["audienceMatchPolicy must be empty or MatchAny"]),
        ({"issuer": {**ISSUER, "certificateAuthority": "x"}}, ["it holds no certificates in PEM"]),
        ({"claimMappings": {}}, ["claimMappings.username: Required value: claim or expression is required"]),
        ({"claimMappings": {"username": {"claim": "sub"}}}, ["username.prefix: Required value: prefix is required"]),
        ({"claimMappings": {"username": {"expression": "claims."}}}, ["compilation failed: ERROR: <input>:1:"]),
        ({"claimMappings": {"username": {"expression": "claims.email"}}}, ["claims.email_verified must be used"]),
        ({"claimMappings": {"username": {"expression": "claims.?email.orValue('')"}}}, ["email_verified must be used"]),
        (
            {"claimMappings": {**MAPPINGS, "extra": [{"key": "a"}, {"key": "A.k8s.io/b"}]}},
            [
                "extra[0].key",
                "domain-prefixed path",
                "valueExpression: Required",
                "must be lowercase",
                "reserved for Kub",
            ],
        ),
        ({"claimValidationRules": [{}]}, ["claim or expression is required"]),
        ({"claimValidationRules": [{"claim": "a", "expression": "true"}]}, ["claim and expression can't both be set"]),
        ({"claimValidationRules": [{"expression": "claims.a"}]}, ["must evaluate to bool"]),
        ({"userValidationRules": [{"expression": "user.nam == ''"}]}, ["undefined field 'nam'"]),
        ({"userValidationRules": [{"expression": "true"}] * 2}, ["userValidationRules[1].expression: Duplicate value"]),
    ],
)
def test_providers_that_are_wrong(fields: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ValueError) as caught:
        configuration.read(document(provider_of(**fields)), ["https://own.example"])
    for each in words:
        assert each in str(caught.value)


def written(path: Path, provider: Provider, *more: Any, **fields: Any) -> Path:
    issuer = {"url": provider.url, "audiences": ["homeport"], "certificateAuthority": provider.ca.read_text()}
    path.write_text(json.dumps(document({"issuer": issuer, "claimMappings": MAPPINGS}, *more, **fields)))
    return path


async def test_a_changed_file_counts(
    provider: Provider, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("homeport.apiserver.identity.configured._LOOK_SECONDS", 0.0)
    path = written(tmp_path / "authentication.yaml", provider, provider_of())
    tokens = ConfiguredTokens(path, (), now=clock)
    good = token(provider, clock, groups=["dev"])
    found = await tokens.authenticate_token(good, ["api"])
    assert found is not None
    assert (found.user.name, found.user.groups, found.audiences) == ("jane", ("system:authenticated",), ())
    path.write_text("kind: [")
    assert await tokens.authenticate_token(good, []) == replace(found, audiences=())
    provider.broken = True  # what is known of it goes on
    mappings = {"username": {"claim": "sub", "prefix": "b:"}, "groups": {"claim": "groups", "prefix": ""}}
    written(path, provider)
    path.write_text(path.read_text().replace(json.dumps(MAPPINGS), json.dumps(mappings)))
    found = await tokens.authenticate_token(good, [])
    assert found is not None
    assert (found.user.name, found.user.groups) == ("b:jane", ("dev", "system:authenticated"))
    path.write_text(json.dumps(document()))
    assert await tokens.authenticate_token(good, []) is None


async def test_what_a_connection_remembers_lasts_no_longer_than_a_look_at_the_file(
    provider: Provider, clock: Clock, tmp_path: Path
) -> None:
    tokens = ConfiguredTokens(written(tmp_path / "authentication.yaml", provider), (), now=clock)
    good = token(provider, clock)
    found = await tokens.authenticate_token(good, ["api"])
    assert found is not None
    assert found.until == clock().timestamp() + 1
    assert tokens.recall_token(good, ["api"]) == found


def test_a_file_that_cannot_be_read_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "authentication.yaml"
    with pytest.raises(Permanent, match=r"authentication\.yaml can't be read: No such file or directory$"):
        ConfiguredTokens(path, ())
    for content in ("a: [", json.dumps(document(provider_of(issuer={}))), "kind: a\nkind: b"):
        path.write_text(content)
        with pytest.raises(Permanent, match="--authentication-config"):
            ConfiguredTokens(path, ())


@pytest.mark.parametrize(
    ("anonymous", "codes"),
    [
        (None, {"/livez": 200, "/readyz": 200, "/api": 401}),
        ({"enabled": False}, {"/livez": 401, "/readyz": 401, "/api": 401}),
        ({"enabled": True, "conditions": [{"path": "/livez"}]}, {"/livez": 200, "/readyz": 401, "/api": 401}),
        ({"enabled": True}, {"/livez": 200, "/readyz": 200, "/api": 403}),
    ],
)
async def test_what_needs_no_credentials(
    clock: Clock, tmp_path: Path, anonymous: dict[str, Any] | None, codes: dict[str, int]
) -> None:
    path = tmp_path / "authentication.yaml"
    path.write_text(json.dumps(document(**({} if anonymous is None else {"anonymous": anonymous}))))
    tokens = ConfiguredTokens(path, ())
    store = MemoryStore()
    server = make_server(store, clock, authenticators=(BearerTokens((tokens,), ()),), anonymous=tokens.anonymous)
    answers = {where: (await server.handle(Request("GET", where))).status for where in codes}
    assert answers == codes
    wrong = Request("GET", "/livez", headers={"authorization": "Bearer x"})
    assert (await server.handle(wrong)).status == 401
    await server.close()
    await store.close()
