"""Rules of events (upstream: ``pkg/apis/core/validation/events.go``).

Events with a time of their own (``eventTime``) follow stricter rules than those that older clients write, and through
events.k8s.io only such events can be made.
"""

from __future__ import annotations

from collections.abc import Iterator

from homeport.kube import field, meta, names
from homeport.kube.core import rules
from homeport.kube.core.event_conversion import to_core
from homeport.kube.errors import FieldError
from homeport.kube.meta import Object

_TYPES = ("Normal", "Warning")
_LONGEST = {"reportingInstance": 128, "action": 128, "reason": 128}
_LONGEST_MESSAGE = 1024
_MISMATCH = "does not match event.namespace"
_UNSET = "needs to be unset"
_FIXED = (
    "regarding",
    "reason",
    "note",
    "deprecatedSource",
    "deprecatedFirstTimestamp",
    "deprecatedLastTimestamp",
    "deprecatedCount",
    "type",
    "eventTime",
    "action",
    "related",
    "reportingController",
    "reportingInstance",
)


def validate_event(new: Object, old: Object | None) -> Iterator[FieldError]:
    """Of the core group."""
    return _common(new, "reportingComponent")


def validate_new_event(new: Object, old: Object | None) -> Iterator[FieldError]:
    """Of events.k8s.io."""
    yield from _common(to_core(new), "reportingController")
    series = new.get("series")
    if series is not None and series != (old or {}).get("series"):
        if series.get("count", 0) < 2:
            yield field.invalid("series.count", "", "should be at least 2")
        if not series.get("lastObservedTime"):
            yield field.required("series.lastObservedTime")
    if old is not None:
        for name in _FIXED:
            if (new.get(name) or None) != (old.get(name) or None):
                yield field.invalid(name, new.get(name), "field is immutable")
        return
    if not new.get("eventTime"):
        yield field.required("eventTime")
    if new.get("type") not in _TYPES:
        yield field.invalid("type", "", f"has invalid value: {new.get('type', '')}")
    for name, stored in (
        ("deprecatedFirstTimestamp", "firstTimestamp"),
        ("deprecatedLastTimestamp", "lastTimestamp"),
        ("deprecatedCount", "count"),
    ):
        if new.get(name):
            yield field.invalid(stored, "", _UNSET)
    source = new.get("deprecatedSource") or {}
    if source.get("component") or source.get("host"):
        yield field.invalid("source", "", _UNSET)


def _common(event: Object, controller_field: str) -> Iterator[FieldError]:
    namespace = meta.namespace(event)
    involved = (event.get("involvedObject") or {}).get("namespace") or ""
    if not event.get("eventTime"):
        if involved != namespace and (involved or namespace not in ("", "default")):
            yield field.invalid("involvedObject.namespace", involved, _MISMATCH)
        return
    if not involved and namespace not in ("default", "kube-system"):
        yield field.invalid("involvedObject.namespace", involved, _MISMATCH)
    yield from rules.needed(controller_field, event.get("reportingComponent"), names.qualified_name)
    for name, longest in _LONGEST.items():
        text = event.get(name) or ""
        if not text:
            yield field.required(name)
        elif len(text.encode()) > longest:
            yield field.invalid(name, "", f"can have at most {longest} characters")
    if len((event.get("message") or "").encode()) > _LONGEST_MESSAGE:
        yield field.invalid("message", "", f"can have at most {_LONGEST_MESSAGE} characters")
