"""Who has waited longer than promised is next (upstream: ``sla``)."""

from __future__ import annotations

import math

from homeport.scheduler.batch.plugins.base import ABSTAIN, YES, Key, Plugin
from homeport.scheduler.batch.state import GroupState


class Sla(Plugin):
    """Argument ``sla-waiting-time``, in seconds here or as a duration; a group's annotation is stronger."""

    name = "sla"
    texts = ("sla-waiting-time",)

    @classmethod
    def complaint(cls, argument: str, text: str) -> str:
        why = super().complaint(argument, text)
        if why or duration(text) is not None:
            return why
        return f'has to be a length of time such as "1h30m", not "{text}"; nobody is promised anything'

    def _deadline(self, group: GroupState) -> float:
        seconds = group.group.sla_seconds
        if seconds is None:
            text = self.arguments.get("sla-waiting-time", "")
            seconds = duration(text) if text else None
        return math.inf if seconds is None else group.group.created + seconds

    def job_order(self, group: GroupState) -> Key:
        """Of two with a promise the earlier deadline; with one before without."""
        return self._deadline(group)

    def job_enqueueable(self, group: GroupState) -> str | int:
        return YES if self._deadline(group) <= self.session.now else ABSTAIN


_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def duration(text: str) -> float | None:
    """Seconds of a duration as Go writes them (``1h2m3s``), or of a plain number. None: it is neither, or not above
    zero; upstream ignores it then too."""
    total, digits, unit = 0.0, "", ""
    for char in f"{text}\0":
        if char.isdigit() or char == "." or char == "\0":
            if unit:
                if unit not in _UNITS or not digits:
                    return None
                total += float(digits) * _UNITS[unit]
                digits, unit = "", ""
            if char != "\0":
                digits += char
        else:
            unit += char
    if digits:
        total += float(digits)
    return total if total > 0 else None
