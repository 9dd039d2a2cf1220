"""What an engine says of a container whose start it refused, because the container had ended before."""

from __future__ import annotations

from typing import Any

import pytest

from homeport.node.engine import lives, states
from homeport.node.engine.api import EngineError
from homeport.node.runtime import ContainerState

_NEVER = "0001-01-01T00:00:00Z"
_END = "2026-01-01T10:00:00.5Z"


class _Refusing:
    """An engine that fails to start a container, and describes it in one of these ways after the other."""

    def __init__(self, *ends: str | None) -> None:
        self._ends = list(ends)

    async def request(self, method: str, path: str) -> Any:
        end = None if path.endswith("/start") else self._ends.pop(0) if len(self._ends) > 1 else self._ends[0]
        if end is None:
            raise EngineError("the container's directory has gone", 500)
        return {"State": {"StartedAt": _NEVER, "FinishedAt": end, "ExitCode": 0, "Pid": 0}}


@pytest.mark.parametrize("ends", [(_END,), (_NEVER, _END), (None, _END)])
async def test_what_ended_before_its_start_was_through_has_run(ends: tuple[str | None, ...]) -> None:
    described = await lives.started(_Refusing(*ends), "c")  # type: ignore[arg-type]
    state = states.running(ContainerState("main", 0, "running", 0, ""), described)
    assert state.started_at == _END
    ended = states.ended(state, described, "")
    assert (ended.exit_code, ended.reason, ended.started_at, ended.finished_at) == (0, "Completed", _END, _END)


@pytest.mark.parametrize("end", [_NEVER, None])
async def test_what_never_ran_could_not_be_started(end: str | None) -> None:
    with pytest.raises(EngineError, match="has gone"):
        await lives.started(_Refusing(end), "c")  # type: ignore[arg-type]
