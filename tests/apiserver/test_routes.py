"""Paths to what they ask for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.apiserver.routes import RequestInfo, parse_bool, request_info
from homeport.apiserver.transport.target import BadTarget, parse_target
from homeport.kube.wire import Request


def info(method: str, target: str) -> RequestInfo:
    path, query = parse_target(target.encode())
    return request_info(Request(method, path, query))


@pytest.mark.parametrize(
    ("method", "target", "expected"),
    [
        ("GET", "/api/v1/pods", ("list", "", "v1", "pods", "", "", "")),
        ("GET", "/api/v1/namespaces/n/pods", ("list", "", "v1", "pods", "n", "", "")),
        ("GET", "/api/v1/namespaces/n/pods/p", ("get", "", "v1", "pods", "n", "p", "")),
        ("GET", "/api/v1/namespaces/n/pods/p/log", ("get", "", "v1", "pods", "n", "p", "log")),
        ("POST", "/api/v1/namespaces/n/pods/p/binding", ("create", "", "v1", "pods", "n", "p", "binding")),
        ("GET", "/api/v1/namespaces", ("list", "", "v1", "namespaces", "", "", "")),
        ("GET", "/api/v1/namespaces/n", ("get", "", "v1", "namespaces", "n", "n", "")),
        ("PUT", "/api/v1/namespaces/n/finalize", ("update", "", "v1", "namespaces", "n", "n", "finalize")),
        ("PATCH", "/api/v1/namespaces/n/status", ("patch", "", "v1", "namespaces", "n", "n", "status")),
        ("GET", "/apis/g.io/v1/namespaces/n/as", ("list", "g.io", "v1", "as", "n", "", "")),
        ("DELETE", "/apis/g.io/v1/as", ("deletecollection", "g.io", "v1", "as", "", "", "")),
        ("DELETE", "/apis/g.io/v1/as/a", ("delete", "g.io", "v1", "as", "", "a", "")),
        ("GET", "/api/v1/pods?watch=true", ("watch", "", "v1", "pods", "", "", "")),
        ("GET", "/api/v1/pods?watch=1", ("watch", "", "v1", "pods", "", "", "")),
        ("GET", "/api/v1/pods?watch=True", ("watch", "", "v1", "pods", "", "", "")),
        ("GET", "/api/v1/pods?watch=false", ("list", "", "v1", "pods", "", "", "")),
        ("GET", "/api/v1/pods?watch", ("watch", "", "v1", "pods", "", "", "")),
        ("GET", "/api/v1/watch/namespaces/n/pods", ("watch", "", "v1", "pods", "n", "", "")),
        ("GET", "//api//v1//pods/", ("list", "", "v1", "pods", "", "", "")),
        (
            "GET",
            "/api/v1/namespaces/n/services/s%3Ahttp/proxy/a%2Fb",
            ("get", "", "v1", "services", "n", "s:http", "proxy"),
        ),
    ],
)
def test_resources(method: str, target: str, expected: tuple[str, ...]) -> None:
    found = info(method, target)
    assert found.is_resource
    assert (
        found.verb,
        found.group,
        found.version,
        found.resource,
        found.namespace,
        found.name,
        found.subresource,
    ) == expected


@pytest.mark.parametrize(
    "target", ["/", "/api", "/api/", "/api/v1", "/apis", "/apis/g", "/apis/g/v1", "/version", "/x/y/z/w"]
)
def test_other_paths(target: str) -> None:
    found = info("GET", target)
    assert not found.is_resource
    assert found.path == (target.rstrip("/") or "/")


def test_what_follows_a_subresource_is_kept() -> None:
    assert info("GET", "/api/v1/namespaces/n/services/s/proxy/a/b").rest == "a/b"


@pytest.mark.parametrize(("text", "value"), [("true", True), ("True", True), ("1", True), ("t", True), ("", True)])
def test_true(text: str, value: bool) -> None:
    assert parse_bool(text) is value


@pytest.mark.parametrize("text", ["false", "False", "FALSE", "0", "f"])
def test_false(text: str) -> None:
    assert not parse_bool(text)
    assert not parse_bool(None)


@given(st.text(max_size=80))
def test_any_path_is_understood_or_refused(text: str) -> None:
    try:
        path, query = parse_target(b"/" + text.encode("utf-8", "surrogatepass"))
    except BadTarget:
        return
    request_info(Request("GET", path, query))


def test_selectors_survive_their_escapes() -> None:
    _, query = parse_target(b"/x?labelSelector=a+in+%28b%2C+c%29&fieldSelector=metadata.name%3Dx")
    assert query == (("labelSelector", "a in (b, c)"), ("fieldSelector", "metadata.name=x"))


@pytest.mark.parametrize("target", [b"*", b"http://h", b"/%", b"/%1", b"/%gg", b"/\xff", b"/a%0ab"])
def test_targets_that_name_no_path(target: bytes) -> None:
    with pytest.raises(BadTarget):
        parse_target(target)


def test_the_absolute_form_names_a_path() -> None:
    assert parse_target(b"http://h:80/a?b=c") == ("/a", (("b", "c"),))
