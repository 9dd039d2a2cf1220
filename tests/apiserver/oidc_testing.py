"""A real OpenID Connect provider on this machine, over TLS, whose tokens another library signs."""

from __future__ import annotations

import http.server
import json
import ssl
import threading
from pathlib import Path
from typing import Any

import pytest
from api_testing import Clock
from cryptography.hazmat.primitives.asymmetric import rsa

from homeport.apiserver import pki

jwt = pytest.importorskip("jwt")


class Provider:
    """Signs ID tokens, and publishes its keys at a port of this machine."""

    def __init__(self, directory: Path) -> None:
        paths = pki.ensure(directory)
        self.ca = paths.ca
        self.keys: dict[str, Any] = {}
        self.asked: list[str] = []
        self.broken = False
        self.fetched: dict[tuple[str, str], str] = {}
        """Texts by path and the header Authorization."""
        provider = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.asked.append(self.path)
                bearer = self.headers.get("authorization", "")
                body = provider.fetched.get((self.path, bearer)) or provider.document(self.path)
                self.send_response(500 if provider.broken or body is None else 200)
                self.end_headers()
                if body is not None:
                    self.wfile.write(body.encode() if isinstance(body, str) else json.dumps(body).encode())

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


def token(provider: Provider, clock: Clock, kid: str = "one", algorithm: str = "RS256", **claims: Any) -> str:
    now = int(clock().timestamp())
    whole = {"iss": provider.url, "aud": "homeport", "sub": "jane", "iat": now, "exp": now + 300, **claims}
    whole = {key: value for key, value in whole.items() if value is not None}
    signed: str = jwt.encode(whole, provider.keys[kid], algorithm=algorithm, headers={"kid": kid})
    return signed
