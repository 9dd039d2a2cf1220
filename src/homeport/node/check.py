"""What the doctor has to say of one thing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Check:
    """``fail``: pods can't run. ``warn``: they can, but something will be missed. `remedy` is empty for ``ok``."""

    name: str
    status: Status
    found: str
    remedy: str = ""
