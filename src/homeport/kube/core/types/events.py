"""Events of events.k8s.io/v1."""

from __future__ import annotations

from typing import Annotated

from homeport.kube.core.types.bases import EventsV1
from homeport.kube.core.types.event import EventSource
from homeport.kube.core.types.meta import ObjectMeta
from homeport.kube.core.types.references import ObjectReference
from homeport.kube.schema.fields import MicroTime, Time, doc


class Event(EventsV1, frozen=True):
    """A report of something that happened to an object."""

    event_time: Annotated[MicroTime | None, doc("When it first happened, in microseconds.")] = None
    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None
    series: Annotated[EventSeries | None, doc("The series that the event stands for.")] = None
    reporting_controller: Annotated[str, doc("The controller that reports the event.")] = ""
    reporting_instance: Annotated[str, doc("The instance of the controller.")] = ""
    action: Annotated[str, doc("What was done or failed.")] = ""
    reason: Annotated[str, doc("Why, in one CamelCase word.")] = ""
    regarding: Annotated[ObjectReference | None, doc("The object that the event is about.")] = None
    related: Annotated[ObjectReference | None, doc("A second object that the event is about.")] = None
    note: Annotated[str, doc("What happened, in words.")] = ""
    type: Annotated[str, doc("Normal or Warning.")] = ""
    deprecated_source: Annotated[EventSource | None, doc("Who reported the event, as in older versions.")] = None
    deprecated_first_timestamp: Annotated[Time | None, doc("When it first happened, as in older versions.")] = None
    deprecated_last_timestamp: Annotated[Time | None, doc("When it last happened, as in older versions.")] = None
    deprecated_count: Annotated[int, doc("How often it happened, as in older versions.")] = 0


class EventSeries(EventsV1, frozen=True):
    """A series of events that are alike."""

    count: Annotated[int, doc("How many events so far.")]
    last_observed_time: Annotated[MicroTime, doc("When the last one happened.")]
