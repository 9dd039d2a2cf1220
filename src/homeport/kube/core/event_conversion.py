"""Events of events.k8s.io as they are stored, as events of the core group (upstream: ``events/v1/conversion.go``).

Both are the same event; only the names of some fields differ.
"""

from __future__ import annotations

from homeport.kube.meta import Object

_NAMES = {
    "regarding": "involvedObject",
    "note": "message",
    "reportingController": "reportingComponent",
    "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
}
_STORED_NAMES = {stored: shown for shown, stored in _NAMES.items()}


def to_core(obj: Object) -> Object:
    """An event of events.k8s.io as it is stored."""
    result = {_NAMES.get(name, name): value for name, value in obj.items()}
    result.setdefault("involvedObject", {})
    return result


def to_events(obj: Object) -> Object:
    """A stored event as events.k8s.io shows it."""
    return {_STORED_NAMES.get(name, name): value for name, value in obj.items()}
