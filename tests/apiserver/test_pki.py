"""The certificate authority, the certificates, and reading them without a library."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import stat
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from homeport.apiserver import pki, tokens
from homeport.apiserver.authn import BearerTokens, ClientCertificates, authenticate
from homeport.apiserver.tokens import ADMIN, StaticTokens
from homeport.apiserver.transport.http import serve
from homeport.kube import der
from homeport.kube.errors import Permanent, Unauthorized
from homeport.kube.wire import Request, Response


def test_everything_is_made_once(tmp_path: Path) -> None:
    made = pki.ensure(tmp_path / "pki")
    before = {path.name: path.read_bytes() for path in (tmp_path / "pki").iterdir()}
    assert pki.ensure(tmp_path / "pki") == made
    assert {path.name: path.read_bytes() for path in (tmp_path / "pki").iterdir()} == before
    for path in (tmp_path / "pki").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    server = der.parse(ssl.PEM_cert_to_DER_cert(made.server.read_text()))
    assert server.names >= {"localhost", "kubernetes.default.svc.cluster.local"}
    assert server.addresses >= {bytes([127, 0, 0, 1]), bytes(15) + b"\x01"}


def test_a_new_name_makes_a_new_serving_certificate_only(tmp_path: Path) -> None:
    made = pki.ensure(tmp_path)
    ca, server, admin = (path.read_bytes() for path in (made.ca, made.server, made.admin))
    pki.ensure(tmp_path, names=("api.example",), addresses=("10.96.0.1",))
    assert made.ca.read_bytes() == ca
    assert made.admin.read_bytes() == admin
    assert made.server.read_bytes() != server
    assert "api.example" in der.parse(ssl.PEM_cert_to_DER_cert(made.server.read_text())).names


def test_a_certificate_near_its_end_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = pki.ensure(tmp_path)
    before = made.server.read_bytes(), made.ca.read_bytes()
    monkeypatch.setattr(pki, "RENEW_DAYS", pki.CERTIFICATE_DAYS + 1)
    pki.ensure(tmp_path)
    assert made.server.read_bytes() != before[0]
    assert made.ca.read_bytes() == before[1]


def test_half_a_certificate_authority_is_refused(tmp_path: Path) -> None:
    made = pki.ensure(tmp_path)
    made.ca_key.unlink()
    with pytest.raises(Permanent, match=r"ca\.key is missing"):
        pki.ensure(tmp_path)


def test_a_damaged_certificate_is_named(tmp_path: Path) -> None:
    made = pki.ensure(tmp_path)
    made.server.write_text("nonsense")
    with pytest.raises(Permanent, match=r"server\.crt is not a certificate"):
        pki.ensure(tmp_path)


def _certificate(name: str, organizations: Iterable[str], ends: datetime) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, text) for text in organizations]
    subject = x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    builder = builder.serial_number(7).not_valid_before(datetime(2000, 1, 1, tzinfo=UTC)).not_valid_after(ends)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


_TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=16)


@settings(max_examples=25, deadline=None)
@given(
    _TEXT,
    st.lists(_TEXT, max_size=3),
    st.datetimes(datetime(2001, 1, 1), datetime(2090, 1, 1)).map(lambda t: t.replace(microsecond=0, tzinfo=UTC)),
)
def test_subjects_are_read_as_a_library_reads_them(name: str, organizations: list[str], ends: datetime) -> None:
    parsed = der.parse(_certificate(name, organizations, ends))
    assert parsed.common_name == name
    assert list(parsed.organizations) == organizations
    assert parsed.not_after == ends.timestamp()


_GOOD = _certificate("someone", ["a", "b"], datetime(2040, 1, 1, tzinfo=UTC))


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=100), st.integers(0, len(_GOOD)), st.integers(0, len(_GOOD)))
def test_damaged_certificates_are_refused(noise: bytes, at: int, skip: int) -> None:
    with contextlib.suppress(der.BadCertificate):
        der.parse(_GOOD[:at] + noise + _GOOD[skip:])


def test_a_token_is_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "token"
    token = tokens.ensure(path)
    assert len(token) >= 40
    assert tokens.ensure(path) == token
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


async def test_tokens_name_users() -> None:
    known = BearerTokens([StaticTokens({"secret": ADMIN})], ["here"])

    def asking(header: str) -> Request:
        return Request("GET", "/", headers={"authorization": header})

    found = await authenticate([ClientCertificates(), known], asking("Bearer secret"))
    assert found.audiences == ("here",)
    assert found.user.name == "kubernetes-admin"
    assert "system:authenticated" in found.user.groups
    assert (await authenticate([known], asking("bearer  secret "))).user.name == "kubernetes-admin"
    for wrong in ("Bearer nope", "Basic c2VjcmV0", "Bearer", "", "secret"):
        with pytest.raises(Unauthorized):
            await authenticate([known], asking(wrong))


async def test_tls_hands_over_the_client_certificate(tmp_path: Path) -> None:
    paths = pki.ensure(tmp_path)
    seen: list[Request] = []

    async def handler(request: Request) -> Response:
        seen.append(request)
        return Response(200, {}, b"ok")

    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    server = await serve(handler, listener, pki.server_context(paths))
    get = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

    async def ask(context: ssl.SSLContext) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
        writer.write(get)
        answer = await reader.read()
        writer.close()
        return answer

    plain = ssl.create_default_context(cafile=str(paths.ca))
    assert (await ask(plain)).endswith(b"ok")
    assert seen[-1].certificate is None
    admin = ssl.create_default_context(cafile=str(paths.ca))
    admin.load_cert_chain(paths.admin, paths.admin_key)
    assert (await ask(admin)).endswith(b"ok")
    user = (await authenticate([ClientCertificates()], seen[-1])).user
    assert user.name == "kubernetes-admin"
    assert "system:masters" in user.groups

    # A certificate of somebody else's authority, and the server's own (which is for servers): no connection.
    other = pki.ensure(tmp_path / "other")
    for certificate, key in ((other.admin, other.admin_key), (paths.server, paths.server_key)):
        stranger = ssl.create_default_context(cafile=str(paths.ca))
        stranger.load_cert_chain(certificate, key)
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            assert await ask(stranger) == b""
    assert len(seen) == 2
    await server.close(1)


def test_serving_needs_no_library_once_everything_is_there(tmp_path: Path) -> None:
    import subprocess
    import sys

    pki.ensure(tmp_path)
    code = (
        "import sys, pathlib; from homeport.apiserver import pki; "
        f"pki.server_context(pki.ensure(pathlib.Path({str(tmp_path)!r}))); "
        "sys.exit('cryptography' in sys.modules or 'yaml' in sys.modules)"
    )
    source = str(Path(pki.__file__).parents[2])
    assert subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": source}).returncode == 0


def test_the_certificate_lives_longer_than_the_renewal_window(tmp_path: Path) -> None:
    made = pki.ensure(tmp_path)
    ends = der.parse(ssl.PEM_cert_to_DER_cert(made.server.read_text())).not_after
    assert ends > (datetime.now(UTC) + timedelta(days=pki.RENEW_DAYS * 2)).timestamp()


@pytest.mark.parametrize("label", ["CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"])
async def test_what_is_signed_is_what_was_judged(tmp_path: Path, label: str) -> None:
    """Two readers of PEM may find different blocks in one text: one with and one without a line break in front."""

    def asking(group: str) -> bytes:
        names = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group), x509.NameAttribute(NameOID.COMMON_NAME, "eve")]
        builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(names))
        made = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
        return made.public_bytes(serialization.Encoding.PEM)

    hidden = asking("system:masters").replace(b"CERTIFICATE REQUEST", label.encode())
    text = hidden.replace(b"REQUEST-----\n", b"REQUEST-----", 1) + asking("devs")
    judged = der.parse_request(der.unwrap(text, "CERTIFICATE REQUEST"))
    assert judged.organizations == ("devs",)
    signed = await pki.sign_request(pki.ensure(tmp_path), text, timedelta(days=1), frozenset({"client auth"}))
    assert der.parse(der.unwrap(signed, "CERTIFICATE")).organizations == ("devs",)


def test_a_block_without_an_end_takes_no_time() -> None:
    began = time.process_time()
    with pytest.raises(der.BadCertificate):
        der.unwrap(b"-----BEGIN CERTIFICATE-----\n" * 100_000, "CERTIFICATE")
    assert time.process_time() - began < 1
