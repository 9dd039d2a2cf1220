"""What a pod's status says of its life (upstream: ``pkg/api/v1/pod``, ``pkg/controller/controller_utils.go``)."""

from __future__ import annotations

from homeport.kube.meta import Object, is_condition_true, is_deleting, status

ENDED = frozenset({"Succeeded", "Failed"})
"""Phases that a pod never leaves."""


def has_ended(pod: Object) -> bool:
    return status(pod).get("phase") in ENDED


def is_active(pod: Object) -> bool:
    """It runs or is going to."""
    return not has_ended(pod) and not is_deleting(pod)


def is_terminating(pod: Object) -> bool:
    """It is being deleted and has not ended yet."""
    return not has_ended(pod) and is_deleting(pod)


def is_ready(pod: Object) -> bool:
    return is_condition_true(pod, "Ready")
