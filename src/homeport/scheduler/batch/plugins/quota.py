"""What the plugins of queues' shares have in common."""

from __future__ import annotations

import numpy as np

from homeport.scheduler.batch.axis import UNLIMITED, Axis, Mask, Vector


def insufficient(axis: Axis, short: Mask) -> str:
    """Volcano's words for a queue that may not have that much."""
    names = ", ".join(f"insufficient {axis.resources[row]}" for row in np.flatnonzero(short))
    return f"queue resource quota insufficient: {names}"


def share(allocated: Vector, deserved: Vector) -> float:
    """The largest part of what it deserves that it has of any resource; all of what it deserves nothing of."""
    counted = (deserved < UNLIMITED) & ((deserved > 0) | (allocated > 0))
    counted[0] = False  # pods themselves are no resource
    if not counted.any():
        return 0.0
    parts = np.where(deserved > 0, allocated / np.maximum(deserved, 1), 1.0)
    return float(parts[counted].max())
