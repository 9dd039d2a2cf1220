"""What a pod's phase says."""

from __future__ import annotations

from homeport.kube.meta import Object, status

ENDED = frozenset({"Succeeded", "Failed"})
"""Phases that a pod never leaves."""


def has_ended(pod: Object) -> bool:
    return status(pod).get("phase") in ENDED
