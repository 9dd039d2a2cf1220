"""Leases (coordination.k8s.io/v1)."""

from __future__ import annotations

from typing import Annotated

from homeport.kube.core.types.bases import CoordinationV1
from homeport.kube.core.types.meta import ObjectMeta
from homeport.kube.schema.fields import MicroTime, doc


class Lease(CoordinationV1, frozen=True):
    """A time-limited claim on something, such as leadership."""

    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None
    spec: Annotated[LeaseSpec | None, doc("The lease.")] = None


class LeaseSpec(CoordinationV1, frozen=True):
    """Who holds a lease, and until when."""

    holder_identity: Annotated[str | None, doc("Who holds the lease.")] = None
    lease_duration_seconds: Annotated[int | None, doc("Seconds after renewTime that others must wait.")] = None
    acquire_time: Annotated[MicroTime | None, doc("When the holder got the lease.")] = None
    renew_time: Annotated[MicroTime | None, doc("When the holder last renewed it.")] = None
    lease_transitions: Annotated[int | None, doc("How often the holder changed.")] = None
    strategy: Annotated[str | None, doc("How the holder is chosen in a coordinated election.")] = None
    preferred_holder: Annotated[str | None, doc("Who should take over the lease.")] = None
