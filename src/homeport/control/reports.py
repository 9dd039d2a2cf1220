"""The events about a parent's children, in the words of kube-controller-manager (``RealPodControl``)."""

from __future__ import annotations

from homeport.control.controller import Deed, Note
from homeport.kube.meta import name


def of_pods(deed: Deed) -> Note:
    """What replica sets, replication controllers, daemon sets and jobs tell of their pods."""
    made = deed.verb == "create"
    if deed.error:
        words = f"Error creating: {deed.error}" if made else f"Error deleting: {deed.error}"
        return Note("Warning", "FailedCreate" if made else "FailedDelete", words)
    if made:
        return Note("Normal", "SuccessfulCreate", f"Created pod: {name(deed.child)}")
    return Note("Normal", "SuccessfulDelete", f"Deleted pod: {name(deed.child)}")
