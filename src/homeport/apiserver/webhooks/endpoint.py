"""Where a webhook is: a ``WebhookClientConfig`` of admission or of a CustomResourceDefinition, made ready for use."""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec


class Endpoint(msgspec.Struct, frozen=True):
    """An address to post to. Equal endpoints share connections."""

    host: str
    """The host of a URL; ``<name>.<namespace>.svc`` for a service. Its certificate has to be for that name."""
    port: int
    path: str
    """Begins with a slash; with the query that the URL has."""
    service: tuple[str, str] | None = None
    """Namespace and name."""
    ca_pem: str = ""
    """Whom to trust; empty for the authorities that the machine trusts."""

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        # Upstream writes a service's port always, a URL's as it is in the URL.
        return f"{host}:{self.port}" if self.service or self.port != 443 else host

    def url(self, timeout: float) -> str:
        """The address with the time that the webhook has, as upstream tells it: for requests and for messages."""
        separator = "&" if "?" in self.path else "?"
        return f"https://{self.authority}{self.path}{separator}timeout={timeout:g}s"


def parse(config: Mapping[str, Any]) -> Endpoint:
    """The endpoint of a ``clientConfig``. Raises ValueError in words for the user."""
    ca_pem = _ca(config.get("caBundle") or "")
    service, url = config.get("service"), config.get("url")
    if isinstance(service, Mapping):
        namespace, name = str(service.get("namespace") or ""), str(service.get("name") or "")
        path = _printable(str(service.get("path") or "/"))
        port = service.get("port")
        return Endpoint(
            f"{name}.{namespace}.svc",
            port if isinstance(port, int) else 443,
            path if path.startswith("/") else f"/{path}",
            (namespace, name),
            ca_pem,
        )
    if not isinstance(url, str) or not url:
        raise ValueError("webhook configuration must have either service or URL")
    parts = urlsplit(_printable(url))
    if parts.scheme != "https" or not parts.hostname:
        raise ValueError(f'the URL "{url}" has to begin with https:// and a host')
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Endpoint(parts.hostname, parts.port or 443, path, None, ca_pem)


def _printable(text: str) -> str:
    """Raises ValueError for what would break the head of a request apart."""
    if any(letter <= " " or letter == "\x7f" for letter in text):
        raise ValueError(f"{text!r} has characters that no URL may have")
    return text


def _ca(text: str) -> str:
    try:
        return b64decode(text, validate=True).decode("ascii")
    except UnicodeDecodeError:
        raise ValueError("unable to load root certificates: unable to parse bytes as PEM block") from None
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"caBundle is not base64: {error}") from error
