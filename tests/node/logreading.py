"""What tests of logs have in common: the moment it is, and what a reader asks for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

NOW = datetime(2026, 1, 1, 0, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Options:
    follow: bool = False
    previous: bool = False
    timestamps: bool = False
    tail_lines: int | None = None
    since: datetime | None = None
    since_seconds: int | None = None
    limit_bytes: int | None = None
    stream: str = "All"
