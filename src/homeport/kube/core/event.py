"""Events, in both of their API groups."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from homeport.kube.core.declare import TYPES, core, deferred, grouped
from homeport.kube.core.event_conversion import to_core, to_events
from homeport.kube.core.types.event import Event
from homeport.kube.kind import Column, Conversion
from homeport.kube.meta import Object
from homeport.kube.table import NAME, age

_rule = deferred("homeport.kube.core.event_validation")


def _first_seen(event: Object) -> str | None:
    first = event.get("firstTimestamp") or event.get("deprecatedFirstTimestamp")
    return first or event.get("eventTime") or None


def _last_seen(event: Object) -> str | None:
    """When it last happened: as its series says, or the older fields."""
    last = (event.get("series") or {}).get("lastObservedTime")
    return last or event.get("lastTimestamp") or event.get("deprecatedLastTimestamp") or _first_seen(event)


def _count(event: Object) -> int:
    series = (event.get("series") or {}).get("count")
    return int(series or event.get("count") or event.get("deprecatedCount") or 1)


def _target(event: Object) -> Object:
    return event.get("involvedObject") or event.get("regarding") or {}


def _object(event: Object) -> str:
    target = _target(event)
    kind = str(target.get("kind") or "").lower()
    return f"{kind}/{target['name']}" if target.get("name") else kind


def _source(event: Object) -> str:
    source = event.get("source") or event.get("deprecatedSource") or {}
    component = source.get("component") or event.get("reportingComponent") or event.get("reportingController") or ""
    host = source.get("host") or event.get("reportingInstance") or ""
    return f"{component}, {host}" if host and host != component else component


def _message(event: Object) -> str:
    return str(event.get("message") or event.get("note") or "").strip()


def _seen(when: Any) -> Any:
    def cell(event: Object, now: datetime) -> str:
        return age(when(event), now)

    return cell


_COLUMNS = (
    Column("Last Seen", "string", description="When it last happened.", compute_at=_seen(_last_seen)),
    Column("Type", "string", ".type", "Normal or Warning."),
    Column("Reason", "string", ".reason", "Why, in one word."),
    Column("Object", "string", description="What the event is about.", compute=_object),
    Column(
        "Subobject",
        "string",
        description="Which part of it.",
        priority=1,
        compute=lambda event: _target(event).get("fieldPath") or "",
    ),
    Column("Source", "string", description="Who reported it.", priority=1, compute=_source),
    Column("Message", "string", description="What happened.", compute=_message),
    Column("First Seen", "string", description="When it first happened.", priority=1, compute_at=_seen(_first_seen)),
    Column("Count", "string", description="How often it happened.", priority=1, compute=lambda e: str(_count(e))),
    Column("Name", "string", NAME.path, NAME.description, NAME.format, priority=1),
)

EVENT = core("events", Event, status=False, short_names=("ev",), columns=_COLUMNS, validate=_rule("validate_event"))

EVENTS_V1 = grouped(
    "events.k8s.io",
    "events",
    TYPES + "events:Event",
    short_names=("ev",),
    columns=_COLUMNS,
    validate=_rule("validate_new_event"),
    conversion=Conversion(EVENT.resource, to_events, to_core),
)
"""The same events by the newer API group; the fields have other names."""

KINDS = (EVENT, EVENTS_V1)
