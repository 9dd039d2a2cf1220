"""Users of an OpenID Connect provider."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from api_testing import Clock
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from oidc_testing import Provider, token

from homeport.apiserver.identity.oidc import of_flags
from homeport.kube.errors import Permanent, Unauthorized
from homeport.settings import OidcSettings

ALGORITHMS = ("RS256", "PS384", "ES256", "ES512")


def settings(provider: Provider, **changes: Any) -> OidcSettings:
    return OidcSettings(provider.url, "homeport", ca_file=provider.ca, **changes)


async def test_a_token_names_its_user(provider: Provider, clock: Clock) -> None:
    tokens = of_flags(settings(provider, groups_claim="groups", groups_prefix="oidc:"), now=clock)
    found = await tokens.authenticate_token(token(provider, clock, groups=["dev", "ops"], jti="7"), ["api"])
    assert found is not None
    assert found.user.name == f"{provider.url}#jane"
    assert found.user.groups == ("oidc:dev", "oidc:ops", "system:authenticated")
    assert found.user.extra == {"authentication.kubernetes.io/credential-id": ("JTI=7",)}
    assert found.audiences == ()
    other = token(provider, clock, iss="https://elsewhere.example")
    assert await tokens.authenticate_token(other, ["api"]) is None
    assert await tokens.authenticate_token("opaque", ["api"]) is None


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_signatures(provider: Provider, clock: Clock, algorithm: str) -> None:
    if algorithm.startswith("ES"):
        provider.keys["one"] = ec.generate_private_key(ec.SECP256R1() if algorithm == "ES256" else ec.SECP521R1())
    tokens = of_flags(settings(provider, signing_algs=ALGORITHMS), now=clock)
    good = token(provider, clock, algorithm=algorithm)
    assert await tokens.authenticate_token(good, []) is not None
    head, claims, signature = good.split(".")
    bad = f"{head}.{claims}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}"
    with pytest.raises(Unauthorized):
        await tokens.authenticate_token(bad, [])


@pytest.mark.parametrize(
    ("claims", "words"),
    [
        ({"aud": "another"}, "another client"),
        ({"aud": ["another", "third"]}, "another client"),
        ({"exp": None}, "no end"),
        ({"exp": 1000}, "expired"),
        ({"exp": "soon"}, "not a time"),
        ({"exp": 10**400}, "not a time"),
        ({"nbf": 4102444800}, "not valid yet"),
        ({"sub": None}, "the claim sub is missing"),
        ({"sub": ""}, "the claim sub is missing"),
        ({"hd": "other.example"}, "required claim hd"),
        ({"groups": {"a": 1}}, "neither a text nor a list"),
    ],
)
async def test_tokens_that_are_refused(provider: Provider, clock: Clock, claims: dict[str, Any], words: str) -> None:
    chosen = settings(provider, required_claims={"hd": "example.com"}, groups_claim="groups")
    tokens = of_flags(chosen, now=clock)
    assert await tokens.authenticate_token(token(provider, clock, hd="example.com"), []) is not None
    with pytest.raises(Unauthorized) as caught:
        await tokens.authenticate_token(token(provider, clock, **{"hd": "example.com", **claims}), [])
    assert words in str(caught.value)


async def test_email_as_the_name(provider: Provider, clock: Clock) -> None:
    tokens = of_flags(settings(provider, username_claim="email"), now=clock)
    found = await tokens.authenticate_token(token(provider, clock, email="jane@example.com", email_verified=True), [])
    assert found is not None
    assert found.user.name == "jane@example.com"
    with pytest.raises(Unauthorized):
        await tokens.authenticate_token(token(provider, clock, email="bob@example.com", email_verified=False), [])


async def test_keys_are_read_once_and_again_when_they_change(provider: Provider, clock: Clock) -> None:
    tokens = of_flags(settings(provider, username_prefix="-"), now=clock)
    first = token(provider, clock, exp=int(clock().timestamp()) + 90_000)
    for _ in range(3):
        assert await tokens.authenticate_token(first, []) is not None
    assert provider.asked == ["/.well-known/openid-configuration", "/keys"]
    former = provider.keys.pop("one")
    provider.keys["two"] = rsa.generate_private_key(65537, 2048)
    clock.advance(11)
    assert await tokens.authenticate_token(token(provider, clock, "two"), []) is not None
    assert len(provider.asked) == 4
    # A provider that is down locks nobody out, and a key that is gone signs for nobody.
    provider.broken = True
    clock.advance(3700)
    assert await tokens.authenticate_token(token(provider, clock, "two"), []) is not None
    provider.keys["one"] = former
    with pytest.raises(Unauthorized):
        await tokens.authenticate_token(first, [])
    clock.advance(11)
    provider.broken = False
    assert await tokens.authenticate_token(first, []) is not None


async def test_an_unknown_authority_is_not_believed(provider: Provider, clock: Clock) -> None:
    tokens = of_flags(OidcSettings(provider.url, "homeport"), now=clock)
    with pytest.raises(Unauthorized):
        await tokens.authenticate_token(token(provider, clock), [])


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        (OidcSettings("http://a.example", "c"), "has to be a URL of https"),
        (OidcSettings("https://a.example", ""), "--oidc-client-id"),
        (OidcSettings("https://a.example", "c", signing_algs=("HS256",)), "HS256"),
        (OidcSettings("https://a.example", "c", ca_file=Path("/nonexistent")), "--oidc-ca-file"),
    ],
)
def test_settings_that_cannot_work(chosen: OidcSettings, words: str) -> None:
    with pytest.raises(Permanent) as caught:
        of_flags(chosen)
    assert words in str(caught.value)


def sources(provider: Provider, **place: Any) -> dict[str, Any]:
    return {"_claim_names": {"groups": "s"}, "_claim_sources": {"s": {"endpoint": f"{provider.url}/groups", **place}}}


async def test_groups_that_are_to_be_had_elsewhere(provider: Provider, clock: Clock) -> None:
    tokens = of_flags(settings(provider, groups_claim="groups", groups_prefix="oidc:"), now=clock)
    mine = token(provider, clock, **sources(provider, access_token="open"))
    for groups in (["dev"], ["ops", "dev"]):
        provider.fetched["/groups", "Bearer open"] = token(provider, clock, groups=groups)
        for _ in range(2):
            found = await tokens.authenticate_token(mine, [])
            assert found is not None
            assert found.user.groups == (*(f"oidc:{group}" for group in groups), "system:authenticated")
        clock.advance(11)
    assert provider.asked.count("/groups") == 2
    without = of_flags(settings(provider), now=clock)
    found = await without.authenticate_token(mine, [])
    assert found is not None
    assert found.user.groups == ("system:authenticated",)


@pytest.mark.parametrize(
    ("place", "answer", "words"),
    [
        ({"endpoint": "http://a.example"}, {}, "no URL of https"),
        ({"access_token": "another"}, {}, "can't be fetched"),
        ({"endpoint": ["https://a.example"]}, {}, "no URL of https"),
        ({}, {"groups": None}, "does not hold it"),
        ({}, {"groups": ["dev"], "aud": "another"}, "another client"),
        ({}, {"groups": ["dev"], "exp": 1000}, "expired"),
        ({}, {"groups": ["dev"], "iss": "http://a.example"}, "no URL of https"),
        ({}, {"groups": ["dev"], "iss": "https://127.0.0.1:1"}, "none of the provider's keys"),
    ],
)
async def test_groups_that_cannot_be_had(
    provider: Provider, clock: Clock, place: dict[str, Any], answer: dict[str, Any], words: str
) -> None:
    tokens = of_flags(settings(provider, groups_claim="groups"), now=clock)
    provider.fetched["/groups", ""] = token(provider, clock, **answer)
    with pytest.raises(Unauthorized, match=words):
        await tokens.authenticate_token(token(provider, clock, **sources(provider, **place)), [])
