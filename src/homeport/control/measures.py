"""What controllers have done, as ``/metrics`` shows it. Read off when somebody asks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from homeport.control.manager import Manager
from homeport.metrics import Labels, Sampled

_FAMILIES = (
    ("syncs", "homeport_controller_syncs_total", "Syncs of a controller."),
    ("failures", "homeport_controller_failures_total", "Syncs of a controller that failed, or whose changes did."),
    ("seconds", "homeport_controller_sync_seconds_total", "Processor time that a controller has spent deciding."),
)


def families(manager: Manager) -> tuple[Sampled, ...]:
    """One family for each thing that is counted, with the controller as its label."""

    def made(field: str, name: str, help: str) -> Sampled:
        def read() -> Iterator[tuple[Labels, float]]:
            for controller, counters in manager.counters.items():
                number: Any = getattr(counters, field)
                yield (controller,), number

        return Sampled(name, help, ("controller",), read, type="counter")

    return tuple(made(*family) for family in _FAMILIES)
