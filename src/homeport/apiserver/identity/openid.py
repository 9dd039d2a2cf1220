"""How others verify service-account tokens: the issuer's OpenID configuration and its keys."""

from __future__ import annotations

from homeport.apiserver.answers import JSON
from homeport.apiserver.encoding import encode
from homeport.apiserver.identity.accounts import ServiceAccounts
from homeport.kube.wire import Request, Response

CONFIGURATION, KEYS = "/.well-known/openid-configuration", "/openid/v1/jwks"
PATHS = (CONFIGURATION, KEYS)
_CACHE = "public, max-age=3600"


async def answer(request: Request, path: str, accounts: ServiceAccounts) -> Response:
    """The document at `path`, one of :data:`PATHS`."""
    if path == KEYS:
        keys = encode(await accounts.jwks())
        return Response(200, {"content-type": "application/jwk-set+json", "cache-control": _CACHE}, keys)
    # The server is reached by several names, and only the asker knows by which one it can be.
    base = f"https://{request.headers.get('host', '127.0.0.1')}"
    return Response(200, {"content-type": JSON, "cache-control": _CACHE}, encode(await accounts.discovery(base)))
