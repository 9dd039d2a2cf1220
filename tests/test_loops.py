from __future__ import annotations

import asyncio
import logging

import pytest

from homeport import loops


@pytest.mark.parametrize(
    ("message", "error", "is_told"),
    [
        ("Fatal error on SSL protocol", RuntimeError("no operation on it; the handler is closed"), False),
        ("Fatal error on SSL protocol", RuntimeError("something else"), True),
        ("Task exception was never retrieved", RuntimeError("the handler is closed"), True),
        ("Fatal error on SSL protocol", None, True),
    ],
)
def test_only_connections_that_were_given_up_are_passed_over(
    caplog: pytest.LogCaptureFixture, message: str, error: Exception | None, is_told: bool
) -> None:
    async def main() -> None:
        context = {"message": message} | ({"exception": error} if error else {})
        asyncio.get_running_loop().call_exception_handler(context)

    with caplog.at_level(logging.ERROR, "asyncio"):
        loops.run(main())
    assert (message in caplog.text) == is_told
