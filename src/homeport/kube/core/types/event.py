"""Events of the core group."""

from __future__ import annotations

from typing import Annotated

from homeport.kube.core.types.bases import CoreV1
from homeport.kube.core.types.meta import ObjectMeta
from homeport.kube.core.types.references import ObjectReference
from homeport.kube.schema.fields import MicroTime, Time, doc


class Event(CoreV1, frozen=True):
    """A report of something that happened to an object."""

    metadata: Annotated[ObjectMeta, doc("The object's metadata.")]
    involved_object: Annotated[ObjectReference, doc("The object that the event is about.")]
    reason: Annotated[str, doc("Why, in one CamelCase word.")] = ""
    message: Annotated[str, doc("What happened, in words.")] = ""
    source: Annotated[EventSource | None, doc("Who reported the event.")] = None
    first_timestamp: Annotated[Time | None, doc("When it first happened.")] = None
    last_timestamp: Annotated[Time | None, doc("When it last happened.")] = None
    count: Annotated[int, doc("How often it happened.")] = 0
    type: Annotated[str, doc("Normal or Warning.")] = ""
    event_time: Annotated[MicroTime | None, doc("When it first happened, in microseconds.")] = None
    series: Annotated[EventSeries | None, doc("The series that the event stands for.")] = None
    action: Annotated[str, doc("What was done or failed.")] = ""
    related: Annotated[ObjectReference | None, doc("A second object that the event is about.")] = None
    reporting_component: Annotated[str, doc("The controller that reports the event.")] = ""
    reporting_instance: Annotated[str, doc("The instance of the controller.")] = ""


class EventSeries(CoreV1, frozen=True):
    """A series of events that are alike."""

    count: Annotated[int, doc("How many events so far.")] = 0
    last_observed_time: Annotated[MicroTime | None, doc("When the last one happened.")] = None


class EventSource(CoreV1, frozen=True):
    """Who reported an event."""

    component: Annotated[str, doc("The component that reported it.")] = ""
    host: Annotated[str, doc("The node that it was reported from.")] = ""
