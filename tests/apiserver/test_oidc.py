"""Users of an OpenID Connect provider: a real one on this machine, over TLS, whose tokens another library signs."""

from __future__ import annotations

import http.server
import json
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from api_testing import Clock
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from homeport.apiserver import pki
from homeport.apiserver.identity.oidc import OidcTokens
from homeport.kube.errors import Permanent, Unauthorized
from homeport.settings import OidcSettings

jwt = pytest.importorskip("jwt")

ALGORITHMS = ("RS256", "PS384", "ES256", "ES512")


class Provider:
    """Signs ID tokens, and publishes its keys at a port of this machine."""

    def __init__(self, directory: Path) -> None:
        paths = pki.ensure(directory)
        self.ca = paths.ca
        self.keys: dict[str, Any] = {}
        self.asked: list[str] = []
        self.broken = False
        provider = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.asked.append(self.path)
                body = provider.document(self.path)
                self.send_response(500 if provider.broken or body is None else 200)
                self.end_headers()
                if body is not None:
                    self.wfile.write(json.dumps(body).encode())

            def log_message(self, format: str, *args: Any) -> None:
                return

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(paths.server, paths.server_key)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def document(self, path: str) -> Any:
        if path == "/.well-known/openid-configuration":
            return {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}
        if path != "/keys":
            return None
        keys = []
        for kid, key in self.keys.items():
            family = jwt.algorithms.RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else jwt.algorithms.ECAlgorithm
            keys.append({**family.to_jwk(key.public_key(), as_dict=True), "kid": kid, "use": "sig"})
        return {"keys": [{"kty": "oct", "k": "AAAA", "kid": "odd"}, *keys]}

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    provider = Provider(tmp_path_factory.mktemp("provider"))
    yield provider
    provider.close()


@pytest.fixture
def provider(shared: Provider) -> Provider:
    shared.keys = {"one": rsa.generate_private_key(65537, 2048)}
    shared.asked.clear()
    shared.broken = False
    return shared


def settings(provider: Provider, **changes: Any) -> OidcSettings:
    return OidcSettings(provider.url, "homeport", ca_file=provider.ca, **changes)


def token(provider: Provider, clock: Clock, kid: str = "one", algorithm: str = "RS256", **claims: Any) -> str:
    now = int(clock().timestamp())
    whole = {"iss": provider.url, "aud": "homeport", "sub": "jane", "iat": now, "exp": now + 300, **claims}
    whole = {key: value for key, value in whole.items() if value is not None}
    signed: str = jwt.encode(whole, provider.keys[kid], algorithm=algorithm, headers={"kid": kid})
    return signed


async def test_a_token_names_its_user(provider: Provider, clock: Clock) -> None:
    tokens = OidcTokens(settings(provider, groups_claim="groups", groups_prefix="oidc:"), now=clock)
    found = await tokens.authenticate_token(token(provider, clock, groups=["dev", "ops"], jti="7"), ["api"])
    assert found is not None
    assert found.user.name == f"{provider.url}#jane"
    assert found.user.groups == ("oidc:dev", "oidc:ops", "system:authenticated")
    assert found.user.extra == {"authentication.kubernetes.io/credential-id": ("JTI=7",)}
    assert found.audiences == ("api",)
    other = token(provider, clock, iss="https://elsewhere.example")
    assert await tokens.authenticate_token(other, ["api"]) is None
    assert await tokens.authenticate_token("opaque", ["api"]) is None


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_signatures(provider: Provider, clock: Clock, algorithm: str) -> None:
    if algorithm.startswith("ES"):
        provider.keys["one"] = ec.generate_private_key(ec.SECP256R1() if algorithm == "ES256" else ec.SECP521R1())
    tokens = OidcTokens(settings(provider, signing_algs=ALGORITHMS), now=clock)
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
        ({"nbf": 4102444800}, "not valid yet"),
        ({"sub": None}, "the claim sub is missing"),
        ({"sub": ""}, "the claim sub is missing"),
        ({"hd": "other.example"}, "required claim hd"),
        ({"groups": {"a": 1}}, "neither a text nor a list"),
    ],
)
async def test_tokens_that_are_refused(provider: Provider, clock: Clock, claims: dict[str, Any], words: str) -> None:
    chosen = settings(provider, required_claims={"hd": "example.com"}, groups_claim="groups")
    tokens = OidcTokens(chosen, now=clock)
    assert await tokens.authenticate_token(token(provider, clock, hd="example.com"), []) is not None
    with pytest.raises(Unauthorized) as caught:
        await tokens.authenticate_token(token(provider, clock, **{"hd": "example.com", **claims}), [])
    assert words in str(caught.value)


async def test_email_as_the_name(provider: Provider, clock: Clock) -> None:
    tokens = OidcTokens(settings(provider, username_claim="email"), now=clock)
    found = await tokens.authenticate_token(token(provider, clock, email="jane@example.com", email_verified=True), [])
    assert found is not None
    assert found.user.name == "jane@example.com"
    with pytest.raises(Unauthorized):
        await tokens.authenticate_token(token(provider, clock, email="bob@example.com", email_verified=False), [])


async def test_keys_are_read_once_and_again_when_they_change(provider: Provider, clock: Clock) -> None:
    tokens = OidcTokens(settings(provider, username_prefix="-"), now=clock)
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
    tokens = OidcTokens(OidcSettings(provider.url, "homeport"), now=clock)
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
        OidcTokens(chosen)
    assert words in str(caught.value)
