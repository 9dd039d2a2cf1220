"""What an answer to hostile input has to be like."""

from __future__ import annotations

import time
from collections.abc import Awaitable
from typing import Any

from api_testing import Answer, Caller

CPU_SECONDS = 1.5
"""That one request may cost. Half a second is what the largest honest ones take; tests share their cores."""
EXPECTED_FAILURES = {
    503: "ServiceUnavailable",  # there is no node, and no webhook answers
    504: "Timeout",  # a resourceVersion that has not happened
    507: "InsufficientStorage",
}


def judged(answer: Answer) -> Answer:
    """`answer`, which is no fault of the server's and says what went wrong."""
    if answer.status < 400:
        return answer
    assert answer.status < 500 or answer.status in EXPECTED_FAILURES, (answer.status, answer.body[:2000])
    status = answer.json
    assert status["kind"] == "Status"
    assert status["status"] == "Failure"
    assert status["code"] == answer.status
    assert status["message"]
    assert len(answer.body) < 16 << 20, "an error repeats what was sent, but not for ever"
    return answer


async def timely(request: Awaitable[Answer]) -> Answer:
    """As `judged`, and within CPU_SECONDS."""
    begin = time.process_time()
    answer = judged(await request)
    spent = time.process_time() - begin
    assert spent < CPU_SECONDS, f"took {spent:.2f} s of CPU: {answer.status} {answer.body[:500]!r}"
    return answer


async def still_serves(api: Caller) -> None:
    """The server is as good as before."""
    answer: Any = (await api.get("/api/v1/namespaces/default")).ok()
    assert answer["metadata"]["name"] == "default"
