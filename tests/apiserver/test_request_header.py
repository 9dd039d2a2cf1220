"""Users by a front proxy's headers."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from homeport.apiserver import pki
from homeport.apiserver.authn import ClientCertificates
from homeport.apiserver.identity.request_header import IssuedBy, RequestHeaders
from homeport.apiserver.tokens import ADMIN
from homeport.kube.errors import Permanent, Unauthorized
from homeport.kube.wire import Request
from homeport.settings import RequestHeaderSettings

HEADERS = {"x-remote-user": "ann", "x-remote-group": "a, b\nc", "x-remote-extra-scopes%2fx": "1\n2"}


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> pki.Paths:
    return pki.ensure(tmp_path_factory.mktemp("pki"))


def der(path: Path) -> bytes:
    return ssl.PEM_cert_to_DER_cert(path.read_text())


def headers(paths: pki.Paths, *allowed: str) -> RequestHeaders:
    return RequestHeaders(
        RequestHeaderSettings(paths.front_proxy_ca, allowed), IssuedBy(paths.front_proxy_ca.read_bytes())
    )


async def test_headers_count_with_the_proxys_certificate_only(paths: pki.Paths) -> None:
    authenticator = headers(paths)
    proxied = Request("GET", "/api", (), HEADERS, certificate=der(paths.front_proxy))
    found = await authenticator.authenticate(proxied)
    assert found is not None
    assert found.user.name == "ann"
    assert found.user.groups == ("a, b", "c", "system:authenticated")
    assert dict(found.user.extra) == {"scopes/x": ("1", "2")}
    for certificate in (None, der(paths.admin), b"junk"):
        assert await authenticator.authenticate(Request("GET", "/api", (), HEADERS, certificate=certificate)) is None
    assert await authenticator.authenticate(Request("GET", "/api", certificate=der(paths.front_proxy))) is None


async def test_only_allowed_names_are_believed(paths: pki.Paths) -> None:
    request = Request("GET", "/api", (), HEADERS, certificate=der(paths.front_proxy))
    assert await headers(paths, pki.FRONT_PROXY).authenticate(request) is not None
    with pytest.raises(Unauthorized):
        await headers(paths, "other").authenticate(request)


async def test_the_proxys_certificate_ends_on_an_open_connection(paths: pki.Paths) -> None:
    request = Request("GET", "/api", (), HEADERS, certificate=der(paths.front_proxy))
    chosen, trusted = RequestHeaderSettings(paths.front_proxy_ca), IssuedBy(paths.front_proxy_ca.read_bytes())
    with pytest.raises(Unauthorized):
        await RequestHeaders(chosen, trusted, clock=lambda: 1e11).authenticate(request)


async def test_the_proxys_certificate_is_no_user(paths: pki.Paths) -> None:
    users = ClientCertificates(trusted=IssuedBy(paths.ca.read_bytes()))
    assert await users.authenticate(Request("GET", "/api", certificate=der(paths.front_proxy))) is None
    found = await users.authenticate(Request("GET", "/api", certificate=der(paths.admin)))
    assert found is not None
    assert found.user.name == ADMIN.name


def test_an_authority_that_is_none_is_refused() -> None:
    with pytest.raises(Permanent, match="--requestheader-client-ca-file: it holds no certificates in PEM"):
        IssuedBy(b"nothing")
