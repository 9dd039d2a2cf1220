"""A real HTTPS server that answers AdmissionReviews, and configurations that point at it."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import ssl
from base64 import b64encode
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

GROUP = "/apis/admissionregistration.k8s.io/v1"
Handler = Callable[[str, dict[str, Any]], Awaitable[dict[str, Any] | bytes]]
"""From path and request to a response, or to the whole HTTP answer."""


class Authority:
    """A certificate authority, and a serving certificate for this machine and for services."""

    def __init__(self, directory: Path, names: tuple[str, ...] = ("localhost", "hook.default.svc")) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "webhook test CA")])
        ca = _signed(name, name, key.public_key(), key, x509.BasicConstraints(ca=True, path_length=None))
        serving = ec.generate_private_key(ec.SECP256R1())
        alternatives = x509.SubjectAlternativeName(
            [*map(x509.DNSName, names), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        )
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "webhook")])
        certificate = _signed(subject, name, serving.public_key(), key, alternatives)
        self.ca_pem = ca.public_bytes(serialization.Encoding.PEM)
        (directory / "tls.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        (directory / "tls.key").write_bytes(
            serving.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(directory / "tls.crt", directory / "tls.key")

    @property
    def bundle(self) -> str:
        return b64encode(self.ca_pem).decode()


def _signed(subject: x509.Name, issuer: x509.Name, public: Any, key: Any, extension: Any) -> x509.Certificate:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(
        issuer, subject, public, x509.random_serial_number(), now - timedelta(hours=1), now + timedelta(days=1)
    )
    builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
    if isinstance(extension, x509.BasicConstraints):
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        builder = builder.add_extension(usage, critical=True)
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    else:
        issued_by = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
        builder = builder.add_extension(issued_by, critical=False)
    return builder.sign(key, hashes.SHA256())


def allow(request: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"uid": request["uid"], "allowed": True, **more}


def patch(request: dict[str, Any], *operations: dict[str, Any]) -> dict[str, Any]:
    return allow(request, patchType="JSONPatch", patch=b64encode(json.dumps(operations).encode()).decode())


def deny(request: dict[str, Any], **status: Any) -> dict[str, Any]:
    return {"uid": request["uid"], "allowed": False, "status": status}


class WebhookServer:
    """Answers by `routes` (path to handler); everything else is allowed. `seen` has path and request of each call."""

    def __init__(self, authority: Authority) -> None:
        self.authority = authority
        self.routes: dict[str, Handler] = {}
        self.seen: list[tuple[str, dict[str, Any]]] = []
        self.connections = 0
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> WebhookServer:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.authority.context)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def on(self, path: str, handler: Callable[[dict[str, Any]], dict[str, Any] | bytes]) -> None:
        async def answer(target: str, request: dict[str, Any]) -> dict[str, Any] | bytes:
            return handler(request)

        self.routes[path] = answer

    def calls(self, path: str) -> list[dict[str, Any]]:
        return [request for target, request in self.seen if target.partition("?")[0] == path]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                target = head[0].split(" ")[1]
                headers = dict(line.lower().split(": ", 1) for line in head[1:] if ": " in line)
                body = await reader.readexactly(int(headers["content-length"]))
                review = json.loads(body)
                request = review["request"]
                self.seen.append((target, request))
                handler = self.routes.get(target.partition("?")[0])
                answer = await handler(target, request) if handler else allow(request)
                if not isinstance(answer, bytes):
                    text = json.dumps(
                        {"kind": "AdmissionReview", "apiVersion": review["apiVersion"], "response": answer}
                    )
                    answer = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(text), text.encode())
                writer.write(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    # -- configurations

    def webhook(self, path: str = "/", **more: Any) -> dict[str, Any]:
        return {
            "name": f"{path.strip('/').replace('/', '-') or 'all'}.example.com",
            "clientConfig": {"url": f"https://127.0.0.1:{self.port}{path}", "caBundle": self.authority.bundle},
            "rules": [rule()],
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            **more,
        }


def rule(*resources: str, operations: tuple[str, ...] = ("*",), group: str = "", **more: Any) -> dict[str, Any]:
    return {
        "operations": list(operations),
        "apiGroups": [group],
        "apiVersions": ["v1"],
        "resources": list(resources or ("configmaps",)),
        **more,
    }


def configuration(kind: str, name: str, *webhooks: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": f"{kind}WebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": list(webhooks),
    }


MUTATING = f"{GROUP}/mutatingwebhookconfigurations"
VALIDATING = f"{GROUP}/validatingwebhookconfigurations"


def mutating(name: str, *webhooks: dict[str, Any]) -> dict[str, Any]:
    return configuration("Mutating", name, *webhooks)


def validating(name: str, *webhooks: dict[str, Any]) -> dict[str, Any]:
    return configuration("Validating", name, *webhooks)
