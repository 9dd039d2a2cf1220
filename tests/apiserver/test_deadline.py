"""The parameter ``timeout`` (upstream: test/e2e/apimachinery/request_timeout.go)."""

from __future__ import annotations

import asyncio

import pytest
from api_testing import Caller

from homeport.apiserver import deadline
from homeport.kube.errors import Timeout
from homeport.kube.wire import Response


async def test_a_request_may_say_how_long_it_may_take(api: Caller) -> None:
    for path in ("/version", "/api/v1/namespaces", "/apis/apps/v1"):
        words = 'invalid timeout specified in the request URL - time: invalid duration "invalid"'
        (await api.get(f"{path}?timeout=invalid")).error(400, "BadRequest", words)
        for good in ("3m", "0s", "32s", ""):
            (await api.get(f"{path}?timeout={good}")).ok()


async def test_what_takes_longer_is_given_up() -> None:
    given_up = asyncio.Event()

    async def answer() -> Response:
        try:
            await asyncio.Event().wait()
        finally:
            given_up.set()
        raise AssertionError

    with pytest.raises(Timeout) as error:
        await deadline.within(0.001, answer())
    assert error.value.code == 504
    assert given_up.is_set()


async def test_a_timeout_of_another_kind_is_no_deadline() -> None:
    async def answer() -> Response:
        raise TimeoutError("of something else")

    with pytest.raises(TimeoutError, match="something else"):
        await deadline.within(60, answer())
